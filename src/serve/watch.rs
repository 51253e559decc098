//! `--watch`: reads the configuration again when one of its files has changed.
//!
//! Files are looked at twice a second, on a thread of its own. inotify would have to watch folders, not files:
//! editors put another file in the place of the old one, Kubernetes swaps a symbolic link above it, and of a file
//! that is mounted into a container it sees nothing of what happens outside. Looking at some metadata costs less than
//! that is worth.
//!
//! What has changed is waited for until it changes no more, and then its content is compared: a file that was
//! only touched, or that was found to be wrong already, is not read again.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::control::{Order, Reply};
use crate::config::Loaded;

/// How often files are looked at, and for how long they must not have changed.
const EVERY: Duration = Duration::from_millis(500);

/// What a configuration was read from. Clones share all.
#[derive(Clone, Debug)]
pub struct Watched(Arc<Mutex<Read>>);

/// What the configuration that is served was read from, and whether nobody has looked at that yet.
#[derive(Debug)]
struct Read {
    seen: Seen,
    is_new: bool,
}

/// Places, and a number for what was read there; none where there was nothing.
pub(super) type Seen = Vec<(Place, Option<u64>)>;

/// Where something may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    File(PathBuf),
    /// A folder that files are included from: which there are that end like those.
    Folder(PathBuf, Option<std::ffi::OsString>),
}

/// What is looked at often: it changes with the content.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    /// Device and number.
    file: (u64, u64),
    size: u64,
    /// Modification and change, in seconds and nanoseconds.
    times: [(i64, i64); 2],
}

impl Watched {
    /// What a configuration was read from.
    #[must_use]
    pub fn new(loaded: &Loaded) -> Self {
        Self(Arc::new(Mutex::new(Read { seen: seen(loaded), is_new: true })))
    }

    /// That it was read from these since.
    pub(super) fn now(&self, seen: Seen) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Read { seen, is_new: true };
    }

    /// Where to look; takes note of what was read there, if that is new.
    fn places(&self, known: &mut HashMap<Place, Option<u64>>) -> Vec<Place> {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut read.is_new) {
            known.extend(read.seen.iter().cloned());
        }
        read.seen.iter().map(|(place, _)| place.clone()).collect()
    }

    /// Asks for a reload each time that something has changed, as long as there is somebody to ask.
    ///
    /// # Errors
    /// Where there is no thread to be had.
    pub(super) fn start(self, orders: mpsc::Sender<Order>) -> io::Result<()> {
        thread::Builder::new().name("watch".into()).spawn(move || self.run(&orders))?;
        Ok(())
    }

    fn run(self, orders: &mpsc::Sender<Order>) {
        let mut known = HashMap::new();
        let mut seen = looks(&self.places(&mut known));
        let mut changing = true;
        loop {
            thread::sleep(EVERY);
            let places = self.places(&mut known);
            let now = looks(&places);
            if now != seen {
                (seen, changing) = (now, true);
                continue;
            }
            if !std::mem::take(&mut changing) {
                continue;
            }
            let present = contents(&places);
            let changed = present.iter().any(|(place, hash)| known.get(place) != Some(hash));
            known.extend(present);
            if changed && !ask(orders) {
                return;
            }
        }
    }
}

/// Asks for a reload and waits for it; false where nobody does one any more.
fn ask(orders: &mpsc::Sender<Order>) -> bool {
    let ((answer, answered), (_end, written)) = (oneshot::channel(), oneshot::channel());
    let asked = orders.blocking_send(Order::Reload(Reply { answer, written }));
    // What is wrong has been told to the log.
    asked.is_ok() && answered.blocking_recv().is_ok()
}

/// What a configuration was read from: of its own files what was read, of the others what is there now.
pub(super) fn seen(loaded: &Loaded) -> Seen {
    let own = loaded.sources.iter().map(|source| {
        let path = PathBuf::from(&source.name);
        (Place::File(path), Some(number(source.text.as_bytes())))
    });
    let mut seen: Seen = own.collect();
    let mut look = |place: Place| {
        if !seen.iter().any(|(known, _)| *known == place) {
            let content = place.content();
            seen.push((place, content));
        }
    };
    loaded.files.iter().for_each(|path| look(Place::File(path.clone())));
    for included in loaded.sources.iter().skip(1) {
        let path = Path::new(&included.name);
        let folder = path.parent().unwrap_or(Path::new("")).into();
        look(Place::Folder(folder, path.extension().map(Into::into)));
    }
    seen
}

fn number(content: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

impl Place {
    fn path(&self) -> &Path {
        let (Self::File(path) | Self::Folder(path, _)) = self;
        // Relative names begin where the process was started.
        if path.as_os_str().is_empty() { Path::new(".") } else { path }
    }

    /// A number for the content; none where there is none.
    fn content(&self) -> Option<u64> {
        match self {
            // The mark that some editors begin a file with is not read.
            Self::File(_) => {
                let bytes = fs::read(self.path()).ok()?;
                Some(number(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)))
            }
            Self::Folder(_, ending) => {
                let names =
                    fs::read_dir(self.path()).ok()?.flatten().map(|entry| entry.file_name());
                let alike =
                    |name: &std::ffi::OsString| Path::new(name).extension() == ending.as_deref();
                let mut names: Vec<_> = names.filter(alike).collect();
                names.sort();
                Some(number(names))
            }
        }
    }
}

fn looks(places: &[Place]) -> Vec<Option<Look>> {
    let look = |place: &Place| {
        let file = fs::metadata(place.path()).ok()?;
        let times = [(file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())];
        Some(Look { file: (file.dev(), file.ino()), size: file.size(), times })
    };
    places.iter().map(look).collect()
}

fn contents(places: &[Place]) -> Seen {
    places.iter().map(|place| (place.clone(), place.content())).collect()
}
