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
use crate::exchange::answers::Plan;

/// How much of a file is read at once, in bytes: two pieces are held for a client.
pub(super) const PIECE: u64 = 128 << 10;

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

/// Writes a body as planned, but not its end. The head is written already.
///
/// # Cancel safety
/// Dropped midway, the answer is cut off; its connection must not be used again.
pub(super) async fn write(session: &mut Session, body: &Body, plan: Plan) -> Result<()> {
    match plan {
        Plan::Nothing => {}
        Plan::Whole => write_part(session, body, 0..body.len(), None).await?,
        Plan::Packed(level) => {
            let mut packer = Packer::new(level);
            write_part(session, body, 0..body.len(), Some(&mut packer)).await?;
            let end = packer.finish();
            session.write_response_body(Some(end), false).await?;
        }
        Plan::Parts(parts) => {
            for (before, part) in parts.parts {
                session.write_response_body(Some(before), false).await?;
                write_part(session, body, part, None).await?;
            }
            session.write_response_body(Some(parts.end), false).await?;
        }
    }
    Ok(())
}

async fn write_part(
    session: &mut Session,
    body: &Body,
    part: Range<u64>,
    mut packer: Option<&mut Packer>,
) -> Result<()> {
    let end_of = |start: u64| part.end.min(start + PIECE);
    let mut start = part.start;
    let mut piece = read(body, start..end_of(start)).await?;
    while start < part.end {
        start = end_of(start);
        let written = match &mut packer {
            Some(packer) => packer.pack(&piece),
            None => piece,
        };
        let (wrote, next) = tokio::join!(
            session.write_response_body(Some(written), false),
            read(body, start..end_of(start))
        );
        wrote?;
        piece = next?;
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
