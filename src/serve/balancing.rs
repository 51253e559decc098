//! One Pingora `LoadBalancer` for each upstream: it owns the set of backends and their update.
//!
//! Our discovery is its `ServiceDiscovery`, our probe its `HealthCheck`, and [`Publish`], its
//! `BackendSelection`, hands every new set to our [`Upstream`], which requests ask. Three facts
//! of Pingora shape this file. A backend is its address and weight, so a change of any other
//! attribute builds no new selection: [`Balancer::update`] publishes once more, which does nothing
//! where nothing changed. An error of discovery is dropped and an empty answer wipes the set: ours
//! never fails and keeps the last good members itself. Its built-in loop has one timer for refreshes
//! and probes: it is not used, whoever holds a [`Balancer`] calls `update` when a refresh is due.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use pingora::protocols::l4::socket::SocketAddr as Address;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::health_check::HealthCheck;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};
use pingora_load_balancing::{Backend, Backends, Extensions, LoadBalancer};

use crate::health::Tick;
use crate::observe::event::Line;
use crate::upstream::{Event, Key, Member, Method, PeerAddress, Tried, Upstream};

/// Finds the members of an upstream.
#[async_trait]
pub trait Refresh: Send + Sync + 'static {
    /// The members at present. It has no error: where a lookup fails the last good ones stand.
    async fn refresh(&self) -> Vec<Member>;
}

/// What discovery, selection and balancer share.
#[derive(Debug)]
pub struct Publication {
    upstream: Arc<Upstream>,
    /// What the last refresh found. Pingora's set cannot carry it: it drops all but address and weight.
    members: Mutex<Vec<Member>>,
    /// What publishing has changed and nobody has taken yet.
    events: Mutex<Vec<Event>>,
}

impl Publication {
    fn new(upstream: Arc<Upstream>) -> Arc<Self> {
        Arc::new(Self { upstream, members: Mutex::default(), events: Mutex::default() })
    }

    fn publish(&self) {
        let events = self.upstream.publish(&locked(&self.members), Tick::now());
        locked(&self.events).extend(events);
    }
}

/// A `BackendSelection` whose selection is [`Upstream::pick`].
#[derive(Debug)]
pub struct Publish {
    upstream: Arc<Upstream>,
}

impl BackendSelection for Publish {
    type Iter = Turns;
    type Config = Arc<Publication>;

    fn build_with_config(_: &BTreeSet<Backend>, publication: &Arc<Publication>) -> Self {
        publication.publish();
        Self { upstream: Arc::clone(&publication.upstream) }
    }

    /// Without a configuration there is no upstream to publish to: one of its own, with defaults.
    fn build(backends: &BTreeSet<Backend>) -> Self {
        let member = |b: &Backend| {
            let weight = u32::try_from(b.weight).unwrap_or(u32::MAX);
            Some(Member { weight, ..Member::new((*b.addr.as_inet()?).into()) })
        };
        let upstream = Upstream::new("", &Method::default(), None);
        let members: Vec<Member> = backends.iter().filter_map(member).collect();
        upstream.publish(&members, Tick::now());
        Self { upstream: Arc::new(upstream) }
    }

    fn iter(self: &Arc<Self>, key: &[u8]) -> Turns {
        let upstream = Arc::clone(&self.upstream);
        Turns { upstream, key: key.into(), tried: Tried::default(), current: None }
    }
}

/// The peers whose turn it is, one after the other, as Pingora's `select` asks for them.
#[derive(Debug)]
pub struct Turns {
    upstream: Arc<Upstream>,
    /// For `hash`; Pingora knows no client's address.
    key: Box<[u8]>,
    tried: Tried,
    current: Option<Backend>,
}

impl BackendIter for Turns {
    fn next(&mut self) -> Option<&Backend> {
        let key = Key { text: &self.key, ..Key::default() };
        let lease = self.upstream.pick(&key, &self.tried, Tick::now()).ok()?;
        self.tried.add(&lease);
        Some(self.current.insert(backend(lease.member())))
    }
}

/// Our discovery as Pingora calls it.
struct Discover<R> {
    refresh: R,
    publication: Arc<Publication>,
}

#[async_trait]
impl<R: Refresh> ServiceDiscovery for Discover<R> {
    async fn discover(&self) -> pingora::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let members = self.refresh.refresh().await;
        let backends = members.iter().map(backend).collect();
        *locked(&self.publication.members) = members;
        Ok((backends, HashMap::new()))
    }
}

/// The load balancer of one upstream.
pub struct Balancer {
    lb: LoadBalancer<Publish>,
    publication: Arc<Publication>,
    /// Pingora forbids two updates at a time.
    updating: tokio::sync::Mutex<()>,
}

impl Balancer {
    /// The balancer that fills `upstream` with what `refresh` finds; nothing is looked up yet.
    #[must_use]
    pub fn new(
        upstream: Arc<Upstream>,
        refresh: impl Refresh,
        check: Option<Box<dyn HealthCheck + Send + Sync>>,
    ) -> Self {
        let publication = Publication::new(upstream);
        let discover = Discover { refresh, publication: Arc::clone(&publication) };
        let mut backends = Backends::new(Box::new(discover));
        if let Some(check) = check {
            backends.set_health_check(check);
        }
        let lb = LoadBalancer::from_backends_with_config(backends, Some(Arc::clone(&publication)));
        Self { lb, publication, updating: tokio::sync::Mutex::new(()) }
    }

    /// The upstream that it fills.
    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.publication.upstream
    }

    /// Pingora's side of it.
    #[must_use]
    pub fn load_balancer(&self) -> &LoadBalancer<Publish> {
        &self.lb
    }

    /// Refreshes the members, publishes them and says what changed.
    ///
    /// # Cancel safety
    /// May be dropped: what was found is then published by the next call.
    pub async fn update(&self) -> Vec<Event> {
        let _updating = self.updating.lock().await;
        // `Discover` has no error to return.
        if let Err(error) = self.lb.update().await {
            let line = Line::new("refresh failed, keeping peers");
            let line = line.field("upstream", self.upstream().name());
            line.field("error", format_args!("{error:?}")).warn("robin::discovery");
        }
        self.publication.publish();
        std::mem::take(&mut *locked(&self.publication.events))
    }
}

/// A member as Pingora knows it. Weight 0 in every backend would make it divide by zero.
fn backend(member: &Member) -> Backend {
    Backend {
        addr: match &member.address {
            PeerAddress::Tcp(address) => (*address).into(),
            PeerAddress::Unix(path) => match UnixAddress::from_pathname(path) {
                Ok(path) => Address::Unix(path),
                // Longer than any can be. To Pingora it is no more than a name.
                Err(_) => Address::Inet((Ipv4Addr::UNSPECIFIED, 0).into()),
            },
        },
        weight: usize::try_from(member.weight.max(1)).unwrap_or(usize::MAX),
        ext: Extensions::new(),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values are swapped or appended under it: a poisoned one is as good as any.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Change, Tier};

    /// Finds what the test last wrote into it.
    #[derive(Clone, Default)]
    struct Script(Arc<Mutex<Vec<Member>>>);

    impl Script {
        fn says(&self, members: &[Member]) {
            *locked(&self.0) = members.to_vec();
        }
    }

    #[async_trait]
    impl Refresh for Script {
        async fn refresh(&self) -> Vec<Member> {
            locked(&self.0).clone()
        }
    }

    fn member(port: u16) -> Member {
        Member::new(([127, 0, 0, 1], port).into())
    }

    fn balancer() -> (Script, Balancer) {
        let script = Script::default();
        let upstream = Arc::new(Upstream::new("test", &Method::default(), None));
        (script.clone(), Balancer::new(upstream, script, None))
    }

    async fn changes(balancer: &Balancer) -> Vec<(u16, Change)> {
        balancer.update().await.into_iter().map(|e| (e.peer.port(), e.change)).collect()
    }

    const JOINED: Change = Change::Joined { tier: Tier::Primary };

    #[tokio::test]
    async fn what_a_refresh_finds_is_what_requests_get() {
        let (script, balancer) = balancer();
        script.says(&[member(2), member(1)]);
        assert_eq!(changes(&balancer).await, [(2, JOINED), (1, JOINED)]);
        let peers = balancer.upstream().peers();
        let ports: Vec<u16> = peers.iter().map(|p| p.address().port()).collect();
        assert_eq!(ports, [2, 1], "in order of the server lines");
        assert_eq!(changes(&balancer).await, []);
        script.says(&[member(1)]);
        assert_eq!(changes(&balancer).await, [(2, Change::Left)]);
    }

    #[tokio::test]
    async fn a_change_of_attributes_that_pingora_does_not_see_is_published() {
        let (script, balancer) = balancer();
        script.says(&[member(1), member(2)]);
        balancer.update().await;
        script.says(&[Member { absent: true, ..member(1) }, member(2)]);
        assert_eq!(changes(&balancer).await, [(1, Change::Absent)]);
    }

    #[tokio::test]
    async fn weight_zero_everywhere_is_weight_one() {
        let (script, balancer) = balancer();
        script.says(&[Member { weight: 0, ..member(1) }, Member { weight: 0, ..member(2) }]);
        balancer.update().await;
        assert_eq!(balancer.load_balancer().backends().get_backend().len(), 2);
        assert!(balancer.upstream().pick(&Key::default(), &Tried::default(), Tick::now()).is_ok());
    }

    #[tokio::test]
    async fn pingora_selects_what_pick_gives() {
        let (script, balancer) = balancer();
        script.says(&[member(1), member(2)]);
        balancer.update().await;
        let select = || balancer.load_balancer().select(b"", 16).map(|b| b.addr.to_string());
        let selected = [select(), select()].map(|s| s.expect("both are ready"));
        assert_eq!(selected, ["127.0.0.1:1", "127.0.0.1:2"]);
    }

    #[tokio::test]
    async fn a_set_without_an_upstream_is_its_own() {
        let lb = LoadBalancer::<Publish>::try_from_iter(["127.0.0.1:1"]).expect("it parses");
        assert!(lb.select(b"", 16).is_some());
    }
}
