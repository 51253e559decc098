//! Does the configuration that someone writes load, and does one with a mistake say so?
//!
//! Golden files decide: `tests/golden/invalid/NAME.yaml` or `.conf` must give exactly
//! `NAME.stderr`, and both `tests/golden/pairs/NAME.yaml` and `.conf` exactly the model in
//! `NAME.model`. `UPDATE_GOLDEN=1` writes what is said now; read the difference before you keep it.
//! Paths are relative to the repository, where cargo runs tests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use robin::config::diagnostics::Diagnostics;
use robin::config::model::Config;
use robin::config::{
    self, LoadOptions, Loaded, Standing, load_with, parse_yaml, read_nginx, read_yaml,
};

/// The environment of every golden file.
fn environment(name: &str) -> Option<String> {
    match name {
        "API_HOST" => Some("back-end:5252".into()),
        "PORT" => Some("8080".into()),
        "EMPTY" => Some(String::new()),
        "BAD_TIME" => Some("soon".into()),
        "SECRET" => Some("a$b".into()),
        _ => None,
    }
}

fn load_all(path: &Path) -> Result<Loaded, Diagnostics> {
    load_with(path, &LoadOptions::default(), &environment)
}

fn load(path: &Path) -> Result<Config, Diagnostics> {
    load_all(path).map(|loaded| loaded.config)
}

/// A model is long: where two differ, only the first lines that do are shown.
fn assert_same(one: &Config, other: &Config, path: &Path, what: &str) {
    if one == other {
        return;
    }
    let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
    // Maps print in any order.
    let only = |here: &str, there: &str| -> Vec<String> {
        let there: BTreeSet<&str> = there.lines().collect();
        here.lines().filter(|line| !there.contains(line)).take(5).map(str::to_owned).collect()
    };
    let different = (only(&one, &other), only(&other, &one));
    panic!("{} changes: {different:#?}\n{what}", path.display());
}

/// What is converted means the same, beside the file that it comes from.
fn survives(loaded: &Loaded, path: &Path) -> Config {
    let yaml = loaded.to_yaml();
    let name = path.with_extension("converted.yaml").display().to_string();
    let again = parse_yaml(&name, yaml.clone(), &environment);
    let again = again.unwrap_or_else(|diags| panic!("{}: {yaml}\n{diags}", path.display()));
    assert_same(&again, &loaded.config, path, &yaml);
    again
}

fn parse(text: &str) -> Result<Config, Diagnostics> {
    parse_yaml("robin.yaml", text, &environment)
}

/// The configuration files of a directory with one of these endings, in order.
fn fixtures(directory: &str, endings: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory is part of the repository");
    let paths = entries.map(|entry| entry.expect("its entries can be read").path());
    let ends = |path: &PathBuf| endings.iter().any(|e| path.extension().is_some_and(|p| p == *e));
    let mut paths: Vec<PathBuf> = paths.filter(ends).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{directory} is empty");
    paths
}

const YAML: &[&str] = &["yaml"];
const NGINX: &[&str] = &["conf"];
const BOTH: &[&str] = &["yaml", "conf"];

/// Whether the golden file holds `actual`; with `UPDATE_GOLDEN` it does from now on.
fn matches_golden(golden: &Path, actual: &str) -> bool {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, actual).expect("a golden file can be written");
    }
    let expected = fs::read_to_string(golden).unwrap_or_default();
    let same = expected == actual;
    if !same {
        eprintln!("{} differs; now:\n{actual}", golden.display());
    }
    same
}

#[test]
fn every_mistake_gives_its_message() {
    let mut wrong = Vec::new();
    let mut first_lines = BTreeSet::new();
    let fixtures = fixtures("tests/golden/invalid", BOTH);
    // What a robin without exporter says, one with it does not.
    let is_said = |path: &&PathBuf| {
        !(cfg!(feature = "otlp") && path.to_string_lossy().contains("without_otlp"))
    };
    for path in fixtures.iter().filter(is_said) {
        let Err(diags) = load(path) else {
            eprintln!("{} loads", path.display());
            wrong.push(path.clone());
            continue;
        };
        let message = diags.to_string();
        first_lines.insert(message.lines().next().unwrap_or("").to_owned());
        if !matches_golden(&path.with_extension("stderr"), &message) {
            wrong.push(path.clone());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(first_lines.len() >= 130, "only {} different mistakes", first_lines.len());
}

#[test]
fn every_pair_gives_its_model() {
    let mut wrong = Vec::new();
    let mut models: HashMap<PathBuf, Config> = HashMap::new();
    for path in fixtures("tests/golden/pairs", BOTH) {
        let loaded = load_all(&path).unwrap_or_else(|diags| panic!("{diags}"));
        let again = survives(&loaded, &path);
        let other = models.entry(path.with_extension("")).or_insert_with(|| again.clone());
        assert_same(&again, other, &path, "the other door");
        if !matches_golden(&path.with_extension("model"), &config::outline(&again)) {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

// One for each folder: the reference alone takes as long as all others.
#[test]
fn a_shipped_file_cut_at_any_byte_gives_a_model_or_a_message() {
    cut_at_any_byte(&["conf"]);
}

#[test]
fn a_file_cut_at_any_byte_gives_a_model_or_a_message() {
    cut_at_any_byte(&["tests/golden/invalid", "tests/golden/pairs"]);
}

fn cut_at_any_byte(directories: &[&str]) {
    for path in directories.iter().flat_map(|directory| fixtures(directory, YAML)) {
        let bytes = fs::read(&path).expect("a fixture can be read");
        for end in 0..bytes.len() {
            let text = String::from_utf8_lossy(&bytes[..end]);
            // Within a comment nothing changes.
            let line = text.rsplit('\n').next().unwrap_or("").trim_start();
            if line.len() > 1 && line.starts_with('#') {
                continue;
            }
            match read_yaml("robin.yaml", text, &environment) {
                // A conversion at the end of each line tells enough.
                Ok(loaded) if bytes[end] == b'\n' => drop(survives(&loaded, &path)),
                Ok(_) => {}
                Err(diags) => assert!(diags.to_string().starts_with("error: ")),
            }
        }
    }
}

#[test]
fn an_nginx_file_cut_at_any_byte_gives_a_model_or_a_message() {
    let directories = ["tests/golden/invalid", "tests/golden/pairs"];
    for path in directories.into_iter().flat_map(|directory| fixtures(directory, NGINX)) {
        let bytes = fs::read(&path).expect("a fixture can be read");
        for end in 0..bytes.len() {
            let text = String::from_utf8_lossy(&bytes[..end]);
            match read_nginx(&path, text, &LoadOptions::default()) {
                Ok(loaded) if bytes[end] == b'\n' => drop(survives(&loaded, &path)),
                Ok(_) => {}
                Err(diags) => assert!(diags.to_string().starts_with("nginx: [emerg] ")),
            }
        }
    }
}

#[test]
fn the_shipped_configuration_survives_a_conversion() {
    let path = Path::new("conf/robin.yaml");
    survives(&load_all(path).unwrap_or_else(|diags| panic!("{diags}")), path);
}

#[test]
fn the_reference_loads_and_names_every_key() {
    let path = Path::new("conf/reference.yaml");
    load(path).unwrap_or_else(|diags| panic!("{diags}"));
    let text = fs::read_to_string(path).expect("it was just loaded");
    let is_written = |key: &str| {
        // What needs files of its own is in a comment.
        let mut lines = text.lines().map(|line| line.trim_start_matches([' ', '-', '#']));
        lines.any(|line| line.starts_with(&format!("{key}:")))
    };
    let missing: Vec<&str> = config::yaml_keys().filter(|key| !is_written(key)).collect();
    assert!(missing.is_empty(), "{missing:?} are not documented");
    let variable = |name: &&str| text.contains(&format!("${name}"));
    assert!(config::template::Variable::names().all(|name| variable(&name)));
}

#[test]
fn the_defaults_in_the_reference_are_the_defaults() {
    let short =
        "listen: 80\nroutes: { /: a }\nupstreams: { a: { servers: a:1, health_check: tcp } }";
    let printed = config::outline(&parse(short).expect("the text has no mistake"));
    for line in [
        "control: /run/robin/control.sock",
        "shutdown_timeout: 8s",
        "keepalive_timeout: 75s",
        "client_header_timeout: 1m",
        "access_log: stdout",
        "client_max_body_size: 1m",
        "  try_timeout: 0s",
        "    percent: 20%",
        "    floor: 10",
        "  hedge: off",
        "    panic: 75%",
        "    drain_timeout: 0s",
        "    refresh: 1s",
        "      every: 5s",
        "      idle: 1500ms",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let missing = load("conf/none.yaml".as_ref()).expect_err("there is no such file");
    assert_eq!(
        missing.to_string(),
        "error: cannot read the configuration: No such file or directory (os error 2)\n \
         --> conf/none.yaml\n"
    );
    let directory = load("conf".as_ref()).expect_err("a directory is no file");
    assert!(directory.to_string().contains("Is a directory"), "{directory}");
}

#[test]
fn an_nginx_file_that_cannot_be_read_says_why_as_nginx_does() {
    let missing = load("conf/none.conf".as_ref()).expect_err("there is no such file");
    assert_eq!(
        missing.to_string(),
        "nginx: [emerg] open() \"conf/none.conf\" failed (2: No such file or directory)\n \
         --> conf/none.conf\n"
    );
}

#[test]
fn what_is_no_configuration_at_all_is_refused() {
    let toml = load("Cargo.toml".as_ref()).expect_err("it is no configuration").to_string();
    assert!(toml.starts_with("nginx: [emerg] unknown directive \"[package]\""), "{toml}");
}

#[test]
fn what_nginx_only_warns_of_is_a_warning() {
    let warnings = |text: &str| {
        let loaded = read_nginx("a.conf".as_ref(), text, &LoadOptions::default());
        loaded.unwrap_or_else(|diags| panic!("{diags}")).notes.warnings
    };
    assert_eq!(
        warnings("server { server_name a b; }\nserver { server_name c a; }\n"),
        ["conflicting server name \"a\" on 0.0.0.0:80, ignored in a.conf:2"]
    );
    assert_eq!(
        warnings("server { location a { return 200; } }"),
        ["location \"a\" never matches: a path begins with a slash in a.conf:1"]
    );
    assert_eq!(warnings("server { server_name a a.b; }"), [""; 0]);
}

/// The directives of nginx as the README shows them: one line a reason.
fn directives() -> String {
    let mut lines: BTreeMap<Standing, Vec<String>> = BTreeMap::new();
    for (name, standing) in config::nginx_directives() {
        let (standing, shown) = match standing {
            Standing::Works { only: Some(values) } => {
                (Standing::Works { only: None }, format!("`{name}` (only {values})"))
            }
            standing => (standing, format!("`{name}`")),
        };
        lines.entry(standing).or_default().push(shown);
    }
    let mut table = String::from("| Class | Directives |\n| --- | --- |\n");
    for (standing, names) in lines {
        let class = match standing {
            Standing::Works { .. } => "works".to_owned(),
            Standing::NoEffect(why) => format!("no effect: {why}"),
            Standing::NotSupported(instead) => format!("not supported: {instead}"),
        };
        table.push_str(&format!("| {class} | {} |\n", names.join(", ")));
    }
    table
}

#[test]
fn the_readme_shows_what_becomes_of_each_directive_of_nginx() {
    const MARK: &str = "<!-- directives of nginx: written by tests/config.rs -->\n";
    let readme = fs::read_to_string("README.md").expect("the README is part of the repository");
    let parts: Vec<&str> = readme.split(MARK).collect();
    let [before, shown, after] = parts[..] else { panic!("the README has two marks") };
    let table = format!("\n{}\n", directives());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = [before, table.as_str(), after].join(MARK);
        fs::write("README.md", text).expect("the README can be written");
    }
    assert!(shown == table, "it shows something else; UPDATE_GOLDEN=1 writes it anew");
}

/// What `robin -t` prints to stderr about a file, and whether it succeeds.
fn test_run(file: &str) -> (bool, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_robin"))
        .args(["-t", "-c", file])
        .output()
        .expect("the binary was built for this test");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_test_of_an_nginx_file_ends_with_nginx_s_own_lines() {
    let file = "tests/golden/pairs/tutorial.conf";
    let said = format!(
        "nginx: the configuration file {file} syntax is ok\n\
         nginx: configuration file {file} test is successful\n"
    );
    assert_eq!(test_run(file), (true, said));

    let file = "tests/golden/invalid/nginx_bad_port.conf";
    let (success, said) = test_run(file);
    assert!(!success);
    assert!(said.starts_with("nginx: [emerg] invalid port in \"80000\" of the"), "{said}");
    assert!(said.ends_with(&format!("nginx: configuration file {file} test failed\n")), "{said}");

    let file = "conf/robin.yaml";
    assert_eq!(test_run(file), (true, format!("robin: configuration file {file} is ok\n")));
}

#[test]
fn the_examples_load_through_both_doors() {
    for example in ["three-flask-servers", "backup-service"] {
        for file in ["robin.yaml", "nginx.conf"] {
            let path = Path::new("conf/examples").join(example).join(file);
            load(&path).unwrap_or_else(|diags| panic!("{diags}"));
        }
    }
}

#[test]
fn aliases_of_aliases_end_with_a_message() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..30 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    let message = parse(&text).expect_err("it is far too large").to_string();
    assert!(message.starts_with("error: aliases make the configuration too large"), "{message}");
}

#[test]
fn includes_of_includes_end_with_a_message() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = |n: usize| folder.path().join(format!("{n}.conf"));
    for n in 0..12 {
        let text = format!("include {0}.conf;\ninclude {0}.conf;\n", n + 1);
        fs::write(path(n), text).expect("the folder can be written to");
    }
    fs::write(path(12), "").expect("the folder can be written to");
    let message = load(&path(0)).expect_err("the files are too many").to_string();
    assert!(message.starts_with("nginx: [emerg] too many files are included in "), "{message}");
}

#[test]
fn deep_nesting_ends_with_a_message() {
    let message = parse(&"[".repeat(20_000)).expect_err("it is no configuration").to_string();
    assert!(message.starts_with("error: "), "{message}");
    let message = parse(&"- ".repeat(2000)).expect_err("it is no configuration").to_string();
    assert!(message.starts_with("error: the values are nested too deep"), "{message}");
}
