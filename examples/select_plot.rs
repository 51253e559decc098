//! Draws what `cargo bench --bench select` measured last, and prints it as Markdown.
//!
//!     cargo bench --bench select && cargo run --example select_plot -- docs/select.svg

#[path = "common/svg.rs"]
mod svg;

use std::path::{Path, PathBuf};

const SIZES: [u16; 4] = [2, 16, 128, 1024];
const NAMES: [&str; 16] = [
    "floor",
    "round_robin",
    "random",
    "random_two",
    "random_two_least_time",
    "ewma",
    "ip_hash",
    "hash",
    "hash_consistent",
    "least_conn",
    "least_time",
    "least_time_inflight",
    "pingora_round_robin",
    "pingora_random",
    "pingora_fnv",
    "pingora_ketama",
];

/// Criterion's median in nanoseconds.
fn median(criterion: &Path, group: &str, name: &str, size: u16) -> Option<f64> {
    let file = criterion.join(format!("{group}/{name}/{size}/new/estimates.json"));
    let text = std::fs::read_to_string(file).ok()?;
    // JSON is YAML.
    let estimates: serde_yaml::Value = serde_yaml::from_str(&text).ok()?;
    estimates.get("median")?.get("point_estimate")?.as_f64()
}

fn main() {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
    let criterion = target.join("criterion");
    for (threads, title) in [("select", "One thread"), ("select_two_threads", "Two threads")] {
        println!("\n{title}:\n");
        println!("| ns | 2 peers | 16 | 128 | 1024 | 2, half out | 16 | 128 | 1024 |");
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        for name in NAMES {
            let cells = ["", "_half_out"].map(|out| {
                let of = |size: u16| median(&criterion, &format!("{threads}{out}"), name, size);
                let cell = |size| of(size).map_or("-".to_owned(), |ns| format!("{ns:.0}"));
                SIZES.map(cell).join(" | ")
            });
            println!("| `{name}` | {} |", cells.join(" | "));
        }
    }
    let mut series = Vec::from(NAMES.map(|name| {
        let of = |size: &u16| Some((f64::from(*size), median(&criterion, "select", name, *size)?));
        (name.to_owned(), SIZES.iter().filter_map(of).collect::<Vec<_>>())
    }));
    series.retain(|(_, points)| points.len() == SIZES.len());
    if let Some(file) = std::env::args().nth(1) {
        let drawn =
            svg::lines("One choice of a peer, one thread, every peer available", &series, "ns");
        if let Err(error) = std::fs::write(&file, drawn) {
            eprintln!("{file}: {error}");
            std::process::exit(1);
        }
    }
}
