//! What a request over HTTP/2 says in another way than one over HTTP/1.

use std::fmt::Write as _;

use http::Uri;
use http::header::{CONNECTION, COOKIE, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use pingora::Result;
use pingora::http::RequestHeader;

use super::{Client, Exchange};
use crate::config::model::passing::HttpVersion;
use crate::proxy::told;

impl Exchange {
    /// Whether the request is handed on over HTTP/2.
    pub(in crate::proxy) fn speaks_http2(&self) -> bool {
        self.speaks_grpc()
            || self.settings().is_some_and(|s| s.passing.version == HttpVersion::Http2)
    }

    /// Says in HTTP/2's way what the head says: scheme, host and path in one, nothing of the connection.
    pub(in crate::proxy) fn write_http2_head(
        &self,
        session: &dyn Client,
        request: &mut RequestHeader,
    ) -> Result<()> {
        if !self.speaks_http2() {
            return Ok(());
        }
        for name in [CONNECTION, UPGRADE, TRANSFER_ENCODING, EXPECT] {
            request.remove_header(&name);
        }
        request.remove_header("keep-alive");
        request.remove_header("proxy-connection");
        request.remove_header(&TE);
        if self.wants_trailers(&session.req_header().headers) {
            request.insert_header(TE, "trailers")?;
        }
        let host = request.remove_header(&HOST);
        let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        let tls = self.aim.as_ref().is_some_and(|aimed| aimed.aim.tls);
        let scheme = if tls { "https" } else { "http" };
        let mut path = String::with_capacity(request.raw_path().len());
        for byte in request.raw_path() {
            // What is no ASCII has no place in a URI (RFC 3986, section 2.1).
            if byte.is_ascii() {
                path.push(char::from(*byte));
            } else {
                // Writing to a text never fails.
                let _ = write!(path, "%{byte:02X}");
            }
        }
        let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
        request.set_uri(uri.map_err(|_| told(400))?);
        Ok(())
    }
}

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
