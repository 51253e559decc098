//! The signals that mean something to us; without a handler each would kill the process or, where
//! it is a container's first, be lost.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// The end.
    End(End),
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open the log files again.
    Reopen,
    /// SIGUSR2: start the binary again.
    Upgrade,
    /// SIGWINCH: leave clients to the process that was started so.
    Pause,
}

/// How a signal ends the process; its name.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// What is in flight is finished first.
    Drain(&'static str),
    /// Nothing is waited for.
    AtOnce(&'static str),
}

impl End {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Drain(name) | Self::AtOnce(name) => name,
        }
    }
}

/// Where signals come in.
pub(super) struct Signals {
    fast_stop: bool,
    /// What came while only the end was waited for.
    missed: Option<Told>,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user: Signal,
    second_user: Signal,
    window: Signal,
}

impl Signals {
    /// Listens for them from now on; with `fast_stop` SIGTERM and SIGINT drain nothing.
    pub(super) fn new(fast_stop: bool) -> io::Result<Self> {
        Ok(Self {
            fast_stop,
            missed: None,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
            second_user: signal(SignalKind::user_defined2())?,
            window: signal(SignalKind::window_change())?,
        })
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    /// No signal is lost.
    pub(super) async fn next(&mut self) -> Told {
        match self.missed.take() {
            Some(missed) => missed,
            None => self.coming().await,
        }
    }

    async fn coming(&mut self) -> Told {
        let fast = if self.fast_stop { End::AtOnce } else { End::Drain };
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Told::End(fast("SIGTERM")),
            _ = self.interrupt.recv() => Told::End(fast("SIGINT")),
            _ = self.quit.recv() => Told::End(End::Drain("SIGQUIT")),
            _ = self.hangup.recv() => Told::Reload,
            _ = self.user.recv() => Told::Reopen,
            _ = self.second_user.recv() => Told::Upgrade,
            _ = self.window.recv() => Told::Pause,
        }
    }

    /// Waits for one that ends the process. Of others that come before it the last is kept for
    /// [`Signals::next`].
    ///
    /// # Cancel safety
    /// No end is lost.
    pub(super) async fn end(&mut self) -> End {
        loop {
            match self.coming().await {
                Told::End(end) => return end,
                other => self.missed = Some(other),
            }
        }
    }
}
