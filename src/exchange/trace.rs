//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): which trace a request belongs to, and
//! what the upstream is told of it.
//!
//! A `traceparent` that is none counts as not sent, and what came with it in `tracestate` neither;
//! a `tracestate` that is none is left out alone. Both rules are the standard's.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that says trace, span and flags.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header that says what each tracing system adds.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LENGTH: usize = 55;
/// The longest `tracestate` that is passed on: as long as the standard demands at least.
const LONGEST_STATE: usize = 512;
/// The most entries of a `tracestate`.
const MOST_MEMBERS: usize = 32;

/// The trace is recorded.
pub const SAMPLED: u8 = 1;
/// The flags that have a meaning: this one, and that the trace's id is random. All others are to
/// be sent as 0.
const KNOWN_FLAGS: u8 = SAMPLED | 2;

/// Where a request stands among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace, 32 hexadecimal digits.
    pub id: String,
    /// Whose request this one is a part of; none where the trace begins here.
    pub parent: Option<Parent>,
    /// What is said of the trace.
    pub flags: u8,
    /// What the tracing systems before have said.
    pub state: Option<String>,
    /// Our own part of it.
    pub span: u64,
}

/// The span that a request came out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its id.
    pub span: u64,
    /// Whether it is recorded.
    pub sampled: bool,
}

impl Trace {
    /// A trace that begins here.
    #[must_use]
    pub fn begin(trace: u128, span: u64, flags: u8) -> Self {
        Self { id: format!("{trace:032x}"), parent: None, flags, state: None, span }
    }

    /// The trace that a request belongs to, by what it says.
    #[must_use]
    pub fn of(headers: &HeaderMap, span: u64) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let (id, parent, flags) = traceparent(lines.next()?.to_str().ok()?)?;
        if lines.next().is_some() {
            return None;
        }
        let parent = Some(Parent { span: parent, sampled: flags & SAMPLED != 0 });
        Some(Self { id: id.to_owned(), parent, flags, state: tracestate(headers), span })
    }

    /// What a `traceparent` says to whom this span hands the request.
    #[must_use]
    pub fn traceparent(&self, span: u64) -> Option<HeaderValue> {
        let Self { id, flags, .. } = self;
        HeaderValue::try_from(format!("00-{id}-{span:016x}-{flags:02x}")).ok()
    }

    /// What a `tracestate` says.
    #[must_use]
    pub fn tracestate(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.state.as_deref()?).ok()
    }
}

/// Reads a `traceparent`: trace, parent and flags. Of a version that is not known yet what this one
/// knows is read.
fn traceparent(text: &str) -> Option<(&str, u64, u8)> {
    let text = text.trim_matches([' ', '\t']);
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = [version.len(), id.len(), parent.len(), flags.len()];
    let digits = [version, id, parent, flags].iter().all(|part| part.bytes().all(is_digit));
    let ends = match version {
        "00" => rest.is_empty(),
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    if lengths != [2, 32, 16, 2] || !digits || !ends || version == "ff" {
        return None;
    }
    let parent = u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()? & KNOWN_FLAGS;
    id.bytes().any(|digit| digit != b'0').then_some((id, parent, flags))
}

/// Digits are those of lower case.
fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// What all `tracestate` lines say together, if it is one that may be passed on.
fn tracestate(headers: &HeaderMap) -> Option<String> {
    let mut members: Vec<&str> = Vec::new();
    for line in headers.get_all(TRACESTATE) {
        for member in line.to_str().ok()?.split(',').map(|m| m.trim_matches([' ', '\t'])) {
            if !member.is_empty() {
                members.push(member);
            }
        }
    }
    let mut keys = Vec::with_capacity(members.len());
    for member in &members {
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || keys.contains(&key) {
            return None;
        }
        keys.push(key);
    }
    let state = members.join(",");
    (!members.is_empty() && members.len() <= MOST_MEMBERS && state.len() <= LONGEST_STATE)
        .then_some(state)
}

fn is_key(key: &str) -> bool {
    let begins = key.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let goes_on = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b);
    begins && key.len() <= 256 && key.bytes().all(goes_on)
}

fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=' && b != b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let lines = parents.iter().map(|value| (TRACEPARENT, value));
        for (name, value) in lines.chain(states.iter().map(|value| (TRACESTATE, value))) {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
            headers.append(name, value);
        }
        headers
    }

    fn of(parent: &str) -> Option<Trace> {
        Trace::of(&headers(&[parent], &[]), 7)
    }

    fn state(states: &[&str]) -> Option<String> {
        let parent = format!("00-{ID}-b7ad6b7169203331-01");
        Trace::of(&headers(&[&parent], states), 7).expect("the parent is sound").state
    }

    #[test]
    fn a_parent_is_taken_with_its_flags() {
        for (flags, sampled, kept) in [
            ("00", false, 0),
            ("01", true, 1),
            ("03", true, 3),
            ("02", false, 2),
            // Others have no meaning yet and are to be sent as 0.
            ("ff", true, 3),
            ("fc", false, 0),
        ] {
            let trace = of(&format!("00-{ID}-b7ad6b7169203331-{flags}")).expect("it is sound");
            let parent = Parent { span: 0xb7ad_6b71_6920_3331, sampled };
            assert_eq!((trace.parent, trace.flags), (Some(parent), kept), "{flags}");
            let said = trace.traceparent(trace.span).expect("a header value");
            assert_eq!(said, format!("00-{ID}-0000000000000007-{kept:02x}"));
        }
    }

    /// The cases are those of the standard's own tests (w3c/trace-context, test/test.py).
    #[test]
    fn what_is_no_parent_begins_a_trace() {
        let sound = format!("00-{ID}-b7ad6b7169203331-01");
        for bad in [
            String::new(),
            format!("ff-{ID}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{ID}-{}-01", "0".repeat(16)),
            sound.to_uppercase(),
            format!(".0-{ID}-b7ad6b7169203331-01"),
            format!("0-{ID}-b7ad6b7169203331-01"),
            format!("000-{ID}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", &ID[1..]),
            format!("00-{ID}a-b7ad6b7169203331-01"),
            format!("00-{}.-b7ad6b7169203331-01", &ID[1..]),
            format!("00-{ID}-7ad6b7169203331-01"),
            format!("00-{ID}-b7ad6b71692033311-01"),
            format!("00-{ID}-b7ad6b716920333.-01"),
            format!("00-{ID}-b7ad6b7169203331-1"),
            format!("00-{ID}-b7ad6b7169203331-001"),
            format!("00-{ID}-b7ad6b7169203331-.1"),
            format!("00-{ID}-b7ad6b7169203331"),
            format!("{sound}-"),
            format!("{sound}-what-the-future-will-be-like"),
            format!("{sound}."),
            format!("00_{ID}_b7ad6b7169203331_01"),
            format!("00-{ID}-b7ad6b7169203331-0é"),
            format!("cc-{ID}-b7ad6b7169203331-01.what"),
            format!("cc-{ID}-b7ad6b7169203331-011"),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
        assert!(of(&sound).is_some());
        assert_eq!(Trace::of(&headers(&[&sound, &sound], &[]), 7), None, "two are none");
        assert_eq!(Trace::of(&HeaderMap::new(), 7), None);
    }

    #[test]
    fn of_a_later_version_what_is_known_is_read() {
        for later in ["-01", "-01-", "-01-what-the-future-will-be-like"] {
            let trace = of(&format!("cc-{ID}-b7ad6b7169203331{later}")).expect("it can be read");
            let said = trace.traceparent(0xa).expect("a header value");
            assert_eq!(said, format!("00-{ID}-000000000000000a-01"));
        }
        assert!(of(&format!("\t 00-{ID}-b7ad6b7169203331-01 ")).is_some(), "blanks around it");
    }

    #[test]
    fn states_of_several_lines_are_one_list() {
        for (lines, list) in [
            (&["foo=1"][..], "foo=1"),
            (&["foo=1,bar=2"], "foo=1,bar=2"),
            (&["foo=1 \t , \t bar=2, ", "rojo=1"], "foo=1,bar=2,rojo=1"),
            (&["foo=1,,,bar=2", ""], "foo=1,bar=2"),
            (&["foo@=1,bar@vendor=2,0a=3"], "foo@=1,bar@vendor=2,0a=3"),
            (
                &["a-b_c*d/e= !\"#$%&'()*+-./<>?@[]^_`{|}~"],
                "a-b_c*d/e= !\"#$%&'()*+-./<>?@[]^_`{|}~",
            ),
        ] {
            assert_eq!(state(lines).as_deref(), Some(list));
        }
    }

    #[test]
    fn a_state_that_is_none_is_left_out_alone() {
        let many = |count: usize| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>();
        let (most, more) = (many(32).join(","), many(33).join(","));
        let long = |first: usize| format!("a={},b={}", "v".repeat(first), "v".repeat(256));
        assert_eq!(long(251).len(), LONGEST_STATE);
        assert_eq!(state(&[&most]), Some(most));
        assert_eq!(state(&[&long(251)]), Some(long(251)));
        let value = format!("a={}", "v".repeat(257));
        for bad in [
            "",
            "foo",
            "foo=",
            "=1",
            "FOO=1",
            "foo =1",
            "_foo=1",
            "foo=1=2",
            "foo=bar=",
            "foo=1,foo=2",
            "foo=\u{e9}",
            "fo o=1",
            "foo.bar=1",
            &more,
            &value,
            &long(252),
        ] {
            assert_eq!(state(&[bad]), None, "{bad}");
        }
    }

    #[test]
    fn a_trace_that_begins_here_has_no_parent() {
        let trace = Trace::begin(0xabc, 0xdef, SAMPLED);
        let said = trace.traceparent(trace.span).expect("a header value");
        assert_eq!(said, format!("00-{:032x}-{:016x}-01", 0xabc, 0xdef));
        assert_eq!((trace.parent, trace.tracestate()), (None, None));
    }
}
