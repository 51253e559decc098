//! The page a client sees when there is no answer from a peer: one generic sentence and the request
//! id, by which the log tells more. The honest reason is shown only where `error_details` is on.
//! People get HTML, programs that ask for JSON problem details (RFC 9457).
//! Which statuses have a page is nginx's choice (`ngx_http_error_pages`).

use http::StatusCode;

use super::log::push_json;

/// nginx's status for a certificate of a client's that is not good: error pages know it, clients see 400.
pub const BAD_CERTIFICATE: u16 = 495;
/// The same for none where there must be one.
pub const NO_CERTIFICATE: u16 = 496;
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

/// Whether a status is one of an error.
#[must_use]
pub fn is_error(status: u16) -> bool {
    status >= 400
}

/// What a status means to someone who only wanted to see a page.
fn sentence(status: u16) -> &'static str {
    match status {
        301..=308 => "What you asked for is somewhere else.",
        400 => "The request could not be understood.",
        401 => "You have to say who you are to see this.",
        403 => "You may not see this.",
        404 => "There is nothing here.",
        405 => "This method is not allowed here.",
        408 => "The request took too long to arrive.",
        410 => "What was here is gone.",
        411 => "The request has to say how long its body is.",
        412 => "What you asked for is not as the request expects it.",
        413 => "The request is larger than this server accepts.",
        414 => "The address is longer than this server accepts.",
        415 => "The request is of a kind that is not accepted here.",
        416 => "There is no such part of what you asked for.",
        421 => "This server does not answer for the address you asked for.",
        429 => "There were too many requests.",
        494 => "The head of the request is larger than this server accepts.",
        BAD_CERTIFICATE | NO_CERTIFICATE => {
            "The certificate that this server needs was not shown, or is not good."
        }
        PLAIN_TO_TLS => "The plain HTTP request was sent to HTTPS port.",
        501 => "The request asks for something this server cannot do.",
        502 => "The service behind this address is not available.",
        503 => "The service behind this address has no room for the request.",
        504 => "The service behind this address did not answer in time.",
        505 => "This version of HTTP is not spoken here.",
        507 => "There is no room for what was sent.",
        _ => "The request could not be answered.",
    }
}

/// In which form a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Html,
    /// For programs: problem details (RFC 9457).
    Problem,
}

impl Form {
    /// The media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html",
            Self::Problem => "application/problem+json",
        }
    }
}

/// In which form a client reads the page of an error most gladly, by its `Accept` lines (RFC 9110, section
/// 12.5.1). HTML unless it prefers JSON, also where it takes neither: as nginx, a page is never refused.
#[must_use]
pub fn form<'a>(status: u16, accept: impl Iterator<Item = &'a [u8]>) -> Form {
    if !is_error(status) {
        return Form::Html;
    }
    let (mut html, mut problem, mut json) = (Liking::NONE, Liking::NONE, Liking::NONE);
    for range in accept.flat_map(|line| line.split(|byte| *byte == b',')) {
        let Some((range, quality)) = media_range(range) else { continue };
        html.hear("text/html", &range, quality);
        problem.hear("application/problem+json", &range, quality);
        json.hear("application/json", &range, quality);
    }
    let program = problem.max(json);
    // Equally dear: whoever names JSON and takes HTML among the rest, as `application/json, */*`,
    // wants JSON.
    match program.quality > 0 && program > html {
        true => Form::Problem,
        false => Form::Html,
    }
}

/// How gladly a client takes a media type: first by its quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Liking {
    /// In thousandths.
    quality: u16,
    /// How closely the range fits that says so: the type itself, `type/*`, `*/*`, none.
    named: u8,
}

impl Liking {
    const NONE: Self = Self { quality: 0, named: 0 };

    /// Takes a range into account: the one that fits most closely counts.
    fn hear(&mut self, of: &str, range: &str, quality: u16) {
        let (kind, _) = of.split_once('/').unwrap_or((of, ""));
        let named = match range {
            range if range == of => 3,
            range if range.strip_suffix("/*") == Some(kind) => 2,
            "*/*" => 1,
            _ => return,
        };
        if named >= self.named {
            *self = Self { quality, named };
        }
    }
}

/// A range of `Accept` in lower case, with its quality in thousandths. What cannot be read is none.
fn media_range(text: &[u8]) -> Option<(String, u16)> {
    let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| range.contains('/'))?.to_owned();
    let quality = parts.find_map(|part| part.strip_prefix("q=").map(thousandths));
    Some((range, quality.unwrap_or(Some(1000))?))
}

/// Reads `1`, `0.5`, `0.125`.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1")
        || decimals.len() > 3
        || !decimals.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    format!("{whole}{decimals:0<3}").parse().ok().filter(|quality| *quality <= 1000)
}

/// The page for a status.
#[must_use]
pub fn page(
    form: Form,
    status: u16,
    request_id: &str,
    reason: Option<&str>,
    server: &str,
) -> String {
    let said = sentence(status);
    let status = shown(status);
    let name = reason_of(status).unwrap_or("");
    match form {
        Form::Html => html(status, name, said, request_id, reason, server),
        Form::Problem => problem(status, name, said, request_id, reason),
    }
}

fn html(
    status: u16,
    name: &str,
    said: &str,
    request_id: &str,
    reason: Option<&str>,
    server: &str,
) -> String {
    let reason = reason.map(|r| format!("<p>Reason: {}</p>\n", escape(r))).unwrap_or_default();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{status} {name}</title></head>\n<body>\n\
         <h1>{status} {name}</h1>\n<p>{said}</p>\n{reason}<p>Request id: {request_id}</p>\n\
         <hr><p>{server}</p>\n</body>\n</html>\n"
    )
}

/// The status alone says what kind of problem it is: `about:blank` (RFC 9457, section 4.2.1).
fn problem(
    status: u16,
    title: &str,
    detail: &str,
    request_id: &str,
    reason: Option<&str>,
) -> String {
    let mut entries = vec![("title", title), ("detail", detail), ("request_id", request_id)];
    entries.extend(reason.map(|reason| ("reason", reason)));
    let mut text = format!("{{\"type\":\"about:blank\",\"status\":{status}").into_bytes();
    for (key, value) in entries {
        text.extend_from_slice(format!(",\"{key}\":\"").as_bytes());
        push_json(&mut text, value.as_bytes());
        text.push(b'"');
    }
    text.extend_from_slice(b"}\n");
    // Texts with more ASCII between them.
    String::from_utf8(text).unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_shown_only_when_given_and_never_as_markup() {
        let page = |reason| page(Form::Html, 502, "abc", reason, "robin");
        let plain = page(None);
        assert!(plain.contains("502 Bad Gateway") && plain.contains("Request id: abc"));
        assert!(!plain.contains("Reason") && plain.contains("<p>robin</p>"));
        let detailed = page(Some("upstream <x>: 3 peers"));
        assert!(detailed.contains("Reason: upstream &lt;x&gt;: 3 peers"));
    }

    fn asked(accept: &[&str]) -> Form {
        form(502, accept.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn who_prefers_json_gets_problem_details() {
        for accept in [
            "application/json",
            "Application/JSON",
            "application/problem+json",
            "application/json, */*",
            "application/json, text/plain, */*",
            "application/*",
            "text/html;q=0.9, application/json",
            "text/html;q=0.125,application/problem+json;q=0.126",
            "application/json;charset=utf-8;q=0.1",
            "*/*;q=0.1, application/json;q=0.2",
            "text/html;q=0, */*",
        ] {
            assert_eq!(asked(&[accept]), Form::Problem, "{accept}");
        }
        assert_eq!(asked(&["text/html;q=0.5", "application/json"]), Form::Problem);
    }

    #[test]
    fn everyone_else_gets_html() {
        for accept in [
            "",
            "*/*",
            "text/html",
            "text/*",
            "image/png",
            "application/json;q=0",
            "text/html, application/json",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json;q=0.5, text/html;q=0.6",
            "application/json;q=0.5, */*;q=0.6",
            "application/json;q=2",
            "application/json;q=0.1234",
            "json",
            "application/json-patch+json",
            "\u{e9}/*",
        ] {
            assert_eq!(asked(&[accept]), Form::Html, "{accept}");
        }
        assert_eq!(asked(&[]), Form::Html);
        assert_eq!(form(302, std::iter::once(&b"application/json"[..])), Form::Html);
        assert_eq!(form(502, std::iter::once(&b"application/json\xff"[..])), Form::Html);
    }

    #[test]
    fn problem_details_are_an_object_whatever_they_hold() {
        let text = page(Form::Problem, 497, "a\"b", Some("x\ny\\\u{1f426}"), "robin");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let expected = serde_json::json!({
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "The plain HTTP request was sent to HTTPS port.",
            "request_id": "a\"b",
            "reason": "x\ny\\\u{1f426}",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn every_error_with_a_page_says_something_in_one_sentence() {
        for status in (300..600).filter(|status| exists(*status)) {
            let said = sentence(status);
            assert!(said.ends_with('.') && said.matches('.').count() == 1, "{status}: {said}");
        }
    }
}
