//! Header lines that go through as they came, in either direction.

use http::HeaderName;
use memchr::memchr;

/// Appends whole lines, but for those whose names have changed: each run of them at once.
pub(super) fn append_kept<'n>(
    lines: &[u8],
    changed: impl Iterator<Item = &'n HeaderName> + Clone,
    out: &mut Vec<u8>,
) {
    let (mut run, mut at) = (0, 0);
    while let Some(end) = memchr(b'\n', &lines[at..]) {
        let line = &lines[at..=at + end];
        let name = &line[..memchr(b':', line).unwrap_or(0)];
        if changed.clone().any(|known| known.as_str().as_bytes().eq_ignore_ascii_case(name)) {
            out.extend_from_slice(&lines[run..at]);
            run = at + end + 1;
        }
        at += end + 1;
    }
    out.extend_from_slice(&lines[run..]);
}
