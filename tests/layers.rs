//! Whether the rooms below the line know nothing of Pingora.

use std::fs;
use std::path::Path;

/// The rooms whose decisions a second plumbing must be able to take as well.
const BELOW: [&str; 9] =
    ["config", "discovery", "exchange", "health", "limits", "observe", "route", "top", "upstream"];

fn name_it(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the sources") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            name_it(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let lines = text.lines().enumerate().filter(|(_, line)| line.contains("pingora"));
        found.extend(lines.map(|(n, line)| format!("{}:{}: {line}", path.display(), n + 1)));
    }
}

#[test]
fn pingora_is_not_named_below_the_line() {
    let mut found = Vec::new();
    for room in BELOW {
        name_it(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut found);
    }
    assert!(found.is_empty(), "named in:\n{}", found.join("\n"));
}
