//! Any head of a request: refused, or what it asks for is a path that climbs nowhere and stays itself.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub, reason = "only heads are asked here")]
#[path = "../../src/config/mod.rs"]
mod config;

#[allow(dead_code, unused_imports, unreachable_pub, reason = "only heads are asked here")]
#[path = "."]
mod exchange {
    #[path = "../../src/exchange/head.rs"]
    pub mod head;
    #[path = "../../src/exchange/path.rs"]
    pub mod path;
    #[path = "../../src/exchange/raw.rs"]
    pub mod raw;
}

use config::model::Requests;
use exchange::head::Head;
use exchange::raw::{self, Chunks, Framing};
use exchange::path;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use libfuzzer_sys::fuzz_target;

/// What a parser of HTTP/1 makes of a head, however loose it is.
fn read(raw: &[u8]) -> Option<(Method, Vec<u8>, Version, HeaderMap)> {
    let mut lines = raw.split(|byte| *byte == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
    let mut words = lines.next()?.splitn(3, |byte| *byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let target = words.next()?.to_vec();
    // Pingora's parser lets none of these through.
    if target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return None;
    }
    let version = match words.next() {
        Some(b"HTTP/1.0") => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next()?).ok()?;
        headers.append(name, HeaderValue::from_bytes(parts.next()?.trim_ascii()).ok()?);
    }
    Some((method, target, version, headers))
}

/// A body in chunks ends where it ends, however its bytes were cut.
fn follow(body: &[u8]) {
    let mut whole = Chunks::default();
    let taken = whole.follow(body);
    assert!(taken <= body.len());
    let mut cut = Chunks::default();
    let mut pieces = 0;
    for byte in body.chunks(1) {
        if cut.is_done() || cut.is_lost() {
            break;
        }
        pieces += cut.follow(byte);
    }
    assert_eq!((whole.is_done(), whole.is_lost()), (cut.is_done(), cut.is_lost()));
    assert!(!whole.is_done() || taken == pieces);
}

fuzz_target!(|bytes: &[u8]| {
    let Some(end) = raw::end(bytes, 0) else { return };
    let Ok(sound) = raw::read(&bytes[..end]) else { return };
    if sound.framing == Framing::Chunked {
        follow(&bytes[end..]);
    }
    let (absolute, rewritten) = sound.rewritten.unzip();
    let raw = rewritten.as_deref().unwrap_or(&bytes[..end]);
    let Some((method, target, version, headers)) = read(raw) else { return };
    let head = Head { method: &method, target: &target, version, headers: &headers };
    let Ok(asked) = head.check(raw, absolute.as_ref(), &Requests::default()) else { return };
    assert!(asked.path.starts_with(b"/"), "{asked:?}");
    let climbs = |part: &[u8]| part == b".." || part == b".";
    assert!(!asked.path.split(|byte| *byte == b'/').any(climbs), "{asked:?}");
    assert!(!asked.path.contains(&0), "{asked:?}");
    assert_eq!(asked.host, asked.host.to_ascii_lowercase());
    assert!(!asked.host.bytes().any(|b| b.is_ascii_control() || b"/\\ @".contains(&b)), "{asked:?}");
    // Judged once more in the form in which it is passed on, it asks for the same.
    let escaped = path::escape(&asked.path);
    let again = path::normalize(&escaped, true).map(|path| path.into_owned());
    assert_eq!(again.as_deref(), Some(&asked.path[..]), "{:?}", String::from_utf8_lossy(&escaped));
});
