//! Whose id does a request have, and who is told?

mod common;

use common::client::{Request, exchange};
use common::http::Message;
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::Robin;
use common::stack::{Stack, stack};

impl Stack {
    /// `yaml` says what is asked of ids.
    fn yaml(yaml: &str) -> Self {
        stack(Behaviour::ok(), yaml)
    }

    /// Lines in `http`, with a server that passes on what `ORIGIN` stands for.
    fn nginx(http: &str) -> Self {
        let origin = Origin::start(free_address(), Behaviour::ok());
        let address = free_address();
        let robin = Robin::nginx(
            address,
            &format!(
                "access_log /dev/stdout robin; {http} server {{ listen {address};
                 location / {{ proxy_pass http://{}; }} location /own {{ return 200 $request_id; }} }}",
                origin.address()
            ),
        );
        Self { origin, robin }
    }

    /// Asks with this id; the answer, and the id that the upstream has got.
    #[track_caller]
    fn ask(&self, target: &str, id: Option<&str>) -> (Message, Option<String>) {
        let mut request = Request::get(target);
        if let Some(id) = id {
            request = request.header("X-Request-Id", id);
        }
        let answer = exchange(self.robin.address(), &request).expect("an answer");
        let requests = self.origin.requests();
        let seen = requests.last().and_then(|request| request.header("x-request-id"));
        (answer, seen.map(str::to_owned))
    }

    /// The id in the last line of the access log of so many.
    #[track_caller]
    fn logged(&self, lines: usize) -> String {
        let line = self.robin.access_lines(lines).pop().expect("a line");
        line.split_once(" id=").expect("an id").1.split(' ').next().unwrap_or_default().to_owned()
    }
}

#[track_caller]
fn is_made(id: &str) {
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
}

#[test]
fn by_default_an_id_is_made_and_the_upstream_told() {
    let stack = Stack::yaml("");
    let (answer, seen) = stack.ask("/", Some("mine"));
    let seen = seen.expect("the upstream is told");
    is_made(&seen);
    assert_eq!(stack.logged(1), seen);
    assert_eq!(answer.header("x-request-id"), None);
}

#[test]
fn in_nginxs_syntax_the_upstream_gets_what_the_client_sent() {
    let stack = Stack::nginx("");
    assert_eq!(stack.ask("/", Some("mine")).1.as_deref(), Some("mine"));
    assert_eq!(stack.ask("/", None).1, None);
    is_made(&stack.logged(2));
}

#[test]
fn a_clients_id_is_taken_where_it_is_trusted() {
    let yaml = Stack::yaml("request_id: { from: trust, answer: on }");
    let nginx = Stack::nginx(
        "robin_request_id trust answer=on; proxy_set_header X-Request-Id $request_id;",
    );
    for stack in [yaml, nginx] {
        let (answer, seen) = stack.ask("/", Some("order:66/a=1"));
        assert_eq!(seen.as_deref(), Some("order:66/a=1"));
        assert_eq!(answer.header("x-request-id"), Some("order:66/a=1"));
        assert_eq!(stack.logged(1), "\"order:66/a=1\"");
    }
}

#[test]
fn what_is_no_id_is_not_taken_and_never_logged() {
    let stack = Stack::yaml("request_id: { from: trust, answer: on }");
    let long = "evil".repeat(33);
    let twice = "evil1\r\nX-Request-Id: evil2";
    for (n, id) in ["evil id=x", "evil\"<script>", twice, &long].into_iter().enumerate() {
        let (answer, seen) = stack.ask("/", Some(id));
        let seen = seen.expect("the upstream is told");
        is_made(&seen);
        assert_eq!(answer.header("x-request-id"), Some(&*seen));
        assert_eq!(stack.logged(n + 1), seen);
    }
    assert!(!stack.robin.stdout_has("evil"));
}

#[test]
fn only_who_is_trusted_may_say_it_where_someone_is() {
    let from_here = Stack::yaml("trust: 127.0.0.1\nrequest_id: trust");
    assert_eq!(from_here.ask("/", Some("mine")).1.as_deref(), Some("mine"));
    let from_elsewhere = Stack::yaml("trust: 10.0.0.0/8\nrequest_id: trust");
    is_made(&from_elsewhere.ask("/", Some("mine")).1.expect("the upstream is told"));
    let set = "robin_request_id trust; proxy_set_header X-Request-Id $request_id;";
    let from_proxies = Stack::nginx(&format!("set_real_ip_from 10.0.0.0/8; {set}"));
    is_made(&from_proxies.ask("/", Some("mine")).1.expect("the upstream is told"));
    let from_proxies = Stack::nginx(&format!("set_real_ip_from 127.0.0.0/8; {set}"));
    assert_eq!(from_proxies.ask("/", Some("mine")).1.as_deref(), Some("mine"));
}

#[test]
fn a_route_may_make_ids_where_others_trust() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!(
        "request_id: trust\nroutes: {{ /: \"{0}\", /made: {{ to: \"{0}\", request_id: make }} }}",
        origin.address()
    ));
    let stack = Stack { origin, robin };
    assert_eq!(stack.ask("/", Some("mine")).1.as_deref(), Some("mine"));
    is_made(&stack.ask("/made", Some("mine")).1.expect("the upstream is told"));
}

#[test]
fn answers_of_robins_own_say_it_too() {
    let stack = Stack::nginx("robin_request_id trust answer=on;");
    let (answer, _) = stack.ask("/own", Some("mine"));
    assert_eq!((answer.text().as_str(), answer.header("x-request-id")), ("mine", Some("mine")));
}
