//! What does a collector get of requests and their attempts, and what if there is none?
#![cfg(feature = "otlp")]

mod common;

use common::client::{Request, exchange};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;
use prost::Message as _;

/// The messages as opentelemetry-proto numbers them, apart from those under test.
mod proto {
    use prost::{Message, Oneof};

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Export {
        #[prost(message, repeated, tag = "1")]
        pub(super) resources: Vec<Resources>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Resources {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scopes: Vec<Scopes>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Scopes {
        #[prost(message, repeated, tag = "2")]
        pub(super) spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<Value>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Value {
        #[prost(oneof = "Any", tags = "1, 3")]
        pub(super) value: Option<Any>,
    }

    #[derive(Clone, PartialEq, Oneof)]
    pub(super) enum Any {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Number(i64),
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) trace: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) id: Vec<u8>,
        #[prost(string, tag = "3")]
        pub(super) state: String,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) parent: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(super) name: String,
        #[prost(int32, tag = "6")]
        pub(super) kind: i32,
        #[prost(fixed64, tag = "7")]
        pub(super) began: u64,
        #[prost(fixed64, tag = "8")]
        pub(super) ended: u64,
        #[prost(message, repeated, tag = "9")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub(super) status: Option<Status>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Status {
        #[prost(string, tag = "2")]
        pub(super) message: String,
        #[prost(int32, tag = "3")]
        pub(super) code: i32,
    }
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Every span that a collector has got.
fn spans(collector: &Origin) -> Vec<proto::Span> {
    let export = |request: &common::http::Message| {
        assert_eq!(request.line(), "POST /v1/traces HTTP/1.1");
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        proto::Export::decode(&request.body[..]).expect("a message of OTLP")
    };
    let exports: Vec<_> = collector.requests().iter().map(export).collect();
    let resources = exports.into_iter().flat_map(|export| export.resources);
    resources.flat_map(|r| r.scopes).flat_map(|scope| scope.spans).collect()
}

/// All spans, once there are so many.
#[track_caller]
fn wait_for(collector: &Origin, count: usize) -> Vec<proto::Span> {
    eventually("the collector has the spans", PATIENCE, || spans(collector).len() >= count);
    let spans = spans(collector);
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &proto::Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        proto::Any::Text(text) => Some(text.clone()),
        proto::Any::Number(number) => Some(number.to_string()),
    }
}

fn collector() -> Origin {
    Origin::start(free_address(), Behaviour::ok())
}

#[test]
fn a_request_that_was_tried_twice_is_three_spans() {
    let (collector, addresses) = (collector(), replicas(2));
    let dead = Origin::start(addresses[0], Behaviour::Refuse);
    let origin = Origin::start(addresses[1], Behaviour::ok());
    let robin = Robin::with(&format!(
        "otlp: {{ endpoint: 'http://{}', service: shop, interval: 50ms }}\n\
         upstreams: {{ api: {{ servers: ['{}', '{}'] }} }}\nroutes: {{ /: api }}",
        collector.address(),
        addresses[0],
        addresses[1]
    ));
    let request =
        Request::get("/a?secret=1").header("traceparent", PARENT).header("tracestate", "x=y");
    assert_eq!(exchange(robin.address(), &request).expect("an answer").status(), 200);
    let spans = wait_for(&collector, 3);

    let [server] = &spans.iter().filter(|span| span.kind == SERVER).collect::<Vec<_>>()[..] else {
        panic!("one span of the request: {spans:#?}");
    };
    let mut attempts: Vec<_> = spans.iter().filter(|span| span.kind == CLIENT).collect();
    attempts.sort_by_key(|span| span.began);
    assert!(spans.iter().all(|span| hex(&span.trace) == ID && span.state == "x=y"));
    assert_eq!((hex(&server.parent).as_str(), server.name.as_str()), ("b7ad6b7169203331", "GET"));
    assert!(attempts.iter().all(|attempt| attempt.parent == server.id && attempt.id != server.id));
    assert!(spans.iter().all(|s| s.began <= s.ended && s.began >= server.began), "{spans:#?}");

    let told = |span: &proto::Span| attribute(span, "http.response.status_code");
    assert_eq!((told(server).as_deref(), &server.status), (Some("200"), &None));
    assert_eq!(attribute(server, "url.path").as_deref(), Some("/a"));
    assert_eq!(attribute(server, "robin.upstream").as_deref(), Some("api"));
    assert_eq!(told(attempts[0]), None);
    let failed = attempts[0].status.as_ref().expect("it failed");
    assert_eq!((failed.code, failed.message.as_str()), (2, "connection refused"));
    assert_eq!((told(attempts[1]).as_deref(), &attempts[1].status), (Some("200"), &None));
    assert_eq!(attribute(attempts[1], "http.request.resend_count").as_deref(), Some("1"));
    let peer = attribute(attempts[1], "network.peer.address");
    assert_eq!(peer, Some(addresses[1].to_string()));

    // The upstream's spans hang below the attempt that has reached it.
    let seen = origin.requests().pop().expect("it was asked");
    let expected = format!("00-{ID}-{}-01", hex(&attempts[1].id));
    assert_eq!(seen.header("traceparent"), Some(&*expected));
    let text = String::from_utf8_lossy(&collector.requests()[0].body).into_owned();
    assert!(text.contains("shop") && !text.contains("secret"), "{text}");
    drop(dead);
}

#[test]
fn an_error_says_why() {
    let collector = collector();
    let robin = Robin::with(&format!(
        "otlp: {{ endpoint: 'http://{}', interval: 50ms }}\n\
         upstreams: {{ api: {{ servers: ['{}'] }} }}\nroutes: {{ /: api }}",
        collector.address(),
        free_address()
    ));
    assert_eq!(exchange(robin.address(), &Request::get("/")).expect("an answer").status(), 502);
    let spans = wait_for(&collector, 2);
    let server = spans.iter().find(|span| span.kind == SERVER).expect("the request's");
    assert!(server.parent.is_empty(), "the trace begins here");
    let status = server.status.as_ref().expect("it failed");
    assert!(status.code == 2 && status.message.contains("connection refused"), "{status:?}");
    assert_eq!(attribute(server, "error.type").as_deref(), Some("502"));
    // The access log names the same trace.
    let line = robin.access_lines(1).remove(0);
    assert!(line.contains(&format!("trace_id={}", hex(&server.trace))), "{line}");
}

#[test]
fn without_a_collector_requests_are_answered_and_once_it_is_there_it_gets_the_next() {
    let address = free_address();
    let robin = Robin::with(&format!(
        "otlp: {{ endpoint: 'http://{address}', interval: 20ms, batch_size: 10, batch_count: 1 }}\n\
         routes: {{ /: {{ rules: return 200 ok }} }}"
    ));
    for _ in 0..300 {
        let answer = exchange(robin.address(), &Request::get("/")).expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    robin
        .wait_for_line(Output::Stderr, &["WARN spans cannot be exported", "collector=", "refused"]);
    let collector = Origin::start(address, Behaviour::ok());
    eventually("spans come again", PATIENCE, || {
        exchange(robin.address(), &Request::get("/")).expect("an answer");
        !spans(&collector).is_empty()
    });
    robin.wait_for_line(Output::Stderr, &["INFO spans are exported again", " lost="]);
    assert_eq!(robin.count_lines(Output::Stderr, &["spans cannot be exported"]), 1);
}

#[test]
fn a_collector_that_refuses_is_told_of_once() {
    let collector = Origin::start(free_address(), Behaviour::Answer(Reply::status(503)));
    let robin = Robin::with(&format!(
        "otlp: {{ endpoint: 'http://{}', interval: 10ms, batch_size: 1 }}\n\
         routes: {{ /: {{ rules: return 200 ok }} }}",
        collector.address()
    ));
    for n in 1..=5 {
        exchange(robin.address(), &Request::get("/")).expect("an answer");
        eventually("it is refused", PATIENCE, || collector.count() >= n);
    }
    robin.wait_for_line(Output::Stderr, &["spans cannot be exported", "status 503"]);
    assert_eq!(robin.count_lines(Output::Stderr, &["spans cannot be exported"]), 1);
}

#[test]
fn a_trace_that_its_beginner_does_not_record_is_not_exported() {
    let (collector, origin) = (collector(), collector());
    let robin = Robin::with(&format!(
        "otlp: {{ endpoint: 'http://{}', interval: 20ms, sample: 0.01% }}\n\
         routes: {{ /: 'http://{}', /not: {{ to: 'http://{1}', otel_trace: off }} }}",
        collector.address(),
        origin.address()
    ));
    let unsampled = PARENT.replace("-01", "-00");
    for (target, parent) in [("/", &*unsampled), ("/not", PARENT), ("/", PARENT)] {
        let request = Request::get(target).header("traceparent", parent);
        exchange(robin.address(), &request).expect("an answer");
        let seen = origin.requests().pop().expect("it was asked");
        let flags = &parent[parent.len() - 2..];
        assert!(seen.header("traceparent").is_some_and(|said| said.ends_with(flags)));
    }
    let spans = wait_for(&collector, 2);
    assert!(spans.iter().all(|span| hex(&span.trace) == ID));
    // Of those that begin here one in ten thousand is, and the upstream is told.
    exchange(robin.address(), &Request::get("/")).expect("an answer");
    let seen = origin.requests().pop().expect("it was asked");
    assert!(seen.header("traceparent").is_some_and(|said| said.ends_with("-00")));
}

#[test]
fn the_last_spans_are_sent_at_the_end() {
    let collector = collector();
    let mut robin = Robin::with(&format!(
        "otlp: {{ endpoint: 'http://{}', interval: 1h }}\nroutes: {{ /: {{ rules: return 200 ok }} }}",
        collector.address()
    ));
    exchange(robin.address(), &Request::get("/")).expect("an answer");
    robin.access_lines(1);
    robin.signal(Signal::SIGTERM);
    robin.wait_exit(PATIENCE);
    assert_eq!(spans(&collector).len(), 1);
}

#[test]
fn nginxs_words_mean_the_same() {
    let (collector, origin, address) = (collector(), collector(), free_address());
    let robin = Robin::nginx(
        address,
        &format!(
            "otel_exporter {{ endpoint http://{}; interval 20ms; batch_size 100; batch_count 2; }}
             otel_service_name shop; access_log /dev/stdout robin;
             server {{ listen {address};
               location / {{ otel_trace on; otel_trace_context propagate; proxy_pass http://{1}; }}
               location /alone {{ otel_trace on; proxy_pass http://{1}; }}
               location /off {{ proxy_pass http://{1}; }} }}",
            collector.address(),
            origin.address()
        ),
    );
    let ask = |target: &str| {
        let request = Request::get(target).header("traceparent", PARENT);
        exchange(robin.address(), &request).expect("an answer");
        let seen = origin.requests().pop().expect("it was asked");
        seen.header("traceparent").map(str::to_owned)
    };
    assert_eq!(ask("/off").as_deref(), Some(PARENT));
    assert_eq!(ask("/alone").as_deref(), Some(PARENT));
    let alone = wait_for(&collector, 2);
    assert!(alone.iter().all(|span| hex(&span.trace) != ID), "a trace of its own");
    assert_ne!(ask("/").as_deref(), Some(PARENT));
    let spans = wait_for(&collector, 4);
    assert_eq!(spans.iter().filter(|span| hex(&span.trace) == ID).count(), 2);
}

#[test]
fn what_is_no_exporter_is_refused_with_its_line() {
    let said = |otlp: &str| {
        let text = format!("listen: 80\notlp: {otlp}\nroutes: {{ /: a:1 }}\n");
        let read = robin::config::parse_yaml("robin.yaml", text, &|_| None);
        read.err().map(|diags| diags.to_string()).unwrap_or_default()
    };
    assert_eq!(said("http://collector"), "");
    assert_eq!(said("{ endpoint: 'http://[::1]:4318/x', sample: 0.5%, batch_size: 1 }"), "");
    for (otlp, expected) in [
        ("collector:4317", "robin speaks no gRPC"),
        ("https://collector:4318", "without TLS"),
        ("http://collector:port", "invalid endpoint"),
        ("{ service: a }", "traces have nowhere to go"),
        ("{ endpoint: 'http://a', sample: 101% }", "from 0.01% to 100%"),
        ("{ endpoint: 'http://a', interval: 0 }", "expected a time"),
        ("{ endpoint: 'http://a', batch_count: 0 }", "from 1 to 100000"),
        ("{ endpiont: 'http://a' }", "did you mean `endpoint`?"),
    ] {
        let said = said(otlp);
        assert!(said.contains(expected) && said.contains("robin.yaml:2:"), "{otlp}: {said}");
    }
}
