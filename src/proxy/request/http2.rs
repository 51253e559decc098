//! What a request over HTTP/2 says in another way than one over HTTP/1.

use http::header::{COOKIE, HOST};
use pingora::Result;
use pingora::http::RequestHeader;

/// Says it in HTTP/1's way, as nginx does: the host in `Host`, all cookies in one line
/// (RFC 9113, sections 8.3.1 and 8.2.3). The head that Pingora makes of HTTP/2 knows no capitals; names
/// that are added later are to keep theirs.
pub(super) fn make_plain(request: &mut RequestHeader) -> Result<()> {
    let size = Some(request.headers.len());
    let mut plain = RequestHeader::build(request.method.clone(), request.raw_path(), size)?;
    plain.set_uri(request.uri.clone());
    plain.set_version(request.version);
    for (name, value) in &request.headers {
        plain.append_header(name.clone(), value.clone())?;
    }
    std::mem::swap(plain.extensions_mut(), request.extensions_mut());
    *request = plain;
    if let Some(authority) = request.uri.authority() {
        let authority = authority.as_str().to_owned();
        request.insert_header(HOST, authority)?;
    }
    if request.headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> =
            request.headers.get_all(COOKIE).iter().map(http::HeaderValue::as_bytes).collect();
        let cookies = crumbs.join(&b"; "[..]);
        request.insert_header(COOKIE, cookies)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_cookies_are_said_as_in_http_1() {
        let mut request = RequestHeader::build_no_case("GET", b"/", None).expect("a sound head");
        request.set_uri("https://a.example:8443/x".parse().expect("an address"));
        for crumb in ["a=1", "b=2"] {
            request.append_header(COOKIE, crumb).expect("a sound header");
        }
        make_plain(&mut request).expect("sound headers");
        request.insert_header("X-Scheme", "https").expect("a sound header");
        let mut sent = Vec::new();
        request.header_to_h1_wire(&mut sent);
        let sent = String::from_utf8(sent).expect("text");
        assert!(sent.contains("\r\nX-Scheme: https\r\n"), "{sent}");
        assert_eq!(request.headers[HOST], "a.example:8443");
        assert_eq!(request.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
