//! Where what is shown comes from: standard input, a file that grows, or a running robin.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use super::AskStatus;
use super::board::Board;
use crate::observe::status::StatusView;

/// How often a file is looked at for more.
const LOOK: Duration = Duration::from_millis(200);
/// How often robin is asked.
const ASK: Duration = Duration::from_secs(1);
/// The longest part of a line that is read.
const LONGEST: u64 = 16 << 20;

/// Where it comes from.
pub enum Source {
    /// A log on standard input.
    Stdin,
    /// A log in a file, which may grow and be rotated.
    File(PathBuf),
    /// A running robin.
    Robin(AskStatus),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdin => f.write_str("Stdin"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Robin(_) => f.write_str("Robin"),
        }
    }
}

/// What a source has to say.
pub(super) enum News {
    /// A line of a log, without its end.
    Line(Vec<u8>),
    /// How robin stands.
    Status(Box<StatusView>),
    /// It has nothing more to say, for this reason.
    Ended(String),
    /// It has nothing to say at the moment, for this reason.
    Trouble(String),
}

impl Source {
    /// Reads all that there is; one answer, where robin is asked.
    pub(super) fn read_to_end(self, board: &mut Board) -> Result<(), String> {
        let feed = |line: &[u8]| {
            board.feed(line);
        };
        match self {
            Self::Stdin => all_lines(io::stdin().lock(), feed).map_err(|e| format!("robin: {e}")),
            Self::File(path) => File::open(&path)
                .and_then(|file| all_lines(BufReader::new(file), feed))
                .map_err(|error| format!("robin: {}: {error}", path.display())),
            Self::Robin(mut ask) => ask().map(|status| board.status(status)),
        }
    }

    /// Brings news on a thread of its own, for as long as somebody takes it.
    ///
    /// # Errors
    /// Where there is nothing to begin with.
    pub(super) fn follow(self, news: SyncSender<News>) -> Result<(), String> {
        match self {
            Self::Stdin => spawn(move || {
                let ended = all_lines_to(io::stdin().lock(), &news);
                let why = ended.err().map_or_else(String::new, |error| format!(": {error}"));
                let _ = news.send(News::Ended(format!("input has ended{why}")));
            }),
            Self::File(path) => {
                let of_file = |error| format!("robin: {}: {error}", path.display());
                let tail = Tail::open(&path).map_err(of_file)?;
                spawn(move || tail.follow(&news))
            }
            Self::Robin(mut ask) => {
                let first = ask()?;
                spawn(move || {
                    let mut next = Ok(first);
                    loop {
                        let told = match next {
                            Ok(status) => News::Status(Box::new(status)),
                            Err(why) => News::Trouble(why),
                        };
                        if news.send(told).is_err() {
                            return;
                        }
                        thread::sleep(ASK);
                        next = ask();
                    }
                })
            }
        }
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let spawned = thread::Builder::new().name("top-source".into()).spawn(run);
    spawned.map(drop).map_err(|error| format!("robin: {error}"))
}

fn all_lines(mut reader: impl BufRead, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut line = Vec::new();
    while reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)? > 0 {
        take(&line);
        line.clear();
    }
    Ok(())
}

/// Ends without an error where nobody takes lines any more, too.
fn all_lines_to(mut reader: impl BufRead, news: &SyncSender<News>) -> io::Result<()> {
    loop {
        let mut line = Vec::new();
        let read = reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        if read == 0 || news.send(News::Line(line)).is_err() {
            return Ok(());
        }
    }
}

/// The end of a file that grows.
struct Tail {
    path: PathBuf,
    reader: BufReader<File>,
    /// The number of the file, by which another of that name is told apart.
    id: (u64, u64),
    /// A line whose end has not been written yet.
    begun: Vec<u8>,
}

impl Tail {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let id = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.into(), reader: BufReader::new(file), id, begun: Vec::new() })
    }

    /// Hands on every line, until nobody takes them.
    fn follow(mut self, news: &SyncSender<News>) {
        let mut trouble = false;
        loop {
            let read = self.lines(news);
            let Ok(true) = read else {
                if let Err(error) = read {
                    let _ = news.send(News::Ended(error.to_string()));
                }
                return;
            };
            match self.turn() {
                Ok(true) => trouble = false,
                Ok(false) => thread::sleep(LOOK),
                Err(error) => {
                    if !std::mem::replace(&mut trouble, true) {
                        let why = format!("{}: {error}", self.path.display());
                        if news.send(News::Trouble(why)).is_err() {
                            return;
                        }
                    }
                    thread::sleep(LOOK);
                }
            }
        }
    }

    /// All lines that are there; false where nobody takes them any more.
    fn lines(&mut self, news: &SyncSender<News>) -> io::Result<bool> {
        loop {
            let read = self.reader.by_ref().take(LONGEST).read_until(b'\n', &mut self.begun)?;
            if read == 0 {
                return Ok(true);
            }
            let is_whole = self.begun.ends_with(b"\n") || self.begun.len() as u64 >= LONGEST;
            if is_whole && news.send(News::Line(std::mem::take(&mut self.begun))).is_err() {
                return Ok(false);
            }
        }
    }

    /// Turns to the file that has the name now, or to the beginning of one that was emptied; false
    /// where nothing has changed.
    fn turn(&mut self) -> io::Result<bool> {
        let there = fs::metadata(&self.path)?;
        if (there.dev(), there.ino()) != self.id {
            *self = Self::open(&self.path)?;
            return Ok(true);
        }
        if there.len() < self.reader.stream_position()? {
            self.reader.seek(SeekFrom::Start(0))?;
            self.begun.clear();
            return Ok(true);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    fn next(news: &Receiver<News>) -> String {
        match news.recv_timeout(Duration::from_secs(10)) {
            Ok(News::Line(line)) => String::from_utf8_lossy(&line).into_owned(),
            Ok(News::Trouble(why) | News::Ended(why)) => why,
            Ok(News::Status(_)) => "a status".into(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_file_is_followed_through_rotation_and_emptying() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("robin.log");
        let append = |text: &str| {
            let file = File::options().append(true).create(true).open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
        };
        append("one\ntw");
        let (sender, news) = sync_channel(1);
        Source::File(path.clone()).follow(sender).expect("it is there");
        assert_eq!(next(&news), "one\n");
        append("o\n");
        assert_eq!(next(&news), "two\n", "a line is whole only with its end");
        fs::rename(&path, folder.path().join("robin.log.1")).expect("moved");
        append("three\n");
        let after = next(&news);
        // Between the two there may be a moment without a file.
        let after = if after.contains("robin.log") { next(&news) } else { after };
        assert_eq!(after, "three\n");
        File::create(&path).expect("emptied");
        append("4\n");
        assert_eq!(next(&news), "4\n");
    }

    #[test]
    fn a_file_that_is_not_there_is_told_at_once() {
        let (sender, _news) = sync_channel(1);
        let error = Source::File("/no/such/file".into()).follow(sender).expect_err("no file");
        assert!(error.contains("/no/such/file"), "{error}");
    }
}
