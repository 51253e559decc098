//! Room for bodies that wait: in memory first, then in a temporary file without a name.
//!
//! A file is opened and unlinked at once, so that nothing is left behind however the process ends.
//! All access to it runs on threads that may block. Where no file can be made, on a read-only root
//! or a full disk, that is said once and memory has to do.

mod body;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::observe::event::Line;

pub(in crate::proxy) use body::{Body, Replay};

/// How many bytes go to or come from a file at once.
pub(in crate::proxy) const PIECE: usize = 64 * 1024;

/// What became of a piece: its bytes come back, whether or not the file took them.
pub(in crate::proxy) type Piece = (Vec<u8>, io::Result<()>);

/// A file, mostly without a name.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct TempFile(Arc<File>);

impl TempFile {
    /// Makes one in `directory`, which is the system's own for temporary files if none is given. One
    /// that is not there is made, as nginx does when it starts.
    pub(in crate::proxy) fn create(directory: Option<&Path>) -> JoinHandle<io::Result<Self>> {
        let directory = directory.map_or_else(std::env::temp_dir, Path::to_path_buf);
        spawn_blocking(move || {
            let (file, path) = Self::create_named_in(&directory)?;
            let unlinked = std::fs::remove_file(path);
            unlinked.map(|()| file)
        })
    }

    /// The same with a name, which stays until somebody removes it.
    pub(in crate::proxy) fn create_named(
        directory: Option<&Path>,
    ) -> JoinHandle<io::Result<(Self, PathBuf)>> {
        let directory = directory.map_or_else(std::env::temp_dir, Path::to_path_buf);
        spawn_blocking(move || Self::create_named_in(&directory))
    }

    fn create_named_in(directory: &Path) -> io::Result<(Self, PathBuf)> {
        let made = match Self::create_in(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .and_then(|()| Self::create_in(directory)),
            made => made,
        };
        if let Err(error) = &made {
            tell_once(directory, error);
        }
        made
    }

    fn create_in(directory: &Path) -> io::Result<(Self, PathBuf)> {
        let path = directory.join(format!("robin-{:032x}", fastrand::u128(..)));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((Self(Arc::new(file)), path))
    }

    /// Writes all of `bytes` at this place and gives them back.
    pub(in crate::proxy) fn write_at(&self, bytes: Vec<u8>, at: u64) -> JoinHandle<Piece> {
        let file = Arc::clone(&self.0);
        spawn_blocking(move || {
            let written = file.write_all_at(&bytes, at);
            if let Err(error) = &written {
                tell_once(Path::new("temporary file"), error);
            }
            (bytes, written)
        })
    }

    /// Reads `count` bytes from this place, which must be there.
    pub(in crate::proxy) fn read_at(&self, count: usize, at: u64) -> JoinHandle<Piece> {
        let file = Arc::clone(&self.0);
        spawn_blocking(move || {
            let mut bytes = vec![0; count];
            let read = file.read_exact_at(&mut bytes, at);
            (bytes, read)
        })
    }
}

/// Says that bodies stay in memory, the first time this happens.
fn tell_once(path: &Path, error: &io::Error) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Relaxed) {
        let line = Line::new("no room for temporary files, keeping bodies in memory");
        let line = line.field("path", path.display()).field("error", error);
        line.warn("robin::proxy");
    }
}

/// The threads that access files end with the process only.
fn ended<T>(error: tokio::task::JoinError) -> io::Result<T> {
    Err(io::Error::other(error))
}
