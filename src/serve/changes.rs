//! What a reload has changed, in a line for whoever asked for it.

use crate::config::model::{Config, ListenAddress, Upstream};

/// The difference between two configurations; "nothing" where there is none.
pub(super) fn between(before: &Config, after: &Config) -> String {
    let mut parts = Vec::new();
    let (closed, opened) = (listeners(before), listeners(after));
    let new = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|name| !those.contains(name)).cloned().collect()
    };
    say(&mut parts, "listeners opened", &new(&opened, &closed));
    say(&mut parts, "listeners closed", &new(&closed, &opened));
    let names = |config: &Config| -> Vec<String> {
        config.upstreams.iter().map(|upstream| upstream.name.clone()).collect()
    };
    say(&mut parts, "upstreams added", &new(&names(after), &names(before)));
    say(&mut parts, "upstreams removed", &new(&names(before), &names(after)));
    let known = |upstream: &&Upstream| before.upstreams.iter().find(|u| u.name == upstream.name);
    let changed = after.upstreams.iter().filter(|u| known(u).is_some_and(|before| before != *u));
    let changed: Vec<String> = changed.map(|upstream| upstream.name.clone()).collect();
    say(&mut parts, "upstreams changed", &changed);
    if before.virtual_servers != after.virtual_servers {
        parts.push("virtual servers changed".to_owned());
    }
    if without_lists(before) != without_lists(after) {
        parts.push("settings changed".to_owned());
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

fn say(parts: &mut Vec<String>, what: &str, names: &[String]) {
    if !names.is_empty() {
        parts.push(format!("{what}: {}", names.join(" ")));
    }
}

fn listeners(config: &Config) -> Vec<String> {
    let all = config.virtual_servers.iter().flat_map(|server| &server.listen);
    let mut addresses: Vec<&ListenAddress> = all.map(|listen| &listen.address).collect();
    let mut names: Vec<String> = addresses.drain(..).map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names
}

/// All that is said for the process as a whole.
fn without_lists(config: &Config) -> Config {
    Config { upstreams: Vec::new(), virtual_servers: Vec::new(), ..config.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_yaml;

    fn config(text: &str) -> Config {
        parse_yaml("robin.yaml", text, &|_| None).expect("a good configuration")
    }

    #[test]
    fn what_came_and_went_is_named() {
        let before = "listen: 127.0.0.1:81\nupstreams: { a: { servers: [\"10.0.0.1:1\"] }, \
                      b: { servers: [\"10.0.0.1:1\"] } }\nroutes: { /: a, /b: b }\n";
        let after = "listen: 127.0.0.1:82\nshutdown_timeout: 3s\n\
                     upstreams: { a: { servers: [\"10.0.0.2:1\"] }, c: { servers: [\"10.0.0.1:1\"] } }\n\
                     routes: { /: a, /c: c }\n";
        assert_eq!(between(&config(before), &config(before)), "nothing");
        assert_eq!(
            between(&config(before), &config(after)),
            "listeners opened: 127.0.0.1:82, listeners closed: 127.0.0.1:81, upstreams added: c, \
             upstreams removed: b, upstreams changed: a, virtual servers changed, settings changed"
        );
    }
}
