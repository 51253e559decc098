//! The status listener: a virtual server of its own, so that it is bound, closed and reloaded as all
//! are.
//!
//! What the configuration says of virtual servers does not hold for it, and it has no access log.

use super::settings;
use crate::config::address;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::{
    Action, Config, Listen, ListenAddress, PathMatch, Requests, Route, VerifyClient, VirtualServer,
};
use crate::config::raw::{self, Word};

/// Where it listens; its virtual server goes behind the others.
pub(super) fn status(
    raw: &raw::Config,
    servers: &mut Vec<VirtualServer>,
    diags: &mut Diagnostics,
) -> Option<ListenAddress> {
    let word = raw.status.as_ref().filter(|word| word.value != "off")?;
    let address = diags.address(word, address::listen(&word.value))?;
    if let Some(first) = listened_on(raw, &address) {
        let message =
            format!("`status` listens where a virtual server does: {}", quote(&word.value));
        diags
            .error(&word.place, message)
            .expected("expected an address of its own, or `off`")
            .also(&first.place, "the virtual server's is written here")
            .help("`robin_status` in a route shows the same within a virtual server");
        return None;
    }
    servers.push(server(address.clone()));
    Some(address)
}

/// Where an address is listened on already.
fn listened_on<'r>(raw: &'r raw::Config, address: &ListenAddress) -> Option<&'r Word> {
    let listed = raw.virtual_servers.iter().flat_map(|list| &list.items);
    let listens = listed.chain([&raw.server]).flat_map(|server| &server.listen);
    let mut words = listens.flat_map(|list| &list.items).map(|listen| &listen.address);
    words.find(|word| is_at(word, address))
}

fn is_at(word: &Word, address: &ListenAddress) -> bool {
    address::listen(&word.value).is_ok_and(|known| known == *address)
}

/// Where an address is written, be it a virtual server's or the status listener's.
pub(in crate::config) fn written<'r>(
    raw: &'r raw::Config,
    address: &ListenAddress,
) -> Option<&'r Word> {
    let status = || raw.status.as_ref().filter(|word| is_at(word, address));
    listened_on(raw, address).or_else(status)
}

fn server(address: ListenAddress) -> VirtualServer {
    let mut settings = settings::defaults();
    settings.access_logs = Some(Vec::new());
    let route = Route {
        path: PathMatch::Prefix("/".to_owned()),
        parent: None,
        internal: false,
        program: Vec::new(),
        action: Action::Status,
        settings: settings.clone(),
    };
    VirtualServer {
        listen: vec![Listen {
            address,
            default: true,
            tls: false,
            http2: false,
            proxy_protocol: None,
            max_connections: None,
        }],
        names: Vec::new(),
        program: Vec::new(),
        routes: vec![route],
        settings,
        requests: Requests::default(),
        tls: None,
        verify_client: VerifyClient::Off,
    }
}

impl Config {
    /// Whether a virtual server is the status listener's.
    #[must_use]
    pub fn is_of_status(&self, server: &VirtualServer) -> bool {
        let Some(address) = &self.status else { return false };
        server.listen.iter().any(|listen| listen.address == *address)
    }
}
