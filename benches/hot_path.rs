//! What deciding about a request costs, step by step: what robin adds to what Pingora does with it, no socket in it.
//!
//! One iteration is one request on its way through what lies below `proxy`: `head` checks a head and makes its path
//! comparable, `route` finds virtual server and route among so many, `flow` goes from there to an upstream, `pick` chooses a
//! peer among two and gives it back, `headers` makes the values of the six default headers, `log` is the line that
//! is handed to the writer, which throws away what it has no room for. `decision` is all of it from the head as
//! parsed to the line, for a small GET as a browser sends it, without a log, with robin's own line and with nginx's combined.

use std::future::Future;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use http::{HeaderMap, Method, Version};
use robin::config::model::admission::Admission;
use robin::config::model::{
    Action, Config, LogFormat, LogStyle, Preset, Proxy, ProxyTarget, RouteSettings,
};
use robin::exchange::admission::{Doorman, Word};
use robin::exchange::aim::{self, Aim};
use robin::exchange::flow::{self, Disk, FileRule, Next, Start, Stat};
use robin::exchange::head::{Asked, Head};
use robin::exchange::password::{Credentials, Verdict};
use robin::exchange::variables::{Answered, Scene, SoFar};
use robin::exchange::{Course, path};
use robin::health::Tick;
use robin::limits::Tables;
use robin::observe::access::{AccessLog, Attempt, Measured, Record, RequestLine};
use robin::route::Router;
use robin::upstream::{Key, Lease, Member, Method as Balance, Tried, Upstream};

const RAW: &[u8] = b"GET /api/v1/users?page=2 HTTP/1.1\r\nHost: shop.example.org\r\nUser-Agent: Mozilla/5.0 \
    (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: application/json\r\nAccept-Language: \
    en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\nReferer: http://shop.example.org/users\r\nCookie: \
    session=0123456789abcdef\r\nConnection: keep-alive\r\n\r\n";

/// Nothing on the way of these requests asks the world outside.
struct Nobody;

impl Disk for Nobody {
    fn stat(&self, _: &Path, _: &FileRule) -> impl Future<Output = io::Result<Stat>> + Send {
        std::future::ready(Err(io::ErrorKind::NotFound.into()))
    }
}

impl Doorman for Nobody {
    fn judge(&self, _: &Path, _: Credentials) -> impl Future<Output = io::Result<Verdict>> + Send {
        std::future::ready(Err(io::ErrorKind::NotFound.into()))
    }

    fn ask(&self, _: Course, _: &Admission) -> impl Future<Output = Word> + Send {
        std::future::ready(Word::default())
    }
}

/// A configuration whose virtual server has so many routes, the one that is asked for among them.
fn config(routes: usize) -> Config {
    let others: String =
        (1..routes).map(|n| format!("  /service-{n}/: http://back-end\n")).collect();
    let text = format!(
        "listen: 127.0.0.1:8080\nnames: [shop.example.org]\n\
         access_log: /dev/null combined\nupstreams: {{ back-end: {{ servers: [127.0.0.1:5252, 127.0.0.1:5253] }} }}\n\
         routes:\n  /api/: back-end\n{others}"
    );
    robin::config::parse_yaml("bench.yaml", text, &|_| None).expect("the configuration is sound")
}

/// What does not change from one request to the next.
struct Stack {
    config: Config,
    router: Router,
    tables: Tables,
    upstream: Upstream,
    headers: HeaderMap,
}

impl Stack {
    fn new(routes: usize) -> Self {
        let config = config(routes);
        let upstream = Upstream::new("back-end", &Balance::default(), None);
        let peers = [5252, 5253].map(|port| Member::new(([127, 0, 0, 1], port).into()));
        let now = Tick::from_millis(0);
        upstream.publish(&peers, now);
        for _ in peers {
            let lease = upstream.pick(&Key::default(), &Tried::default(), now);
            lease.expect("there are two peers").answered(Duration::from_millis(1), now);
        }
        let lines = std::str::from_utf8(RAW).expect("the head is ASCII").split("\r\n").skip(1);
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| {
            let name: http::HeaderName = name.parse().expect("a header name");
            (name, value.parse().expect("a header value"))
        });
        let headers = headers.collect();
        Self { router: Router::new(&config), config, tables: Tables::default(), upstream, headers }
    }

    fn head(&self) -> Head<'_> {
        Head {
            method: &Method::GET,
            target: b"/api/v1/users?page=2",
            version: Version::HTTP_11,
            headers: &self.headers,
        }
    }

    fn check(&self) -> Asked {
        let rules = &self.config.virtual_servers[0].requests;
        self.head().check(RAW, None, rules).expect("the head is sound")
    }

    fn course(&self, asked: &Asked) -> Course {
        let (server, _) = self.router.server(0, &asked.host).expect("there is a listener");
        let args = path::split(self.head().target).1.unwrap_or_default().to_vec();
        Course::new(server, asked.path.clone(), args, &self.config.variables)
    }

    fn scene<'a>(&'a self, asked: &'a Asked, id: &'a str, so_far: SoFar<'a>) -> Scene<'a> {
        Scene {
            config: &self.config,
            router: &self.router,
            tables: &self.tables,
            head: self.head(),
            asked,
            client: Some(([192, 0, 2, 7], 49152).into()),
            peer: Some(([192, 0, 2, 7], 49152).into()),
            local: Some(([127, 0, 0, 1], 8080).into()),
            proxied: None,
            tls: None,
            scheme: "http",
            request_id: id,
            trace: None,
            trusted: false,
            so_far,
        }
    }

    fn pick(&self) -> Lease {
        let (key, tried) = (Key::default(), Tried::default());
        self.upstream.pick(&key, &tried, Tick::from_millis(1)).expect("there are two peers")
    }

    fn proxy(&self, course: &Course) -> &Proxy {
        match &course.route(&self.config).expect("a route was found").action {
            Action::Proxy(proxy) => proxy,
            other => panic!("the route leads to an upstream, not to {other:?}"),
        }
    }

    fn settings(&self, course: &Course) -> &RouteSettings {
        course.settings(&self.config).expect("a route was found")
    }

    fn combined(&self, course: &Course) -> &LogFormat {
        let logs = self.settings(course).access_logs.as_deref().expect("there is a log");
        match &logs[0].style {
            LogStyle::Format(format) => format,
            LogStyle::Preset(preset) => panic!("the log is combined, not {preset:?}"),
        }
    }
}

fn flow(course: &mut Course, scene: &Scene<'_>) {
    let next = flow::run(course, scene, &Nobody, Start::Path).now_or_never();
    assert_eq!(
        next,
        Some(Next::Proxy),
        "the request goes to an upstream, and nothing is waited for"
    );
}

/// How many bytes the headers come to that the upstream gets from robin.
fn headers(settings: &RouteSettings, scene: &Scene<'_>, course: &Course) -> usize {
    let facts = scene.with(course);
    let values = settings.headers.iter().filter_map(|header| facts.value(&header.value));
    values.map(|value| black_box(value).len()).sum()
}

fn attempt(lease: &Lease) -> Attempt {
    Attempt {
        address: lease.address().clone(),
        status: Some(200),
        time: Duration::from_micros(700),
        error: None,
        measured: Measured::default(),
    }
}

/// What the client got in the end.
fn ended(attempts: &[Attempt]) -> SoFar<'_> {
    let answered =
        Answered { status: 200, body_bytes: 13, bytes: 160, complete: true, ..Answered::default() };
    SoFar { ended: true, answered: Some(answered), attempts, ..SoFar::default() }
}

fn own_line(log: &AccessLog, stack: &Stack, id: &str, attempts: &[Attempt]) {
    let head = stack.head();
    log.write(
        &Record {
            client: Some([192, 0, 2, 7].into()),
            user: None,
            at: SystemTime::now(),
            request: RequestLine::Parsed {
                method: head.method,
                target: head.target,
                version: head.version,
            },
            status: 200,
            body_bytes: 13,
            host: Some("shop.example.org"),
            referer: stack.headers.get(http::header::REFERER),
            user_agent: stack.headers.get(http::header::USER_AGENT),
            upstream: Some("back-end"),
            attempts,
            time: Duration::from_micros(800),
            id,
            trace_id: None,
            reason: None,
        },
        Preset::Robin,
    );
}

fn combined_line(log: &AccessLog, stack: &Stack, scene: &Scene<'_>, course: &Course) {
    let mut line = Vec::with_capacity(512);
    scene.with(course).append_line(stack.combined(course), &mut line);
    log.write_line(&line, None);
}

/// From a head to a line; `told` writes the line.
fn decide(stack: &Stack, told: impl Fn(&str, &Asked, &Course, &[Attempt])) -> usize {
    let id = robin::proxy::request_id();
    let asked = stack.check();
    let mut course = stack.course(&asked);
    let scene = stack.scene(&asked, &id, SoFar::default());
    flow(&mut course, &scene);
    let proxy = stack.proxy(&course);
    let ProxyTarget::Upstream(upstream) = proxy.to else { panic!("the target is an upstream") };
    let aim = Aim::at(upstream, proxy);
    course.proxy_host.clone_from(&aim.host);
    let lease = stack.pick();
    let bytes = headers(stack.settings(&course), &scene, &course);
    black_box(aim::target(proxy, &aim, &scene.with(&course)));
    told(&id, &asked, &course, &[attempt(&lease)]);
    bytes
}

fn steps(c: &mut Criterion) {
    let log = AccessLog::file("/dev/null".as_ref()).expect("the log opens");
    let stack = Stack::new(2);
    let asked = stack.check();
    let id = robin::proxy::request_id();
    let scene = stack.scene(&asked, &id, SoFar::default());
    let mut course = stack.course(&asked);
    flow(&mut course, &scene);
    let attempts = [attempt(&stack.pick())];
    let after = stack.scene(&asked, &id, ended(&attempts));

    let mut group = c.benchmark_group("hot_path");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.bench_function("head", |b| b.iter(|| black_box(&stack).check()));
    for routes in [2, 100, 1000] {
        let many = Stack::new(routes);
        group.bench_function(format!("route/{routes}"), |b| {
            b.iter(|| {
                let asked = black_box(&asked);
                let (server, _) = many.router.server(0, &asked.host).expect("there is a listener");
                many.router.route(server, &asked.path).route
            });
        });
    }
    group.bench_function("flow", |b| {
        b.iter(|| {
            let mut course = stack.course(black_box(&asked));
            flow(&mut course, &scene);
            course.route
        });
    });
    group.bench_function("pick", |b| b.iter(|| black_box(&stack).pick()));
    group.bench_function("headers", |b| {
        b.iter(|| headers(stack.settings(&course), black_box(&scene), &course));
    });
    group.bench_function("log/robin", |b| {
        b.iter(|| own_line(&log, &stack, &id, black_box(&attempts)))
    });
    group.bench_function("log/combined", |b| {
        b.iter(|| combined_line(&log, &stack, black_box(&after), &course));
    });
    group.bench_function("decision/no_log", |b| {
        b.iter(|| decide(black_box(&stack), |_, _, _, _| ()))
    });
    group.bench_function("decision/robin", |b| {
        b.iter(|| {
            decide(black_box(&stack), |id, _, _, attempts| own_line(&log, &stack, id, attempts))
        });
    });
    group.bench_function("decision/combined", |b| {
        b.iter(|| {
            decide(black_box(&stack), |id, asked, course, attempts| {
                let scene = stack.scene(asked, id, ended(attempts));
                combined_line(&log, &stack, &scene, course);
            })
        });
    });
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
