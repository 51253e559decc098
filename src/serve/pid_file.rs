//! The file that says which process this is, for `-s` and for scripts.
//!
//! It is written once all listeners are bound, while the process may still be root, and taken away at the
//! end. A process that has given up root may not remove it from `/run`; it empties it then. That it
//! cannot be written (a read-only root) keeps nobody from serving.
//!
//! A process that starts another in its place leaves the name to that one, as nginx does: its own file is
//! called `.oldbin` then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};

use super::heritage;
use crate::observe::event::Line;

/// What nginx calls the file of a process that another takes the place of.
const OLD: &str = "oldbin";

/// The file; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
    /// Whether it has the other name.
    is_old: bool,
}

impl PidFile {
    /// Writes the id of this process; none where that is not possible, which is told. It is given to `owner` (user
    /// and group) where that is who we become: a process that is started by us then could not write it.
    pub(super) fn write(path: &Path, owner: Option<(u32, u32)>) -> Option<Self> {
        let write = || -> io::Result<Self> {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            if let Some((user, group)) = owner {
                // Without the right to, it stays ours; who comes after us has no pid file then.
                let _ = fchown(&file, Some(user), Some(group));
            }
            let mut written = Self { path: path.into(), file, is_old: false };
            written.write_id()?;
            Ok(written)
        };
        let written = write();
        if let Err(error) = &written {
            let line = Line::new("no pid file").field("path", path.display()).field("error", error);
            line.warn("robin::serve");
        }
        written.ok()
    }

    fn write_id(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }

    /// The file's name with `.oldbin` behind it.
    fn old(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(OLD);
        name.into()
    }

    /// Leaves the name to another process. Where the folder is not ours, that one writes over what is there.
    pub(super) fn step_aside(&mut self) {
        self.is_old = fs::rename(&self.path, self.old()).is_ok();
    }

    /// Takes the name back.
    pub(super) fn come_back(&mut self) {
        let back = match std::mem::take(&mut self.is_old) {
            true => fs::rename(self.old(), &self.path),
            false => self.write_id(),
        };
        if let Err(error) = back {
            let line = Line::new("pid file not restored").field("path", self.path.display());
            line.field("error", error).warn("robin::serve");
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_old {
            // Nobody looks for it any more.
            let _ = fs::remove_file(self.old());
        } else if !heritage::files_stay() && fs::remove_file(&self.path).is_err() {
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
        fs::write(&path, "1234567890\n").expect("one is left from before");
        let file = PidFile::write(&path, None).expect("it can be written");
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
        assert!(PidFile::write(&path.join("not-a-folder"), None).is_none());
    }

    #[test]
    fn it_leaves_its_name_to_another_and_takes_it_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("nginx.pid");
        let old = folder.path().join("nginx.pid.oldbin");
        let mut file = PidFile::write(&path, None).expect("it can be written");
        file.step_aside();
        assert!(old.exists() && !path.exists());
        fs::write(&path, "42\n").expect("the other one's");
        file.come_back();
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, format!("{}\n", std::process::id()));
        file.step_aside();
        fs::write(&path, "42\n").expect("the other one's");
        drop(file);
        assert!(path.exists() && !old.exists());
    }
}
