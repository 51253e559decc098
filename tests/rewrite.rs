//! Does the rewrite module do what nginx does? Each expectation was read off nginx 1.22.

mod common;

use common::client::{Client, Request};
use common::net::free_address;
use common::origin::{Behaviour, Origin};
use common::robin::Robin;

/// Asks for each target and compares status, `Location` and body; an empty body is not compared.
fn check(locations: &str, expected: &[(&str, u16, &str, &str)]) {
    let address = free_address();
    let robin = Robin::nginx(address, &format!("server {{ listen {address};\n{locations}\n}}"));
    for (target, status, location, body) in expected {
        let mut client = Client::connect(robin.address()).expect("it listens");
        let response = client.exchange(&Request::get(target)).expect("an answer");
        assert_eq!(response.status(), *status, "{target}: {}", response.head);
        assert_eq!(response.header("location").unwrap_or_default(), *location, "{target}");
        if !body.is_empty() {
            assert_eq!(response.text(), *body, "{target}");
        }
    }
}

#[test]
fn rewrite_changes_path_and_query_and_looks_for_another_route() {
    check(
        r#"location /last { rewrite ^ /seen last; return 500; }
           location /next { rewrite ^ /seen?in=next; }
           location /break { rewrite ^ /here break; return 500; }
           location /kept { rewrite ^ /here; break; }
           location /here { return 500; }
           location /groups { rewrite ^/groups/(.*)$ /seen?of=$1; }
           location /drop { rewrite ^ /seen?; }
           location /two { rewrite ^ /seen?x?y=1; }
           location /loop { rewrite ^(.*)$ $1a last; }
           location /nothing { rewrite ^ $http_none; }
           location /seen { return 200 "$uri?$args of $request_uri"; }
           location / { return 404 "none"; }"#,
        &[
            ("/last?a=b", 200, "", "/seen?a=b of /last?a=b"),
            ("/next", 200, "", "/seen?in=next of /next"),
            ("/next?a=b", 200, "", "/seen?in=next&a=b of /next?a=b"),
            ("/groups/a%26%20b?c", 200, "", "/seen?of=a%26%20b&c of /groups/a%26%20b?c"),
            ("/groups/a&b", 200, "", "/seen?of=a&b of /groups/a&b"),
            ("/drop?a=b", 200, "", "/seen? of /drop?a=b"),
            ("/two?z", 200, "", "/seen?x?y=1&z of /two?z"),
            ("/loop", 500, "", ""),
            ("/nothing", 500, "", ""),
            ("/other", 404, "", "none"),
        ],
    );
}

#[test]
fn a_redirect_keeps_the_query_and_unescapes_the_path() {
    check(
        r#"location /to { rewrite ^ http://example.com/ redirect; }
           location /add { rewrite ^ http://example.com/?c=d; }
           location /no { rewrite ^ http://example.com/?c=d? permanent; }
           location /path { rewrite ^/path/(.*)$ $scheme://$host/x/$1?a=$1 permanent; }
           location /url { return https://example.com$request_uri; }
           location /text { return 302 "text"; }
           location /307 { return 307 http://example.com/$uri; }"#,
        &[
            ("/to?a=b", 302, "http://example.com/?a=b", ""),
            ("/add?a=b", 302, "http://example.com/?c=d&a=b", ""),
            ("/no?a=b", 301, "http://example.com/?c=d", ""),
            ("/path/a%20b%41?q", 301, "http://test/x/a%20bA?a=a%20bA&q", ""),
            ("/url?a", 302, "https://example.com/url?a", ""),
            ("/307", 307, "http://example.com//307", ""),
        ],
    );
}

#[test]
fn return_answers_at_once() {
    check(
        r#"location /text { return 200 "to $uri"; }
           location /404text { return 404 "text"; }
           location /404 { return 404; }
           location /306 { return 306; }
           location /page.html { return 200 "<b>"; }
           location /server { return 200 "not reached"; }
           if ($uri = /server) { return 503 "by the server"; }"#,
        &[
            ("/text", 200, "", "to /text"),
            ("/404text", 404, "", "text"),
            ("/404", 404, "", ""),
            ("/306", 306, "", ""),
            ("/server", 503, "", "by the server"),
        ],
    );
}

#[test]
fn a_condition_is_true_as_in_nginx() {
    check(
        r#"location /true { set $x a; if ($http_host) { set $x b; } if ($args) { set $x c; }
                            set $y $args; if ($y = "") { return 200 "empty $x"; } return 200 $x; }
           location /equal { if ($args = 1) { return 200 one; } if ($args != 2) { return 200 not2; }
                             return 200 two; }
           location /match { if ($args ~ ^A(.*)) { return 200 "A-$1"; }
                             if ($args ~* "^b(?<rest>.*)$") { return 200 "b-$rest"; }
                             if ($args !~ c) { return 200 "no c"; } return 200 "c"; }
           location /file { set $x ""; if (-f /etc/passwd) { set $x "${x}f"; }
                            if (-d /etc) { set $x "${x}d"; } if (-e /etc) { set $x "${x}e"; }
                            if (-x /bin/sh) { set $x "${x}x"; } if (!-e /none) { set $x "${x}!"; }
                            if (-f /etc) { set $x "${x}F"; } return 200 $x; }
           location ~ ^/named/(?<name>\w+)/(\d+) { return 200 "$name $2 $1"; }"#,
        &[
            ("/true", 200, "", "empty b"),
            ("/true?0", 200, "", "b"),
            ("/true?1", 200, "", "c"),
            ("/equal?1", 200, "", "one"),
            ("/equal?2", 200, "", "two"),
            ("/equal?3", 200, "", "not2"),
            ("/match?Ab", 200, "", "A-b"),
            ("/match?Bc", 200, "", "b-c"),
            ("/match?x", 200, "", "no c"),
            ("/match?xc", 200, "", "c"),
            ("/file", 200, "", "fdex!"),
            ("/named/joe/42", 200, "", "joe 42 joe"),
        ],
    );
}

#[test]
fn what_is_proxied_is_what_the_request_was_rewritten_to() {
    let origin = Origin::start(free_address(), Behaviour::Echo);
    let (address, at) = (free_address(), origin.address());
    let robin = Robin::nginx(
        address,
        &format!(
            "server {{ listen {address};
               location /rewritten {{ rewrite ^/rewritten/(.*) /v1/$1 break; proxy_pass http://{at}; }}
               location /uri {{ proxy_pass http://{at}/base; }}
               location /kept {{ rewrite ^ /v2; break; proxy_pass http://{at}/base; }}
               location /args {{ set $args \"n=1\"; proxy_pass http://{at}; }}
               location /if {{ proxy_set_header X-In yes; if ($args = there) {{ proxy_pass http://{at}; }}
                               proxy_pass http://{at}/base; }}
             }}"
        ),
    );
    for (target, forwarded) in [
        ("/rewritten/a%20b?c", "/v1/a%20b?c"),
        ("/uri/x", "/base/x"),
        ("/kept/x", "/v2"),
        ("/args/a%20b?c", "/args/a%20b?n=1"),
        ("/if/x", "/base/x"),
        ("/if/x?there", "/if/x?there"),
    ] {
        let mut client = Client::connect(robin.address()).expect("it listens");
        let response = client.exchange(&Request::get(target)).expect("an answer");
        assert_eq!(response.status(), 200, "{target}");
        let request = origin.requests().pop().expect("a request");
        let line = request.head.lines().next().unwrap_or_default();
        assert_eq!(line, format!("GET {forwarded} HTTP/1.1"));
        assert_eq!(request.header("x-in"), target.starts_with("/if").then_some("yes"));
    }
}

#[test]
fn return_444_closes_the_connection_without_an_answer() {
    let address = free_address();
    let robin = Robin::nginx(address, &format!("server {{ listen {address}; return 444; }}"));
    let mut client = Client::connect(robin.address()).expect("it listens");
    client.send(Request::get("/").bytes()).expect("sent");
    assert!(client.is_closed());
    let line = robin.access_lines(1).remove(0);
    assert!(line.contains("\" 444 0 "), "{line}");
}

#[test]
fn a_map_chooses_by_text_pattern_and_wildcard() {
    let address = free_address();
    let robin = Robin::nginx(
        address,
        &format!(
            r#"map $args $plain {{ default other; "" nothing; ONE 1; \default escaped;
                                  ~^re(?<tail>.*)$ "re-$tail"; ~*^CASE(.*)$ case$1; }}
               map $http_x_host $site {{ hostnames; default none; example.org exact; *.example.org below;
                                         .example.com both; www.example.* tail; }}
               map $plain $deep {{ 1 one; default $plain; }}
               geo $arg_ip $net {{ default far; 127.0.0.0/8 near; 127.1.0.0/16 nearer; ::1 six; }}
               geo $arg_ip $range {{ ranges; default far; 10.0.0.0-10.0.0.9 low; 10.0.0.5-10.0.0.5 five; }}
               split_clients $args $variant {{ 20% a; 30.5% b; * c; }}
               server {{ listen {address};
                 location / {{ return 200 "$plain $deep"; }}
                 location /site {{ return 200 "$site"; }}
                 location /split {{ return 200 "$variant"; }}
                 location /geo {{ return 200 "$net $range"; }}
               }}"#
        ),
    );
    let ask = |target: &str, host: &str| {
        let mut client = Client::connect(robin.address()).expect("it listens");
        client.exchange(&Request::get(target).header("X-Host", host)).expect("an answer").text()
    };
    for (target, body) in [
        ("/", "nothing nothing"),
        ("/?one", "1 one"),
        ("/?two", "other other"),
        ("/?default", "escaped escaped"),
        ("/?rest", "re-st re-st"),
        ("/?caseX", "caseX caseX"),
        // As nginx 1.22 splits them.
        ("/split?1", "b"),
        ("/split?2", "a"),
        ("/split?3", "c"),
        ("/split?abcde", "b"),
        ("/split?abcdefgh", "a"),
    ] {
        assert_eq!(ask(target, "-"), body, "{target}");
    }
    for (host, body) in [
        ("example.org", "exact"),
        ("A.Example.org", "below"),
        ("a.example.com.", "both"),
        ("example.com", "both"),
        ("www.example.de", "tail"),
        ("example.de", "none"),
    ] {
        assert_eq!(ask("/site", host), body, "{host}");
    }
    for (ip, body) in [
        ("127.0.0.1", "near far"),
        ("127.1.2.3", "nearer far"),
        ("10.0.0.4", "far low"),
        ("10.0.0.5", "far five"),
        ("10.0.0.6", "far low"),
        ("::1", "six far"),
        ("nothing", "far far"),
    ] {
        assert_eq!(ask(&format!("/geo?ip={ip}"), "-"), body, "{ip}");
    }
}
