//! From nodes to the raw tree: health checks.

use super::fields::{Door, Fields};
use super::node::{Node, Shape};
use super::{HEALTH_CHECK, PROBE_TLS};
use crate::config::diagnostics::quote;
use crate::config::env::Kind;
use crate::config::raw::{HealthCheck, List, ProbeTls, Word};

impl Door<'_> {
    /// One, or a list of them.
    pub(super) fn health_checks(&mut self, fields: &mut Fields<'_>) -> Vec<HealthCheck> {
        let Some((key, node)) = fields.get(self, "health_check") else { return Vec::new() };
        let (nodes, begin) = match &node.shape {
            Shape::List(nodes) => (nodes.as_slice(), None),
            _ => (std::slice::from_ref(node), Some(key)),
        };
        let mut checks = Vec::new();
        for node in nodes {
            match self.health_check(key, node, begin.unwrap_or(node)) {
                Some(check) => checks.push(check),
                None => fields.broken = true,
            }
        }
        checks
    }

    /// One that begins at `begin`.
    fn health_check(&mut self, key: &Node, node: &Node, begin: &Node) -> Option<HealthCheck> {
        if matches!(node.shape, Shape::Scalar) {
            let word = self.word(key, node, Kind::Word)?;
            return self.short_health_check(word);
        }
        let mut f = self.map_below(key, node, HEALTH_CHECK)?;
        let check = HealthCheck {
            http: f.word(self, "http"),
            tcp: f.word(self, "tcp"),
            grpc: f.word(self, "grpc"),
            grpc_status: f.word(self, "grpc_status"),
            every: f.word(self, "every"),
            jitter: f.word(self, "jitter"),
            timeout: f.word(self, "timeout"),
            connect_timeout: f.word(self, "connect_timeout"),
            rise: f.word(self, "rise"),
            fall: f.word(self, "fall"),
            mandatory: f.word(self, "mandatory"),
            persistent: f.word(self, "persistent"),
            keepalive: f.word(self, "keepalive"),
            method: f.word(self, "method"),
            headers: self.words_by_name(&f, "headers"),
            status: f.words(self, "status"),
            expect_headers: self.words_by_name(&f, "expect_headers"),
            body: f.word(self, "body"),
            body_matches: f.word(self, "body_matches"),
            body_lacks: f.word(self, "body_lacks"),
            host: f.word(self, "host"),
            port: f.word(self, "port"),
            tls: self.probe_tls(&mut f),
            ..HealthCheck::at(self.place(begin))
        };
        Some(HealthCheck { broken: f.broken, ..check })
    }

    /// Names with single values.
    fn words_by_name(&mut self, fields: &Fields<'_>, key: &str) -> Option<List<(Word, Word)>> {
        self.named(fields, key, |door, key, node| {
            let value = door.word(key, node, Kind::Word)?;
            Some((door.key(key), value))
        })
    }

    /// `tls: on`, or what is to be said of it.
    fn probe_tls(&mut self, fields: &mut Fields<'_>) -> Option<ProbeTls> {
        let (key, node) = fields.get(self, "tls")?;
        let mut tls = ProbeTls { enabled: None, sni: None, verify: None, ca: None };
        if matches!(node.shape, Shape::Scalar | Shape::Null) {
            tls.enabled = fields.word(self, "tls");
            return Some(tls);
        }
        let Some(mut f) = self.map_below(key, node, PROBE_TLS) else {
            fields.broken = true;
            return None;
        };
        tls.sni = f.word(self, "sni");
        tls.verify = f.word(self, "verify");
        tls.ca = f.word(self, "ca");
        Some(tls)
    }

    /// `health_check: tcp`, the one that says all in a word.
    fn short_health_check(&mut self, word: Word) -> Option<HealthCheck> {
        if word.value != "tcp" {
            let message = format!("unknown health check {}", quote(&word.value));
            self.diags
                .error(&word.place, message)
                .expected("expected `tcp` or a map such as `{ http: /healthz, every: 2s }`");
            return None;
        }
        let place = word.place.clone();
        Some(HealthCheck { tcp: Some(word), ..HealthCheck::at(place) })
    }
}
