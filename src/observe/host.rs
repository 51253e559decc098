//! The name of the machine.

use std::sync::LazyLock;

static NAME: LazyLock<String> = LazyLock::new(|| {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_ascii_lowercase()
});

/// The name of the machine, lower case, as Linux tells it. It is read when it is first asked for:
/// the file is the kernel's, no disk is waited for.
#[must_use]
pub fn hostname() -> &'static str {
    &NAME
}
