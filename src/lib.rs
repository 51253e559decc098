//! robin: a load balancer and reverse proxy on Pingora for Docker Compose stacks.
//!
//! Rooms, top down; a room knows only rooms below it: `cli` (arguments into one call), `serve` (the process), `top` (the
//! dashboard in the terminal, a process of its own), `proxy` (plumbing of one request), and, where Pingora may not be named, `exchange` (decisions about one request),
//! `observe` (what operators see), `discovery` (names into members), `upstream` (live state of
//! peers and the choice among them), `limits` (how much clients may ask for), `health` (pure rules that turn outcomes into standing),
//! `route` (which route a request belongs to) and `config` (what was written, checked).

pub mod cli;
pub mod config;
pub mod discovery;
pub mod exchange;
pub mod health;
pub mod limits;
pub mod observe;
pub mod proxy;
pub mod route;
pub mod serve;
pub mod top;
pub mod upstream;
