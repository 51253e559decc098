//! Any bytes of a client's: a line of a log stays one line, and says them all.
#![no_main]

#[allow(dead_code, unreachable_pub, reason = "as the proxy has it")]
#[path = "../../src/observe/escape.rs"]
mod escape;

use libfuzzer_sys::fuzz_target;

/// What `\xHH` stands for.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'\\' {
            let digits = std::str::from_utf8(&after[1..3]).expect("two digits");
            bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let mut line = Vec::new();
    escape::push_escaped(&mut line, bytes);
    assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'"'));
    assert_eq!(unescaped(&line), bytes);
    let mut json = vec![b'"'];
    escape::push_json(&mut json, bytes);
    json.push(b'"');
    assert!(!json.contains(&b'\n'));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let read: Result<String, _> = serde_json::from_slice(&json);
        assert_eq!(read.expect("JSON"), text);
    }
});
