//! The file system, asked on threads that may wait for it.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use crate::exchange::flow::{Disk, Kind, Stat};

/// The real file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileSystem;

impl Disk for FileSystem {
    async fn stat(&self, path: &Path) -> io::Result<Stat> {
        let path = path.to_owned();
        let metadata = tokio::task::spawn_blocking(move || std::fs::metadata(path)).await;
        let metadata = metadata.map_err(io::Error::other)??;
        let kind = match metadata.file_type() {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Directory,
            _ => Kind::Other,
        };
        Ok(Stat {
            kind,
            length: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            executable: metadata.permissions().mode() & 0o111 != 0,
        })
    }
}
