//! What was written: files in, a checked model or diagnostics out.

pub mod diagnostics;
