//! What was written: files in, a checked model or diagnostics out.

pub mod diagnostics;
pub mod model;
pub mod template;
