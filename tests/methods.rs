//! Who gets a request with each balancing method, through the whole process.

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use common::client::{Client, Request, exchange};
use common::http::Message;
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::Robin;
use common::{PATIENCE, eventually};

/// Three origins behind a proxy that chooses among them by `method`.
struct Stack {
    proxy: SocketAddr,
    origins: Vec<Origin>,
    _robin: Robin,
}

impl Stack {
    fn start(method: &str) -> Self {
        let start = |address| Origin::start(address, Behaviour::ok());
        let origins: Vec<Origin> = replicas(3).into_iter().map(start).collect();
        let servers: Vec<String> = origins.iter().map(|o| format!("\"{}\"", o.address())).collect();
        let proxy = free_address();
        let yaml = format!(
            "listen: \"{proxy}\"\n\
             upstreams: {{ api: {{ servers: [{}], method: {method} }} }}\n\
             routes: {{ /: api }}\n",
            servers.join(", ")
        );
        let robin = Robin::start(proxy, &yaml);
        let stack = Self { proxy, origins, _robin: robin };
        eventually("the peers are known", PATIENCE, || stack.get("/", "nobody").status() == 200);
        stack
    }

    fn get(&self, target: &str, user: &str) -> Message {
        let request = Request::get(target).header("X-User", user);
        exchange(self.proxy, &request).expect("robin answers")
    }

    /// Which origin answers a user, counted from 0.
    fn origin_of(&self, user: &str) -> usize {
        let answer = self.get("/", user);
        assert_eq!(answer.status(), 200);
        self.place(answer.header("x-replica").expect("origins say their names"))
    }

    fn place(&self, name: &str) -> usize {
        let mut origins = self.origins.iter();
        origins.position(|o| o.address().to_string() == name).expect("it is one of the three")
    }
}

#[test]
fn a_key_stays_at_one_peer_and_moves_only_when_it_must() {
    for method in ["{ hash: $http_x_user }", "{ hash: $http_x_user, consistent: on }"] {
        let mut stack = Stack::start(method);
        let users: Vec<String> = (0..20).map(|n| format!("user-{n}")).collect();
        let origins = |stack: &Stack| -> HashMap<&str, usize> {
            users.iter().map(|user| (user.as_str(), stack.origin_of(user))).collect()
        };
        let before = origins(&stack);
        assert_eq!(origins(&stack), before, "{method}");
        stack.origins[0].set(Behaviour::Refuse);
        let moved = origins(&stack);
        assert!(moved.values().all(|origin| *origin != 0), "{method}");
        let others = before.iter().filter(|(_, origin)| **origin != 0);
        assert!(others.clone().count() > 0, "{method}");
        assert!(others.into_iter().all(|(user, origin)| moved[user] == *origin), "{method}");
        stack.origins[0].set(Behaviour::ok());
        eventually("its users are back", PATIENCE, || origins(&stack) == before);
    }
}

#[test]
fn ip_hash_sends_a_client_s_network_where_nginx_does() {
    let stack = Stack::start("ip_hash");
    // The peers that nginx 1.22.1 chose of three with equal weights.
    for (client, expected) in [
        ([127, 0, 0, 1], 2),
        ([127, 0, 0, 200], 2),
        ([127, 0, 1, 1], 0),
        ([127, 0, 2, 1], 1),
        ([127, 192, 168, 1], 1),
        ([127, 255, 255, 1], 0),
    ] {
        let answer = get_from(client.into(), stack.proxy);
        let name = answer.lines().find_map(|line| line.strip_prefix("X-Replica: "));
        let name = name.unwrap_or_else(|| panic!("no origin says its name in {answer}"));
        assert_eq!(stack.place(name), expected, "{client:?}");
    }
}

#[test]
fn least_conn_passes_busy_peers_over() {
    let stack = Stack::start("least_conn");
    let slow = Behaviour::Answer(Reply::new("slow\n").after(Duration::from_secs(60)));
    stack.origins.iter().for_each(|o| o.set_path("/slow", slow.clone()));
    let mut held = Vec::new();
    for busy in 1..=2 {
        let mut client = Client::connect(stack.proxy).expect("robin listens");
        client.send(Request::get("/slow").bytes()).expect("robin reads");
        held.push(client);
        let reached = || stack.origins.iter().filter(|o| is_busy(o)).count();
        eventually("each is held by another", PATIENCE, || reached() == busy);
    }
    let idle = stack.origins.iter().position(|o| !is_busy(o)).expect("one is idle");
    let picked: Vec<usize> = (0..6).map(|_| stack.origin_of("x")).collect();
    assert_eq!(picked, [idle; 6]);
}

#[test]
fn random_reaches_every_peer() {
    for method in ["random", "random two"] {
        let stack = Stack::start(method);
        let origins: Vec<usize> = (0..60).map(|_| stack.origin_of("x")).collect();
        // That one of three is never drawn in sixty lots has a chance of one in 10^10.
        assert!((0..3).all(|n| origins.contains(&n)), "{method}: {origins:?}");
    }
}

fn is_busy(origin: &Origin) -> bool {
    origin.requests().iter().any(|request| request.target() == "/slow")
}

/// The answer to a request from `client`, an address of the loopback network.
fn get_from(client: IpAddr, proxy: SocketAddr) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("the system has sockets");
    socket.bind(&SocketAddr::new(client, 0).into()).expect("every 127.0.0.0/8 is ours");
    socket.connect(&proxy.into()).expect("robin listens");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    stream.write_all(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n").expect("robin reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("robin answers and closes");
    answer
}
