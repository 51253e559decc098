//! The file system, asked on threads that may wait for it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::files::{PIECE, read_at};
use super::open_files;
use crate::config::model::site::Symlinks;
use crate::exchange::flow::{Disk, FileRule, Kind, Stat};
use crate::exchange::listing::Entry;

/// The real file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileSystem;

impl Disk for FileSystem {
    async fn stat(&self, path: &Path, rule: &FileRule) -> io::Result<Stat> {
        if remembers(rule) {
            return open_files::look(path, &rule.cache, false).await.map(|opened| opened.stat);
        }
        let (path, rule) = (path.to_owned(), rule.clone());
        blocking(move || {
            follow(&path, &rule)?;
            std::fs::metadata(path).map(|metadata| stat_of(&metadata))
        })
        .await
    }
}

/// Runs what may wait on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A file that is to be sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) file: Arc<File>,
    pub(super) stat: Stat,
    /// All that is in it, where that is little and was asked for.
    pub(super) bytes: Option<Bytes>,
}

/// Opens a file and says what it is; the handle decides, not the name.
///
/// # Errors
/// The system's.
pub(super) async fn send(path: &Path, rule: FileRule, whole: bool) -> io::Result<Sent> {
    if remembers(&rule) {
        let opened = match whole {
            true => open_files::read(path, &rule.cache).await?,
            false => open_files::look(path, &rule.cache, true).await?,
        };
        if let Some(file) = opened.file {
            return Ok(Sent { file, stat: opened.stat, bytes: opened.bytes });
        }
    }
    let path = path.to_owned();
    blocking(move || {
        let (file, stat) = open(&path, &rule)?;
        let small = whole && stat.kind == Kind::File && stat.length <= PIECE;
        let bytes = small.then(|| read_at(&file, 0..stat.length)).transpose()?;
        Ok(Sent { file: Arc::new(file), stat, bytes })
    })
    .await
}

/// Whether anything is remembered of what is at a path. Where links are not followed the way to it is looked at
/// each time.
fn remembers(rule: &FileRule) -> bool {
    rule.cache.is_on() && rule.symlinks == Symlinks::Followed
}

fn open(path: &Path, rule: &FileRule) -> io::Result<(File, Stat)> {
    follow(path, rule)?;
    let file = File::open(path)?;
    let stat = stat_of(&file.metadata()?);
    Ok((file, stat))
}

/// What is in a directory, but for names that begin with a dot. A link that leads nowhere is told as
/// a link (`ngx_http_autoindex_handler`).
pub(super) fn entries(path: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().into_vec();
        if name.starts_with(b".") {
            continue;
        }
        let metadata = match std::fs::metadata(entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            Err(_) => entry.metadata()?,
            Ok(metadata) => metadata,
        };
        let Stat { kind, length, .. } = stat_of(&metadata);
        entries.push(Entry { name, kind, modified: metadata.mtime(), length });
    }
    Ok(entries)
}

pub(super) fn stat_of(metadata: &Metadata) -> Stat {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Directory,
        _ => Kind::Other,
    };
    Stat {
        kind,
        length: metadata.len(),
        modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        executable: metadata.permissions().mode() & 0o111 != 0,
    }
}

/// Refuses a path with a symbolic link in it that must not be followed (`disable_symlinks`).
///
/// Who may write there can put a link in the place of what was looked at, as long as it is not
/// opened: nginx opens each directory in turn, for which the standard library has no call.
fn follow(path: &Path, rule: &FileRule) -> io::Result<()> {
    /// `ELOOP`, which is what the system says where `O_NOFOLLOW` meets a link.
    const LOOP: i32 = 40;
    if rule.symlinks == Symlinks::Followed {
        return Ok(());
    }
    let from = rule.from.as_deref().filter(|from| path.starts_with(from));
    let mut so_far = PathBuf::new();
    for component in path.components() {
        so_far.push(component);
        if component == Component::RootDir || from.is_some_and(|from| from.starts_with(&so_far)) {
            continue;
        }
        let link = std::fs::symlink_metadata(&so_far)?;
        if !link.is_symlink() {
            continue;
        }
        let same_owner = rule.symlinks == Symlinks::SameOwner
            && std::fs::metadata(&so_far).is_ok_and(|to| to.uid() == link.uid());
        if !same_owner {
            return Err(io::Error::from_raw_os_error(LOOP));
        }
    }
    Ok(())
}
