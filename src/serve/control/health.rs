//! The local socket by which `robin health` asks the running process.
//!
//! It is an abstract Unix socket: it needs no directory, so it works with a read-only root and for
//! every user, and it vanishes with the process. Its name holds the PID namespace, so that
//! containers on the host's network do not answer for one another, and the configuration's
//! path, so that two robins beside each other do not either. The first process of a PID namespace
//! has a second one without the path: the one that its container is there for, whatever it
//! was told to serve.
//!
//! The names of upstreams are asked, a line each, and how they stand is answered: a word, and what there is to
//! say. Anybody may ask, so it is said how many peers there are and why none serves, and nothing of requests.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream as Caller;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Roster;

/// How long `robin health` waits; Docker's own limit is longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// After an accept that failed; shorter than a caller's patience.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// How long a caller has to say what it asks.
const QUESTION: Duration = Duration::from_secs(1);
/// The longest question, in bytes.
const LONGEST: u64 = 4096;
/// Callers at a time; one more is hung up on.
const CALLERS: usize = 32;
/// What a process says whose listeners are all bound, and of whose upstreams that were asked about each has a
/// peer available.
const OK: &str = "ok";
/// What it says otherwise.
const NOT_OK: &str = "no";

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
pub(in crate::serve) async fn answer(listener: UnixListener, roster: Roster) {
    let Ok(listener) = tokio::net::UnixListener::from_std(listener) else { return };
    let callers = Arc::new(Semaphore::new(CALLERS));
    loop {
        let Ok((caller, _)) = listener.accept().await else {
            // Too many open files, perhaps; that passes.
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&callers).try_acquire_owned() else { continue };
        let roster = roster.clone();
        tokio::spawn(async move {
            // A caller that leaves before its answer misses nothing.
            let _ = answer_one(caller, &roster).await;
            drop(permit);
        });
    }
}

async fn answer_one(mut caller: Caller, roster: &Roster) -> io::Result<()> {
    let mut question = String::new();
    // One that says nothing asks for nothing more than whether there is an answer.
    let _ = timeout(QUESTION, (&mut caller).take(LONGEST).read_to_string(&mut question)).await;
    let asked = question.lines().map(|name| roster.standing(name));
    let (good, bad): (Vec<_>, Vec<_>) = asked.partition(Result::is_ok);
    // What is wrong is all that matters then.
    let (word, lines) = if bad.is_empty() { (OK, good) } else { (NOT_OK, bad) };
    let lines = lines.into_iter().map(|line| line.unwrap_or_else(|reason| reason));
    let answer = format!("{word} {}", lines.collect::<Vec<_>>().join("; "));
    caller.write_all(answer.as_bytes()).await
}

/// Asks the process that runs the first of these configurations that one runs (none is the first process of the
/// namespace) whether all of its listeners are bound and each of these upstreams has a peer available; what
/// there is to say of those.
///
/// # Errors
/// Where no process answers in time, or an upstream has none.
pub fn health(configs: &[Option<&Path>], upstreams: &[String]) -> io::Result<String> {
    let connect = |config: &Option<&Path>| UnixStream::connect_addr(&address(*config)?);
    let mut connected = Err(io::ErrorKind::NotFound.into());
    for config in configs {
        connected = connect(config);
        if connected.is_ok() {
            break;
        }
    }
    let mut stream = connected?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(upstreams.join("\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once(' ') {
        Some((OK, standing)) => Ok(standing.to_owned()),
        Some((NOT_OK, reason)) => Err(io::Error::other(reason.to_owned())),
        _ => Err(io::Error::other(format!("unexpected answer {answer:?}"))),
    }
}
