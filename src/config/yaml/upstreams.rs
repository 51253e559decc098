//! From nodes to the raw tree: upstreams.

use super::fields::{Door, Fields};
use super::node::{Node, Shape};
use super::{KEEPALIVE, LEARN, METHOD, PASSIVE, QUEUE, STICKY, UPSTREAM, UPSTREAM_SERVER};
use crate::config::diagnostics::quote;
use crate::config::env::Kind;
use crate::config::raw::{
    Learn, List, Method, Passive, Queue, Sticky, Upstream, UpstreamServer, Word,
};

impl Door<'_> {
    pub(super) fn upstreams(&mut self, fields: &Fields<'_>) -> Option<List<Upstream>> {
        self.named(fields, "upstreams", |door, key, node| {
            let name = door.key(key);
            let mut f = door
                .map_below(key, node, UPSTREAM)
                .unwrap_or_else(|| Fields::none(name.place.clone()));
            let mut keepalive = door.submap(&f, "keepalive", KEEPALIVE);
            let mut kept = |door: &mut Self, key| keepalive.as_mut()?.word(door, key);
            Some(Upstream {
                name,
                resolver: door.resolver(&f),
                servers: door.servers(&f),
                method: door.method(&mut f),
                sticky: door.sticky(&f),
                queue: door.queue(&f),
                slow_start: f.word(door, "slow_start"),
                passive: door.passive(&f),
                panic: f.word(door, "panic"),
                drain_timeout: f.word(door, "drain_timeout"),
                send_proxy: f.word(door, "send_proxy"),
                refresh: f.word(door, "refresh"),
                health_checks: door.health_checks(&mut f),
                keepalive_idle: kept(door, "idle"),
                keepalive: kept(door, "max"),
                keepalive_requests: kept(door, "requests"),
                keepalive_time: kept(door, "time"),
                broken: f.broken,
            })
        })
    }

    /// A name, or `{ hash: KEY, consistent: on }` or `{ least_time: header, inflight: on }`.
    fn method(&mut self, fields: &mut Fields<'_>) -> Option<Method> {
        const EXPECTED: &str = "expected `hash: $request_uri` or `least_time: header` in it, or a name in place of the map";
        let map = fields.get(self, "method").filter(|(_, n)| matches!(n.shape, Shape::Map(_)));
        let Some((key, node)) = map else {
            return fields.word(self, "method").map(Method::named);
        };
        let mut f = self.map_below(key, node, METHOD)?;
        let consistent = f.word(self, "consistent");
        let inflight = f.word(self, "inflight");
        let (name, node, kind) = match (f.get(self, "hash"), f.get(self, "least_time")) {
            (Some((name, node)), None) => (name, node, Kind::Template),
            (None, Some((name, node))) => (name, node, Kind::Word),
            (None, None) => {
                if !f.broken {
                    self.diags
                        .error(&self.place(key), "a method without a name")
                        .expected(EXPECTED);
                }
                return None;
            }
            (Some((first, _)), Some((second, _))) => {
                let first = self.place(first);
                self.diags
                    .error(&self.place(second), "two methods")
                    .expected("expected one of them")
                    .also(&first, "the other");
                return None;
            }
        };
        let value = Some(self.word(name, node, kind)?);
        Some(Method { name: self.key(name), value, consistent, inflight })
    }

    fn sticky(&mut self, fields: &Fields<'_>) -> Option<Sticky> {
        let (key, node) = fields.get(self, "sticky")?;
        let mut f = self.map_below(key, node, STICKY)?;
        let sticky = Sticky {
            cookie: f.word(self, "cookie"),
            expires: f.word(self, "expires"),
            domain: f.template(self, "domain"),
            path: f.word(self, "path"),
            http_only: f.word(self, "httponly"),
            secure: f.word(self, "secure"),
            same_site: f.template(self, "samesite"),
            route: f.templates(self, "route"),
            ..Sticky::at(self.place(key))
        };
        let learn = self.learn(&f);
        let broken = f.broken || (learn.is_none() && f.get(self, "learn").is_some());
        Some(Sticky { learn, broken, ..sticky })
    }

    fn learn(&mut self, fields: &Fields<'_>) -> Option<Learn> {
        let (key, node) = fields.get(self, "learn")?;
        let mut f = self.map_below(key, node, LEARN)?;
        Some(Learn {
            create: f.templates(self, "create"),
            lookup: f.templates(self, "lookup"),
            sessions: f.word(self, "sessions"),
            timeout: f.word(self, "timeout"),
            header: f.word(self, "header"),
            place: self.place(key),
            broken: f.broken,
        })
    }

    /// `consecutive` or `success_rate`, with what belongs to it in a map.
    fn passive(&mut self, fields: &Fields<'_>) -> Option<Passive> {
        let (key, node) = fields.get(self, "passive")?;
        if matches!(node.shape, Shape::Scalar) {
            let word = self.word(key, node, Kind::Word)?;
            let on = Word { value: "on".to_owned(), place: word.place.clone() };
            let mut passive = Passive::at(self.place(key));
            match word.value.as_str() {
                "consecutive" => passive.consecutive = Some(on),
                "success_rate" => passive.success_rate = Some(on),
                unknown => {
                    let message = format!("unknown judgement of failures {}", quote(unknown));
                    self.diags
                        .error(&word.place, message)
                        .expected("expected consecutive, success_rate or a map with one of them");
                    return None;
                }
            }
            return Some(passive);
        }
        let mut f = self.map_below(key, node, PASSIVE)?;
        Some(Passive {
            consecutive: f.word(self, "consecutive"),
            success_rate: f.word(self, "success_rate"),
            requests: f.word(self, "requests"),
            window: f.word(self, "window"),
            eject: f.word(self, "eject"),
            eject_max: f.word(self, "eject_max"),
            place: self.place(key),
            broken: f.broken,
        })
    }

    fn queue(&mut self, fields: &Fields<'_>) -> Option<Queue> {
        let (key, node) = fields.get(self, "queue")?;
        if matches!(node.shape, Shape::Scalar) {
            let max = Some(self.word(key, node, Kind::Word)?);
            return Some(Queue { max, timeout: None, place: self.place(key), broken: false });
        }
        let mut f = self.map_below(key, node, QUEUE)?;
        let (max, timeout) = (f.word(self, "max"), f.word(self, "timeout"));
        Some(Queue { max, timeout, place: self.place(key), broken: f.broken })
    }

    fn servers(&mut self, fields: &Fields<'_>) -> Option<List<UpstreamServer>> {
        let (key, node) = fields.get(self, "servers")?;
        let mut list = List { items: Vec::new(), broken: false, place: self.place(node) };
        // One alone may stand without brackets.
        let one = matches!(node.shape, Shape::Scalar | Shape::Map(_));
        let items = if one { Some(std::slice::from_ref(node)) } else { self.items(key, node) };
        list.broken = items.is_none();
        for item in items.unwrap_or_default() {
            match self.server_line(key, item) {
                Some(server) => list.items.push(server),
                None => list.broken = true,
            }
        }
        Some(list)
    }

    fn server_line(&mut self, key: &Node, node: &Node) -> Option<UpstreamServer> {
        if !matches!(node.shape, Shape::Map(_)) {
            return Some(UpstreamServer::at(self.entry(key, node)?));
        }
        let mut f = self.fields("a server", node, &[UPSTREAM_SERVER])?;
        let address = f.word(self, "address");
        if address.is_none() && !f.broken {
            self.diags
                .error(&f.place, "a server without an address")
                .expected("expected `address: host:port`");
        }
        let server = UpstreamServer {
            weight: f.word(self, "weight"),
            backup: f.word(self, "backup"),
            down: f.word(self, "down"),
            max_fails: f.word(self, "max_fails"),
            fail_timeout: f.word(self, "fail_timeout"),
            max_conns: f.word(self, "max_conns"),
            slow_start: f.word(self, "slow_start"),
            drain: f.word(self, "drain"),
            route: f.word(self, "route"),
            ..UpstreamServer::at(address?)
        };
        Some(server)
    }
}
