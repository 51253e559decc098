//! A file that log lines are appended to, opened again when its name leads elsewhere.
//!
//! Whoever rotates logs moves the file away and asks for new ones ([`reopen`], SIGUSR1). A name that
//! leads to `/dev/stdout` or `/dev/stderr`, as those in nginx's image do, is that stream as it was
//! handed to the process: it cannot be opened by its name where it is a socket, or by a
//! user who is not the one that made it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

/// Links to follow at most; Linux has the same limit.
const LINKS: usize = 40;

/// Every file that is open.
static OPEN: Mutex<Vec<Weak<Named>>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Named {
    path: PathBuf,
    file: ArcSwap<File>,
}

/// Where lines go. All clones write to one file.
#[derive(Clone, Debug)]
pub struct Sink(Arc<Named>);

impl Sink {
    /// A file to append to, made where there is none.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let named = Arc::new(Named { path: path.into(), file: ArcSwap::from_pointee(open(path)?) });
        let mut all = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&named));
        Ok(Self(named))
    }

    /// Standard output.
    ///
    /// # Errors
    /// Where the process has none.
    pub fn stdout() -> io::Result<Self> {
        Self::open(Path::new("/dev/stdout"))
    }

    /// Standard error.
    ///
    /// # Errors
    /// Where the process has none.
    pub fn stderr() -> io::Result<Self> {
        Self::open(Path::new("/dev/stderr"))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&**self.0.file.load()).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens every file again by its name. Returns those that could not be: what is written to them goes
/// where it went before.
#[must_use]
pub fn reopen() -> Vec<(PathBuf, io::Error)> {
    let all = OPEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut failed = Vec::new();
    for named in all.iter().filter_map(Weak::upgrade) {
        match open(&named.path) {
            Ok(file) => named.file.store(Arc::new(file)),
            Err(error) => failed.push((named.path.clone(), error)),
        }
    }
    failed
}

fn open(path: &Path) -> io::Result<File> {
    // Not through `Stdout`, whose lock and line buffer other threads may hold.
    match standard(path) {
        Some(Standard::Output) => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        Some(Standard::Error) => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        None => OpenOptions::new().append(true).create(true).open(path),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standard {
    Output,
    Error,
}

/// Which of the standard streams a name leads to.
fn standard(path: &Path) -> Option<Standard> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match path.to_str()? {
            "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => return Some(Standard::Output),
            "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => return Some(Standard::Error),
            _ => {
                let target = fs::read_link(&path).ok()?;
                path = path.parent().unwrap_or(Path::new("")).join(target);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, old) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
        let mut sink = Sink::open(&path).expect("it can be made");
        sink.write_all(b"one\n").expect("written");
        fs::rename(&path, &old).expect("moved");
        sink.write_all(b"two\n").expect("written");
        assert!(reopen().iter().all(|(failed, _)| *failed != path));
        sink.write_all(b"three\n").expect("written");
        assert_eq!(fs::read_to_string(&old).expect("there"), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).expect("there"), "three\n");
    }

    #[test]
    fn a_link_to_a_standard_stream_is_that_stream() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (link, chain) = (folder.path().join("error.log"), folder.path().join("chain.log"));
        std::os::unix::fs::symlink("/dev/stderr", &link).expect("linked");
        std::os::unix::fs::symlink("error.log", &chain).expect("linked");
        assert_eq!(standard(&link), Some(Standard::Error));
        assert_eq!(standard(&chain), Some(Standard::Error));
        assert_eq!(standard(Path::new("/dev/stdout")), Some(Standard::Output));
        assert_eq!(standard(&folder.path().join("no.log")), None);
    }
}
