//! Do the numbers that Prometheus gets agree with what clients and origins saw?

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use common::client::{Client, Request, get};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};
use nix::sys::signal::Signal;

/// Values by name and labels, as written.
type Metrics = BTreeMap<String, f64>;

fn scrape(status: SocketAddr) -> Metrics {
    let text = get(status, "/metrics").text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let metrics: Vec<(&str, &str)> =
        lines.map(|line| line.rsplit_once(' ').expect("a name and a value")).collect();
    let known: BTreeSet<&str> = metrics.iter().map(|(name, _)| *name).collect();
    assert_eq!(known.len(), metrics.len(), "no two metrics have the same labels");
    let value = |value: &str| value.parse().expect("a number");
    metrics.into_iter().map(|(name, text)| (name.to_owned(), value(text))).collect()
}

/// The sum over all metrics of a name that have these labels.
fn sum(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let is_one = |key: &str| {
        let (this, rest) = key.split_once('{').unwrap_or((key, ""));
        this == name && labels.iter().all(|label| rest.contains(label.as_str()))
    };
    metrics.iter().filter(|(key, _)| is_one(key)).map(|(_, value)| value).sum()
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    /// How often which status came for which path.
    answers: BTreeMap<(String, u16), u64>,
    connections: usize,
}

/// Asks for each path in turn, on one connection as long as robin keeps it.
fn ask(address: SocketAddr, paths: &[&str], turns: usize, from: usize) -> Seen {
    let mut seen = Seen::default();
    let mut client = None;
    for turn in 0..turns {
        let path = paths[(from + turn) % paths.len()];
        let mut open = client.take().unwrap_or_else(|| {
            seen.connections += 1;
            Client::connect(address).expect("robin listens")
        });
        open.send(Request::get(path).bytes()).expect("robin reads");
        let answer = open.response().expect("an answer");
        *seen.answers.entry((path.to_owned(), answer.status())).or_default() += 1;
        client = Some(open).filter(|_| !answer.has_token("connection", "close"));
    }
    seen
}

/// What several clients see that ask at the same time, together.
fn load(address: SocketAddr, paths: &[&str], clients: usize, turns: usize) -> Seen {
    let mut all = Seen::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|from| scope.spawn(move || ask(address, paths, turns, from)))
            .collect();
        for client in clients {
            let Seen { answers, connections } = client.join().expect("the client ends");
            all.connections += connections;
            for (seen, count) in answers {
                *all.answers.entry(seen).or_default() += count;
            }
        }
    });
    all
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map(f64::from).expect("a small number")
}

#[test]
fn every_counter_equals_what_clients_and_origins_saw() {
    const CLIENTS: usize = 6;
    const TURNS: usize = 140;
    let (listen, status) = (free_address(), free_address());
    let addresses = replicas(5);
    let origins: Vec<Origin> =
        addresses.iter().map(|address| Origin::start(*address, Behaviour::ok())).collect();
    let [one, two, closes, works, alone] = &origins[..] else { unreachable!("there are five") };
    for origin in [one, two] {
        origin.set_path("/api/none", Behaviour::Answer(Reply::status(404)));
        origin.set_path("/api/sick", Behaviour::Answer(Reply::status(502)));
    }
    // It takes each request and answers none: whoever meets it is sent on to the other.
    closes.set_path("/retried", Behaviour::Close);
    let line = |origin: &Origin| format!("{{ address: \"{}\", max_fails: 0 }}", origin.address());
    let yaml = format!(
        "listen: {listen}\nstatus: {status}\nthreads: 2\nretry: {{ budget: off }}\nupstreams:\n  \
         api: {{ servers: [{}, {}] }}\n  shaky: {{ servers: [{}, {}] }}\n  \
         nobody: {{ servers: [{{ address: \"127.0.0.1:1\", down: on }}] }}\nroutes:\n  \
         /api/: api\n  /retried: shaky\n  /nobody: nobody\n  /alone: \"{}\"\n  \
         /own: {{ rules: [return 204] }}\n",
        line(one),
        line(two),
        line(closes),
        line(works),
        alone.address(),
    );
    let robin = Robin::start(listen, &yaml);
    let accepted = |metrics: &Metrics| metrics["robin_connections_accepted_total"];
    // The one that found out that robin listens; another thread may accept it late.
    eventually("one connection", PATIENCE, || accepted(&scrape(status)) == 1.0);

    let paths = ["/api/ok", "/api/none", "/api/sick", "/retried", "/nobody", "/own", "/alone"];
    let seen = load(listen, &paths, CLIENTS, TURNS);
    let all = count(CLIENTS * TURNS);
    let ended = |metrics: &Metrics| sum(metrics, "robin_requests_total", &[]) >= all;
    eventually("all requests have ended", PATIENCE, || {
        let metrics = scrape(status);
        ended(&metrics) && metrics["robin_requests_in_flight"] == 0.0
    });
    let metrics = scrape(status);
    let sum = |name: &str, labels: &[(&str, &str)]| sum(&metrics, name, labels);

    // What clients saw.
    let upstream_of = |path: &str| match path {
        "/retried" => "shaky".to_owned(),
        "/nobody" => "nobody".to_owned(),
        "/alone" => alone.address().to_string(),
        "/own" => String::new(),
        _ => "api".to_owned(),
    };
    let mut expected: BTreeMap<(String, String), f64> = BTreeMap::new();
    for ((path, status), count) in &seen.answers {
        let key = (upstream_of(path), format!("{}xx", status / 100));
        *expected.entry(key).or_default() += f64::from(u32::try_from(*count).expect("it is small"));
    }
    for upstream in ["", "api", "shaky", "nobody", &alone.address().to_string()] {
        for class in ["1xx", "2xx", "3xx", "4xx", "5xx"] {
            let labels = [("upstream", upstream), ("status", class)];
            let wanted =
                expected.get(&(upstream.into(), class.into())).copied().unwrap_or_default();
            assert_eq!(sum("robin_requests_total", &labels), wanted, "{upstream} {class}");
        }
        let requests = sum("robin_requests_total", &[("upstream", upstream)]);
        let times = sum("robin_request_duration_seconds_count", &[("upstream", upstream)]);
        assert_eq!(times, requests, "{upstream}");
    }
    assert_eq!(sum("robin_requests_total", &[]), all);
    assert_eq!(accepted(&metrics), count(1 + seen.connections));

    // What origins saw.
    for (origin, upstream) in [
        (one, "api"),
        (two, "api"),
        (closes, "shaky"),
        (works, "shaky"),
        (alone, &*alone.address().to_string()),
    ] {
        let address = origin.address().to_string();
        let peer = [("upstream", upstream), ("peer", &*address)];
        assert_eq!(sum("robin_attempts_total", &peer), count(origin.count()), "{address}");
        let connections = |reused| {
            let [upstream, peer] = peer;
            sum("robin_peer_connections_total", &[upstream, peer, ("reused", reused)])
        };
        assert_eq!(connections("false"), count(origin.connections()), "{address}");
        assert_eq!(connections("false") + connections("true"), count(origin.count()), "{address}");
        assert_eq!(sum("robin_peer_in_flight", &peer), 0.0, "{address}");
        assert_eq!(sum("robin_peer_available", &peer), 1.0, "{address}");
    }
    let api = [("upstream", "api")];
    let opened = count(one.connections() + two.connections());
    assert_eq!(sum("robin_upstream_connect_seconds_count", &api), opened);
    assert!(opened < count(one.count()), "connections are kept");
    assert_eq!(
        sum("robin_upstream_first_byte_seconds_count", &api),
        count(one.count() + two.count())
    );
    for class in ["2xx", "4xx", "5xx"] {
        let labels = [("upstream", "api"), ("status", class)];
        assert_eq!(sum("robin_attempts_total", &labels), sum("robin_requests_total", &labels));
    }

    // What went wrong.
    let lost = [("upstream", "shaky"), ("status", "none")];
    assert!(closes.count() > 0);
    assert_eq!(sum("robin_attempts_total", &lost), count(closes.count()));
    assert_eq!(sum("robin_retries_total", &[]), count(closes.count()));
    assert_eq!(sum("robin_retries_total", &[("upstream", "shaky")]), count(closes.count()));
    let unserved = sum("robin_unserved_total", &[("upstream", "nobody")]);
    assert_eq!(unserved, expected[&("nobody".into(), "5xx".into())]);
    assert_eq!(sum("robin_unserved_total", &[]), unserved);
    assert_eq!(sum("robin_hedges_total", &[]), 0.0);
    assert_eq!(sum("robin_log_lines_dropped_total", &[]), 0.0);
    robin.access_lines(CLIENTS * TURNS);
}

#[test]
fn an_ejection_and_probes_are_counted() {
    let (listen, status) = (free_address(), free_address());
    let addresses = replicas(2);
    let mut origins: Vec<Origin> =
        addresses.iter().map(|address| Origin::start(*address, Behaviour::ok())).collect();
    let (first, second) = (addresses[0].to_string(), addresses[1].to_string());
    let yaml = format!(
        "listen: {listen}\nstatus: {status}\nupstreams:\n  a:\n    servers: [\"{first}\", \"{second}\"]\n    \
         health_check: {{ tcp: on, every: 100ms }}\nroutes: {{ /: a }}\n"
    );
    let _robin = Robin::start(listen, &yaml);
    let state = |peer: &str| {
        let metrics = scrape(status);
        let states = metrics.iter().filter(|(_, value)| **value == 1.0);
        let mut states = states.filter(|(key, _)| key.starts_with("robin_peer_state{"));
        let (key, _) = states.find(|(key, _)| key.contains(peer)).expect("it has a state");
        let (_, state) = key.split_once("state=\"").expect("it is a label");
        state.trim_end_matches("\"}").to_owned()
    };
    eventually("both are up", PATIENCE, || state(&first) == "up" && state(&second) == "up");
    origins[0].set(Behaviour::Close);
    for _ in 0..4 {
        assert_eq!(get(listen, "/").status(), 200);
    }
    let metrics = scrape(status);
    let peer = [("upstream", "a"), ("peer", &*first)];
    assert_eq!(state(&first), "ejected");
    assert_eq!(sum(&metrics, "robin_peer_ejections_total", &peer), 1.0);
    assert_eq!(sum(&metrics, "robin_peer_available", &peer), 0.0);
    assert!(sum(&metrics, "robin_probes_total", &[peer[0], peer[1], ("result", "passed")]) > 0.0);
    origins[0].set(Behaviour::Refuse);
    eventually("probes fail", PATIENCE, || state(&first) == "failing");
    let failed = [peer[0], peer[1], ("result", "failed")];
    assert!(sum(&scrape(status), "robin_probes_total", &failed) > 0.0);
}

#[test]
fn what_clients_say_makes_no_metric() {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 10_000;
    let (listen, status) = (free_address(), free_address());
    let origin = Origin::start(free_address(), Behaviour::ok());
    let yaml = format!(
        "listen: {listen}\nstatus: {status}\nthreads: 2\naccess_log: off\ndashboard: off\n\
         routes: {{ /: \"{}\", /to/: \"http://$http_x_target\" }}\n",
        origin.address()
    );
    let _robin = Robin::start(listen, &yaml);
    // One that the configuration names is not one of those that only requests name.
    let other = Origin::start(free_address(), Behaviour::ok());
    let target = other.address().to_string();
    let asked = |n: usize| {
        let path =
            if n.is_multiple_of(10) { format!("/to/{n}") } else { format!("/path/{n}?q={n}") };
        // Every second target is another host, where nobody listens.
        let [high, low] = u16::try_from(n).expect("there are not so many").to_be_bytes();
        let host =
            if n.is_multiple_of(20) { format!("127.77.{high}.{low}:1") } else { target.clone() };
        let request = Request::get(&path).header("Host", &format!("host-{n}.example"));
        request.header("X-Request-Id", &format!("{n:032x}")).header("X-Target", &host)
    };
    let send = |numbers: std::ops::Range<usize>| {
        let mut client = Client::connect(listen).expect("robin listens");
        for n in numbers {
            client.send(asked(n).bytes()).expect("robin reads");
            let answer = client.response().expect("an answer");
            assert_eq!(answer.status(), if n.is_multiple_of(20) { 502 } else { 200 }, "{n}");
            if answer.has_token("connection", "close") {
                client = Client::connect(listen).expect("robin listens");
            }
        }
    };
    let named = [("upstream", "(named by requests)")];
    let series = |metrics: &Metrics| metrics.keys().cloned().collect::<BTreeSet<String>>();
    let before = scrape(status);
    thread::scope(|scope| {
        let part = REQUESTS / CLIENTS;
        for client in 0..CLIENTS {
            let send = &send;
            scope.spawn(move || send(client * part..(client + 1) * part));
        }
    });
    let ended = |metrics: &Metrics| sum(metrics, "robin_requests_total", &[]) >= count(REQUESTS);
    eventually("all requests have ended", PATIENCE, || ended(&scrape(status)));
    let after = scrape(status);
    assert_eq!(series(&before), series(&after));
    let requests = |class| sum(&after, "robin_requests_total", &[named[0], ("status", class)]);
    assert_eq!((requests("2xx"), requests("5xx")), (500.0, 500.0));
    assert_eq!(sum(&after, "robin_request_duration_seconds_count", &named), 1000.0);
    assert_eq!(sum(&after, "robin_upstream_first_byte_seconds_count", &named), 500.0);
}

#[test]
fn what_was_counted_of_hosts_that_requests_name_stays_when_they_are_let_go() {
    let (listen, status) = (free_address(), free_address());
    let origin = Origin::start(free_address(), Behaviour::ok());
    let yaml = format!(
        "listen: {listen}\nstatus: {status}\nthreads: 1\nroutes: {{ /: \"http://$http_x_target\" }}\n"
    );
    let robin = Robin::start(listen, &yaml);
    let ask = || {
        let mut client = Client::connect(listen).expect("robin listens");
        let request = Request::get("/").header("X-Target", &origin.address().to_string());
        client.send(request.bytes()).expect("robin reads");
        assert_eq!(client.response().expect("an answer").status(), 200);
    };
    let requests =
        || sum(&scrape(status), "robin_requests_total", &[("upstream", "(named by requests)")]);
    ask();
    ask();
    eventually("both have ended", PATIENCE, || requests() == 2.0);
    robin.signal(Signal::SIGHUP);
    robin.wait_for_line(Output::Stderr, &["INFO reloaded"]);
    assert_eq!(requests(), 2.0);
    assert_eq!(sum(&scrape(status), "robin_config_reloads_total", &[("result", "served")]), 1.0);
    ask();
    eventually("the third has ended", PATIENCE, || requests() == 3.0);
}

#[test]
fn no_view_shows_what_clients_keep_secret() {
    let (listen, status) = (free_address(), free_address());
    let mut origin = Origin::start(free_address(), Behaviour::ok());
    let yaml = format!(
        "listen: {listen}\nstatus: {status}\nupstreams:\n  a: {{ servers: [\"{}\", \"127.0.0.1:1\"] }}\n\
         routes: {{ /: a, /to/: \"http://$http_x_target\" }}\n",
        origin.address()
    );
    let robin = Robin::start(listen, &yaml);
    let ask = |target: &str| {
        let mut client = Client::connect(listen).expect("robin listens");
        let request = Request::get(target)
            .header("Authorization", "Bearer hush-authorization")
            .header("Cookie", "session=hush-cookie")
            .header("X-Target", "user:hush-target@127.0.0.1:1");
        client.send(request.bytes()).expect("robin reads");
        client.response().expect("an answer").status()
    };
    for behaviour in [Behaviour::ok(), Behaviour::Close, Behaviour::Refuse] {
        origin.set(behaviour);
        for target in ["/?token=hush-query", "/to/?token=hush-query"] {
            ask(target);
        }
    }
    for path in ["/", "/status.json", "/metrics"] {
        let shown = get(status, path).text();
        assert!(!shown.contains("hush"), "{path}: {shown}");
    }
    assert!(!robin.stderr_has("hush"), "nor does an event line");
}

#[test]
fn an_attempt_that_was_overtaken_is_counted_where_it_went() {
    let (listen, status) = (free_address(), free_address());
    let addresses = replicas(2);
    let origins: Vec<Origin> =
        addresses.iter().map(|address| Origin::start(*address, Behaviour::ok())).collect();
    for origin in &origins {
        let late = Reply::new("late").after(Duration::from_millis(300));
        origin.set_path("/slow", Behaviour::Answer(late));
    }
    let yaml = format!(
        "listen: {listen}\nstatus: {status}\nthreads: 1\nretry: {{ hedge: 95%, budget: off }}\nupstreams:\n  \
         a: {{ servers: [\"{}\", \"{}\"] }}\nroutes: {{ /: a }}\n",
        addresses[0], addresses[1]
    );
    let robin = Robin::start(listen, &yaml);
    let paths = [vec!["/"; 40], vec!["/slow"; 4]].concat();
    let seen = ask(listen, &paths, paths.len(), 0);
    robin.access_lines(paths.len());
    assert_eq!(seen.answers[&("/slow".to_owned(), 200)], 4);
    let metrics = scrape(status);
    let hedges = sum(&metrics, "robin_hedges_total", &[]);
    assert!(hedges >= 1.0);
    assert_eq!(sum(&metrics, "robin_attempts_total", &[]), count(paths.len()) + hedges);
    for origin in &origins {
        let peer = origin.address().to_string();
        let of_peer = |name| sum(&metrics, name, &[("peer", &peer)]);
        assert_eq!(of_peer("robin_attempts_total"), count(origin.count()));
        assert_eq!(of_peer("robin_peer_connections_total"), count(origin.count()));
    }
}
