//! What a client has sent, as it may stand in a line of a log.
//!
//! nginx's escaping (`ngx_http_log_escape`): `"`, `\`, control bytes and everything past ASCII
//! become `\xHH`. It serves all logs, so that a line is plain ASCII whatever a client sent. Lines of
//! JSON have their own.

/// Whether the byte has to be escaped.
pub(super) fn unsafe_in_log(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | ..=0x1f | 0x7f..)
}

/// Appends `text`, escaped.
pub(crate) fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    // Nearly every text needs nothing. To look at all of it is cheaper than to stop at the first that does:
    // a loop without an exit looks at many bytes at once.
    if !text.iter().fold(false, |found, byte| found | unsafe_in_log(*byte)) {
        return out.extend_from_slice(text);
    }
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&b| unsafe_in_log(b)) {
        out.extend_from_slice(&rest[..at]);
        push_hex(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends `\xHH`.
pub(super) fn push_hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS[usize::from(nibble)];
    out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
}

/// Appends text as it stands in a string of JSON (`ngx_escape_json`).
pub(crate) fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..=0x1f => out.extend_from_slice(format!("\\u00{byte:02X}").as_bytes()),
            byte => out.push(*byte),
        }
    }
}
