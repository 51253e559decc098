//! Giving up root once the listeners are bound.

use std::io;

use nix::unistd::{Gid, Uid, User, setgid, setgroups, setuid};

/// The user that our image makes for this purpose.
const OWN_USER: &str = "robin";

/// Why root could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// `user:` names nobody.
    #[error("user `{0}` does not exist; add it, or leave `user` out to run as `robin` or root")]
    NoSuchUser(String),
    /// The system refused.
    #[error("cannot become user `{user}`: {source} (a container needs CAP_SETUID and CAP_SETGID)")]
    Refused {
        /// The user.
        user: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Only root can become somebody else.
    #[error("cannot become user `{0}`: robin was not started as root; leave `user` out")]
    NotRoot(String),
}

/// Becomes `wanted`, or the user `robin` where there is one. Says in a line which user it is now.
///
/// # Errors
/// [`PrivilegeError`] when `wanted` cannot be had. Without a wish, staying root is only a warning.
pub(super) fn drop_privileges(wanted: Option<&str>) -> Result<(), PrivilegeError> {
    let root = Uid::effective().is_root();
    let user = match wanted {
        None if !root => return Ok(()),
        None => match lookup(OWN_USER) {
            Some(user) => user,
            None => {
                log::warn!(
                    target: "robin::serve",
                    "running as root, set `user` or add a user named {OWN_USER}"
                );
                return Ok(());
            }
        },
        Some(name) => {
            let user = lookup(name).ok_or_else(|| PrivilegeError::NoSuchUser(name.into()))?;
            if user.uid == Uid::effective() {
                return Ok(());
            }
            if !root {
                return Err(PrivilegeError::NotRoot(name.into()));
            }
            user
        }
    };
    become_user(user.uid, user.gid)
        .map_err(|source| PrivilegeError::Refused { user: user.name.clone(), source })?;
    log::info!(target: "robin::serve", "root given up user={}", user.name);
    Ok(())
}

/// A user by name or number.
fn lookup(name: &str) -> Option<User> {
    let by_name = User::from_name(name).ok().flatten();
    by_name.or_else(|| User::from_uid(Uid::from_raw(name.parse().ok()?)).ok().flatten())
}

/// The groups first: afterwards there is no right left to.
fn become_user(uid: Uid, gid: Gid) -> io::Result<()> {
    setgroups(&[])?;
    setgid(gid)?;
    setuid(uid)?;
    Ok(())
}
