//! The process: accept loops, signals, draining and background tasks.
