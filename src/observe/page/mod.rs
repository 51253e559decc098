//! The status page: one document of HTML without anything from outside, which asks for `status.json`
//! beside it.
//!
//! It shows texts that are not ours (errors of peers, names of hosts). The page sets them as text, and its policy lets
//! the browser run and apply nothing but its own script and style, known by their digests.

use std::sync::LazyLock;

use data_encoding::BASE64;
use ring::digest::{SHA256, digest};

/// The parts of the script, in order.
const SCRIPT: [&str; 6] = [
    "\n'use strict';\n\n",
    include_str!("words.js"),
    include_str!("elements.js"),
    include_str!("bars.js"),
    include_str!("peers.js"),
    include_str!("page.js"),
];
const STYLE: &str = include_str!("page.css");

struct Page {
    html: String,
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let script = SCRIPT.concat();
    let html = include_str!("page.html");
    let html = html.replace("/* style */", STYLE).replace("/* script */", &script);
    let digest = |text: &str| BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(STYLE),
        digest(&script),
    );
    Page { html, policy }
});

/// The page.
#[must_use]
pub fn html() -> &'static str {
    &PAGE.html
}

/// Its Content-Security-Policy.
#[must_use]
pub fn policy() -> &'static str {
    &PAGE.policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_one_style_and_one_script_and_nothing_from_outside() {
        let html = html();
        assert!(html.contains(&format!("<style>{STYLE}</style>")));
        assert!(html.contains(&format!("<script>{}</script>", SCRIPT.concat())));
        for tag in ["<style", "<script", "</script"] {
            assert_eq!(html.matches(tag).count(), 1, "{tag}");
        }
        for outside in ["src=", "url(", "@import", "https:"] {
            assert!(!html.contains(outside), "{outside}");
        }
        // The name of the language of drawings is no address that is asked.
        let mut addresses = html.split("http:").skip(1);
        assert!(addresses.all(|rest| rest.starts_with("//www.w3.org/2000/svg'")));
    }

    #[test]
    fn text_never_becomes_markup() {
        let script = SCRIPT.concat();
        for door in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!script.contains(door), "{door}");
        }
        let markup = include_str!("page.html");
        assert!(!markup.contains(" style=") && !markup.contains(" onclick="), "{markup}");
    }

    #[test]
    fn its_policy_names_its_script_and_its_style_alone() {
        let policy = policy();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
