//! Any text as a YAML file: a model or messages, and a model survives a conversion.
#![no_main]

#[allow(dead_code, unused_imports, unreachable_pub, reason = "only its doors are asked here")]
#[path = "../../src/config/mod.rs"]
mod config;

use libfuzzer_sys::fuzz_target;

fn environment(name: &str) -> Option<String> {
    (name == "PORT").then(|| "8080".to_owned())
}

fuzz_target!(|text: &str| {
    match config::read_yaml("fuzzed.yaml", text, &environment) {
        Ok(loaded) => {
            let yaml = loaded.to_yaml();
            match config::parse_yaml("again.yaml", yaml.clone(), &|_| None) {
                Ok(again) => assert!(again == loaded.config, "changed by conversion:\n{yaml}"),
                // nginx takes a name or a server that stands there twice; YAML does not.
                Err(diags) if diags.to_string().contains("duplicate ") => {}
                Err(diags) => panic!("cannot be read back:\n{yaml}\n{diags}"),
            }
        }
        Err(diags) => assert!(diags.to_string().starts_with("error: ")),
    }
});
