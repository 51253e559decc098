//! robin: a load balancer and reverse proxy on Pingora for Docker Compose stacks.
//!
//! Rooms, top down; a room knows only rooms below it: `upstream` (live state of peers and the
//! choice among them) stands on `health` (pure rules that turn outcomes into standing); `config`
//! says what is wrong with a file and where.

pub mod config;
pub mod health;
pub mod upstream;
