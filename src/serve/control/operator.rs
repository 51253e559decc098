//! Answers the operator: who is there and how they stand, and takes his word on them.
//!
//! Each caller has a task of its own with limits on time, size and number, so that a slow or silent one
//! blocks nobody. It runs on the main thread, beside discovery and probes: requests know nothing of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::roster::{Meant, Roster};
use super::{Answer, Ask, Socket, Told};
use crate::health::Tick;
use crate::observe::event;
use crate::serve::reread::Refused;
use crate::upstream::Hand;

/// Callers at a time: some operators who wait for a drain, and what watches the peers.
const CALLERS: usize = 32;
/// How long a caller has to ask, and to take a line of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest line that is asked, in bytes.
const LONGEST: u64 = 4096;
/// How often a drain looks whether its peers are idle: short beside a request, and nothing that a request pays for.
const LOOK: Duration = Duration::from_millis(5);
/// How often a drain says how many are left.
const NEWS: Duration = Duration::from_secs(1);
/// After an accept that failed: too many open files, perhaps; that passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What the operator wants of the process itself, which does one thing after the other.
#[derive(Debug)]
pub(in crate::serve) enum Order {
    /// That it reads its configuration again.
    Reload(Reply),
    /// That it starts another in its place.
    Upgrade(Reply),
}

/// Where the answer to an order goes.
#[derive(Debug)]
pub(in crate::serve) struct Reply {
    pub(in crate::serve) answer: oneshot::Sender<Result<String, Refused>>,
    /// Ends once it is written.
    pub(in crate::serve) written: oneshot::Receiver<()>,
}

/// Answers callers, and hands their orders on; ends with the process.
pub(in crate::serve) async fn serve(
    socket: Arc<Socket>,
    roster: Roster,
    orders: mpsc::Sender<Order>,
) {
    let listener = socket.listener().and_then(tokio::net::UnixListener::from_std);
    let Ok(listener) = listener else { return };
    let callers = Arc::new(Semaphore::new(CALLERS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // One too many is hung up on: he who waited would be a silent caller's victim.
        let Ok(permit) = Arc::clone(&callers).try_acquire_owned() else { continue };
        let (roster, orders) = (roster.clone(), orders.clone());
        tokio::spawn(async move {
            // A caller that leaves before its answer misses nothing.
            let _ = Caller::answer(stream, &roster, &orders).await;
            drop(permit);
        });
    }
}

/// One who has asked.
struct Caller {
    stream: UnixStream,
}

impl Caller {
    async fn answer(
        stream: UnixStream,
        roster: &Roster,
        orders: &mpsc::Sender<Order>,
    ) -> io::Result<()> {
        let mut lines = BufReader::new(stream).take(LONGEST);
        let mut line = String::new();
        timeout(PATIENCE, lines.read_line(&mut line)).await??;
        let mut caller = Self { stream: lines.into_inner().into_inner() };
        let asked = match serde_json::from_str(&line) {
            Ok(asked) => asked,
            Err(error) => {
                return caller.say(&Answer::Error(format!("not understood: {error}"))).await;
            }
        };
        let told = match &asked {
            Ask::Peers => return caller.say(&Answer::Upstreams(roster.views())).await,
            Ask::Status => return caller.say(&Answer::Status(Box::new(roster.status()))).await,
            Ask::Reload => return caller.order(Order::Reload, orders).await,
            Ask::Upgrade => return caller.order(Order::Upgrade, orders).await,
            Ask::Drain { what, .. } => tell(roster, what, |_| Hand::Drain),
            Ask::Down { what } => tell(roster, what, |_| Hand::Down),
            Ask::Up { what } => tell(roster, what, |_| Hand::Off),
            Ask::Undrain { what } => tell(roster, what, |hand| match hand {
                Hand::Down => Hand::Down,
                Hand::Drain | Hand::Off => Hand::Off,
            }),
        };
        let (meant, told) = match told {
            Ok(told) => told,
            Err(error) => return caller.say(&Answer::Error(error)).await,
        };
        caller.say(&Answer::Told(told)).await?;
        if let Ask::Drain { timeout_ms, .. } = asked {
            let drained = caller.drain(&meant, timeout_ms.map(Duration::from_millis)).await?;
            caller.say(&Answer::Drained(drained)).await?;
        }
        Ok(())
    }

    /// Waits until the process has done what is asked of it.
    async fn order(
        &mut self,
        order: fn(Reply) -> Order,
        orders: &mpsc::Sender<Order>,
    ) -> io::Result<()> {
        let ((answer, answered), (end, written)) = (oneshot::channel(), oneshot::channel::<()>());
        // Nobody takes orders any more where this fails, and then nobody answers, either.
        let _ = orders.send(order(Reply { answer, written })).await;
        let answer = match answered.await {
            Ok(Ok(done)) => Answer::Done(done),
            Ok(Err(refused)) => Answer::Refused(refused.text().to_owned()),
            Err(_) => Answer::Error("robin is about to end".to_owned()),
        };
        let said = self.say(&answer).await;
        drop(end);
        said
    }

    /// Waits until nothing is in flight on these; false where the time was over before.
    ///
    /// # Errors
    /// Where the caller is gone.
    async fn drain(&mut self, meant: &[Meant], limit: Option<Duration>) -> io::Result<bool> {
        let begin = Instant::now();
        let mut said: Option<Instant> = None;
        loop {
            let in_flight: u64 = meant.iter().map(|m| u64::from(m.in_flight())).sum();
            if in_flight == 0 {
                return Ok(true);
            }
            let over = limit.is_some_and(|limit| begin.elapsed() >= limit);
            if over || said.is_none_or(|at| at.elapsed() >= NEWS) {
                // A caller that has left is found out by this, too; its word on the peers stands.
                self.say(&Answer::InFlight(in_flight)).await?;
                said = Some(Instant::now());
            }
            if over {
                return Ok(false);
            }
            sleep(LOOK).await;
        }
    }

    async fn say(&mut self, answer: &Answer) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        timeout(PATIENCE, self.stream.write_all(&line)).await?
    }
}

/// Tells the peers that `what` means what `word` makes of what they were told before.
fn tell(
    roster: &Roster,
    what: &str,
    word: impl Fn(Hand) -> Hand,
) -> Result<(Vec<Meant>, Vec<Told>), String> {
    let meant = roster.find(what)?;
    let told = meant.iter().map(|meant| {
        let Meant { upstream, peer, .. } = meant;
        let before = peer.hand();
        let now = Tick::now();
        let event = upstream.tell(peer, word(before), now);
        if let Some(event) = event {
            event::peer(upstream.name(), &event);
        }
        Told {
            upstream: upstream.name().to_owned(),
            peer: peer.address().to_string(),
            changed: before != peer.hand(),
            reason: peer.state(now).reason(now),
            in_flight: meant.in_flight(),
        }
    });
    let told = told.collect();
    Ok((meant, told))
}
