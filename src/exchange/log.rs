//! Lines of access logs whose format is the configuration's (`ngx_http_log_module`).

use super::variables::Facts;
use crate::config::model::{LogEscape, LogFormat, RequestLog};
use crate::config::template::Part;
use crate::observe::text::push_escaped;

impl Facts<'_> {
    /// Whether a log wants a line about this request.
    #[must_use]
    pub fn is_logged(&self, log: &RequestLog) -> bool {
        let Some(condition) = &log.condition else { return true };
        !matches!(&self.text(condition)[..], b"" | b"0")
    }

    /// Appends a line with its newline.
    pub fn append_line(&self, format: &LogFormat, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        for part in format.line.parts() {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => {
                    value.clear();
                    let found = self.append(variable, &mut value);
                    match format.escape {
                        LogEscape::Default if !found => out.push(b'-'),
                        LogEscape::Default => push_escaped(out, &value),
                        LogEscape::Json => push_json(out, &value),
                        LogEscape::None => out.extend_from_slice(&value),
                    }
                }
            }
        }
        out.push(b'\n');
    }
}

/// Appends text as it stands in a string of JSON (`ngx_escape_json`).
pub(super) fn push_json(out: &mut Vec<u8>, text: &[u8]) {
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

#[cfg(test)]
mod tests {
    use super::push_json;

    #[test]
    fn text_is_escaped_for_json_as_nginx_does() {
        let mut out = Vec::new();
        push_json(&mut out, b"a\"b\\c\n\r\t\x08\x0c\x1f\x7f\xc3\xa9");
        assert_eq!(out, b"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u001F\x7f\xc3\xa9");
    }
}
