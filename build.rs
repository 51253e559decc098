//! Has the program's addresses be relocated by a short table where the system can read one.
//!
//! A program that may stand anywhere in memory holds some 20,000 addresses, each of which the loader corrects. In
//! the usual table they take 0.5 MB of 15; packed (`DT_RELR`) next to nothing. glibc reads that from 2.36 on, so
//! it is used where the build machine has such a one and builds for itself: an older system could not start the program.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let builds_for_itself = env::var("HOST") == env::var("TARGET");
    let links_glibc = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|known| known == "gnu");
    if builds_for_itself && links_glibc && glibc().is_some_and(|version| version >= (2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of the system's glibc, as `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
