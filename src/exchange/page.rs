//! The page a client sees when there is no answer from a peer: one generic sentence and the request
//! id, by which the log tells more. The honest reason is shown only where `error_details` is on.
//! Which statuses have a page is nginx's choice (`ngx_http_error_pages`).

use http::StatusCode;

/// nginx's status for plain HTTP at a listener with TLS: error pages know it, clients see 400.
pub const PLAIN_TO_TLS: u16 = 497;

/// The status that a client sees.
#[must_use]
pub fn shown(status: u16) -> u16 {
    if matches!(status, 494..=PLAIN_TO_TLS) { 400 } else { status }
}

/// Whether a status has a page; an answer of any other is empty.
#[must_use]
pub fn exists(status: u16) -> bool {
    matches!(
        status,
        301..=303 | 307 | 308 | 400..=416 | 421 | 429 | 494..=498 | 500..=505 | 507
    )
}

/// Whether the connection is closed behind an answer of this status
/// (`ngx_http_special_response_handler`).
#[must_use]
pub fn closes(status: u16) -> bool {
    matches!(status, 400 | 413 | 414 | 495..=PLAIN_TO_TLS | 500 | 501)
}

/// The words behind a status in the first line of an answer, where nginx has others than RFC 9110
/// (`ngx_http_status_lines`).
#[must_use]
pub fn reason_of(status: u16) -> Option<&'static str> {
    match status {
        302 => Some("Moved Temporarily"),
        405 => Some("Not Allowed"),
        408 => Some("Request Time-out"),
        413 => Some("Request Entity Too Large"),
        414 => Some("Request-URI Too Large"),
        416 => Some("Requested Range Not Satisfiable"),
        503 => Some("Service Temporarily Unavailable"),
        504 => Some("Gateway Time-out"),
        _ => StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()),
    }
}

/// What a status means to someone who only wanted to see a page.
fn sentence(status: u16) -> &'static str {
    match status {
        301..=308 => "What you asked for is somewhere else.",
        403 => "You may not see this.",
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
pub fn page(status: u16, request_id: &str, reason: Option<&str>, server: &str) -> String {
    let said = sentence(status);
    let status = shown(status);
    let name = reason_of(status).unwrap_or("");
    let reason = reason.map(|r| format!("<p>Reason: {}</p>\n", escape(r))).unwrap_or_default();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{status} {name}</title></head>\n<body>\n\
         <h1>{status} {name}</h1>\n<p>{}</p>\n{reason}<p>Request id: {request_id}</p>\n\
         <hr><p>{server}</p>\n</body>\n</html>\n",
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
        let plain = page(502, "abc", None, "robin");
        assert!(plain.contains("502 Bad Gateway") && plain.contains("Request id: abc"));
        assert!(!plain.contains("Reason") && plain.contains("<p>robin</p>"));
        let detailed = page(502, "abc", Some("upstream <x>: 3 peers"), "robin");
        assert!(detailed.contains("Reason: upstream &lt;x&gt;: 3 peers"));
    }
}
