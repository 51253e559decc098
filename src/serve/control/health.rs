//! The local socket by which `robin health` asks the running process.
//!
//! It is an abstract Unix socket: it needs no directory, so it works with a read-only root and for
//! every user, and it vanishes with the process. Its name holds the PID namespace, so that
//! containers on the host's network do not answer for one another, and the configuration's
//! path, so that two robins beside each other do not either. The first process of a PID namespace
//! has a second one without the path: the one that its container is there for, whatever it
//! was told to serve.

use std::io::{self, Read as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

/// How long `robin health` waits; Docker's own limit is longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// After an accept that failed; shorter than a caller's patience.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// What a process says whose listeners are all bound.
const OK: &str = "ok";

/// The socket's address for a process that runs `config`, or for the first of its namespace.
fn address(config: Option<&Path>) -> io::Result<SocketAddr> {
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let real = |config: &Path| std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
    let config = config.map(real).unwrap_or_default();
    let name = format!("robin {} {}", namespace.display(), config.display());
    // Linux allows 107 bytes; the end of a long path tells more than its beginning.
    let cut = name.len().saturating_sub(107);
    SocketAddr::from_abstract_name(&name.as_bytes()[cut..])
}

/// Binds the sockets.
///
/// # Errors
/// Where a process runs the same configuration already.
pub(in crate::serve) fn bind(config: &Path) -> io::Result<Vec<UnixListener>> {
    let mut listeners = vec![UnixListener::bind_addr(&address(Some(config))?)?];
    if std::process::id() == 1 {
        listeners.push(UnixListener::bind_addr(&address(None)?)?);
    }
    listeners.iter().try_for_each(|listener| listener.set_nonblocking(true))?;
    Ok(listeners)
}

/// Answers each caller; ends with the process. Only a process whose listeners are bound gets here.
pub(in crate::serve) async fn answer(listener: UnixListener) {
    let Ok(listener) = tokio::net::UnixListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            // A caller that leaves before its answer misses nothing.
            Ok((mut caller, _)) => drop(caller.write_all(OK.as_bytes()).await),
            // Too many open files, perhaps; that passes.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Asks the process that runs `config`, or the first of its namespace, whether all of its listeners
/// are bound.
///
/// # Errors
/// Where no process answers in time.
pub fn health(config: Option<&Path>) -> io::Result<()> {
    let mut stream = UnixStream::connect_addr(&address(config)?)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.as_str() {
        OK => Ok(()),
        other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
    }
}
