//! What the tests of filters have in common, and what concerns several of them.

use super::*;

/// A head that is nothing but one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
}

impl Plain {
    pub(crate) fn new(status: u16, headers: &[(&'static str, &str)]) -> Self {
        let lines = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), value.parse().expect("a header value"))
        });
        Self { status, headers: lines.collect() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Head for Plain {
    fn status(&self) -> u16 {
        self.status
    }

    fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn set(&mut self, name: &HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    fn add(&mut self, name: &HeaderName, _: &Bytes, value: HeaderValue) {
        self.headers.append(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.headers.remove(name);
    }
}

#[test]
fn a_type_is_known_without_its_charset_only() {
    let types = ["text/html".to_owned()];
    for (kind, expected) in [
        ("text/html", true),
        ("Text/HTML; charset=utf-8", true),
        ("text/html;charset=utf-8", true),
        ("text/html; level=1", false),
        ("text/plain", false),
    ] {
        let head = Plain::new(200, &[("content-type", kind)]);
        assert_eq!(is_of_type(head.headers(), &types), expected, "{kind}");
    }
    assert!(is_of_type(Plain::new(200, &[("content-type", "a/b")]).headers(), &["*".to_owned()]));
    assert!(!is_of_type(&HeaderMap::new(), &["*".to_owned()]));
}
