//! A request body, read completely, to be sent as often as there are attempts.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::task::JoinHandle;

use super::{PIECE, Piece, TempFile, ended};

/// The bytes of a body: the beginning in a file if there were too many for memory, the rest in
/// memory.
#[derive(Debug)]
pub(in crate::proxy) struct Body {
    file: Option<TempFile>,
    in_file: u64,
    memory: Vec<u8>,
    /// How many bytes wait in memory before they go to a file.
    most: usize,
    directory: Option<PathBuf>,
    /// Whether a file was tried and failed.
    fileless: bool,
    /// Whether the file gets a name, and whether that stays.
    named: Option<bool>,
    path: Option<PathBuf>,
}

impl Body {
    /// An empty one that keeps up to `most` bytes in memory.
    pub(in crate::proxy) fn new(most: usize, directory: Option<PathBuf>) -> Self {
        Self {
            file: None,
            in_file: 0,
            memory: Vec::new(),
            most,
            directory,
            fileless: false,
            named: None,
            path: None,
        }
    }

    /// Gives its file, if it needs one, a name; `kept` says whether that outlives it.
    pub(in crate::proxy) fn named(mut self, kept: bool) -> Self {
        self.named = Some(kept);
        self
    }

    /// The name of its file, if it has one.
    pub(in crate::proxy) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Says that all of it is there: a file with a name then has all of it.
    ///
    /// # Cancel safety
    /// As [`Body::append`].
    pub(in crate::proxy) async fn complete(&mut self) -> io::Result<()> {
        if self.path.is_some() && !self.memory.is_empty() { self.spill().await } else { Ok(()) }
    }

    /// How many bytes it has.
    pub(in crate::proxy) fn len(&self) -> u64 {
        self.in_file + self.memory.len() as u64
    }

    /// Appends `bytes`; without a file they stay in memory.
    ///
    /// # Cancel safety
    /// None: bytes may be lost.
    pub(in crate::proxy) async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.memory.extend_from_slice(bytes);
        if self.memory.len() <= self.most || self.fileless {
            return Ok(());
        }
        self.spill().await
    }

    /// Moves what is in memory to the file.
    async fn spill(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let directory = self.directory.as_deref();
            let made = if self.named.is_some() {
                let made = TempFile::create_named(directory).await.or_else(ended)?;
                made.map(|(file, path)| (file, Some(path)))
            } else {
                TempFile::create(directory).await.or_else(ended)?.map(|file| (file, None))
            };
            self.fileless = made.is_err();
            if let Ok((file, path)) = made {
                (self.file, self.path) = (Some(file), path);
            }
        }
        let Some(file) = &self.file else { return Ok(()) };
        let bytes = std::mem::take(&mut self.memory);
        let written = file.write_at(bytes, self.in_file).await;
        let (mut bytes, written) = written.map_err(io::Error::other)?;
        match written {
            Ok(()) => {
                self.in_file += bytes.len() as u64;
                bytes.clear();
            }
            Err(_) => self.fileless = true,
        }
        self.memory = bytes;
        Ok(())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(path) = self.path.take().filter(|_| self.named == Some(false)) else { return };
        // Without a runtime the process ends: then it may block.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || std::fs::remove_file(path))),
            Err(_) => drop(std::fs::remove_file(path)),
        }
    }
}

/// Reads a [`Body`] as the client sent it, chunked if it was, from the beginning as often as wanted.
#[derive(Debug)]
pub(in crate::proxy) struct Replay {
    /// Whoever serves the request owns the body.
    body: Weak<Body>,
    /// What comes before it and after it: the size of the only chunk, the end of chunks.
    head: Vec<u8>,
    tail: &'static [u8],
    /// Where reading is in head, body and tail.
    at: u64,
    /// The piece of the file that `at` is in, and the place where it begins.
    piece: Vec<u8>,
    piece_at: u64,
    reading: Option<JoinHandle<Piece>>,
}

impl Replay {
    /// One that has nothing read yet.
    pub(in crate::proxy) fn new(body: &Arc<Body>, chunked: bool) -> Self {
        // An empty chunk would be the last.
        let framed = chunked && body.len() > 0;
        let (head, tail): (_, &[u8]) = match (framed, chunked) {
            (true, _) => (format!("{:x}\r\n", body.len()).into_bytes(), b"\r\n0\r\n\r\n"),
            (false, true) => (Vec::new(), b"0\r\n\r\n"),
            (false, false) => (Vec::new(), b""),
        };
        let body = Arc::downgrade(body);
        Self { body, head, tail, at: 0, piece: Vec::new(), piece_at: 0, reading: None }
    }

    /// Begins anew.
    pub(in crate::proxy) fn rewind(&mut self) {
        self.at = 0;
        self.piece.clear();
        self.reading = None;
    }

    /// Reads on; nothing at the end.
    pub(in crate::proxy) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(body) = self.body.upgrade() else { return Poll::Ready(Ok(())) };
        let before = buf.filled().len();
        while buf.remaining() > 0 {
            let in_file_at = self.head.len() as u64;
            let memory_at = in_file_at + body.in_file;
            let tail_at = memory_at + body.memory.len() as u64;
            let source = if self.at < in_file_at {
                &self.head[self.at as usize..]
            } else if self.at < memory_at {
                if buf.filled().len() > before {
                    break;
                }
                let at = self.at - in_file_at;
                let held = at.checked_sub(self.piece_at).and_then(|i| self.piece.get(i as usize..));
                match held {
                    Some(held) if !held.is_empty() => held,
                    _ => {
                        let (piece, read) = ready!(self.poll_piece(&body, at, cx))?;
                        read?;
                        (self.piece, self.piece_at) = (piece, at);
                        continue;
                    }
                }
            } else if self.at < tail_at {
                &body.memory[(self.at - memory_at) as usize..]
            } else {
                match self.tail.get((self.at - tail_at) as usize..) {
                    Some(rest) if !rest.is_empty() => rest,
                    _ => break,
                }
            };
            let count = source.len().min(buf.remaining());
            buf.put_slice(&source[..count]);
            self.at += count as u64;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_piece(
        &mut self,
        body: &Body,
        at: u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Piece>> {
        let Some(file) = &body.file else {
            return Poll::Ready(Err(io::ErrorKind::NotFound.into()));
        };
        let count = (body.in_file - at).min(PIECE as u64) as usize;
        let reading = self.reading.get_or_insert_with(|| file.read_at(count, at));
        let piece = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(piece.or_else(ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: u32) -> Vec<u8> {
        (0..count).flat_map(u32::to_be_bytes).collect()
    }

    async fn body(content: &[u8], most: usize, directory: Option<PathBuf>) -> Arc<Body> {
        let mut body = Body::new(most, directory);
        for piece in content.chunks(1500) {
            body.append(piece).await.expect("kept");
        }
        Arc::new(body)
    }

    async fn read(replay: &mut Replay, at_once: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut piece = vec![0; at_once];
            let mut buf = ReadBuf::new(&mut piece);
            std::future::poll_fn(|cx| replay.poll_read(cx, &mut buf)).await.expect("read");
            if buf.filled().is_empty() {
                return all;
            }
            all.extend_from_slice(buf.filled());
        }
    }

    #[tokio::test]
    async fn a_body_is_read_again_and_again_from_memory_and_file() {
        let content = bytes(50_000);
        for most in [4096, 1 << 20] {
            let body = body(&content, most, None).await;
            assert_eq!((body.len(), body.file.is_some()), (200_000, most == 4096));
            let mut replay = Replay::new(&body, false);
            for at_once in [1000, 70_000] {
                assert!(read(&mut replay, at_once).await == content);
                replay.rewind();
            }
        }
    }

    #[tokio::test]
    async fn a_chunked_body_comes_back_as_one_chunk() {
        let body = body(b"hello", 4096, None).await;
        assert_eq!(read(&mut Replay::new(&body, true), 3).await, b"5\r\nhello\r\n0\r\n\r\n");
        let empty = Arc::new(Body::new(10, None));
        assert_eq!(read(&mut Replay::new(&empty, true), 3).await, b"0\r\n\r\n");
    }

    #[tokio::test]
    async fn without_a_directory_for_files_memory_does() {
        let content = bytes(50_000);
        let body = body(&content, 4096, Some("/proc/none".into())).await;
        assert!(body.file.is_none());
        assert!(read(&mut Replay::new(&body, false), 70_000).await == content);
    }
}
