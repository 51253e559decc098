//! Regular expressions, as nginx has them: PCRE, on bytes, without UTF mode.
//!
//! A pattern knows the text it was made of, by which two of them are the same, and the names of
//! its groups, which are variables of the request.

use std::fmt;
use std::sync::Arc;

use pcre2::bytes::{Captures, Regex, RegexBuilder};

use super::template::Scope;

/// A regular expression.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    caseless: bool,
    regex: Arc<Regex>,
    /// The numbers of the groups that have names, and the variables they fill.
    named: Vec<(usize, String)>,
    /// The same groups with the slots of these variables, once they are known.
    slots: Vec<(usize, usize)>,
}

/// Why a text is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadPattern {
    /// What PCRE says.
    pub reason: String,
    /// Where in the text, in bytes, if it says so.
    pub at: Option<usize>,
}

impl Pattern {
    /// Compiles a text; `caseless` as in `~*`.
    ///
    /// # Errors
    /// [`BadPattern`] with PCRE's words.
    pub fn new(text: &str, caseless: bool) -> Result<Self, BadPattern> {
        // PCRE without JIT is what nginx has by default (`pcre_jit off`); with it, matching costs a fraction.
        let compiled = RegexBuilder::new().caseless(caseless).jit_if_available(true).build(text);
        let regex = compiled.map_err(|error| {
            // The words alone: the place is told beside them.
            let told = error.to_string();
            let offset = error.offset().map(|at| format!("at offset {at}: ")).unwrap_or_default();
            let reason = told.rsplit_once(&offset).map_or(&told[..], |(_, reason)| reason);
            BadPattern { reason: reason.to_owned(), at: error.offset() }
        })?;
        let names = regex.capture_names().iter().enumerate();
        let named = names.filter_map(|(n, name)| Some((n, name.clone()?))).collect();
        Ok(Self {
            text: text.to_owned(),
            caseless,
            regex: Arc::new(regex),
            named,
            slots: Vec::new(),
        })
    }

    /// The text it was made of.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether capitals do not matter.
    #[must_use]
    pub fn is_caseless(&self) -> bool {
        self.caseless
    }

    /// The groups with names: number and name.
    #[must_use]
    pub fn named(&self) -> &[(usize, String)] {
        &self.named
    }

    /// Tells it the slots of the variables that its groups fill.
    #[must_use]
    pub(super) fn bound(mut self, scope: &Scope) -> Self {
        let slot = |(group, name): &(usize, String)| Some((*group, scope.slot(name)?));
        self.slots = self.named.iter().filter_map(slot).collect();
        self
    }

    /// The groups with names: number and the slot of the variable.
    #[must_use]
    pub fn slots(&self) -> &[(usize, usize)] {
        &self.slots
    }

    /// How many groups it has, the whole match not counted.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.regex.captures_len().saturating_sub(1)
    }

    /// Whether it matches somewhere in the subject. One that runs into PCRE's limits does not.
    #[must_use]
    pub fn is_match(&self, subject: &[u8]) -> bool {
        self.regex.is_match(subject).unwrap_or(false)
    }

    /// What its groups match, the whole match first; none where it does not match.
    #[must_use]
    pub fn captures(&self, subject: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
        let captures: Captures<'_> = self.regex.captures(subject).ok()??;
        let group = |n| captures.get(n).map(|m| m.as_bytes().to_vec());
        Some((0..captures.len()).map(group).collect())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.caseless == other.caseless
    }
}

impl Eq for Pattern {}

impl std::hash::Hash for Pattern {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.text, self.caseless).hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", if self.caseless { "~*" } else { "~" }, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_tells_its_groups_and_their_names() {
        let pattern = Pattern::new(r"^/(?<user>\w+)/(\d+)?", false).expect("it is well formed");
        assert_eq!(pattern.named(), [(1, "user".to_owned())]);
        assert_eq!(pattern.groups(), 2);
        let captures = pattern.captures(b"/joe/x").expect("it matches");
        assert_eq!(captures[1].as_deref(), Some(&b"joe"[..]));
        assert_eq!(captures[2], None);
        assert!(pattern.captures(b"nothing").is_none());
    }

    #[test]
    fn a_broken_pattern_is_told_with_its_place() {
        let bad = Pattern::new("a(b", false).expect_err("the bracket is open");
        assert!(bad.reason.contains("missing closing parenthesis"), "{bad}");
        assert_eq!(bad.at, Some(3));
    }
}
