use super::*;
use crate::config::parse_nginx;

/// The router of a virtual server with these locations, and how its routes were written.
fn router(locations: &[&str]) -> (Router, Vec<String>) {
    let blocks: String = locations.iter().map(|l| format!("location {l}")).collect();
    let conf = format!("server {{ listen 80; {blocks} }}");
    let config = parse_nginx("test.conf".as_ref(), conf).expect("it is sound");
    let routes = config.virtual_servers[0].routes.iter().map(|r| format!("{:?}", r.path));
    (Router::new(&config), routes.collect())
}

fn route(router: &Router, path: &str) -> Option<usize> {
    router.route(0, path.as_bytes()).route
}

#[test]
fn the_longest_prefix_wins_and_an_exact_path_before_it() {
    let to = "{ proxy_pass http://127.0.0.1; }";
    let (router, _) =
        router(&[&format!("/ {to}"), &format!("/api {to}"), &format!("= /api/x {to}")]);
    assert_eq!(route(&router, "/"), Some(0));
    assert_eq!(route(&router, "/index.html"), Some(0));
    assert_eq!(route(&router, "/api"), Some(1));
    assert_eq!(route(&router, "/apix"), Some(1), "a prefix is no path segment, as in nginx");
    assert_eq!(route(&router, "/api/x"), Some(2));
    assert_eq!(route(&router, "/api/xy"), Some(1));
}

#[test]
fn among_many_prefixes_the_longest_is_found() {
    fastrand::seed(7);
    let text = |most: usize| -> Vec<u8> {
        let letters =
            (0..fastrand::usize(..=most)).map(|_| *fastrand::choice(b"ab/").expect("one"));
        std::iter::once(b'/').chain(letters).collect()
    };
    for _ in 0..200 {
        let mut level = Level::default();
        for route in 0..fastrand::usize(..20) {
            let redirects = fastrand::bool();
            level.prefixes.push(Prefix {
                path: text(5),
                route,
                outer: None,
                alone: false,
                redirects,
            });
        }
        let mut written: Vec<(Vec<u8>, usize, bool)> = Vec::new();
        for Prefix { path, route, redirects, .. } in &level.prefixes {
            if written.iter().all(|(known, ..)| known != path) {
                written.push((path.clone(), *route, *redirects));
            }
        }
        level.sort();
        for _ in 0..50 {
            let path = text(7);
            let matching = written.iter().filter(|(prefix, ..)| path.starts_with(prefix));
            let longest = matching.max_by_key(|(prefix, ..)| prefix.len());
            assert_eq!(level.longest(&path).map(|p| p.route), longest.map(|(_, route, _)| *route));
            let slash = [&path[..], b"/"].concat();
            let directory =
                written.iter().find(|(prefix, _, redirects)| *redirects && *prefix == slash);
            assert_eq!(
                level.directory(&path).map(|p| p.route),
                directory.map(|(_, route, _)| *route)
            );
        }
    }
}

#[test]
fn without_a_match_there_is_no_route() {
    let (router, _) = router(&["/api { proxy_pass http://127.0.0.1; }"]);
    assert_eq!(route(&router, "/"), None);
}

fn server(names: &[&[ServerName]], host: &str) -> usize {
    let mut listener = Listener::new(ListenAddress::Tcp(([0, 0, 0, 0], 80).into()), 0);
    for (index, names) in names.iter().enumerate() {
        let conf = "server { listen 80; location / { proxy_pass http://127.0.0.1; } }";
        let config = parse_nginx("test.conf".as_ref(), conf).expect("it is sound");
        let mut server = config.virtual_servers.into_iter().next().expect("there is one");
        server.names = names.to_vec();
        listener.add(&server, index);
    }
    listener.server(host).0
}

#[test]
fn a_name_wins_over_a_wildcard_and_the_first_server_is_the_default() {
    let names: [&[ServerName]; 3] = [
        &[ServerName::Exact("a.example".into())],
        &[ServerName::Suffix(".example".into())],
        &[ServerName::Exact("b.example".into())],
    ];
    assert_eq!(server(&names, "b.example"), 2);
    assert_eq!(server(&names, "c.example"), 1);
    assert_eq!(server(&names, ".example"), 0);
    assert_eq!(server(&names, "elsewhere"), 0);
}

#[test]
fn listeners_keep_their_numbers() {
    let address = |port: u16| ListenAddress::Tcp(([0, 0, 0, 0], port).into());
    let listeners = vec![Listener::new(address(82), 1), Listener::new(address(80), 2)];
    let mut router = Router { listeners, servers: Vec::new() };
    router.keep_numbers(&[address(80), address(81)]);
    let listeners: Vec<ListenAddress> = router.listeners().cloned().collect();
    assert_eq!(listeners, [address(80), address(81), address(82)]);
    assert_eq!(router.server(0, "").map(|(server, _)| server), Some(2));
    assert_eq!(router.server(2, "").map(|(server, _)| server), Some(1));
}
