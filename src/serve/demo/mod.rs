//! `robin demo`: the compose stack without Docker.
//!
//! The API servers and the site are small servers of our own on loopback; everything between them
//! and the browser is robin as ever, configured by the same YAML that a user would write. A line
//! on stdin stops or starts a replica, so that failover can be watched in the log.

mod origin;

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::config;
use crate::serve::{Inherited, ListenError, Process, ServeError, run};
use origin::{Api, Origin, Site};

/// Why the demo could not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No port on loopback is to be had.
    #[error("cannot start a demo server on loopback: {0}")]
    Origin(#[from] io::Error),
    /// The configuration of the demo is not accepted; it never should be.
    #[error("the demo's configuration is broken:\n{0}")]
    Config(String),
    /// The port is taken.
    #[error("{0}; choose another one with --port")]
    Port(#[source] ListenError),
    /// The proxy itself could not run.
    #[error(transparent)]
    Serve(ServeError),
}

impl From<ServeError> for DemoError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Listen(error) => Self::Port(error),
            other => Self::Serve(other),
        }
    }
}

/// Runs `replicas` API servers, the site, and robin before them on `port`, until a signal.
///
/// # Errors
/// [`DemoError`], mostly because the port is taken.
pub fn demo(replicas: NonZeroU16, port: u16) -> Result<(), DemoError> {
    let origins = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("demo-origins")
        .enable_all()
        .build()?;
    let (site, api) = origins.block_on(async {
        let site = Origin::start(Arc::new(Site)).await?;
        let mut api = Vec::new();
        for number in 1..=replicas.get() {
            api.push(Origin::start(Arc::new(Api { name: format!("replica-{number}") })).await?);
        }
        io::Result::Ok((site, api))
    })?;
    let addresses: Vec<SocketAddr> = api.iter().map(Origin::address).collect();
    let text = yaml(port, site.address(), &addresses);
    let config = config::parse_yaml("demo.yaml", &text, &|_| None)
        .map_err(|problems| DemoError::Config(problems.to_string()))?;
    origins.spawn(obey(api));
    let process = Process { path: format!("demo-{port}").into(), ..Process::default() };
    let ended = run(config, process, &mut Inherited::default(), || {
        say(format_args!(
            "The demo is at http://localhost:{port}/ with {replicas} replicas behind it.\n\
             Enter a replica's number to stop or start it, Ctrl-C to end."
        ));
    });
    // Whoever reads stdin does so until the next line, and is not waited for.
    origins.shutdown_background();
    Ok(ended?)
}

/// What a user would write for this stack.
fn yaml(port: u16, site: SocketAddr, api: &[SocketAddr]) -> String {
    let mut text = format!("listen: 127.0.0.1:{port}\nerror_details: on\nupstreams:\n");
    text.push_str("  back-end:\n    health_check: { http: /healthz, every: 1s }\n    servers:\n");
    for address in api {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "      - {address}");
    }
    let _ = write!(text, "routes:\n  /api: back-end\n  /: {site}\n");
    text
}

/// Prints a line. That nobody reads it is no reason to end.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Stops and starts replicas as the lines on stdin say. Never ends: the replicas live in it.
async fn obey(mut api: Vec<Origin<Api>>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = line.trim();
        let chosen = line.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        let Some(origin) = chosen.and_then(|index| api.get_mut(index)) else {
            say(format_args!("`{line}` is not the number of a replica, 1 to {}", api.len()));
            continue;
        };
        match origin.toggle().await {
            Ok(true) => say(format_args!("replica {line} started")),
            Ok(false) => say(format_args!("replica {line} stopped")),
            Err(error) => say(format_args!("replica {line} cannot be started: {error}")),
        }
    }
    // Without a terminal there are no lines, and the demo goes on.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_a_valid_configuration() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4711));
        let config = config::parse_yaml("demo.yaml", yaml(8080, address, &[address]), &|_| None);
        assert!(config.is_ok(), "{config:?}");
    }
}
