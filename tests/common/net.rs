//! Addresses of our own: no two tests get the same, also when they run in parallel.
//!
//! On Linux all of 127.0.0.0/8 is this machine. Each process takes a network of its own, made of
//! its id, and each address in it is given once. Ports lie below the range from which the kernel
//! takes those of clients, so that an origin that stopped listening can always listen again.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// Clients' ports begin at 32768 by default.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

fn fresh_ip() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let id = std::process::id() % (254 * 254);
    let part = |n: u32| u8::try_from(n % 254 + 1).expect("1 to 254");
    let last = NEXT.fetch_add(1, Relaxed);
    assert!(last < 255, "a test process has 254 addresses");
    Ipv4Addr::new(127, part(id / 254), part(id), last).into()
}

/// A free port on an address that nobody else has.
pub fn free_address() -> SocketAddr {
    replicas(1)[0]
}

/// `count` addresses that nobody else has, with one free port in common: replicas of a service.
pub fn replicas(count: usize) -> Vec<SocketAddr> {
    let ips: Vec<IpAddr> = (0..count).map(|_| fresh_ip()).collect();
    (0..100)
        .find_map(|_| {
            let port = fastrand::u16(PORTS);
            let free = ips.iter().all(|ip| is_free((*ip, port).into()));
            free.then(|| ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
        })
        .expect("one of a hundred ports is free")
}

/// Whether nobody listens on `address`. It is asked by connecting, which leaves nothing behind: a
/// socket that another test's thread takes into a process it starts would keep the port taken.
pub fn is_free(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

/// Listens on `address`. A listener that was just closed may live on for a moment in a process
/// that another thread is starting: that moment is waited for.
///
/// # Panics
/// When the address stays taken.
pub fn listen(address: SocketAddr) -> TcpListener {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(e) if e.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            Err(e) => panic!("{address}: {e}"),
        }
    }
}
