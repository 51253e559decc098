//! What operators see: the access log, event lines and the health dashboard.
