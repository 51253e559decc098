//! Request paths: normalized for choosing a route, rewritten for the upstream.
//!
//! Both are nginx's (`ngx_http_parse_complex_uri`, `merge_slashes on`, the URI part of
//! `proxy_pass`): what a route is chosen by is decoded and has no `.`, `..` or double slash in
//! it; what goes upstream is what the client sent, unless the route's target has a URI part.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// What nginx escapes in a path (`ngx_escape_uri` with `NGX_ESCAPE_URI`); other bytes from 0x80 on
/// are escaped as well.
const ESCAPED_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Takes a request target apart into path and query; a fragment is cut off.
#[must_use]
pub fn split(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let end = target.iter().position(|b| *b == b'#').unwrap_or(target.len());
    let target = &target[..end];
    match target.iter().position(|b| *b == b'?') {
        Some(mark) => (&target[..mark], Some(&target[mark + 1..])),
        None => (target, None),
    }
}

/// The path that routes are matched against.
///
/// None where nginx answers 400: a `..` above the root, a broken escape, an escaped NUL, or no
/// slash at the beginning.
#[must_use]
pub fn normalize(path: &[u8], merge_slashes: bool) -> Option<Cow<'_, [u8]>> {
    if path.first() != Some(&b'/') {
        return None;
    }
    let plain = !path.contains(&b'%')
        && !path.windows(2).any(|pair| pair[0] == b'/' && matches!(pair[1], b'/' | b'.'));
    if plain {
        return Some(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    let mut normal: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded[1..].split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" if !last && !merge_slashes => normal.push(b'/'),
            b"" | b"." if !last => {}
            b"" | b"." => normal.push(b'/'),
            b".." => {
                let parent = normal.iter().rposition(|b| *b == b'/')?;
                normal.truncate(parent);
                if last {
                    normal.push(b'/');
                }
            }
            name => {
                normal.push(b'/');
                normal.extend_from_slice(name);
            }
        }
    }
    Some(Cow::Owned(normal))
}

/// Replaces each `%XX` by its byte.
fn decode(path: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => match bytes.next().and_then(digit)? << 4 | bytes.next().and_then(digit)? {
                0 => return None,
                byte => byte,
            },
            byte => *byte,
        });
    }
    Some(decoded)
}

/// The target for the upstream of a route whose own target has a URI part: the normalized path
/// with the matched part replaced, escaped, and the query as it came.
#[must_use]
pub fn rewrite(normal: &[u8], matched: usize, uri: &str, query: Option<&[u8]>) -> Vec<u8> {
    let rest = normal.get(matched..).unwrap_or_default();
    let mut target = uri.as_bytes().to_vec();
    for piece in percent_encode(rest, ESCAPED_PATH) {
        target.extend_from_slice(piece.as_bytes());
    }
    if let Some(query) = query {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    target
}

/// Appends what a path has captured to a query or a URL (`NGX_ESCAPE_ARGS`).
pub(super) fn escape_argument(text: &[u8], out: &mut Vec<u8>) {
    const ESCAPED: &AsciiSet = &ESCAPED_PATH.add(b'&').add(b'+').add(b';');
    for piece in percent_encode(text, ESCAPED) {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// The URL of a redirect with its printable bytes unescaped up to the query
/// (`NGX_UNESCAPE_REDIRECT`).
pub(super) fn unescape_redirect(url: &[u8]) -> Vec<u8> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut plain = Vec::with_capacity(url.len());
    let mut at = 0;
    while let Some(byte) = url.get(at) {
        let escaped = match (byte, url.get(at + 1).and_then(digit), url.get(at + 2).and_then(digit))
        {
            (b'%', Some(high), Some(low)) => Some(high << 4 | low),
            _ => None,
        };
        match escaped {
            Some(decoded @ b'&'..=b'~') => {
                plain.push(decoded);
                at += 3;
            }
            Some(_) => {
                plain.extend_from_slice(&url[at..at + 3]);
                at += 3;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
        if plain.last() == Some(&b'?') {
            break;
        }
    }
    plain.extend_from_slice(url.get(at..).unwrap_or_default());
    plain
}

/// A path as it stands in a URL (`ngx_escape_uri` with `NGX_ESCAPE_URI`).
#[must_use]
pub fn escape(path: &[u8]) -> Vec<u8> {
    percent_encode(path, ESCAPED_PATH).flat_map(str::bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Option<String> {
        normalize(path.as_bytes(), true).map(|p| String::from_utf8_lossy(&p).into_owned())
    }

    #[test]
    fn a_path_is_decoded_and_its_dots_and_double_slashes_are_resolved() {
        for (path, expected) in [
            ("/", "/"),
            ("/api/hello", "/api/hello"),
            ("/a//b", "/a/b"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/../c", "/a/c"),
            ("/a/b/..", "/a/"),
            ("/a/..", "/"),
            ("/%61pi/%2e%2e/x%20y", "/x y"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("//", "/"),
        ] {
            assert_eq!(normal(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn double_slashes_stay_where_they_are_not_merged() {
        for (path, expected) in
            [("//", "//"), ("/a//b", "/a//b"), ("/a//../b", "/a/b"), ("//./a", "//a")]
        {
            let normal = normalize(path.as_bytes(), false).expect("the path is sound");
            assert_eq!(String::from_utf8_lossy(&normal), expected, "{path}");
        }
    }

    #[test]
    fn what_nginx_refuses_has_no_normal_form() {
        for path in ["", "api", "*", "/..", "/a/../../", "/%2e%2e/", "/%zz", "/%4", "/a%00b"] {
            assert_eq!(normal(path), None, "{path}");
        }
    }

    #[test]
    fn the_uri_part_replaces_what_the_route_matched() {
        let rewritten = rewrite(b"/api/a b?", 4, "/v1", Some(b"q=%20"));
        assert_eq!(rewritten, b"/v1/a%20b%3F?q=%20");
    }

    #[test]
    fn a_target_comes_apart_at_the_first_question_mark() {
        assert_eq!(split(b"/a?b?c#d"), (&b"/a"[..], Some(&b"b?c"[..])));
        assert_eq!(split(b"/a"), (&b"/a"[..], None));
    }
}
