//! What whole-process tests and tests against sockets share: scripted origins, a DNS server, a
//! raw client and the launcher of the binary.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(unreachable_pub, reason = "each test is a crate of its own")]

pub mod dns;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a thread that held the lock has panicked: the panic is reported elsewhere.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
