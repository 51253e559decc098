//! robin's command line. So far it only tells its version.

fn main() {
    println!("robin {}", env!("CARGO_PKG_VERSION"));
}
