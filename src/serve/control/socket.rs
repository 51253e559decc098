//! The operator's socket as a file: whose it is, who may open it, and when it goes.
//!
//! Its mode is 0600 before anybody can connect. One that a dead process has left is replaced; one that
//! a live process answers on stays that one's. Two that start at the same moment take turns by a lock on the folder.
//! The file is removed at the end by whoever made it, if it is still the same.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket as Raw, Type};

use crate::serve::heritage;

/// Callers that wait to be accepted; more are turned away.
const BACKLOG: i32 = 64;

/// The socket; its file is removed when this is dropped.
#[derive(Debug)]
pub(in crate::serve) struct Socket {
    path: PathBuf,
    /// Device and number of the file.
    id: (u64, u64),
    listener: UnixListener,
}

impl Socket {
    /// Makes the socket, for `owner` (user and group) where that is not who we are. A folder that is
    /// not there is made, too.
    ///
    /// # Errors
    /// What the system says, or that somebody answers there.
    pub(in crate::serve) fn bind(path: &Path, owner: Option<(u32, u32)>) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let (user, group) = owner.unzip();
        if !folder.exists() {
            fs::create_dir_all(folder)?;
            // Else who we become could not remove the socket.
            give(folder, user, group)?;
        }
        let lock = File::open(folder)?;
        lock.lock()?;
        if answers(path)? {
            return Err(io::Error::other("another process answers there"));
        }
        let socket = Raw::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Nobody can connect before `listen`.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        give(path, user, group)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let file = fs::symlink_metadata(path)?;
        Ok(Self { path: path.into(), id: (file.dev(), file.ino()), listener: socket.into() })
    }

    /// Takes over the one of a process before us.
    ///
    /// # Errors
    /// Where its file is gone.
    pub(in crate::serve) fn adopt(path: &Path, listener: UnixListener) -> io::Result<Self> {
        let file = fs::symlink_metadata(path)?;
        Ok(Self { path: path.into(), id: (file.dev(), file.ino()), listener })
    }

    /// To accept callers from.
    pub(in crate::serve) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let same = |file: fs::Metadata| (file.dev(), file.ino()) == self.id;
        if !heritage::files_stay() && fs::symlink_metadata(&self.path).is_ok_and(same) {
            // Where this fails the next robin finds that nobody answers.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives a file away, unless we lack the right to (CAP_CHOWN is not among those that a container that drops
/// them all needs): then it stays ours, and who asks is who we are at the start.
fn give(path: &Path, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    match chown(path, user, group) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Whether somebody answers at `path`; a socket that nobody has any more is removed.
fn answers(path: &Path) -> io::Result<bool> {
    match UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            use std::os::unix::fs::FileTypeExt as _;
            if !fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::other("there is a file that is no socket"));
            }
            fs::remove_file(path)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_its_owners_alone_and_goes_with_its_process() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run/robin/control.sock");
        let socket = Socket::bind(&path, None).expect("nobody is there");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        UnixStream::connect(&path).expect("it is listened on");
        let error = Socket::bind(&path, None).expect_err("somebody answers");
        assert!(error.to_string().contains("another process answers"), "{error}");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_has_left_is_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("control.sock");
        drop(UnixListener::bind(&path).expect("a free path"));
        let old = Socket::bind(&path, None).expect("nobody answers");
        fs::remove_file(&path).expect("removed by somebody");
        let new = Socket::bind(&path, None).expect("nobody is there");
        drop(old);
        assert!(path.exists(), "it is another one's");
        drop(new);
        fs::write(&path, "").expect("a file");
        Socket::bind(&path, None).expect_err("no socket");
    }
}
