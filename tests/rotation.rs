//! Who gets a request when every replica answers: exact turns for the whole process.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;

use common::client::{Client, Request, answered_by, get};
use common::net::{free_address, replicas};
use common::origin::{Behaviour, Origin};
use common::robin::{Output, Robin};
use common::{PATIENCE, eventually};

fn origins(addresses: &[SocketAddr]) -> Vec<Origin> {
    addresses.iter().map(|a| Origin::start(*a, Behaviour::ok())).collect()
}

/// A configuration whose upstream has these server lines.
fn yaml(listen: SocketAddr, servers: &[String]) -> String {
    let mut text = format!("listen: {listen}\nthreads: 2\nerror_details: on\nupstreams:\n");
    text += "  back-end:\n    servers:\n";
    for server in servers {
        text += &format!("      - {server}\n");
    }
    text + "routes:\n  /: back-end\n"
}

fn lines(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn six_requests_come_from_three_replicas_in_turn() {
    let (listen, addresses) = (free_address(), replicas(3));
    let _origins = origins(&addresses);
    let _robin = Robin::start(listen, &yaml(listen, &lines(&addresses)));
    let turn = lines(&addresses);
    assert_eq!(answered_by(listen, "/", 6), [&turn[..], &turn].concat());
}

#[test]
fn connections_take_turns_together() {
    let (listen, addresses) = (free_address(), replicas(3));
    let _origins = origins(&addresses);
    let _robin = Robin::start(listen, &yaml(listen, &lines(&addresses)));
    // Enough for both threads to have some of them.
    let clients = (0..8).map(|_| Client::connect(listen).expect("robin listens"));
    let mut clients: Vec<Client> = clients.collect();
    let mut answers = Vec::new();
    for _ in 0..3 {
        for client in &mut clients {
            answers.push(client.exchange(&Request::get("/")).expect("an answer").replica());
        }
    }
    let turn = lines(&addresses);
    let expected: Vec<&String> = turn.iter().cycle().take(24).collect();
    assert_eq!(answers.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn weights_share_requests_out_smoothly() {
    let (listen, addresses) = (free_address(), replicas(3));
    let _origins = origins(&addresses);
    let servers = [
        format!("{{ address: \"{}\", weight: 5 }}", addresses[0]),
        addresses[1].to_string(),
        addresses[2].to_string(),
    ];
    let _robin = Robin::start(listen, &yaml(listen, &servers));
    // As nginx orders 5, 1, 1 (its commit message of smooth weighted round robin).
    let expected = [0, 0, 1, 0, 2, 0, 0].map(|index: usize| addresses[index].to_string());
    assert_eq!(answered_by(listen, "/", 7), expected);
    assert_eq!(answered_by(listen, "/", 7), expected);
}

#[test]
fn a_thousand_requests_of_parallel_clients_differ_by_one_at_most() {
    let (listen, addresses) = (free_address(), replicas(3));
    let origins = origins(&addresses);
    let _robin = Robin::start(listen, &yaml(listen, &lines(&addresses)));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(listen).expect("robin listens");
                for _ in 0..125 {
                    let answer = client.exchange(&Request::get("/")).expect("an answer");
                    assert_eq!(answer.status(), 200);
                }
            });
        }
    });
    let mut counts: Vec<usize> = origins.iter().map(Origin::count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [333, 333, 334]);
}

#[test]
fn two_and_five_replicas_alternate_strictly_over_threads_and_connections() {
    for count in [2, 5] {
        let (listen, addresses) = (free_address(), replicas(count));
        let _origins = origins(&addresses);
        let _robin = Robin::start(listen, &yaml(listen, &lines(&addresses)));
        let clients = (0..8).map(|_| Client::connect(listen).expect("robin listens"));
        let mut kept: Vec<Client> = clients.collect();
        let turn = lines(&addresses);
        for (number, expected) in turn.iter().cycle().take(200).enumerate() {
            // Kept connections in turn, and a new one now and then.
            let answer = match number % 9 {
                8 => get(listen, "/"),
                kept_one => kept[kept_one].exchange(&Request::get("/")).expect("an answer"),
            };
            assert_eq!(answer.replica(), *expected, "request {number} of {count} replicas");
        }
    }
}

/// A thousand clients at the same time, each with a connection of its own and one request.
fn a_thousand_clients_at_once(listen: SocketAddr) {
    rlimit::increase_nofile_limit(8192).expect("enough files may be open");
    let connect = |_| Client::connect(listen).expect("robin listens");
    let mut clients: Vec<Client> = (0..1000).map(connect).collect();
    for client in &mut clients {
        client.send(Request::get("/").bytes()).expect("sent");
    }
    for client in &mut clients {
        assert_eq!(client.response().expect("an answer").status(), 200);
    }
}

#[test]
fn a_thousand_clients_at_once_get_shares_that_differ_by_one_at_most() {
    let (listen, addresses) = (free_address(), replicas(3));
    let origins = origins(&addresses);
    let _robin = Robin::start(listen, &yaml(listen, &lines(&addresses)));
    a_thousand_clients_at_once(listen);
    let mut counts: Vec<usize> = origins.iter().map(Origin::count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [333, 333, 334]);
}

#[test]
fn ip_hash_sends_all_thousand_from_one_address_to_one_server() {
    let (listen, addresses) = (free_address(), replicas(3));
    let origins = origins(&addresses);
    let servers = lines(&addresses);
    let yaml = yaml(listen, &servers).replace("routes:", "    method: ip_hash\nroutes:");
    let _robin = Robin::start(listen, &yaml);
    a_thousand_clients_at_once(listen);
    let mut counts: Vec<usize> = origins.iter().map(Origin::count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 1000]);
}

#[test]
fn a_backup_serves_only_while_both_primaries_are_out() {
    let (listen, addresses) = (free_address(), replicas(3));
    let mut origins = origins(&addresses);
    let server = |index: usize, rest: &str| {
        format!("{{ address: \"{}\", fail_timeout: 1s{rest} }}", addresses[index])
    };
    let servers = [server(0, ""), server(1, ""), server(2, ", backup: on")];
    let _robin = Robin::start(listen, &yaml(listen, &servers));
    let names = lines(&addresses);
    assert_eq!(answered_by(listen, "/", 4), [&names[..2], &names[..2]].concat());

    origins[0].set(Behaviour::Refuse);
    assert_eq!(answered_by(listen, "/", 4), vec![names[1].clone(); 4]);
    origins[1].set(Behaviour::Refuse);
    assert_eq!(answered_by(listen, "/", 4), vec![names[2].clone(); 4]);

    origins[1].set(Behaviour::ok());
    eventually("the primary serves again", PATIENCE, || get(listen, "/").replica() == names[1]);
    let served = origins[2].count();
    assert_eq!(answered_by(listen, "/", 4), vec![names[1].clone(); 4]);
    assert_eq!(origins[2].count(), served);
}

#[test]
fn a_server_that_is_down_gets_nothing() {
    let (listen, addresses) = (free_address(), replicas(2));
    let origins = origins(&addresses);
    let servers =
        [format!("{{ address: \"{}\", down: on }}", addresses[0]), addresses[1].to_string()];
    let _robin = Robin::start(listen, &yaml(listen, &servers));
    assert_eq!(answered_by(listen, "/", 4), vec![addresses[1].to_string(); 4]);
    assert_eq!(origins[0].count(), 0);
}

#[test]
fn with_every_server_down_the_page_and_the_log_say_so() {
    let (listen, address) = (free_address(), free_address());
    let servers = [format!("{{ address: \"{address}\", down: on }}")];
    let robin = Robin::start(listen, &yaml(listen, &servers));
    let answer = get(listen, "/");
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("upstream back-end: 1 peer, 1 down"), "{}", answer.text());
    robin.wait_for_line(Output::Stderr, &["no peer available", "upstream=back-end", "down=1"]);
    robin.wait_for_line(Output::Stdout, &[" 502 ", "1 peer, 1 down"]);
}

#[test]
fn a_full_peer_is_passed_over_and_serves_again_when_it_has_room() {
    let (listen, addresses) = (free_address(), replicas(2));
    let origins = origins(&addresses);
    for origin in &origins {
        origin.set_path("/slow", Behaviour::Hang);
    }
    let full = |a: &SocketAddr| format!("{{ address: \"{a}\", max_conns: 1 }}");
    let servers: Vec<String> = addresses.iter().map(full).collect();
    let _robin = Robin::start(listen, &yaml(listen, &servers));

    let connect = || Client::connect(listen).expect("robin listens");
    let mut first = connect();
    first.send(Request::get("/slow").bytes()).expect("sent");
    eventually("it is under way", PATIENCE, || origins[0].count() == 1);
    // Each on a connection of its own: the last one is let go of before its answer is complete.
    assert_eq!(answered_by(listen, "/", 3), vec![addresses[1].to_string(); 3]);
    let mut second = connect();
    second.send(Request::get("/slow").bytes()).expect("sent");
    eventually("it is under way", PATIENCE, || origins[1].count() == 4);
    let refused = get(listen, "/");
    assert_eq!(refused.status(), 502);
    assert!(refused.text().contains("2 peers, 2 full"), "{}", refused.text());

    drop((first, second));
    eventually("both have room again", PATIENCE, || {
        let mut shares: HashMap<String, usize> = HashMap::new();
        for name in answered_by(listen, "/", 4) {
            *shares.entry(name).or_default() += 1;
        }
        lines(&addresses).iter().all(|name| shares.get(name) == Some(&2))
    });
}
