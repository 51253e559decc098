//! The page a client sees when there is no answer from a peer: one generic sentence and the request
//! id, by which the log tells more. The honest reason is shown only where `error_details` is on.

use http::StatusCode;

/// nginx's status for plain HTTP at a listener with TLS: error pages know it, clients see 400.
pub const PLAIN_TO_TLS: u16 = 497;

/// The status that a client sees.
#[must_use]
pub fn shown(status: u16) -> u16 {
    if status == PLAIN_TO_TLS { 400 } else { status }
}

/// What a status means to someone who only wanted to see a page.
fn sentence(status: u16) -> &'static str {
    match status {
        400 => "The request could not be understood.",
        404 => "There is nothing here.",
        405 => "This method is not allowed here.",
        408 => "The request took too long to arrive.",
        413 => "The request is larger than this server accepts.",
        PLAIN_TO_TLS => "The plain HTTP request was sent to HTTPS port.",
        414 => "The address is longer than this server accepts.",
        501 => "The request asks for something this server cannot do.",
        502 => "The service behind this address is not available.",
        503 => "The service behind this address has no room for the request.",
        504 => "The service behind this address did not answer in time.",
        _ => "The request could not be answered.",
    }
}

/// The page for a status, as HTML.
#[must_use]
pub fn page(status: u16, request_id: &str, reason: Option<&str>) -> String {
    let said = sentence(status);
    let status = shown(status);
    let name = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
    let reason = reason.map(|r| format!("<p>Reason: {}</p>\n", escape(r))).unwrap_or_default();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>{status} {name}</title></head>\n<body>\n\
         <h1>{status} {name}</h1>\n<p>{}</p>\n{reason}<p>Request id: {request_id}</p>\n\
         <hr><p>robin</p>\n</body>\n</html>\n",
        said
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_shown_only_when_given_and_never_as_markup() {
        let plain = page(502, "abc", None);
        assert!(plain.contains("502 Bad Gateway") && plain.contains("Request id: abc"));
        assert!(!plain.contains("Reason"));
        let detailed = page(502, "abc", Some("upstream <x>: 3 peers"));
        assert!(detailed.contains("Reason: upstream &lt;x&gt;: 3 peers"));
    }
}
