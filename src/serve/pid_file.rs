//! The file that says which process this is, for `-s` and for scripts.
//!
//! It is written once all listeners are bound, while the process may still be root, and taken away at the
//! end. A process that has given up root may not remove it from `/run`; it empties it then. That it
//! cannot be written (a read-only root) keeps nobody from serving.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::observe::event::Line;

/// The file; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Writes the id of this process; none where that is not possible, which is told.
    pub(super) fn write(path: &Path) -> Option<Self> {
        let write = || -> io::Result<Self> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Self { path: path.into(), file })
        };
        let written = write();
        if let Err(error) = &written {
            let line = Line::new("no pid file").field("path", path.display()).field("error", error);
            log::warn!(target: "robin::serve", "{line}");
        }
        written.ok()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if fs::remove_file(&self.path).is_err() {
            // Nothing is left to do where this fails too.
            let _ = self.file.set_len(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_id_while_it_lives() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("nginx.pid");
        let file = PidFile::write(&path).expect("it can be written");
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
        assert!(PidFile::write(&path.join("not-a-folder")).is_none());
    }
}
