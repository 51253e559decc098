//! robin's binary; see the library for what there is.

use std::process::ExitCode;

/// glibc's allocator costs a fifth of a request's CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    robin::cli::run()
}
