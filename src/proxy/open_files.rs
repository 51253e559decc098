//! Files that stay open between requests, and the bytes of small ones: nginx's `open_file_cache`.
//!
//! Each worker has its own, so that nothing is locked; one for each `open_file_cache` that is written, as in nginx. What
//! is known of a path is believed for a while; then one request has it looked at anew, on a thread that may wait, and a
//! file that is still the same stays as it is.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use tokio::time::Instant;

use super::disk::{blocking, stat_of};
use super::files::{PIECE, read_at};
use crate::config::model::site::FileCache;
use crate::exchange::flow::{Kind, Stat};
use crate::health::clock;

/// How many bytes of files a worker holds at most for one of them.
const MOST_BYTES: u64 = 16 << 20;

thread_local! {
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// What is remembered where this is written.
fn with_known<T>(cache: &FileCache, ask: impl FnOnce(&mut Known) -> T) -> T {
    KNOWN.with_borrow_mut(|all| {
        let written = (cache.max, cache.inactive);
        let index = all.iter().position(|known| known.written == written).unwrap_or_else(|| {
            all.push(Known { written, paths: LruCache::unbounded(), bytes: 0 });
            all.len() - 1
        });
        ask(&mut all[index])
    })
}

/// Forgets all of it: another configuration holds now.
pub fn forget_all() {
    // Files are closed once it can be asked again.
    drop(KNOWN.take());
}

/// What is at a path.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) stat: Stat,
    id: Id,
    /// A file that stays open.
    pub(super) file: Option<Arc<File>>,
    /// All that is in it.
    pub(super) bytes: Option<Bytes>,
}

/// What tells one state of a file from another: device, number, and when it was changed in which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    file: (u64, u64),
    size: u64,
    times: [(i64, i64); 2],
}

impl Id {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            times: [
                (metadata.mtime(), metadata.mtime_nsec()),
                (metadata.ctime(), metadata.ctime_nsec()),
            ],
        }
    }
}

impl Opened {
    /// Looks at a path; what was open there `before` stays if it is the same.
    fn look(path: &Path, before: Option<Self>, opens: bool) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let (stat, id) = (stat_of(&metadata), Id::of(&metadata));
        let seen = Self { stat, id, file: None, bytes: None };
        if stat.kind != Kind::File || !opens {
            return Ok(seen);
        }
        if let Some(before) = before.filter(|before| before.id == id && before.file.is_some()) {
            return Ok(before);
        }
        // One that may not be read is there all the same.
        let Ok(file) = File::open(path) else { return Ok(seen) };
        let metadata = file.metadata()?;
        let (stat, id) = (stat_of(&metadata), Id::of(&metadata));
        Ok(Self { stat, id, file: Some(Arc::new(file)), bytes: None })
    }

    fn held(&self) -> u64 {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }
}

/// What is at a path, as far as it is remembered or to be remembered; whether it is `used` or only looked for.
///
/// # Errors
/// The system's.
pub(super) async fn look(path: &Path, cache: &FileCache, used: bool) -> io::Result<Opened> {
    let (before, opens) = match with_known(cache, |known| known.get(path, cache, used)) {
        Found::Known(found) => return found,
        Found::Old { before, opens } => (before, opens),
    };
    let owned = path.to_owned();
    let looked = blocking(move || Opened::look(&owned, before, opens)).await;
    with_known(cache, |known| known.put(path, &looked, cache, used));
    looked
}

/// The same with all that is in it, where that is little.
///
/// # Errors
/// The system's.
pub(super) async fn read(path: &Path, cache: &FileCache) -> io::Result<Opened> {
    let mut used = true;
    loop {
        let mut opened = look(path, cache, used).await?;
        let Some(file) = opened.file.clone().filter(|_| opened.bytes.is_none()) else {
            return Ok(opened);
        };
        let length = opened.stat.length;
        if length > PIECE {
            return Ok(opened);
        }
        match blocking(move || read_at(&file, 0..length)).await {
            Ok(bytes) => {
                opened.bytes = Some(bytes);
                with_known(cache, |known| known.fill(path, &opened));
                return Ok(opened);
            }
            // It has become shorter since it was looked at.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && used => {
                with_known(cache, |known| drop(known.remove(path)));
                used = false;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What a worker remembers, the least recently used last.
#[derive(Debug)]
struct Known {
    /// `max` and `inactive`, by which it is known.
    written: (usize, Duration),
    /// By all bytes of a path: with a slash behind it, it is another one.
    paths: LruCache<OsString, Entry>,
    /// Bytes of files that are held.
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    /// What is there, or what the system has said in its place.
    found: Result<Opened, i32>,
    looked: Instant,
    used: Instant,
    /// How many requests have used it.
    uses: u32,
}

enum Found {
    Known(io::Result<Opened>),
    /// It is to be looked at, and opened if it was asked for often enough.
    Old {
        before: Option<Opened>,
        opens: bool,
    },
}

impl Known {
    fn get(&mut self, path: &Path, cache: &FileCache, used: bool) -> Found {
        let now = clock::now();
        let is_old = |known: &Entry| now.saturating_duration_since(known.used) > cache.inactive;
        if self.paths.peek(path.as_os_str()).is_some_and(is_old) {
            drop(self.remove(path));
        }
        let Some(known) = self.paths.get_mut(path.as_os_str()) else {
            return Found::Old { before: None, opens: cache.min_uses <= 1 };
        };
        known.used = now;
        known.uses = known.uses.saturating_add(used.into());
        // Who looks for a file uses it next.
        let opens = known.uses.saturating_add((!used).into()) >= cache.min_uses;
        let is_open =
            |found: &Opened| !opens || found.stat.kind != Kind::File || found.file.is_some();
        let is_known = match &known.found {
            Ok(found) => is_open(found),
            Err(_) => cache.errors,
        };
        if is_known && now.saturating_duration_since(known.looked) < cache.valid {
            return Found::Known(known.found.clone().map_err(io::Error::from_raw_os_error));
        }
        // The others go on with what is known until this one is back.
        known.looked = now;
        Found::Old { before: known.found.clone().ok(), opens }
    }

    fn put(&mut self, path: &Path, looked: &io::Result<Opened>, cache: &FileCache, used: bool) {
        let now = clock::now();
        let uses = self.remove(path).map_or(used.into(), |known| known.uses);
        let found = match looked {
            Ok(opened) => Ok(opened.clone()),
            Err(error) => match error.raw_os_error().filter(|_| cache.errors) {
                Some(number) => Err(number),
                None => return,
            },
        };
        self.bytes += found.as_ref().map_or(0, Opened::held);
        self.paths.push(path.into(), Entry { found, looked: now, used: now, uses });
        let is_old = |known: &Entry| now.saturating_duration_since(known.used) > cache.inactive;
        while self.paths.len() > cache.max
            || self.paths.peek_lru().is_some_and(|(_, known)| is_old(known))
        {
            self.forget();
        }
        self.fit();
    }

    /// Takes note of what is in a file, unless another one is there by now.
    fn fill(&mut self, path: &Path, read: &Opened) {
        if let Some(Entry { found: Ok(known), .. }) = self.paths.peek_mut(path.as_os_str())
            && known.id == read.id
            && known.bytes.is_none()
        {
            known.bytes.clone_from(&read.bytes);
            self.bytes += read.held();
        }
        self.fit();
    }

    /// Lets go of the bytes of those that were not used for the longest time, until the others fit. They stay open.
    fn fit(&mut self) {
        let mut oldest = self.paths.iter_mut().rev();
        while self.bytes > MOST_BYTES {
            let Some((_, known)) = oldest.next() else { return };
            let bytes = known.found.as_mut().ok().and_then(|opened| opened.bytes.take());
            self.bytes -= bytes.map_or(0, |bytes| bytes.len() as u64);
        }
    }

    /// Forgets what was not used for the longest time.
    fn forget(&mut self) {
        if let Some((_, known)) = self.paths.pop_lru() {
            self.bytes -= known.found.as_ref().map_or(0, Opened::held);
        }
    }

    fn remove(&mut self, path: &Path) -> Option<Entry> {
        let known = self.paths.pop(path.as_os_str())?;
        self.bytes -= known.found.as_ref().map_or(0, Opened::held);
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CACHE: FileCache = FileCache { max: 2, ..FileCache::OFF };

    fn text(opened: &io::Result<Opened>) -> Option<&[u8]> {
        opened.as_ref().ok()?.bytes.as_deref()
    }

    #[tokio::test]
    async fn a_file_is_believed_for_a_while_and_then_looked_at_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        std::fs::write(&path, "one").expect("written");
        let brief = FileCache { valid: Duration::ZERO, ..CACHE };
        assert_eq!(text(&read(&path, &CACHE).await), Some(&b"one"[..]));
        std::fs::write(&path, "three").expect("written");
        assert_eq!(text(&read(&path, &CACHE).await), Some(&b"one"[..]), "it is remembered");
        assert_eq!(text(&read(&path, &brief).await), Some(&b"three"[..]), "it is looked at");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(text(&read(&path, &CACHE).await), Some(&b"three"[..]));
        assert!(read(&path, &brief).await.is_err());
        assert!(read(&path, &CACHE).await.is_err(), "what is gone is forgotten");
    }

    #[tokio::test]
    async fn one_that_is_the_same_stays_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        std::fs::write(&path, "one").expect("written");
        let brief = FileCache { valid: Duration::ZERO, ..CACHE };
        let first = read(&path, &brief).await.expect("it is there");
        let second = look(&path, &brief, false).await.expect("it is there");
        let (first, second) = (first.file.expect("open"), second.file.expect("open"));
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[tokio::test]
    async fn no_more_paths_are_remembered_than_may_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = ["a", "b", "c"].map(|name| folder.path().join(name));
        for path in &paths {
            std::fs::write(path, "12345").expect("written");
            read(path, &CACHE).await.expect("it is there");
        }
        let held = with_known(&CACHE, |known| (known.paths.len(), known.bytes));
        assert_eq!(held, (2, 10));
        std::fs::remove_file(&paths[0]).expect("removed");
        assert!(look(&paths[0], &CACHE, false).await.is_err(), "the oldest is forgotten");
        std::fs::remove_file(&paths[2]).expect("removed");
        let elsewhere = FileCache { max: 1, ..CACHE };
        assert!(look(&paths[2], &elsewhere, false).await.is_err(), "another one knows nothing");
        assert!(look(&paths[2], &CACHE, false).await.is_ok());
        forget_all();
        assert!(look(&paths[2], &CACHE, false).await.is_err(), "nothing is known any more");
    }

    #[tokio::test]
    async fn a_file_stays_open_once_it_was_asked_for_often_enough() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        std::fs::write(&path, "one").expect("written");
        let second = FileCache { min_uses: 2, ..CACHE };
        for open in [false, true] {
            look(&path, &second, false).await.expect("it is looked for");
            let used = read(&path, &second).await.expect("it is there");
            assert_eq!((used.file.is_some(), used.bytes.is_some()), (open, open));
        }
    }

    #[tokio::test]
    async fn errors_are_remembered_where_they_are_to_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let errors = FileCache { errors: true, ..CACHE };
        assert!(look(&path, &errors, false).await.is_err());
        std::fs::write(&path, "one").expect("written");
        let error = look(&path, &errors, false).await.expect_err("it is remembered");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(look(&path, &CACHE, false).await.is_ok(), "elsewhere it is not");
    }

    #[tokio::test]
    async fn a_path_with_a_slash_behind_it_is_another_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        std::fs::write(&path, "one").expect("written");
        let errors = FileCache { errors: true, ..CACHE };
        assert!(look(&folder.path().join("a/"), &errors, false).await.is_err());
        assert!(look(&path, &errors, false).await.is_ok());
        assert!(look(&folder.path().join("a/"), &errors, false).await.is_err());
    }

    #[tokio::test]
    async fn one_that_has_become_shorter_is_read_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        std::fs::write(&path, "12345").expect("written");
        look(&path, &CACHE, false).await.expect("it is there");
        std::fs::write(&path, "1").expect("written");
        assert_eq!(text(&read(&path, &CACHE).await), Some(&b"1"[..]));
    }

    #[tokio::test]
    async fn what_does_not_fit_stays_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let large = FileCache { max: 1000, ..CACHE };
        let count = usize::try_from(MOST_BYTES / PIECE).expect("a number") + 1;
        let paths: Vec<_> = (0..count).map(|n| folder.path().join(n.to_string())).collect();
        for path in &paths {
            std::fs::write(path, vec![b'x'; PIECE as usize]).expect("written");
            read(path, &large).await.expect("it is there");
        }
        let first = look(&paths[0], &large, false).await.expect("it is there");
        assert!(first.file.is_some() && first.bytes.is_none());
        let last = look(&paths[count - 1], &large, false).await.expect("it is there");
        assert!(last.bytes.is_some());
        assert_eq!(with_known(&large, |known| known.bytes), MOST_BYTES);
    }
}
