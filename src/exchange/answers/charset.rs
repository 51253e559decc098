//! `charset` (`ngx_http_charset_filter_module`): says which one a body is in; nothing is converted.

use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::{Head, is_of_type, split_type};
use crate::config::model::site::Answers;
use crate::exchange::variables::Facts;

/// Adds the charset to a type that has none.
pub fn say(head: &mut impl Head, facts: &Facts<'_>, answers: &Answers) {
    let Some(charset) = &answers.charset else { return };
    // A browser would take the charset of a redirect for that of the next page.
    if matches!(head.status(), 301 | 302) || !is_of_type(head.headers(), &answers.charset_types) {
        return;
    }
    let Some(kind) = head.headers().get(CONTENT_TYPE) else { return };
    if split_type(kind.as_bytes()).1 {
        return;
    }
    let charset = facts.text(charset);
    if charset.is_empty() {
        return;
    }
    let value = [kind.as_bytes(), b"; charset=", &charset].concat();
    if let Ok(value) = HeaderValue::from_bytes(&value) {
        head.set(&CONTENT_TYPE, value);
    }
}
