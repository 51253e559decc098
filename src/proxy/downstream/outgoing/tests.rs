//! A pipe stands for the socket, and takes 1,000 bytes; time stands still until nothing else moves.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

const IN_SOCKET: usize = 1000;

struct Pipe {
    outgoing: Outgoing,
    near: DuplexStream,
    far: DuplexStream,
    sent: Vec<u8>,
}

fn pipe(keep: Option<Keep>) -> Pipe {
    let (near, far) = duplex(IN_SOCKET);
    let sending = Sending { keep, ..Sending::default() };
    let outgoing = Outgoing::new(Arc::new(Mutex::new(sending)));
    Pipe { outgoing, near, far, sent: Vec::new() }
}

impl Pipe {
    /// Writes 10,000 bytes again and again until the writer has to wait. Returns how many bytes
    /// were taken, this time.
    async fn fill(&mut self) -> usize {
        let before = self.sent.len();
        let piece: Vec<u8> = (0..2500u32).flat_map(u32::to_be_bytes).collect();
        loop {
            let Self { outgoing, near, .. } = self;
            let write = poll_fn(|cx| outgoing.poll_write(near, cx, &piece));
            match timeout(Duration::from_secs(1), write).await {
                Ok(count) => self.sent.extend(&piece[..count.expect("no error")]),
                Err(_) => return self.sent.len() - before,
            }
        }
    }

    /// Reads so many bytes, while the writer does nothing but write what waits.
    async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let Self { outgoing, near, far, .. } = self;
        let drain = poll_fn(|cx| match outgoing.poll_drain(near, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            _ => Poll::Pending,
        });
        tokio::select! {
            read = far.read_exact(&mut bytes) => drop(read.expect("no error")),
            error = drain => panic!("{error}"),
        }
        bytes
    }

    async fn read_all(&mut self) {
        let read = self.read(self.sent.len()).await;
        assert!(read == self.sent);
        assert_eq!(self.outgoing.waiting(), 0);
        self.sent.clear();
    }
}

#[tokio::test(start_paused = true)]
async fn small_writes_are_gathered_until_they_are_drained() {
    let mut pipe = pipe(None);
    let Pipe { outgoing, near, .. } = &mut pipe;
    for _ in 0..3 {
        let written = poll_fn(|cx| outgoing.poll_write(near, cx, b"hello")).await;
        assert_eq!(written.expect("no error"), 5);
    }
    assert_eq!(outgoing.waiting(), 15);
    assert_eq!(pipe.read(15).await, b"hellohellohello");
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_kept_waits_for_the_client() {
    let mut pipe = pipe(None);
    assert_eq!(pipe.fill().await, IN_SOCKET);
    assert_eq!(pipe.outgoing.waiting(), 0);
    pipe.read_all().await;
}

#[tokio::test(start_paused = true)]
async fn memory_takes_as_much_as_it_may() {
    let mut pipe = pipe(Some(Keep::new(25_000, 0, None)));
    for _ in 0..2 {
        assert_eq!(pipe.fill().await, IN_SOCKET + 25_000);
        assert_eq!(pipe.outgoing.waiting(), 25_000);
        pipe.read_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_takes_what_memory_cannot() {
    let most = 300_000;
    let mut pipe = pipe(Some(Keep::new(25_000, most, None)));
    for _ in 0..3 {
        // The last piece stays in memory: the file has no room for all of it.
        let expected = IN_SOCKET + 25_000 + (most as usize / PIECE + 1) * PIECE;
        assert_eq!(pipe.fill().await, expected);
        pipe.read_all().await;
        assert!(pipe.outgoing.spill.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn once_an_answer_is_complete_its_rest_goes_to_the_file() {
    let mut pipe = pipe(Some(Keep::new(25_000, 1 << 20, None)));
    for piece in [[1; 20_000], [2; 20_000], [3; 20_000], [4; 20_000], [5; 20_000], [6; 20_000]] {
        let Pipe { outgoing, near, sent, .. } = &mut pipe;
        while sent.len() % 20_000 != 0 || sent.last() != Some(&piece[0]) {
            let left = &piece[sent.len() % 20_000..];
            let count = poll_fn(|cx| outgoing.poll_write(near, cx, left)).await.expect("no error");
            sent.extend(&left[..count]);
        }
    }
    let in_memory = |pipe: &Pipe| pipe.outgoing.spill.as_ref().map(|spill| spill.tail.len());
    assert_eq!(in_memory(&pipe), Some(120_000 - IN_SOCKET - 25_000 - PIECE));
    {
        let mut sending = pipe.outgoing.sending();
        sending.rest = sending.keep.take();
    }
    let Pipe { outgoing, near, .. } = &mut pipe;
    let drain = poll_fn(|cx| outgoing.poll_drain(near, cx));
    assert!(timeout(Duration::from_secs(1), drain).await.is_err());
    assert_eq!(in_memory(&pipe), Some(0));
    assert_eq!(pipe.outgoing.front.len() as u64, READ);
    pipe.read_all().await;
}

#[tokio::test(start_paused = true)]
async fn where_no_file_can_be_made_a_complete_answer_stays_in_memory() {
    let mut pipe = pipe(Some(Keep::new(25_000, 1 << 20, Some("/proc/none".into()))));
    pipe.fill().await;
    {
        let mut sending = pipe.outgoing.sending();
        sending.rest = sending.keep.take();
    }
    pipe.read_all().await;
}

#[tokio::test(start_paused = true)]
async fn writes_go_on_while_a_file_is_read() {
    let mut pipe = pipe(Some(Keep::new(25_000, 1 << 20, None)));
    let mut taken = pipe.fill().await;
    for _ in 0..5 {
        let half = taken / 2;
        let read = pipe.read(half).await;
        assert!(read == pipe.sent[..half]);
        pipe.sent.drain(..half);
        taken = taken - half + pipe.fill().await;
    }
    pipe.read_all().await;
}

#[tokio::test(start_paused = true)]
async fn where_no_file_can_be_made_writes_wait() {
    let mut pipe = pipe(Some(Keep::new(25_000, 1 << 20, Some("/proc/none".into()))));
    assert_eq!(pipe.fill().await, IN_SOCKET + 25_000 + PIECE);
    pipe.read_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let mut pipe = pipe(Some(Keep::new(25_000, 0, None)));
    pipe.fill().await;
    let Pipe { outgoing, near, far, .. } = &mut pipe;
    // Progress begins the time anew.
    let mut some = [0; 100];
    for _ in 0..3 {
        let drain = poll_fn(|cx| outgoing.poll_drain(near, cx));
        let still = timeout(SEND_TIMEOUT - Duration::from_secs(2), drain).await;
        assert!(still.is_err());
        far.read_exact(&mut some).await.expect("no error");
    }
    let error = poll_fn(|cx| outgoing.poll_drain(near, cx)).await.expect_err("it gives up");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    // And does not begin again.
    far.read_exact(&mut some).await.expect("no error");
    let error = poll_fn(|cx| outgoing.poll_drain(near, cx)).await.expect_err("it gave up");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
