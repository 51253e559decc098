//! `${NAME}` and `${NAME:-default}`: values from the environment.
//!
//! Names are upper case (`[A-Z_][A-Z0-9_]*`), so that header templates, whose variables are lower
//! case, may use braces too: in a [`Kind::Template`] a name in lower case is left for the template,
//! elsewhere it is a mistake. As in Compose and the shell, the default also stands in for a value
//! that is set and empty. `$${` is a literal `${`; a `$` before anything else stands for itself.

use super::diagnostics::quote;

/// Looks a name up in the environment.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a text is before the environment is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word that means what it says.
    Word,
    /// A header template: `$$` and names in lower case are its own.
    Template,
    /// nginx's language: names in lower case are its own, `$${` is a literal `${`.
    Phrase,
}

/// What is wrong with a `${…}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvError {
    /// No value and no default.
    #[error("environment variable {} is not set", quote(.0))]
    Unset(String),
    /// The closing brace is missing.
    #[error("`${{` is not closed")]
    Unclosed,
    /// Not a name of the environment.
    #[error("{} is not a name of an environment variable", quote(.0))]
    BadName(String),
}

/// Fills in the environment.
///
/// # Errors
/// The first `${…}` that has no value or is malformed.
pub(crate) fn expand(text: &str, kind: Kind, lookup: Lookup<'_>) -> Result<String, EnvError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        if kind == Kind::Template && rest.starts_with("$$") {
            expanded.push_str("$$");
            rest = &rest[2..];
        } else if let Some(after) = rest.strip_prefix("$${") {
            expanded.push_str("${");
            rest = after;
        } else if let Some(braced) = rest.strip_prefix("${") {
            let (inner, after) = braced.split_once('}').ok_or(EnvError::Unclosed)?;
            if kind != Kind::Word && inner.starts_with(|c: char| c.is_ascii_lowercase()) {
                expanded.push_str(&rest[..inner.len() + 3]);
            } else {
                let value = substitute(inner, lookup)?;
                match kind {
                    Kind::Word | Kind::Phrase => expanded.push_str(&value),
                    // What the environment says is text: a dollar sign in it is no variable.
                    Kind::Template => expanded.push_str(&value.replace('$', "$$")),
                }
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = &rest[1..];
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The text that [`expand`] turns into `text` whatever the environment holds.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn substitute(inner: &str, lookup: Lookup<'_>) -> Result<String, EnvError> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let is_first = |c: char| c.is_ascii_uppercase() || c == '_';
    let is_name =
        name.starts_with(is_first) && name.chars().all(|c: char| is_first(c) || c.is_ascii_digit());
    if !is_name {
        return Err(EnvError::BadName(name.to_owned()));
    }
    match (lookup(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(EnvError::Unset(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("80".into()),
            "EMPTY" => Some(String::new()),
            "PRICE" => Some("$5".into()),
            _ => None,
        }
    }

    fn word(text: &str) -> Result<String, EnvError> {
        expand(text, Kind::Word, &lookup)
    }

    #[test]
    fn a_name_in_braces_becomes_its_value_or_its_default() {
        assert_eq!(word("a:${PORT}/b").as_deref(), Ok("a:80/b"));
        assert_eq!(word("${NONE:-x:-y}${EMPTY:-z}").as_deref(), Ok("x:-yz"));
        assert_eq!(word("[${EMPTY}]").as_deref(), Ok("[]"));
    }

    #[test]
    fn a_dollar_sign_elsewhere_stands_for_itself() {
        for text in ["$", "$PORT", "5$", "$$", "a$b"] {
            assert_eq!(word(text).as_deref(), Ok(text));
        }
        assert_eq!(word("$${PORT}").as_deref(), Ok("${PORT}"));
    }

    #[test]
    fn what_has_no_value_is_named() {
        assert_eq!(word("${NONE}"), Err(EnvError::Unset("NONE".into())));
        assert_eq!(word("${PORT"), Err(EnvError::Unclosed));
        assert_eq!(word("${port}"), Err(EnvError::BadName("port".into())));
        assert_eq!(word("${}"), Err(EnvError::BadName(String::new())));
    }

    #[test]
    fn a_template_keeps_its_own_variables_and_escapes() {
        let template = |text| expand(text, Kind::Template, &lookup);
        assert_eq!(template("${host}:${PORT}").as_deref(), Ok("${host}:80"));
        assert_eq!(template("$$${host} $${PORT}").as_deref(), Ok("$$${host} $${PORT}"));
        assert_eq!(template("${PRICE}").as_deref(), Ok("$$5"));
    }

    #[test]
    fn an_escaped_text_is_the_same_in_every_environment() {
        for text in ["${PORT}", "$${PORT}", "$$${x", "plain $"] {
            assert_eq!(word(&escape(text)).as_deref(), Ok(text));
        }
    }
}
