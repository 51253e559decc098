//! What is a client told when something goes wrong, and what is it not told?

mod common;

use common::client::{Request, exchange};
use common::http::Message;
use common::net::free_address;
use common::robin::{Output, Robin};

/// Answers 502 at `/dead`, 404 at `/none` where a file is missing, 503 at `/closed`.
fn yaml(details: &str) -> Robin {
    let dead = free_address();
    Robin::with(&format!(
        "error_details: {details}\nupstreams: {{ secret-name: {{ servers: [\"{dead}\"] }} }}\n\
         routes: {{ /dead: secret-name, /none: {{ root: /secret-folder }}, \
         /closed: {{ rules: return 503 }}, /moved: {{ rules: return 302 /a }} }}"
    ))
}

fn nginx(details: &str) -> Robin {
    let (address, dead) = (free_address(), free_address());
    Robin::nginx(
        address,
        &format!(
            "robin_error_details {details}; upstream secret-name {{ server {dead}; }}
             server {{ listen {address};
             location /dead {{ proxy_pass http://secret-name; }}
             location /none {{ root /secret-folder; }}
             location /closed {{ return 503; }} location /moved {{ return 302 /a; }} }}"
        ),
    )
}

#[track_caller]
fn ask(robin: &Robin, target: &str, accept: Option<&str>) -> Message {
    let mut request = Request::get(&format!("{target}?secret-query"))
        .header("Cookie", "secret-cookie")
        .header("Authorization", "Bearer secret-token");
    if let Some(accept) = accept {
        request = request.header("Accept", accept);
    }
    exchange(robin.address(), &request).expect("an answer")
}

const ERRORS: [(&str, u16, &str); 3] = [
    ("/dead", 502, "The service behind this address is not available."),
    ("/none", 404, "There is nothing here."),
    ("/closed", 503, "The service behind this address has no room for the request."),
];

#[test]
fn people_get_a_page_with_status_id_and_one_sentence() {
    for robin in [yaml("off"), nginx("off")] {
        for (target, status, sentence) in ERRORS {
            let page = ask(&robin, target, Some("text/html,*/*;q=0.8"));
            let id = page.header("x-request-id").expect("an id").to_owned();
            assert_eq!((page.status(), page.header("content-type")), (status, Some("text/html")));
            assert_eq!(page.header("vary"), Some("Accept"));
            for part in [&format!("<h1>{status} "), sentence, &format!("Request id: {id}")] {
                assert!(page.text().contains(part), "{part}: {}", page.text());
            }
        }
    }
}

#[test]
fn programs_get_problem_details_with_the_same() {
    for robin in [yaml("off"), nginx("off")] {
        for (target, status, sentence) in ERRORS {
            for accept in ["application/json", "application/problem+json, text/html;q=0.5"] {
                let page = ask(&robin, target, Some(accept));
                assert_eq!(page.status(), status);
                assert_eq!(page.header("content-type"), Some("application/problem+json"));
                assert_eq!(page.header("vary"), Some("Accept"));
                let json: serde_json::Value = serde_json::from_str(&page.text()).expect("JSON");
                let id = page.header("x-request-id").expect("an id");
                assert_eq!(json["type"], "about:blank");
                assert_eq!((&json["status"], &json["detail"]), (&status.into(), &sentence.into()));
                assert_eq!((&json["request_id"], json.get("reason")), (&id.into(), None), "{json}");
                assert!(json["title"].as_str().is_some_and(|title| !title.is_empty()), "{json}");
            }
        }
    }
}

#[test]
fn who_does_not_say_what_it_reads_gets_html_as_from_nginx() {
    for robin in [yaml("off"), nginx("off")] {
        for accept in [None, Some("*/*"), Some("image/png"), Some("text/html, application/json")] {
            let page = ask(&robin, "/dead", accept);
            assert_eq!(page.header("content-type"), Some("text/html"), "{accept:?}");
        }
    }
}

#[test]
fn a_redirect_is_no_error_and_has_one_form() {
    for robin in [yaml("off"), nginx("off")] {
        let page = ask(&robin, "/moved", Some("application/json"));
        assert_eq!((page.status(), page.header("content-type")), (302, Some("text/html")));
        assert_eq!((page.header("vary"), page.header("x-request-id")), (None, None));
    }
}

#[test]
fn the_reason_is_told_only_where_that_is_asked_for() {
    for (details, told) in [("off", false), ("on", true)] {
        for robin in [yaml(details), nginx(details)] {
            for accept in ["text/html", "application/json"] {
                let page = ask(&robin, "/dead", Some(accept)).text();
                assert_eq!(page.contains("connection refused"), told, "{page}");
                let page = ask(&robin, "/none", Some(accept)).text();
                assert_eq!(page.contains("No such file"), told, "{page}");
            }
        }
    }
}

#[test]
fn no_page_and_no_event_line_tells_a_secret() {
    for details in ["off", "on"] {
        for robin in [yaml(details), nginx(details)] {
            for (target, ..) in ERRORS {
                for accept in ["text/html", "application/json"] {
                    let page = ask(&robin, target, Some(accept)).text();
                    for secret in ["query", "cookie", "token", "folder"] {
                        assert!(!page.contains(&format!("secret-{secret}")), "{page}");
                    }
                    assert!(details == "on" || !page.contains("secret-"), "{page}");
                }
            }
            let events = robin.text(Output::Stderr);
            for secret in ["query", "cookie", "token"] {
                assert!(!events.contains(&format!("secret-{secret}")), "{events}");
            }
        }
    }
}
