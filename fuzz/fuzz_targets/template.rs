//! Any value of a header with variables: refused, or what it prints is read as the same.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub, reason = "only templates are asked here")]
#[path = "../../src/config/mod.rs"]
mod config;

use config::template::{Dollar, Scope, Template};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for dollars in [Dollar::Escaped, Dollar::Bare] {
        let scope = Scope::default();
        let Ok(template) = Template::parse_in(text, &scope, dollars) else { continue };
        let printed = template.to_string();
        let again = Template::parse_in(&printed, &scope, Dollar::Escaped);
        assert!(again.as_ref().is_ok_and(|again| *again == template), "{text:?} {printed:?}");
    }
});
