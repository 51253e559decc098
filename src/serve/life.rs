//! The life of the process between its start and its end: what signals and the operator ask for, one after
//! the other.
//!
//! A reload is waited for before the next word is heard. An upgrade is not: the process serves on while another
//! starts, and after that until somebody ends one of the two; `robin upgrade` ends this one.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::control::{self, Order, Reply, Roster, Socket};
use super::heritage::{self, CONTROL, HEALTH};
use super::pid_file::PidFile;
use super::reread::Refused;
use super::signals::{End, Signals, Told};
use super::upgrade::{Event, Heir, UpgradeError};
use super::{Ending, ServeError, systemd};
use crate::observe::event::Line;

/// How long the end of the process waits for the operator to have his answer.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// Orders that wait for their turn; the operator's callers are fewer.
const WAITING: usize = 64;

/// Who does what is asked for.
pub(super) trait Obeys {
    /// Reads the configuration again; returns what has changed.
    async fn reload(&mut self) -> Result<String, Refused>;
    /// Opens the log files again.
    fn reopen(&mut self);
    /// Every listening socket once more, with the name that says whose it is.
    fn sockets(&self) -> io::Result<Vec<(&'static str, OwnedFd)>>;
    /// Has the workers accept no more; the sockets stay, and a reload has them accept again.
    fn pause(&mut self);
    /// Tells the workers to drain and end.
    fn end(&mut self);
}

/// Where the operator is heard, while he is.
pub(super) struct Desk {
    socket: Option<Arc<Socket>>,
    /// Those of `robin health`, which are heard until the end.
    health: Vec<std::os::unix::net::UnixListener>,
    roster: Roster,
    orders: mpsc::Sender<Order>,
    listening: Option<JoinHandle<()>>,
}

impl Desk {
    /// Hears the operator from now on; his orders come out of the channel.
    pub(super) fn open(
        socket: Option<Arc<Socket>>,
        health: Vec<std::os::unix::net::UnixListener>,
        roster: Roster,
    ) -> (Self, mpsc::Receiver<Order>) {
        let (orders, inbox) = mpsc::channel(WAITING);
        for listener in &health {
            if let Ok(listener) = listener.try_clone() {
                tokio::spawn(control::answer(listener, roster.clone()));
            }
        }
        let mut desk = Self { socket, health, roster, orders, listening: None };
        desk.reopen();
        (desk, inbox)
    }

    /// Where orders come in.
    pub(super) fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }

    fn reopen(&mut self) {
        if let Some(socket) = &self.socket {
            let (roster, orders) = (self.roster.clone(), self.orders.clone());
            let serving = control::serve(Arc::clone(socket), roster, orders);
            self.listening = Some(tokio::spawn(serving));
        }
    }

    /// Leaves the operator to another process. Who has asked already is answered.
    fn close(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
    }

    /// What another process needs to be asked in our place.
    fn sockets(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        let mut sockets = Vec::new();
        if let Some(socket) = &self.socket {
            sockets.push((CONTROL, socket.listener()?.into()));
        }
        for listener in &self.health {
            sockets.push((HEALTH, listener.try_clone()?.into()));
        }
        Ok(sockets)
    }
}

/// What the process is made of while it lives.
pub(super) struct Life<'l, L> {
    pub(super) signals: Signals,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) workers: mpsc::UnboundedReceiver<Ending>,
    pub(super) live: &'l mut L,
    /// None in a test.
    pub(super) desk: Option<Desk>,
    pub(super) pid_file: Option<PidFile>,
    /// The process that is to take our place, if there is one.
    pub(super) heir: Option<Heir>,
    /// Who waits for it.
    pub(super) waiting: Option<Reply>,
}

impl<L: Obeys> Life<'_, L> {
    /// Does what is asked for until the process is to end, unless it is already, and then waits for the
    /// workers to drain. A worker that fails takes the others with it: its share of the connections would be
    /// lost silently, where whoever started the process can start it again.
    pub(super) async fn run(&mut self, signalled: Option<End>) -> Result<(), ServeError> {
        let mut ending = signalled;
        while ending.is_none() {
            tokio::select! {
                told = self.signals.next() => ending = self.obey(told).await,
                Some(order) = self.orders.recv() => match order {
                    Order::Reload(reply) => {
                        let reloaded = self.live.reload().await;
                        reply.say(reloaded.map(|changed| format!("reloaded; {changed}"))).await;
                    }
                    Order::Upgrade(reply) => self.upgrade(Some(reply)).await,
                },
                event = next(&mut self.heir) => ending = self.inherit(event).await,
                _ = self.workers.recv() => break,
            }
        }
        self.end(ending).await
    }

    async fn obey(&mut self, told: Told) -> Option<End> {
        match told {
            Told::End(end) => return Some(end),
            Told::Reload => drop(self.live.reload().await),
            Told::Reopen => self.live.reopen(),
            Told::Upgrade => self.upgrade(None).await,
            // A terminal that changes its size says so to whoever runs in it.
            Told::Pause if heritage::files_stay() => {
                Line::new("accepting no more, another process does").info("robin::serve");
                self.live.pause();
            }
            Told::Pause => {}
        }
        None
    }

    /// Starts another process.
    async fn upgrade(&mut self, reply: Option<Reply>) {
        match self.start_heir() {
            Ok(heir) => {
                let line = Line::new("upgrading, another process starts");
                line.number("pid", heir.id() as usize).info("robin::serve");
                self.heir = Some(heir);
                self.waiting = reply;
            }
            Err(error) => {
                Line::new("upgrade refused").field("error", &error).error("robin::serve");
                if let Some(reply) = reply {
                    reply.say(Err(Refused::because(error))).await;
                }
            }
        }
    }

    fn start_heir(&mut self) -> Result<Heir, UpgradeError> {
        Heir::check(self.heir.as_ref())?;
        let mut sockets = self.live.sockets()?;
        sockets.extend(self.desk.as_ref().map(Desk::sockets).transpose()?.into_iter().flatten());
        if let Some(file) = &mut self.pid_file {
            file.step_aside();
        }
        let started = Heir::start(sockets);
        if let (Err(_), Some(file)) = (&started, &mut self.pid_file) {
            file.come_back();
        }
        started
    }

    /// What follows from what became of the other process.
    async fn inherit(&mut self, event: Event) -> Option<End> {
        let heir = self.heir.as_ref().map_or(0, Heir::id);
        match event {
            Event::Ready => {
                heritage::hand_over(true);
                if let Some(desk) = &mut self.desk {
                    desk.close();
                }
                let line = Line::new("another process serves");
                line.number("pid", heir as usize).info("robin::serve");
                let reply = self.waiting.take()?;
                let own = std::process::id();
                reply.say(Ok(format!("upgraded; process {heir} serves, {own} drains"))).await;
                Some(End::Drain("upgrade"))
            }
            Event::Ended(why) => {
                self.heir = None;
                heritage::hand_over(false);
                if let Some(file) = &mut self.pid_file {
                    file.come_back();
                }
                if let Some(desk) = self.desk.as_mut().filter(|desk| desk.listening.is_none()) {
                    desk.reopen();
                }
                let line = Line::new("upgrade failed, serving on as before").field("error", &why);
                line.error("robin::serve");
                if let Some(reply) = self.waiting.take() {
                    reply.say(Err(Refused::by_heir(&why))).await;
                }
                None
            }
        }
    }

    /// Drains.
    async fn end(&mut self, ending: Option<End>) -> Result<(), ServeError> {
        match self.heir.as_ref().filter(|_| heritage::files_stay()) {
            Some(heir) => systemd::handed_to(heir.id()),
            None => systemd::stopping(),
        }
        match ending {
            Some(End::AtOnce(name)) => {
                Line::new("stopping").field("signal", name).info("robin::serve");
                return Ok(());
            }
            Some(End::Drain(name)) => {
                Line::new("draining").field("signal", name).info("robin::serve");
            }
            None => {}
        }
        self.live.end();
        let drained = tokio::select! {
            drained = all_drained(&mut self.workers) => drained,
            end = self.signals.end() => {
                let line = Line::new("requests cut off").field("signal", end.name());
                line.warn("robin::serve");
                Ok(())
            }
        };
        ending.map(drop).ok_or(ServeError::Worker).and(drained)
    }
}

/// What becomes of the other process; never ends where there is none.
async fn next(heir: &mut Option<Heir>) -> Event {
    match heir {
        Some(heir) => heir.event().await,
        None => std::future::pending().await,
    }
}

impl Reply {
    /// Answers, and waits until that is written: the process may end next.
    async fn say(self, answer: Result<String, Refused>) {
        // A caller that has left misses nothing.
        if self.answer.send(answer).is_ok() {
            let _ = timeout(LAST_ANSWER, self.written).await;
        }
    }
}

async fn all_drained(workers: &mut mpsc::UnboundedReceiver<Ending>) -> Result<(), ServeError> {
    let (mut cut_off, mut failed) = (false, false);
    while let Some(ending) = workers.recv().await {
        cut_off |= matches!(ending, Ending::CutOff);
        failed |= matches!(ending, Ending::Failed);
    }
    if cut_off {
        Line::new("requests cut off after shutdown_timeout").warn("robin::serve");
    }
    if failed { Err(ServeError::Worker) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::sync::watch;

    use super::super::Obituary;
    use super::*;

    struct Stub(watch::Sender<bool>);

    impl Obeys for Stub {
        async fn reload(&mut self) -> Result<String, Refused> {
            Ok(String::new())
        }

        fn reopen(&mut self) {}

        fn sockets(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
            Ok(Vec::new())
        }

        fn pause(&mut self) {}

        fn end(&mut self) {
            self.0.send_replace(true);
        }
    }

    #[tokio::test]
    async fn a_worker_that_fails_makes_the_others_drain_and_ends_the_process() {
        let (sender, workers) = mpsc::unbounded_channel();
        let mut stub = Stub(watch::Sender::new(false));
        let mut ending = stub.0.subscribe();
        let other = Obituary { ending: Ending::Drained, workers: sender.clone() };
        drop(Obituary { ending: Ending::Failed, workers: sender });
        let signals = Signals::new(false).expect("the system has signals");
        let (_orders, inbox) = mpsc::channel(1);
        let ended = tokio::spawn(async move {
            let (live, orders) = (&mut stub, inbox);
            let (desk, pid_file, heir, waiting) = (None, None, None, None);
            let life = Life { signals, orders, workers, live, desk, pid_file, heir, waiting };
            { life }.run(None).await
        });
        ending.wait_for(|ending| *ending).await.expect("the others are told");
        assert!(!ended.is_finished(), "the other one is still draining");
        drop(other);
        let ended = ended.await.expect("no panic");
        assert!(matches!(ended, Err(ServeError::Worker)), "{ended:?}");
    }

    #[tokio::test]
    async fn a_worker_that_panics_while_draining_is_told() {
        let (sender, mut workers) = mpsc::unbounded_channel();
        let obituary = Obituary { ending: Ending::Failed, workers: sender };
        let panicked = thread::spawn(move || {
            let _obituary = obituary;
            panic!("as a worker might");
        });
        let ended = all_drained(&mut workers).await;
        assert!(panicked.join().is_err());
        assert!(matches!(ended, Err(ServeError::Worker)), "{ended:?}");
    }
}
