//! What the queue does when the sink is slow, fails, or comes back.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use super::*;

static LOST: Count = Count::new();

/// A sink that takes what a script says: `Ok(n)` bytes of a write, or an error. After the script
/// it takes everything.
struct Scripted {
    script: std::vec::IntoIter<Result<usize, io::ErrorKind>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.script.next().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
        let mut written = self.written.lock().expect("no test panics while writing");
        written.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink that waits for leave before each write.
struct Gated(Receiver<()>);

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A gate that is gone stands open.
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const SOON: Duration = Duration::from_secs(10);

fn notices() -> (Sender<String>, Receiver<String>) {
    channel()
}

fn teller(to: Sender<String>) -> impl Fn(Notice) + Send {
    move |notice| {
        let text = match notice {
            Notice::Dropped { lines } => format!("dropped {lines}"),
            Notice::Failing(error) => format!("failing {:?}", error.kind()),
            Notice::Recovered { lost } => format!("recovered, lost {lost}"),
        };
        to.send(text).expect("the test listens");
    }
}

fn scripted(
    script: Vec<Result<usize, io::ErrorKind>>,
    tell: Sender<String>,
) -> (Queue, Arc<Mutex<Vec<u8>>>) {
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = Scripted { script: script.into_iter(), written: Arc::clone(&written) };
    (Queue::start("log", sink, &LOST, teller(tell)).expect("a thread can be started"), written)
}

fn text(written: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&written.lock().expect("no test panics while writing")).into_owned()
}

fn line(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

#[test]
fn lines_are_written_in_order() {
    let (tell, _told) = notices();
    let (queue, written) = scripted(vec![], tell);
    (0..1000).for_each(|n| queue.push(line(&format!("{n}\n"))));
    assert!(queue.close(SOON));
    let expected: String = (0..1000).map(|n| format!("{n}\n")).collect();
    assert_eq!(text(&written), expected);
}

#[test]
fn a_full_queue_drops_lines_counts_them_and_never_waits() {
    let (open, gate) = channel();
    let (tell, told) = notices();
    let queue =
        Queue::start("log", Gated(gate), &LOST, teller(tell)).expect("a thread can be started");
    let pushed = 3 * LINES;
    let long = "x".repeat(64);
    // The sink takes nothing: that this loop ends shows that nobody waits for it.
    (0..pushed).for_each(|_| queue.push(line(&long)));
    let dropped = queue.load.dropped.load(Relaxed);
    // At most one batch has left the queue.
    assert!(dropped as usize >= pushed - LINES - BATCH_BYTES / 64 - 1, "only {dropped} dropped");
    drop(open);
    assert_eq!(told.recv_timeout(SOON).as_deref(), Ok(format!("dropped {dropped}").as_str()));
    assert!(queue.close(SOON));
}

#[test]
fn long_lines_cannot_take_all_memory() {
    let (open, gate) = channel();
    let (tell, _told) = notices();
    let queue =
        Queue::start("log", Gated(gate), &LOST, teller(tell)).expect("a thread can be started");
    let long = "x".repeat(1024 * 1024);
    (0..40).for_each(|_| queue.push(line(&long)));
    assert!(queue.load.bytes.load(Relaxed) <= BYTES);
    assert!(queue.load.dropped.load(Relaxed) >= 24);
    drop(open);
    assert!(queue.close(SOON));
}

#[test]
fn a_failing_sink_is_told_once_and_its_return_too() {
    let full = Err(io::ErrorKind::StorageFull);
    let (tell, told) = notices();
    let (queue, written) = scripted(vec![full, full], tell);
    queue.push(line("first\n"));
    assert_eq!(told.recv_timeout(SOON).as_deref(), Ok("failing StorageFull"));
    queue.push(line("second\n"));
    while queue.load.bytes.load(Relaxed) > 0 {
        thread::yield_now();
    }
    queue.push(line("third\n"));
    assert_eq!(told.recv_timeout(SOON).as_deref(), Ok("recovered, lost 2"));
    assert!(queue.close(SOON));
    assert_eq!(text(&written), "third\n");
    assert!(told.try_recv().is_err(), "nothing else was told");
}

#[test]
fn half_a_line_never_joins_the_next() {
    let (tell, told) = notices();
    let (queue, written) = scripted(vec![Ok(3), Err(io::ErrorKind::StorageFull)], tell);
    queue.push(line("first\n"));
    assert_eq!(told.recv_timeout(SOON).as_deref(), Ok("failing StorageFull"));
    queue.push(line("second\n"));
    assert!(queue.close(SOON));
    assert_eq!(text(&written), "fir\nsecond\n");
}

#[test]
fn short_writes_and_a_full_pipe_lose_nothing() {
    let (tell, told) = notices();
    let wait = [Ok(2), Err(io::ErrorKind::WouldBlock), Err(io::ErrorKind::Interrupted)];
    let (queue, written) = scripted(wait.to_vec(), tell);
    queue.push(line("a line\n"));
    assert!(queue.close(SOON));
    assert_eq!(text(&written), "a line\n");
    assert!(told.try_recv().is_err());
}

#[test]
fn closing_gives_up_on_a_sink_that_takes_nothing() {
    let (open, gate) = channel();
    let (tell, _told) = notices();
    let queue =
        Queue::start("log", Gated(gate), &LOST, teller(tell)).expect("a thread can be started");
    queue.push(line("x\n"));
    assert!(!queue.close(Duration::from_millis(20)));
    drop(open);
}

#[test]
fn closing_twice_and_writing_after_it_are_harmless() {
    let (tell, _told) = notices();
    let (queue, written) = scripted(vec![], tell);
    assert!(queue.close(SOON));
    queue.push(line("late\n"));
    assert!(queue.close(SOON));
    assert_eq!(text(&written), "");
}
