//! What one request leaves in the access log.

mod common;

use common::client::{Client, Request, exchange, get};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin, Reply};
use common::robin::{Output, Robin};

/// The value of `key`, without its quotes.
#[track_caller]
fn value(line: &str, key: &str) -> String {
    let (_, rest) = line.split_once(&format!(" {key}=")).unwrap_or_else(|| panic!("{key}: {line}"));
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default().into(),
        None => rest.split(' ').next().unwrap_or_default().into(),
    }
}

#[track_caller]
fn is_seconds(text: &str) {
    let seconds: f64 = text.parse().unwrap_or_else(|_| panic!("{text}"));
    assert!((0.0..60.0).contains(&seconds), "{text}");
    assert_eq!(text.split('.').nth(1).map(str::len), Some(3), "{text}");
}

#[test]
fn a_line_tells_client_request_answer_and_attempt() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [\"{}\"] }} }}\nroutes: {{ /: api }}",
        origin.address()
    ));
    let request =
        Request::get("/a?b=c").header("User-Agent", "me/1").header("Referer", "http://r/");
    assert_eq!(exchange(robin.address(), &request).expect("an answer").status(), 200);
    let line = robin.access_lines(1).remove(0);
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    let combined = "] \"GET /a?b=c HTTP/1.1\" 200 3 \"http://r/\" \"me/1\" upstream=api attempts=";
    assert!(line.contains(combined), "{line}");
    let attempts = value(&line, "attempts");
    let attempt: Vec<_> = attempts.split(' ').collect();
    assert_eq!(attempt[..2], [origin.address().to_string().as_str(), "200"]);
    is_seconds(attempt[2]);
    is_seconds(&value(&line, "time"));
    assert_eq!(value(&line, "id").len(), 32);
    assert!(!line.contains(" reason="), "{line}");
}

#[test]
fn every_attempt_is_listed_with_its_end() {
    let addresses = replicas(2);
    let behaviours = [Behaviour::Refuse, Behaviour::Answer(Reply::status(503))];
    let origins: Vec<_> =
        addresses.iter().zip(behaviours).map(|(a, b)| Origin::start(*a, b)).collect();
    let servers: Vec<_> = addresses.iter().map(|a| format!("\"{a}\"")).collect();
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [{}] }} }}\nretry: {{ statuses: [503] }}\nroutes: {{ /: api }}",
        servers.join(", ")
    ));
    assert_eq!(get(robin.address(), "/").status(), 503);
    let line = robin.access_lines(1).remove(0);
    let attempts = value(&line, "attempts");
    let attempts: Vec<Vec<&str>> = attempts.split(", ").map(|a| a.split(' ').collect()).collect();
    assert_eq!(attempts.len(), 2, "{line}");
    for (attempt, (origin, status)) in attempts.iter().zip(origins.iter().zip(["-", "503"])) {
        assert_eq!(attempt[..2], [origin.address().to_string().as_str(), status], "{line}");
        is_seconds(attempt[2]);
    }
    assert_eq!(attempts[0][3..], ["connection", "refused"], "{line}");
    assert_eq!(attempts[1].len(), 3, "the status says it all: {line}");
    assert!(!line.contains(" reason="), "{line}");
}

#[test]
fn each_pipelined_request_has_its_line_and_its_id() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    let mut client = Client::connect(robin.address()).expect("it listens");
    client.send([Request::get("/1").bytes(), Request::get("/2").bytes()].concat()).expect("sent");
    for _ in 0..2 {
        assert_eq!(client.response().expect("an answer").status(), 200);
    }
    let lines = robin.access_lines(2);
    assert!(lines[0].contains("\"GET /1 ") && lines[1].contains("\"GET /2 "), "{lines:?}");
    assert_ne!(value(&lines[0], "id"), value(&lines[1], "id"));
}

#[test]
fn text_of_the_client_cannot_forge_a_line() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    let mut client = Client::connect(robin.address()).expect("it listens");
    let head = b"GET /\"x\" HTTP/1.1\r\nHost: t\r\nUser-Agent: a\"b\\c\xff\x1b[31m\td\r\n\r\n";
    client.send(head).expect("sent");
    let _ = client.response();
    let line = robin.access_lines(1).remove(0);
    assert!(!line.contains('\x1b') && !line.contains("/\"x\""), "{line}");
    assert_eq!(line.matches('"').count() % 2, 0, "{line}");
    assert!(line.contains("/\\x22x\\x22 "), "{line}");
}

#[test]
fn heads_that_are_refused_are_logged_as_they_came() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    for (number, (bytes, shown)) in [
        (&b"garbage\x01\x7f\r\n\r\n"[..], "\"garbage\\x01\\x7F\" 400 "),
        (b"\x16\x03\x01\x02\r\n\r\n", "\"\\x16\\x03\\x01\\x02\" 400 "),
        (b"GET / HTTP/1.1\r\n\r\n", "\"GET / HTTP/1.1\" 400 "),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect(robin.address()).expect("it listens");
        client.send(bytes).expect("sent");
        assert_eq!(client.response().expect("an answer").status(), 400);
        let line = robin.access_lines(number + 1).pop().expect("a line");
        assert!(line.contains(shown), "{line}");
        assert_eq!(value(&line, "upstream"), "-");
        assert_eq!(value(&line, "attempts"), "-");
        assert!(!value(&line, "reason").is_empty());
    }
}

#[test]
fn a_malformed_request_in_a_pipeline_is_logged_as_it_came() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    let mut client = Client::connect(robin.address()).expect("it listens");
    client.send([Request::get("/1").bytes(), b"garbage\r\n\r\n".to_vec()].concat()).expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 200);
    assert_eq!(client.response().expect("an answer").status(), 400);
    assert!(robin.access_lines(2)[1].contains("\"garbage\" 400 "));
}

#[test]
fn a_connection_that_asks_for_nothing_leaves_no_line() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let robin = Robin::with(&format!("routes: {{ /: {} }}", origin.address()));
    for _ in 0..3 {
        let client = Client::connect(robin.address()).expect("it listens");
        client.finish();
    }
    assert_eq!(get(robin.address(), "/").status(), 200);
    assert!(robin.access_lines(1)[0].contains("\"GET / "));
}

#[test]
fn why_a_request_failed_stands_in_the_log_whatever_the_page_says() {
    let robin = Robin::with("routes: { /api: 127.0.0.1:1 }");
    assert_eq!(get(robin.address(), "/none").status(), 404);
    assert_eq!(get(robin.address(), "/api").status(), 502);
    let lines = robin.access_lines(2);
    assert!(value(&lines[0], "reason").contains("no route"), "{lines:?}");
    assert_eq!(value(&lines[0], "upstream"), "-");
    assert!(value(&lines[1], "reason").contains("connection refused"), "{lines:?}");
    assert_eq!(value(&lines[1], "upstream"), "127.0.0.1:1");
}

#[test]
fn a_log_that_is_off_or_in_a_file_leaves_standard_output_empty() {
    let origin = Origin::start(free_address(), Behaviour::ok());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("access.log");
    for target in ["off", file.to_str().expect("a path of letters")] {
        let robin =
            Robin::with(&format!("access_log: {target}\nroutes: {{ /: {} }}", origin.address()));
        assert_eq!(get(robin.address(), "/").status(), 200);
        if target != "off" {
            let has_line = || {
                std::fs::read_to_string(&file)
                    .is_ok_and(|text| text.contains("\"GET / HTTP/1.1\" 200 "))
            };
            common::eventually("the line is in the file", common::PATIENCE, has_line);
        }
        assert!(robin.printed(Output::Stdout).is_empty());
    }
}

/// The objects of the access log, once there are `count` of them.
#[track_caller]
fn objects(robin: &Robin, count: usize) -> Vec<serde_json::Value> {
    let object =
        |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    robin.access_lines(count).iter().map(object).collect()
}

#[test]
fn a_log_of_objects_tells_the_same() {
    let addresses = replicas(2);
    let origins: Vec<_> = addresses
        .iter()
        .zip([Behaviour::Refuse, Behaviour::ok()])
        .map(|(a, b)| Origin::start(*a, b))
        .collect();
    let servers: Vec<_> = addresses.iter().map(|a| format!("\"{a}\"")).collect();
    let robin = Robin::with(&format!(
        "upstreams: {{ api: {{ servers: [{}] }} }}\nroutes: {{ /: api }}\naccess_log: stdout json",
        servers.join(", ")
    ));
    let request = Request::get("/a?b=c%22\\").header("User-Agent", "me\\");
    assert_eq!(exchange(robin.address(), &request).expect("an answer").status(), 200);
    let line = objects(&robin, 1).remove(0);
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("target", "/a?b=c%22\\"),
        ("protocol", "HTTP/1.1"),
        ("user_agent", "me\\"),
        ("host", "test"),
        ("upstream", "api"),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &3.into()), "{line}");
    let attempts = line["attempts"].as_array().expect("a list");
    let told: Vec<_> = attempts.iter().map(|a| (&a["peer"], &a["status"])).collect();
    let [first, second] = [0, 1].map(|n| addresses[n].to_string().into());
    assert_eq!(told, [(&first, &serde_json::Value::Null), (&second, &200.into())]);
    assert!(attempts[0]["error"].is_string() && attempts[1]["error"].is_null(), "{line}");
    assert!(line["time_ms"].is_f64() && attempts[0]["time_ms"].is_f64(), "{line}");
    assert_eq!(line["id"].as_str().map(str::len), Some(32));
    drop(origins);
}

#[test]
fn a_head_that_cannot_be_read_is_an_object_too() {
    let robin = Robin::with("routes: { /: {} }\naccess_log: stdout json");
    let mut client = Client::connect(robin.address()).expect("it listens");
    client.send("NONS\u{1b}ENSE\r\n\r\n").expect("sent");
    assert_eq!(client.response().expect("an answer").status(), 400);
    let line = objects(&robin, 1).remove(0);
    assert_eq!((&line["line"], &line["status"]), (&"NONS\u{1b}ENSE".into(), &400.into()), "{line}");
    assert_eq!(line["reason"], "request line with a raw space or control byte");
}

#[test]
fn conditions_and_shares_hold_for_robins_own_formats_at_the_top() {
    let robin = Robin::with(
        "map: '$uri $said { default 1; /quiet 0; }'\n\
         access_log: [stdout json if=$said, /dev/stdout robin sample=0.01% if=$said]\n\
         routes: { /: { rules: return 200 ok }, /bad: { rules: return 503 } }\n",
    );
    for target in ["/quiet", "/one", "/bad"] {
        get(robin.address(), target);
    }
    let lines = robin.access_lines(3);
    let has = |parts: &[&str]| lines.iter().any(|line| parts.iter().all(|p| line.contains(p)));
    assert!(has(&["\"target\":\"/one\""]) && has(&["\"target\":\"/bad\""]), "{lines:#?}");
    // What failed is in every sample.
    assert!(has(&["GET /bad HTTP/1.1", "upstream=-"]), "{lines:#?}");
}

#[test]
fn all_logs_that_take_a_share_take_the_same_requests() {
    let robin = Robin::with(
        "access_log: [stdout json sample=30%, /dev/stderr json sample=30%]\n\
         routes: { /: { rules: return 200 ok } }\n",
    );
    let requests = 400;
    for _ in 0..requests {
        get(robin.address(), "/");
    }
    get(robin.address(), "/end");
    let ids = |output| {
        let lines = robin.printed(output);
        let ids = lines.iter().filter_map(|line| Some(line.split_once("\"id\":\"")?.1.to_owned()));
        ids.collect::<Vec<_>>()
    };
    common::eventually("both logs say the same", common::PATIENCE, || {
        let (out, err) = (ids(Output::Stdout), ids(Output::Stderr));
        // 30% of 400 are 120, and half or twice that once in a million million runs.
        (60..240).contains(&out.len()) && out == err
    });
}

#[test]
fn a_format_of_the_configurations_own_wins_over_the_preset() {
    let address = free_address();
    let conf = |format: &str| {
        format!(
            "daemon off; pid off; error_log stderr; events {{}} http {{ {format}
             server {{ listen {address}; access_log /dev/stdout json; return 200; }} }}"
        )
    };
    let robin = Robin::nginx(address, &conf("log_format json '<$uri>';"));
    get(address, "/a");
    assert_eq!(robin.access_lines(1), ["</a>"]);
    drop(robin);
    let robin = Robin::nginx(address, &conf(""));
    get(address, "/a");
    assert_eq!(objects(&robin, 1)[0]["target"], "/a");
}
