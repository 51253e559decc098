//! Bodies of our own: from memory or from a file, whole, in parts or packed.
//!
//! A file is opened once and its handle is asked for its length, so that head and body agree; it is
//! read on threads that may wait, one piece ahead of what is being written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use pingora::{Error, ErrorType, OrErr as _, Result};
use pingora_proxy::Session;

use super::disk::blocking;
use super::gzip::Packer;
use super::request::Gauge;
use crate::exchange::answers::Plan;

/// How much of a file is read at once, in bytes: two pieces are held for a client.
pub(super) const PIECE: u64 = 128 << 10;

/// How much of it is written at once over HTTP/2: a client's time begins anew with each that it takes
/// (`send_timeout`). The largest frame unless both sides agree on more.
pub(super) const FRAME: u64 = 16 << 10;

/// How much is read at once where a rate is kept over HTTP/2.
const PACED_PIECE: u64 = 4 << 10;

/// What an answer of our own holds.
#[derive(Debug)]
pub(super) enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// The same, whose head says nothing of their length.
    Streamed(Bytes),
    /// A file of this length, whose first piece may have been read already.
    File {
        /// Its handle.
        file: Arc<File>,
        /// Its length when it was opened.
        length: u64,
        /// How it begins.
        first: Option<Bytes>,
    },
}

impl Body {
    /// A part that begins at `start`, as much of it as is read at once.
    async fn read(&self, part: Range<u64>) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) | Self::Streamed(bytes) => {
                Ok(bytes.slice(index(part.start)..index(part.end)))
            }
            Self::File { first: Some(first), .. } if part.end <= first.len() as u64 => {
                Ok(first.slice(index(part.start)..index(part.end)))
            }
            Self::File { file, .. } => {
                let file = Arc::clone(file);
                blocking(move || read_at(&file, part)).await
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) | Self::Streamed(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// Reads these bytes of a file, all of them.
pub(super) fn read_at(file: &File, part: Range<u64>) -> io::Result<Bytes> {
    let mut piece = vec![0; index(part.end - part.start)];
    file.read_exact_at(&mut piece, part.start)?;
    Ok(piece.into())
}

/// A body that is in memory, as planned.
pub(super) fn pieces(plan: Plan, body: &Bytes) -> Vec<Bytes> {
    match plan {
        Plan::Nothing => Vec::new(),
        Plan::Whole => vec![body.clone()],
        Plan::Packed(level) => {
            let mut packer = Packer::new(level);
            vec![packer.pack(body), packer.finish()]
        }
        Plan::Parts(parts) => {
            let part = |part: Range<u64>| body.slice(index(part.start)..index(part.end));
            let pieces = parts.parts.into_iter().flat_map(|(before, at)| [before, part(at)]);
            pieces.chain([parts.end]).collect()
        }
    }
}

/// Writes a body as planned, but not its end. The head is written already.
///
/// # Cancel safety
/// Dropped midway, the answer is cut off; its connection must not be used again.
pub(super) async fn write(
    session: &mut Session,
    body: &Body,
    plan: Plan,
    gauge: &mut Option<Gauge>,
) -> Result<()> {
    match plan {
        Plan::Nothing => {}
        Plan::Whole => write_part(session, body, 0..body.len(), None, gauge).await?,
        Plan::Packed(level) => {
            let mut packer = Packer::new(level);
            write_part(session, body, 0..body.len(), Some(&mut packer), gauge).await?;
            send(session, packer.finish()).await?;
        }
        Plan::Parts(parts) => {
            for (before, part) in parts.parts {
                send(session, before).await?;
                write_part(session, body, part, None, gauge).await?;
            }
            send(session, parts.end).await?;
        }
    }
    Ok(())
}

async fn write_part(
    session: &mut Session,
    body: &Body,
    part: Range<u64>,
    mut packer: Option<&mut Packer>,
    gauge: &mut Option<Gauge>,
) -> Result<()> {
    // A rate is kept piece by piece.
    let most = if gauge.is_some() { PACED_PIECE } else { PIECE };
    let end_of = |start: u64| part.end.min(start + most);
    let mut start = part.start;
    let mut piece = read(body, start..end_of(start)).await?;
    while start < part.end {
        start = end_of(start);
        let written = match &mut packer {
            Some(packer) => packer.pack(&piece),
            None => piece,
        };
        if let Some(wait) = gauge.as_mut().and_then(|gauge| gauge.wait(written.len())) {
            tokio::time::sleep(wait).await;
        }
        let (wrote, next) = tokio::join!(send(session, written), read(body, start..end_of(start)));
        wrote?;
        piece = next?;
    }
    Ok(())
}

async fn send(session: &mut Session, mut bytes: Bytes) -> Result<()> {
    if !session.is_http2() {
        return session.write_response_body(Some(bytes), false).await;
    }
    while !bytes.is_empty() {
        let frame = bytes.split_to(bytes.len().min(index(FRAME)));
        session.write_response_body(Some(frame), false).await?;
    }
    Ok(())
}

async fn read(body: &Body, part: Range<u64>) -> Result<Bytes> {
    if part.is_empty() {
        return Ok(Bytes::new());
    }
    // A file that has become shorter ends the answer before its length: there is nothing to send.
    let read = body.read(part).await;
    read.or_err(ErrorType::FileReadError, "reading a file").map_err(Error::into_in)
}
