//! What systemd is told of the process (`Type=notify`). Where systemd did not start it, nobody hears it.

use sd_notify::NotifyState;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!(target: "robin::serve", "systemd cannot be told error=\"{error}\"");
    }
}

/// Connections are accepted, or a reload is over.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins.
pub(super) fn reloading() {
    // `Type=notify-reload` wants to know when; without a clock there is nothing to tell.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The process drains.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the service from now on.
pub(super) fn handed_to(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}
