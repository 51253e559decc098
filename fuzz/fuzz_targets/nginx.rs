//! Any text as a file in nginx's language: a model or messages, and a model survives a conversion.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub, reason = "only its doors are asked here")]
#[path = "../../src/config/mod.rs"]
mod config;

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // The goldens' folder has files to include.
    let path = Path::new("tests/golden/pairs/fuzzed.conf");
    match config::read_nginx(path, text, &config::LoadOptions::default()) {
        Ok(loaded) => {
            let yaml = loaded.to_yaml();
            let again = config::parse_yaml("tests/golden/pairs/fuzzed.yaml", yaml.clone(), &|_| None);
            match again {
                Ok(again) => assert!(again == loaded.config, "changed by conversion:\n{yaml}"),
                // nginx takes a name or a server that stands there twice; YAML does not.
                Err(diags) if diags.to_string().contains("duplicate ") => {}
                Err(diags) => panic!("cannot be read back:\n{yaml}\n{diags}"),
            }
        }
        Err(diags) => assert!(diags.to_string().starts_with("nginx: [emerg] ")),
    }
});
