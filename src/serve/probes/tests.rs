//! Probes of origins on loopback, and what they do to the peers of an upstream.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use super::*;
use crate::config::model::health_check::{BodyTest, Expected, HttpProbe, Statuses};
use crate::config::model::{self, Host, Method, UpstreamServer};
use crate::health::{Outcome, ProbeRule};
use crate::upstream::{Change, Key, Member, Tried};

const LIMIT: Duration = Duration::from_secs(10);

fn check(what: model::Probe) -> model::HealthCheck {
    model::HealthCheck {
        probe: what,
        every: Duration::from_millis(20),
        jitter: Duration::ZERO,
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        rise: NonZeroU32::MIN,
        fall: NonZeroU32::MIN,
        port: None,
        tls: None,
        keepalive: Duration::ZERO,
        mandatory: true,
        persistent: false,
    }
}

fn probe(what: model::Probe) -> Probe {
    Probe::new(check(what), vec![UpstreamServer::at(Host::Name("back-end".to_owned()), 5252)])
}

fn get(path: &str, body: Option<&str>) -> model::Probe {
    model::Probe::Http(HttpProbe {
        method: ::http::Method::GET,
        path: path.to_owned(),
        host: None,
        headers: Vec::new(),
        expected: Expected {
            status: Statuses { except: false, ranges: vec![200..=399] },
            headers: Vec::new(),
            body: body.map(|text| BodyTest::Holds(text.to_owned())).into_iter().collect(),
        },
    })
}

async fn send(probe: &Probe, address: SocketAddr) -> Result<Duration, ProbeError> {
    Prober::new(probe, &address.into()).send().await
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// An address at which nobody listens, for as long as the socket is held: nobody else gets it.
fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("there are sockets left");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

/// Answers every connection with `answer` and returns what the last one had asked.
async fn origin(answer: &'static str) -> (SocketAddr, Arc<Mutex<String>>) {
    let (listener, address) = listener().await;
    let asked = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            *heard.lock().expect("no test panics with it") =
                String::from_utf8_lossy(&head).into_owned();
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, asked)
}

async fn error(probe: &Probe, address: SocketAddr) -> String {
    send(probe, address).await.expect_err("the probe does not pass").to_string()
}

#[tokio::test]
async fn a_tcp_probe_passes_where_somebody_listens() {
    let (_listener, address) = listener().await;
    let tcp = probe(model::Probe::Tcp);
    assert!(send(&tcp, address).await.is_ok());
    let (_socket, address) = closed();
    assert_eq!(error(&tcp, address).await, "connect refused");
}

#[tokio::test]
async fn an_http_probe_asks_as_a_client_would() {
    let (address, asked) = origin("HTTP/1.1 204 No Content\r\n\r\n").await;
    let mut check = probe(get("/api/hello?x=1", None));
    check.servers = vec![UpstreamServer::at(Host::Name("back-end".to_owned()), address.port())];
    send(&check, address).await.expect("204 passes");
    let asked = asked.lock().expect("no test panics with it").clone();
    assert!(asked.starts_with("GET /api/hello?x=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("\r\nHost: back-end:{}\r\n", address.port())), "{asked}");
    assert!(asked.contains("\r\nConnection: close\r\n"), "{asked}");
}

#[test]
fn the_default_host_is_that_of_the_server_line() {
    let literal = Host::Address([10, 0, 0, 9].into());
    let mut check = probe(get("/", None));
    check.servers.push(UpstreamServer::at(literal, 5252));
    check.servers.push(UpstreamServer::at(Host::Name("site".to_owned()), 80));
    for (address, host) in [
        (([10, 0, 0, 1], 5252), "back-end:5252"),
        (([10, 0, 0, 9], 5252), "10.0.0.9:5252"),
        (([10, 0, 0, 1], 80), "site"),
        (([10, 0, 0, 1], 81), "10.0.0.1:81"),
    ] {
        assert_eq!(check.host(&address.into()), host);
    }
}

#[tokio::test]
async fn the_error_says_what_the_probe_met() {
    let status = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for (answer, text, expected) in [
        (status, None, "status 503, expected 200-399"),
        (body, Some("ok"), "body lacks `ok`"),
        ("", None, "connection closed before the answer was complete"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhe",
            Some("ok"),
            "connection closed before the answer was complete",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", None, "the answer is not HTTP"),
    ] {
        let (address, _) = origin(answer).await;
        assert_eq!(error(&probe(get("/", text)), address).await, expected, "{answer}");
    }
}

#[tokio::test]
async fn the_time_limit_covers_the_whole_probe() {
    let (_silent, address) = listener().await;
    let mut check = probe(get("/", None));
    check.check.timeout = Duration::from_millis(50);
    assert_eq!(error(&check, address).await, "no answer within 50ms");
}

#[tokio::test]
async fn a_body_in_chunks_after_an_early_hint_passes() {
    let answer = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                  3\r\nall\r\n4\r\n wel\r\n1\r\nl\r\n0\r\n\r\n";
    let (address, _) = origin(answer).await;
    send(&probe(get("/", Some("all well"))), address).await.expect("the text is there");
}

#[tokio::test]
async fn the_probe_goes_to_its_own_port() {
    let (_listener, address) = listener().await;
    let mut check = probe(model::Probe::Tcp);
    check.check.port = Some(address.port());
    let (_socket, peer) = closed();
    send(&check, peer).await.expect("the other port listens");
    assert!(!check.connects_to(&peer.into()));
}

#[test]
fn a_probe_is_as_late_as_the_lot_falls_and_one_that_fails_comes_sooner() {
    let (every, jitter) = (Duration::from_secs(5), Duration::from_secs(2));
    let check = model::HealthCheck { every, jitter, ..check(model::Probe::Tcp) };
    let probe = Probe::new(check, Vec::new());
    for (passing, lot, millis) in [
        (true, 0.0, 5000),
        (true, 0.5, 6000),
        (true, 1.0, 7000),
        (false, 0.0, 1000),
        (false, 1.0, 2000),
    ] {
        assert_eq!(probe.pause(passing, lot), Duration::from_millis(millis), "{passing} {lot}");
    }
}

/// An upstream whose probes run, and what they have changed.
struct Running {
    upstream: Arc<Upstream>,
    events: Arc<Mutex<Vec<Event>>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn running(probe: Option<Probe>, members: &[Member]) -> Running {
    let rule = probe.as_ref().map(|p| ProbeRule::from(&p.check));
    let probes = probe.into_iter().collect();
    let upstream = Arc::new(Upstream::new("test", &Method::default(), rule));
    upstream.publish(members, Tick::now());
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let on_event = move |name: &str, event| {
        assert_eq!(name, "test");
        sink.lock().expect("no test panics with it").push(event);
    };
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(run(Arc::clone(&upstream), probes, on_event, stopped));
    Running { upstream, events, stop, task }
}

impl Running {
    async fn until(&self, what: &str, change: impl Fn(&Change) -> bool) {
        let seen = async {
            while !self
                .events
                .lock()
                .expect("no test panics with it")
                .iter()
                .any(|e| change(&e.change))
            {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, seen).await.unwrap_or_else(|_| panic!("{what} within {LIMIT:?}"));
    }
}

#[tokio::test]
async fn peers_are_probed_as_they_are_published_and_until_they_fail() {
    let (address, _) = origin("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let running = running(Some(probe(get("/", None))), &[Member::new(address.into())]);
    running.until("a pass", |c| *c == Change::Passing).await;
    let (_socket, refusing) = closed();
    running
        .upstream
        .publish(&[Member::new(address.into()), Member::new(refusing.into())], Tick::now());
    let failing = |c: &Change| matches!(c, Change::Failing { error } if error == "connect refused");
    running.until("a failure", failing).await;
    let lease =
        running.upstream.pick(&Key::default(), &Tried::default(), Tick::now()).expect("one passes");
    assert_eq!(*lease.address(), address);
    running.stop.send(true).expect("it listens");
    timeout(LIMIT, running.task).await.expect("it ends").expect("without a panic");
}

#[tokio::test]
async fn a_peer_ejected_for_a_failed_connect_is_back_when_it_listens() {
    let (socket, address) = closed();
    let (_other, other) = closed();
    let running = running(None, &[Member::new(address.into()), Member::new(other.into())]);
    let peer = running.upstream.peers()[0].clone();
    running.upstream.report(&peer, Outcome::ConnectFailure, Tick::now());
    let _listener = socket.listen(1).expect("the port is ours");
    running.until("the return", |c| *c == Change::Readmitted).await;
    assert!(peer.standing().is_up());
}

#[tokio::test]
async fn an_absent_peer_is_reached_when_it_listens() {
    let (_listener, address) = listener().await;
    let running = running(None, &[Member { absent: true, ..Member::new(address.into()) }]);
    running.until("a connect", |c| *c == Change::Reached).await;
    assert!(running.upstream.pick(&Key::default(), &Tried::default(), Tick::now()).is_ok());
}

#[tokio::test]
async fn a_peer_that_is_gone_or_down_has_no_task() {
    let (_socket, address) = closed();
    let member = Member::new(address.into());
    let upstream = Arc::new(Upstream::new("test", &Method::default(), None));
    upstream.publish(std::slice::from_ref(&member), Tick::now());
    let watch = Arc::new(Watch {
        upstream: Arc::clone(&upstream),
        probes: Vec::new(),
        on_event: Box::new(|_, _| {}),
    });
    let (mut tasks, mut of_peer) = (JoinSet::new(), HashMap::new());
    follow(&watch, &mut tasks, &mut of_peer);
    assert_eq!(of_peer.len(), 1);
    upstream.publish(&[Member { down: true, ..member }], Tick::now());
    follow(&watch, &mut tasks, &mut of_peer);
    assert!(of_peer.is_empty());
    let ended = timeout(LIMIT, tasks.join_next()).await.expect("it was told to end");
    assert!(ended.is_some_and(|result| result.is_err_and(|e| e.is_cancelled())));
}

#[tokio::test]
async fn pingora_can_call_the_same_probe() {
    let (_listener, address) = listener().await;
    let check: Box<dyn HealthCheck + Send + Sync> = Box::new(probe(model::Probe::Tcp));
    let backend = Backend::new(&address.to_string()).expect("it parses");
    check.check(&backend).await.expect("somebody listens");
    let (_socket, address) = closed();
    let backend = Backend::new(&address.to_string()).expect("it parses");
    let error = check.check(&backend).await.expect_err("nobody listens");
    assert!(error.to_string().contains("connect refused"), "{error}");
}

#[test]
fn an_upstream_without_a_health_check_has_no_probe() {
    let upstream = model::Upstream::new("back-end".to_owned(), Vec::new());
    assert!(Probe::all_of(&upstream).is_empty());
}
