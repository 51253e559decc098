//! Giving up root once the listeners are bound.

use std::io;

use nix::unistd::{Gid, Uid, User, setgid, setgroups, setuid};

use crate::observe::event::Line;

/// Users that are there for this purpose: somebody's own, or the one of our image.
const OWN_USERS: [&str; 2] = ["robin", "nginx"];

/// Why root could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// `user:` names nobody.
    #[error("user `{0}` does not exist; add it, or leave `user` out")]
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
}

/// Becomes `wanted`, or one of [`OWN_USERS`] where there is one. Says in a line which user it is
/// now. Who is not root has nothing to give up and stays who he is, as with nginx.
///
/// # Errors
/// [`PrivilegeError`] when `wanted` cannot be had. Without a wish, staying root is only a warning.
pub(super) fn drop_privileges(wanted: Option<&str>) -> Result<(), PrivilegeError> {
    if !Uid::effective().is_root() {
        if wanted.is_some_and(|name| lookup(name).is_none_or(|u| u.uid != Uid::effective())) {
            let line = "the \"user\" directive makes sense only if the master process runs with \
                        super-user privileges, ignored";
            Line::new(line).warn("robin::serve");
        }
        return Ok(());
    }
    let user = match wanted {
        None => OWN_USERS.iter().find_map(|name| lookup(name)),
        Some(name) => Some(lookup(name).ok_or_else(|| PrivilegeError::NoSuchUser(name.into()))?),
    };
    let Some(user) = user else {
        let line = Line::new("running as root, set `user` or add this user");
        line.field("user", OWN_USERS[0]).warn("robin::serve");
        return Ok(());
    };
    if user.uid.is_root() {
        return Ok(());
    }
    become_user(user.uid, user.gid)
        .map_err(|source| PrivilegeError::Refused { user: user.name.clone(), source })?;
    Line::new("root given up").field("user", user.name).info("robin::serve");
    Ok(())
}

/// The user that the process runs as, unless it is root: it may have been at its start.
pub(super) fn plain_user() -> Option<String> {
    let uid = Uid::effective();
    let name = || User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |u| u.name);
    (!uid.is_root()).then(name)
}

/// User and group that [`drop_privileges`] will become; none where we stay who we are.
pub(super) fn heir(wanted: Option<&str>) -> Option<(u32, u32)> {
    let user = match wanted {
        _ if !Uid::effective().is_root() => None,
        None => OWN_USERS.iter().find_map(|name| lookup(name)),
        Some(name) => lookup(name),
    };
    user.map(|user| (user.uid.as_raw(), user.gid.as_raw()))
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
