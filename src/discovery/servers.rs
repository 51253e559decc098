//! The DNS servers: one question to all of them, in their order, within a time limit.
//!
//! The order is a preference, as in resolv.conf: the next server is asked when the one before it
//! fails, or has said nothing for a quarter of the limit. That something exists is believed of
//! whoever says it; that nothing exists only when no preferred server is still being waited for,
//! since a public server that steps in for a slow Docker one knows none of its names. After
//! [`WRITTEN_OFF`] questions without an answer a server is asked along with the next one and not
//! waited for, so that a dead one costs nothing; its first answer restores it.
//!
//! Each server has a hickory resolver of its own. Hickory's pool of several returns the first
//! SERVFAIL or REFUSED although the next server could answer, and reorders them by speed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::{Instant, sleep_until};

use super::Reason;

/// Questions in a row that a server may leave unanswered before nobody waits for it: a lost
/// packet or two are none of its fault.
const WRITTEN_OFF: u32 = 3;

/// The records of one answer.
pub(super) type Records = Vec<RData>;

struct Server {
    address: SocketAddr,
    /// Asks over UDP only. A truncated answer is asked for over a TCP connection of its own: one
    /// that hickory kept, and that the server has closed since, costs the whole time limit.
    udp: TokioResolver,
    /// Questions in a row that got no answer.
    unanswered: AtomicU32,
}

impl Server {
    fn is_written_off(&self) -> bool {
        self.unanswered.load(Relaxed) >= WRITTEN_OFF
    }

    fn missed(&self) {
        let more = |n: u32| Some(n.saturating_add(1));
        let _ = self.unanswered.fetch_update(Relaxed, Relaxed, more);
    }
}

/// The DNS servers in order of preference.
pub(super) struct Servers {
    servers: Vec<Server>,
    limit: Duration,
}

impl Servers {
    /// # Errors
    /// Hickory's, when a resolver cannot be set up.
    pub(super) fn new(addresses: &[SocketAddr], limit: Duration) -> Result<Self, NetError> {
        let server = |&address| {
            let udp = client(address, ConnectionConfig::udp(), limit)?;
            Ok(Server { address, udp, unanswered: AtomicU32::new(0) })
        };
        let servers = addresses.iter().map(server).collect::<Result<_, NetError>>()?;
        Ok(Self { servers, limit })
    }

    /// The records of `kind` that `name` has, at least one.
    ///
    /// # Errors
    /// Why there are none. Ends by `deadline` in any case.
    ///
    /// # Cancel safety
    /// May be dropped; a server that has not answered by then is not held to have missed.
    pub(super) async fn query(
        &self,
        name: &Name,
        kind: RecordType,
        deadline: Instant,
    ) -> Result<Records, Reason> {
        let mut next = self.servers.iter().enumerate();
        let mut asked = FuturesUnordered::new();
        // Those of `asked` that have not answered yet.
        let mut open: Vec<usize> = Vec::new();
        let mut nothing: Option<(usize, Reason)> = None;
        let mut failure: Option<Reason> = None;
        loop {
            // A server that is written off is asked, but in company.
            for (index, server) in next.by_ref() {
                open.push(index);
                asked.push(async move { (index, self.ask(server, name, kind).await) });
                if !server.is_written_off() {
                    break;
                }
            }
            let patience = deadline.min(Instant::now() + self.limit / 4);
            let until = if next.len() > 0 { patience } else { deadline };
            tokio::select! {
                Some((index, answer)) = asked.next() => {
                    open.retain(|&i| i != index);
                    match answer {
                        Ok(records) => {
                            self.miss_before(index, &open);
                            return Ok(records);
                        }
                        Err(reason) if reason.is_answer() => {
                            nothing = nothing.filter(|(i, _)| *i < index).or(Some((index, reason)));
                        }
                        Err(reason) => failure = failure.or(Some(reason)),
                    }
                }
                () = sleep_until(until) => if Instant::now() >= deadline {
                    self.miss_before(usize::MAX, &open);
                    break;
                },
            }
            let awaited = |i: &usize| !self.servers[*i].is_written_off();
            if let Some((index, reason)) = &nothing
                && !open.iter().any(|i| i < index && awaited(i))
            {
                self.miss_before(*index, &open);
                return Err(reason.clone());
            }
            if open.is_empty() && next.len() == 0 {
                break;
            }
        }
        let silent = open.first().and_then(|&i| self.servers.get(i));
        let timeout = silent.map(|server| Reason::Timeout { server: server.address });
        Err(failure.or(timeout).unwrap_or(Reason::NotAsked))
    }

    async fn ask(&self, server: &Server, name: &Name, kind: RecordType) -> Result<Records, Reason> {
        let mut result = server.udp.lookup(name.clone(), kind).await;
        if matches!(result, Err(NetError::Truncated)) {
            result = match client(server.address, ConnectionConfig::tcp(), self.limit) {
                Ok(tcp) => tcp.lookup(name.clone(), kind).await,
                Err(error) => Err(error),
            };
        }
        let result = match result {
            Ok(lookup) => {
                let of_kind = lookup.answers().iter().filter(|r| r.record_type() == kind);
                let records: Records = of_kind.map(|r| r.data.clone()).collect();
                if records.is_empty() { Err(Reason::NoAddress) } else { Ok(records) }
            }
            Err(error) => Err(Reason::from_error(&error, server.address)),
        };
        match &result {
            Err(reason) if reason.is_silence() => server.missed(),
            _ => server.unanswered.store(0, Relaxed),
        }
        result
    }

    /// Holds it against those of `open` that stand before `index` that another was faster.
    fn miss_before(&self, index: usize, open: &[usize]) {
        for &late in open.iter().filter(|&&i| i < index) {
            self.servers[late].missed();
        }
    }
}

fn client(
    address: SocketAddr,
    mut connection: ConnectionConfig,
    limit: Duration,
) -> Result<TokioResolver, NetError> {
    connection.port = address.port();
    let server = NameServerConfig::new(address.ip(), true, vec![connection]);
    let config = ResolverConfig::from_name_servers(vec![server]);

    let mut options = ResolverOpts::default();
    // Above the limit, so that it is the deadline of a question that ends it. Were a slow server's
    // question to fail first, the next one's "no such name" would be believed.
    options.timeout = limit * 2;
    // UDP questions are sent again after 333 ms by the layer below; this would start over.
    options.attempts = 0;
    // With them hickory goes on from an SRV record that it found behind a CNAME and finds nothing.
    options.preserve_intermediates = false;
    // Docker's TTL of 600 s says nothing about replicas.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;

    let provider = TokioRuntimeProvider::default();
    let mut builder = TokioResolver::builder_with_config(config, provider);
    *builder.options_mut() = options;
    builder.build()
}
