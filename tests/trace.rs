//! Which trace does a request belong to, and what is the upstream told of it?

mod common;

use common::client::{Request, exchange};
use common::http::Message;
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::Robin;
use common::stack::{Stack, stack};

const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

impl Stack {
    fn yaml(yaml: &str) -> Self {
        stack(Behaviour::ok(), &format!("access_log: stdout json\n{yaml}"))
    }

    fn nginx(http: &str) -> Self {
        let origin = Origin::start(free_address(), Behaviour::ok());
        let (address, to) = (free_address(), origin.address());
        let conf = format!(
            "access_log /dev/stdout json; {http} server {{ listen {address};
             add_header X-Trace $otel_trace_id/$otel_span_id/$otel_parent_id/$otel_parent_sampled;
             location / {{ proxy_pass http://{to}; }} }}"
        );
        Self { origin, robin: Robin::nginx(address, &conf) }
    }

    /// Asks with these headers: what the upstream has got, and what the client.
    #[track_caller]
    fn ask(&self, headers: &[(&str, &str)]) -> (Message, Message) {
        let request =
            headers.iter().fold(Request::get("/"), |r, (name, value)| r.header(name, value));
        let answer = exchange(self.robin.address(), &request).expect("an answer");
        (self.origin.requests().pop().expect("the upstream was asked"), answer)
    }
}

/// The parts of a `traceparent` that is there once.
#[track_caller]
fn parts(request: &Message) -> [String; 4] {
    let lines = request.header_all("traceparent");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let parts: Vec<_> = lines[0].split('-').map(str::to_owned).collect();
    parts.try_into().expect("four parts")
}

#[test]
fn by_default_what_the_client_says_is_passed_on_untouched() {
    for stack in
        [Stack::yaml(""), Stack::yaml("trace: pass"), Stack::nginx("otel_trace_context ignore;")]
    {
        for said in [PARENT, "nonsense"] {
            let (seen, _) = stack.ask(&[("traceparent", said), ("tracestate", "a=1, , b=2")]);
            assert_eq!(seen.header("traceparent"), Some(said));
            assert_eq!(seen.header("tracestate"), Some("a=1, , b=2"));
        }
        assert_eq!(stack.ask(&[]).0.header("traceparent"), None);
        let lines = stack.robin.access_lines(3);
        assert!(lines.iter().all(|line| !line.contains("trace_id")), "{lines:?}");
    }
}

#[test]
fn switched_off_nothing_reaches_the_upstream() {
    for stack in [Stack::yaml("trace: off"), Stack::nginx("robin_trace off;")] {
        let (seen, _) = stack.ask(&[("traceparent", PARENT), ("tracestate", "a=1")]);
        assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (None, None));
    }
}

#[test]
fn switched_on_a_request_goes_on_with_the_clients_trace_in_a_span_of_its_own() {
    for stack in [
        Stack::yaml("trace: on"),
        Stack::nginx("robin_trace on;"),
        Stack::nginx("otel_trace_context propagate;"),
    ] {
        let (seen, _) = stack.ask(&[("traceparent", PARENT), ("tracestate", "a=1, ,b=2")]);
        let [version, trace, span, flags] = parts(&seen);
        assert_eq!((&*version, &*trace, &*flags), ("00", ID, "00"));
        assert!(span != "b7ad6b7169203331" && span.len() == 16, "{span}");
        assert_eq!(seen.header("tracestate"), Some("a=1,b=2"));
        assert!(stack.robin.access_lines(1)[0].contains(&format!("\"trace_id\":\"{ID}\"")));
    }
}

#[test]
fn what_is_no_trace_begins_one_and_its_state_is_gone() {
    let stack = Stack::yaml("trace: on");
    for bad in ["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "nonsense", ""] {
        let (seen, _) = stack.ask(&[("traceparent", bad), ("tracestate", "a=1")]);
        let [version, trace, span, flags] = parts(&seen);
        assert!(trace != ID && trace.len() == 32 && trace.bytes().any(|b| b != b'0'), "{trace}");
        assert_eq!((&*version, span.len(), &*flags), ("00", 16, "01"));
        assert_eq!(seen.header("tracestate"), None);
    }
    let (seen, _) = stack.ask(&[("traceparent", PARENT), ("tracestate", "A=1")]);
    assert_eq!((parts(&seen)[1].as_str(), seen.header("tracestate")), (ID, None));
}

#[test]
fn of_nginxs_words_extract_only_reads_and_inject_only_writes() {
    let stack = Stack::nginx("otel_trace_context extract;");
    let (seen, answer) = stack.ask(&[("traceparent", PARENT)]);
    assert_eq!(seen.header("traceparent"), Some(PARENT));
    let said = answer.header("x-trace").expect("variables have values").to_owned();
    assert!(said.starts_with(&format!("{ID}/")) && said.ends_with("/b7ad6b7169203331/0"), "{said}");

    let stack = Stack::nginx("otel_trace_context inject;");
    let (seen, answer) = stack.ask(&[("traceparent", PARENT)]);
    let [_, trace, span, _] = parts(&seen);
    assert_ne!(trace, ID);
    assert_eq!(answer.header("x-trace"), Some(&*format!("{trace}/{span}//0")));
}

#[test]
fn a_header_that_the_configuration_sets_wins() {
    let stack = Stack::nginx("robin_trace on; proxy_set_header traceparent $http_traceparent;");
    assert_eq!(stack.ask(&[("traceparent", PARENT)]).0.header("traceparent"), Some(PARENT));
}
