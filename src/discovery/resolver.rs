//! One host into addresses: hosts file, DNS with the search list, SRV records.
//!
//! A name is asked first as written, then under each domain of the search list. An answer that
//! there is none moves on to the next; one that fails ends the search if it was found there last
//! time, and is remembered if not. So a name that is normally found as written (Compose) is gone
//! as soon as that says NXDOMAIN, even if the search domain's server is broken; and a name that is
//! normally found under a search domain (Kubernetes) is not gone because that one fails. A search
//! domain that never had it gets a quarter of the time: news about the name cannot wait for it.
//!
//! The hosts file and resolv.conf are read once; a reload makes a new resolver.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::{join, join_all};
use hickory_resolver::Hosts;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::Instant;

use super::Reason;
use super::servers::Servers;
use crate::config::model::{self, Host};

/// Where glibc asks when resolv.conf names no server.
const DEFAULT_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// One address of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The port that an SRV record gives. Default: none, the server line's.
    pub port: Option<u16>,
    /// Whether its SRV record has not the lowest priority value of all. Default false.
    pub backup: bool,
    /// The weight that an SRV record gives, at least 1. Default 1.
    pub weight: u32,
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self { ip, port: None, backup: false, weight: 1 }
    }
}

/// What a host was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its addresses, at least one, in a stable order and none twice.
    pub addresses: Vec<Address>,
    /// Why more addresses may exist: the targets of some SRV records could not be looked up.
    /// Default: none.
    pub missing: Option<Reason>,
    /// The name that had them; none where no server was asked.
    pub(super) name: Option<Name>,
}

impl Found {
    fn new(mut addresses: Vec<Address>, name: Option<Name>) -> Self {
        addresses.sort_unstable();
        addresses.dedup_by_key(|a| (a.ip, a.port));
        Self { addresses, missing: None, name }
    }

    /// These and the `old` ones that are not among them.
    pub(super) fn with_old(mut self, old: &[Address]) -> Self {
        let is_new = |o: &&Address| self.addresses.iter().all(|a| (a.ip, a.port) != (o.ip, o.port));
        let old: Vec<Address> = old.iter().filter(is_new).copied().collect();
        self.addresses.extend(old);
        Self::new(self.addresses, self.name)
    }
}

/// The outcome of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There are addresses.
    Found(Found),
    /// It is known that there are none.
    Gone(Reason),
    /// It is not known.
    Failed(Reason),
}

impl From<Reason> for Answer {
    fn from(reason: Reason) -> Self {
        if reason.is_answer() { Self::Gone(reason) } else { Self::Failed(reason) }
    }
}

/// Looks names up.
pub struct Resolver {
    servers: Servers,
    search: Vec<Name>,
    hosts: Hosts,
    timeout: Duration,
    ipv4: bool,
    ipv6: Option<bool>,
}

impl Resolver {
    /// A resolver that asks `spec`'s servers, or those of `/etc/resolv.conf` where it has none;
    /// the search list is resolv.conf's in both cases.
    ///
    /// Reads files, so it belongs before serving. A resolv.conf that cannot be read or names no
    /// server means the one on this machine, as for glibc.
    ///
    /// # Errors
    /// Hickory's, when it cannot be set up.
    pub fn new(spec: &model::Resolver) -> Result<Self, NetError> {
        let system = read_system_conf().map(|(config, _)| config).unwrap_or_default();
        let mut addresses = spec.servers.clone();
        if addresses.is_empty() {
            addresses = system.name_servers().iter().map(|s| SocketAddr::new(s.ip, 53)).collect();
        }
        if addresses.is_empty() {
            addresses.push(DEFAULT_SERVER);
        }
        let mut search = system.search().to_vec();
        if search.is_empty() {
            search.extend(system.domain().cloned());
        }
        Ok(Self {
            servers: Servers::new(&addresses, spec.timeout)?,
            search,
            hosts: Hosts::from_system().unwrap_or_default(),
            timeout: spec.timeout,
            ipv4: spec.ipv4,
            ipv6: spec.ipv6,
        })
    }

    /// The same with another search list; what is no domain name is left out.
    #[must_use]
    pub fn with_search(mut self, domains: &[&str]) -> Self {
        self.search = domains.iter().filter_map(|d| Name::from_str_relaxed(d).ok()).collect();
        self
    }

    /// The same with another hosts file.
    #[must_use]
    pub fn with_hosts(mut self, text: &str) -> Self {
        self.hosts = Hosts::default();
        // A slice reads without error, and what cannot be parsed is left out.
        let _ = self.hosts.read_hosts_conf(text.as_bytes());
        self
    }

    /// Looks a host up. Takes no longer than the resolver's time limit.
    ///
    /// `previous` is what the host was found to be last time; see the head of this file.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn lookup(&self, host: &Host, previous: Option<&Found>) -> Answer {
        let deadline = Instant::now() + self.timeout;
        let (name, service) = match host {
            Host::Address(ip) => return Answer::Found(Found::new(vec![(*ip).into()], None)),
            // What stands for it is its path, which `member` takes.
            Host::Unix(_) => {
                let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                return Answer::Found(Found::new(vec![nowhere.into()], None));
            }
            Host::Name(name) => (name, false),
            Host::Service(name) => (name, true),
        };
        if let Ok(ip) = name.parse::<IpAddr>() {
            return Answer::Found(Found::new(vec![ip.into()], None));
        }
        let Ok(written) = Name::from_str_relaxed(name) else {
            return Answer::Failed(Reason::BadName);
        };
        if !service && let Some(found) = self.in_hosts(&written) {
            return Answer::Found(found);
        }
        self.search(&written, service, previous.and_then(|f| f.name.as_ref()), deadline).await
    }

    fn in_hosts(&self, name: &Name) -> Option<Found> {
        let records = |kind| {
            let lookup = self.hosts.lookup_static_host(&Query::query(name.clone(), kind))?;
            let ips = lookup.answers().iter().filter_map(|r| r.data.ip_addr());
            Some(ips.map(Address::from).collect::<Vec<_>>())
        };
        let addresses = records(RecordType::A).or_else(|| records(RecordType::AAAA))?;
        Some(Found::new(addresses, None))
    }

    async fn search(
        &self,
        written: &Name,
        service: bool,
        previous: Option<&Name>,
        deadline: Instant,
    ) -> Answer {
        // The first word on the name as written explains most: "no such name", not what a search
        // domain's server makes of it.
        let mut gone: Option<Reason> = None;
        let mut failed: Option<Reason> = None;
        for (position, name) in self.candidates(written).into_iter().enumerate() {
            let had_it = previous == Some(&name);
            let until = if position == 0 || had_it {
                deadline
            } else {
                deadline.min(Instant::now() + self.timeout / 4)
            };
            let answer = if service {
                self.service(&name, until).await
            } else {
                self.addresses(&name, until).await
            };
            match answer {
                Answer::Found(found) => return Answer::Found(found),
                Answer::Gone(reason) => gone = gone.or(Some(reason)),
                Answer::Failed(reason) if had_it => return Answer::Failed(reason),
                Answer::Failed(reason) => failed = failed.or(Some(reason)),
            }
        }
        match (gone, failed) {
            (Some(answer), None) => Answer::Gone(answer),
            // The candidate that had it is among those that answered.
            (Some(answer), Some(_)) if previous.is_some() => Answer::Gone(answer),
            (Some(answer), Some(failure)) => Answer::Failed(Reason::Partly {
                answer: Box::new(answer),
                failure: Box::new(failure),
            }),
            (None, failed) => Answer::Failed(failed.unwrap_or(Reason::BadName)),
        }
    }

    /// The names to ask, all fully qualified, the one as written first.
    fn candidates(&self, written: &Name) -> Vec<Name> {
        let mut as_written = written.clone();
        as_written.set_fqdn(true);
        let mut names = vec![as_written];
        if !written.is_fqdn() {
            for domain in &self.search {
                if let Ok(mut name) = written.clone().append_domain(domain) {
                    name.set_fqdn(true);
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
        }
        names
    }

    /// The A records of a name, or where it has none its AAAA records; where IPv6 is asked for, both.
    async fn addresses(&self, name: &Name, deadline: Instant) -> Answer {
        let query = |kind| self.servers.query(name, kind, deadline);
        let records = match (self.ipv4, self.ipv6) {
            (false, _) => query(RecordType::AAAA).await,
            (true, Some(true)) => match join(query(RecordType::A), query(RecordType::AAAA)).await {
                (Ok(mut records), Ok(more)) => {
                    records.extend(more);
                    Ok(records)
                }
                (Ok(records), Err(_)) | (Err(_), Ok(records)) => Ok(records),
                (Err(reason), Err(_)) => Err(reason),
            },
            (true, ipv6) => {
                let records = query(RecordType::A).await;
                // NXDOMAIN speaks for every kind of record.
                if ipv6.is_none() && records == Err(Reason::NoAddress) {
                    query(RecordType::AAAA).await
                } else {
                    records
                }
            }
        };
        match records {
            Ok(records) => {
                let ips = records.iter().filter_map(RData::ip_addr).map(Address::from);
                Answer::Found(Found::new(ips.collect(), Some(name.clone())))
            }
            Err(reason) => reason.into(),
        }
    }

    /// The addresses of every target of a name's SRV records.
    async fn service(&self, name: &Name, deadline: Instant) -> Answer {
        let records = match self.servers.query(name, RecordType::SRV, deadline).await {
            Ok(records) => records,
            Err(reason) => return reason.into(),
        };
        let offered = |data: RData| match data {
            RData::SRV(srv) if !srv.target.is_root() => Some(srv),
            _ => None,
        };
        let offers: Vec<SRV> = records.into_iter().filter_map(offered).collect();
        let Some(first) = offers.iter().map(|srv| srv.priority).min() else {
            return Answer::Gone(Reason::NotOffered);
        };
        let targets = offers.iter().map(|srv| self.addresses(&srv.target, deadline));
        let answers = join_all(targets).await;

        let mut addresses = Vec::new();
        let (mut gone, mut missing) = (None, None);
        for (srv, answer) in offers.iter().zip(answers) {
            match answer {
                Answer::Found(found) => addresses.extend(found.addresses.iter().map(|a| Address {
                    ip: a.ip,
                    port: Some(srv.port),
                    backup: srv.priority > first,
                    // RFC 2782's 0 is "hardly ever"; a share cannot be less than 1.
                    weight: u32::from(srv.weight).max(1),
                })),
                Answer::Gone(reason) => gone = gone.or(Some(reason)),
                Answer::Failed(reason) => missing = missing.or(Some(reason)),
            }
        }
        if addresses.is_empty() {
            return missing.or(gone).map_or(Answer::Gone(Reason::NotOffered), Answer::from);
        }
        Answer::Found(Found { missing, ..Found::new(addresses, Some(name.clone())) })
    }
}
