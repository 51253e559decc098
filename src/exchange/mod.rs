//! Decisions about one request, on our own types: no session, no socket, no Pingora.
