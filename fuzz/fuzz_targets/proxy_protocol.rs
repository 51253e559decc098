//! Any bytes in front of a connection: a header ends within them, and what decides does not change with what follows.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub, reason = "only a version of the protocol comes from here")]
#[path = "../../src/config/mod.rs"]
mod config;

#[allow(dead_code, unreachable_pub, reason = "as the proxy has it")]
#[path = "../../src/exchange/proxy_protocol.rs"]
mod proxy_protocol;

use libfuzzer_sys::fuzz_target;
use proxy_protocol::{LONGEST, Read, read};

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    if let Ok(Read::Header(_, length)) = &whole {
        assert!(*length > 0 && *length <= bytes.len() && *length <= LONGEST);
    }
    assert!(!(whole == Ok(Read::More) && bytes.len() > LONGEST));
    for end in 0..bytes.len().min(64) {
        let part = read(&bytes[..end]);
        if part != Ok(Read::More) {
            // Which mistake it is may depend on what follows, but not whether it is one.
            assert!(part == whole || (part.is_err() && whole.is_err()));
        }
    }
});
