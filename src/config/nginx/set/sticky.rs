//! `sticky`: what keeps a session at one server.

use crate::config::nginx::frame::Frame;
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::raw::{Learn, List, Sticky, Word};
use crate::config::words;

pub(in crate::config::nginx) fn sticky(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let (kind, args) = (&directive.args[0], &directive.args[1..]);
    let sticky = match kind.value.as_str() {
        "cookie" => cookie(reader, directive, args),
        "route" => Some(Sticky {
            route: Some(list(directive, args.to_vec())),
            ..Sticky::at(kind.place.clone())
        }),
        "learn" => learn(reader, directive, args, frame),
        _ => {
            unknown(reader, kind, "expected one of cookie, route, learn");
            None
        }
    };
    frame.broken |= sticky.is_none();
    frame.sticky = sticky;
}

fn list(directive: &Directive, items: Vec<Word>) -> List<Word> {
    List { items, broken: false, place: directive.name.place.clone() }
}

fn unknown(reader: &mut Reader<'_>, word: &Word, expected: &str) {
    let message = format!("unknown parameter \"{}\"", word.value);
    reader.diags.error(&word.place, message).expected(expected);
}

/// What nginx says of the directive as a whole.
fn wrong(reader: &mut Reader<'_>, word: &Word, what: &str, expected: &str) {
    reader.diags.error(&word.place, format!("\"sticky\" directive {what}")).expected(expected);
}

/// A parameter comes apart into its name and what is behind the `=`.
fn parts(word: &Word) -> (&str, Option<Word>) {
    match word.value.split_once('=') {
        Some((name, value)) => {
            (name, Some(Word { value: value.to_owned(), place: word.place.clone() }))
        }
        None => (&word.value, None),
    }
}

fn cookie(reader: &mut Reader<'_>, directive: &Directive, args: &[Word]) -> Option<Sticky> {
    let (name, parameters) = args.split_first()?;
    if name.value.is_empty() {
        wrong(reader, name, "empty cookie name", "expected a name such as `srv_id`");
        return None;
    }
    let mut sticky = Sticky::at(directive.args[0].place.clone());
    sticky.cookie = Some(name.clone());
    for word in parameters {
        let on = || Word { value: "on".to_owned(), place: word.place.clone() };
        let (name, value) = parts(word);
        let (slot, value) = match (name, value) {
            ("domain", Some(value)) => (&mut sticky.domain, value),
            ("path", Some(value)) => (&mut sticky.path, value),
            ("expires", Some(value)) => (&mut sticky.expires, value),
            ("samesite", Some(value)) => (&mut sticky.same_site, value),
            ("httponly", None) => (&mut sticky.http_only, on()),
            ("secure", None) => (&mut sticky.secure, on()),
            _ => {
                let expected =
                    "expected one of expires=, domain=, path=, samesite=, httponly, secure";
                unknown(reader, word, expected);
                return None;
            }
        };
        if let Some(first) = slot {
            let first = first.place.clone();
            let message = format!("\"sticky\" directive parameter \"{name}\" is duplicate");
            reader
                .diags
                .error(&word.place, message)
                .expected("written again here")
                .also(&first, "first written here");
            return None;
        }
        *slot = Some(value);
    }
    Some(sticky)
}

fn learn(
    reader: &mut Reader<'_>,
    directive: &Directive,
    args: &[Word],
    frame: &mut Frame,
) -> Option<Sticky> {
    let (mut create, mut lookup) = (Vec::new(), Vec::new());
    let (mut sessions, mut timeout, mut header) = (None, None, None);
    for word in args {
        let expected = match parts(word) {
            ("zone", Some(_)) if sessions.is_some() => Some(("duplicate zone", "expected one")),
            ("zone", Some(value)) => match zone(&value) {
                Ok((name, size)) => {
                    frame.zone = Some(name);
                    sessions = Some(size);
                    None
                }
                Err(problem) => {
                    Some((problem, "expected a name and a size, as in `zone=sessions:1m`"))
                }
            },
            ("timeout", Some(_)) if timeout.is_some() => {
                Some(("duplicate timeout", "expected one"))
            }
            ("timeout", Some(value)) => {
                let fits = words::duration(&value.value).is_ok_and(|time| !time.is_zero());
                timeout = Some(value);
                (!fits).then_some(("invalid timeout", "expected a time above 0"))
            }
            ("create", Some(value)) => {
                create.push(value);
                None
            }
            ("lookup", Some(value)) => {
                lookup.push(value);
                None
            }
            ("header", None) => {
                header = Some(Word { value: "on".to_owned(), place: word.place.clone() });
                None
            }
            _ => {
                let expected = "expected one of zone=, create=, lookup=, timeout=, header";
                unknown(reader, word, expected);
                return None;
            }
        };
        if let Some((what, expected)) = expected {
            wrong(reader, word, what, expected);
            return None;
        }
    }
    // What is missing in `create` and `lookup`, `resolve` knows.
    if sessions.is_none() && !create.is_empty() && !lookup.is_empty() {
        let what = "\"zone\" parameter is not specified";
        wrong(reader, &directive.name, what, "expected a place for sessions: `zone=sessions:1m`");
        return None;
    }
    let learn = Learn {
        create: Some(list(directive, create)),
        lookup: Some(list(directive, lookup)),
        sessions,
        timeout,
        header,
        place: directive.name.place.clone(),
        broken: false,
    };
    Some(Sticky { learn: Some(learn), ..Sticky::at(directive.args[0].place.clone()) })
}

/// The name of a zone, and how many sessions are in its size.
fn zone(word: &Word) -> Result<(Word, Word), &'static str> {
    /// What nginx says of its own: 8000 sessions in a megabyte.
    const SESSIONS: u64 = 8000;
    const MEGABYTE: u64 = 1 << 20;
    /// Eight pages.
    const LEAST: u64 = 32 << 10;
    let (name, size) = word.value.split_once(':').ok_or("zone size is not specified")?;
    if name.is_empty() {
        return Err("zone name is not specified");
    }
    let size = words::size(size).map_err(|_| "invalid zone size")?;
    if size < LEAST {
        return Err("zone is too small");
    }
    let sessions = (size / 1024).saturating_mul(SESSIONS) / (MEGABYTE / 1024);
    let word = |value: String| Word { value, place: word.place.clone() };
    Ok((word(name.to_owned()), word(sessions.to_string())))
}
