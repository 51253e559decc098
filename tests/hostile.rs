//! Hostile HTTP/1: each request of `tests/hostile/table` is answered as its column says, and what
//! reaches the origin is one request, framed beyond doubt, for the host and the path that it was
//! judged by.
//!
//! The origin here takes requests apart strictly and on its own. `tests/hostile/run` does the same
//! to a real nginx, for the other column. `docs/hostile.md` is made of the table:
//! `UPDATE_GOLDEN=1` writes it anew.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::lock;
use common::net::free_address;
use common::robin::Robin;

const TABLE: &str = include_str!("hostile/table");
const CONFIG: &str = include_str!("hostile/nginx.conf");
const DOCS: &str = "docs/hostile.md";
/// Behind each case: tells whether the connection is still in step.
const END: &[u8] = b"GET /end HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
/// Longer than robin waits for anything here.
const LIMIT: Duration = Duration::from_secs(20);

/// One case of the table.
#[derive(Default)]
struct Case {
    chapter: &'static str,
    name: &'static str,
    rule: &'static str,
    sent: Vec<u8>,
    nginx: &'static str,
    robin: &'static str,
    why: &'static str,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut chapter = "";
    for line in TABLE.lines().skip_while(|line| line.starts_with('#')) {
        if let Some(title) = line.strip_prefix("# ") {
            chapter = title;
        } else if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case { chapter, name, ..Case::default() });
        } else if let Some(case) = cases.last_mut() {
            if let Some(text) = line.strip_prefix('>') {
                let text = text.strip_prefix(' ').unwrap_or(text);
                match text.strip_suffix("\\c") {
                    Some(text) => case.sent.extend(unescaped(text)),
                    None => case.sent.extend(unescaped(text).into_iter().chain(*b"\r\n")),
                }
                continue;
            }
            let Some((key, value)) = line.split_once(": ") else { continue };
            match key {
                "rule" => case.rule = value,
                "nginx" => case.nginx = value,
                "robin" => case.robin = value,
                "why" => case.why = value,
                other => panic!("{}: unknown key {other}", case.name),
            }
        }
    }
    cases
}

/// What `\r`, `\xNN` and `{TEXT*N}` stand for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, (byte == b'\\').then(|| rest.next()).flatten()) {
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b't')) => b'\t',
            (b'\\', Some(b'0')) => 0,
            (b'\\', Some(b'\\')) => b'\\',
            (b'\\', Some(b'x')) => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).expect("two digits");
                u8::from_str_radix(digits, 16).expect("two digits")
            }
            (b'\\', other) => panic!("unknown escape {other:?} in {text}"),
            (plain, _) => plain,
        });
    }
    let repeated = bytes.iter().position(|b| *b == b'{').and_then(|open| {
        let close = bytes.iter().rposition(|b| *b == b'}')?;
        let star = bytes[..close].iter().rposition(|b| *b == b'*')?;
        let times = std::str::from_utf8(&bytes[star + 1..close]).ok()?.parse().ok()?;
        let text = bytes[open + 1..star].repeat(times);
        Some([&bytes[..open], &text, &bytes[close + 1..]].concat())
    });
    repeated.unwrap_or(bytes)
}

/// An origin that answers each request with 200 and says what it got.
struct Strict {
    address: SocketAddr,
    got: Arc<Mutex<Vec<String>>>,
}

impl Strict {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let got = Arc::<Mutex<Vec<String>>>::default();
        let shared = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let got = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &got));
            }
        });
        Self { address, got }
    }
}

fn serve(mut stream: TcpStream, got: &Mutex<Vec<String>>) {
    let mut data = Vec::new();
    let mut piece = [0; 65536];
    loop {
        let (said, behind) = match taken(&data) {
            Ok(Some(taken)) => taken,
            Err(why) => {
                lock(got).push(format!("MALFORMED {why}"));
                return;
            }
            Ok(None) => match stream.read(&mut piece) {
                Ok(count @ 1..) => {
                    data.extend_from_slice(&piece[..count]);
                    continue;
                }
                _ if data.is_empty() => return,
                _ => return lock(got).push("CUT".to_owned()),
            },
        };
        lock(got).push(said);
        data = behind;
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n").is_err() {
            return;
        }
    }
}

type Taken = Result<Option<(String, Vec<u8>)>, &'static str>;

/// Takes one request off the beginning; none where more of it is to come.
fn taken(data: &[u8]) -> Taken {
    let Some(end) = data.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head: String = data[..end].iter().copied().map(char::from).collect();
    let behind = &data[end + 4..];
    let mut lines = head.split("\r\n");
    let line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let &[method, target, "HTTP/1.1" | "HTTP/1.0"] = &line[..] else { return Err("line") };
    if target.bytes().any(|b| b.is_ascii_control()) {
        return Err("line");
    }
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("header")?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let bad = |c: char| c.is_ascii_control() && c != '\t';
        if name.is_empty() || !name.bytes().all(token) || value.contains(bad) {
            return Err("header");
        }
        headers.push((name.to_lowercase(), value.trim_matches([' ', '\t'])));
    }
    let of = |wanted: &str| -> Vec<&str> {
        headers.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect()
    };
    let hosts = of("host");
    if hosts.len() > 1 {
        return Err("host");
    }
    let (size, rest) = match (&of("content-length")[..], &of("transfer-encoding")[..]) {
        ([], []) => (0, behind),
        ([length], []) if length.bytes().all(|b| b.is_ascii_digit()) => {
            let size = length.parse().map_err(|_| "length")?;
            match behind.split_at_checked(size) {
                Some((_, rest)) => (size, rest),
                None => return Ok(None),
            }
        }
        ([], ["chunked"]) => match unchunked(behind)? {
            Some(read) => read,
            None => return Ok(None),
        },
        _ => return Err("framing"),
    };
    let host = hosts.first().map_or("-", |host| if host.is_empty() { "\"\"" } else { host });
    let mut said = format!("{method} {target} {host} {size}");
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_end_matches('.').to_lowercase();
    let judged = of("x-host");
    if judged != [name] {
        let _ = write!(said, " judged={}", judged.join(","));
    }
    for (name, value) in &headers {
        let ours = match name.as_str() {
            "host" | "x-host" | "connection" | "content-length" | "transfer-encoding" => true,
            "x-real-ip" | "x-forwarded-for" => *value == "127.0.0.1",
            _ => false,
        };
        let long = value.chars().count();
        match (ours, long < 40) {
            (true, _) => {}
            (_, true) => drop(write!(said, " {name}={value}")),
            (_, false) => drop(write!(said, " {name}={long} bytes")),
        }
    }
    Ok(Some((said, rest.to_vec())))
}

/// The size of a body in chunks, and what is behind it.
fn unchunked(mut data: &[u8]) -> Result<Option<(usize, &[u8])>, &'static str> {
    let mut size = 0;
    loop {
        let Some(end) = data.windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
        let digits = std::str::from_utf8(&data[..end]).map_err(|_| "chunk")?;
        let digits = Some(digits).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let count = usize::from_str_radix(digits.ok_or("chunk")?, 16).map_err(|_| "chunk")?;
        data = &data[end + 2..];
        let Some((chunk, rest)) = data.split_at_checked(count + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("chunk");
        }
        (size, data) = (size + count, rest);
        if count == 0 {
            return Ok(Some((size, data)));
        }
    }
}

/// The statuses of all answers, in turn.
fn statuses(mut data: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let end = data.windows(4).position(|w| w == b"\r\n\r\n");
        let Some(head) = end.and_then(|end| std::str::from_utf8(&data[..end]).ok()) else {
            found.push("bare".to_owned());
            return found;
        };
        let status = head.split(' ').nth(1).unwrap_or_default();
        found.push(status.to_owned());
        data = &data[head.len() + 4..];
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        let length = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize =
            length.map(|(_, length)| length.parse::<usize>().expect("a length")).sum();
        data = data.get(length..).unwrap_or_default();
    }
    found
}

/// What comes of a case that is sent in pieces of so many bytes, as the table writes it, and the bytes
/// of all answers.
fn outcome(robin: SocketAddr, origin: &Strict, sent: &[u8], at_once: usize) -> (String, Vec<u8>) {
    lock(&origin.got).clear();
    let mut client = TcpStream::connect(robin).expect("it listens");
    client.set_read_timeout(Some(LIMIT)).expect("a timeout");
    client.set_nodelay(true).expect("an option");
    // It may be refused before all of it is sent.
    let _ = [sent, END].concat().chunks(at_once).try_for_each(|piece| client.write_all(piece));
    let mut data = Vec::new();
    let _ = client.read_to_end(&mut data);
    let mut said = statuses(&data).join(" ");
    if said.is_empty() {
        said.push_str("closed");
    }
    let got = lock(&origin.got).join(" | ");
    if !got.is_empty() {
        let _ = write!(said, " -> {got}");
    }
    let mut escaped = String::new();
    for c in said.chars() {
        match c {
            ' '..='~' => escaped.push(c),
            other => drop(write!(escaped, "\\x{:02x}", u32::from(other))),
        }
    }
    (escaped, data)
}

/// Whether a target leads to the denied path, by rules of its own: an escape is resolved once, then
/// dots and empty segments.
fn is_denied(target: &str) -> bool {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut bytes = path.bytes();
    let mut decoded = String::new();
    while let Some(byte) = bytes.next() {
        let escape = (byte == b'%').then(|| (bytes.next(), bytes.next()));
        decoded.push(match escape {
            Some((Some(high), Some(low))) => {
                let digits = [high, low].map(char::from).iter().collect::<String>();
                u8::from_str_radix(&digits, 16).map_or('?', char::from)
            }
            _ => char::from(byte),
        });
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    segments.first().is_some_and(|first| first.starts_with("admin"))
}

#[test]
fn hostile_requests_are_answered_as_the_table_says_and_forwarded_as_they_were_judged() {
    let (address, origin) = (free_address(), Strict::start());
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("files")).expect("a folder");
    for path in ["files/public.txt", "secret.txt"] {
        fs::write(folder.path().join(path), path).expect("a file");
    }
    let config = CONFIG
        .replace("LISTEN", &address.to_string())
        .replace("ORIGIN", &origin.address.to_string())
        .replace("DIR", &folder.path().display().to_string());
    let _robin = Robin::nginx(address, &config);
    let mut wrong = String::new();
    // However its bytes are cut, the same comes of a request.
    let cases = cases();
    let whole = cases.iter().map(|case| (case, usize::MAX));
    let cut = cases.iter().filter(|case| case.sent.len() < 500).flat_map(|c| [(c, 1), (c, 50)]);
    for (case, at_once) in whole.chain(cut) {
        let (came, answers) = outcome(address, &origin, &case.sent, at_once);
        if came != case.robin {
            let _ = writeln!(wrong, "{} by {at_once}: {came} is not {}", case.name, case.robin);
        }
        let answers = String::from_utf8_lossy(&answers);
        assert!(!answers.contains("secret.txt"), "{}: {answers}", case.name);
        for got in &*lock(&origin.got) {
            let mut parts = got.split(' ');
            let (method, target) = (parts.next().unwrap_or_default(), parts.next());
            assert!(!matches!(method, "MALFORMED" | "CUT"), "{}: {got}", case.name);
            assert!(!is_denied(target.unwrap_or_default()), "{}: {got}", case.name);
            let judged = got.contains(" judged=") && parts.next() != Some("-");
            assert!(!judged, "{}: {got}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_difference_from_nginx_has_a_reason_and_is_written_down() {
    let cases = cases();
    assert!(cases.len() >= 120, "{} cases", cases.len());
    for case in &cases {
        assert_eq!(case.nginx != case.robin, !case.why.is_empty(), "{}", case.name);
        assert!(!case.rule.is_empty() && !case.nginx.is_empty(), "{}", case.name);
    }
    let page = page(&cases);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(DOCS, &page).expect("the page can be written");
    }
    let written = fs::read_to_string(DOCS).unwrap_or_default();
    assert!(written == page, "{DOCS} shows something else; UPDATE_GOLDEN=1 writes it anew");
}

/// The page that people read.
fn page(cases: &[Case]) -> String {
    let differing: Vec<&Case> = cases.iter().filter(|case| !case.why.is_empty()).collect();
    let cell = |text: &str| {
        let text = text.replace('|', "\\|");
        if text.len() > 90 { format!("{}…", &text[..90]) } else { text }
    };
    let mut page = format!(
        "# Hostile HTTP/1\n\n\
         What robin makes of requests that are meant to be taken for something else: by it, by the server behind it, \
         or by both\ndifferently. Each was sent to nginx 1.31.3 and to robin with one configuration \
         ([nginx.conf](../tests/hostile/nginx.conf)); [the\ntable](../tests/hostile/table) has the bytes. \
         `tests/hostile/run --nginx PATH` checks nginx's column against a real one, `cargo test\n--test hostile` \
         robin's, and that whatever reaches the origin is one request, framed beyond doubt, for the host and the path\n\
         that it was routed by.\n\n\
         A cell shows the statuses of all answers, `204` at the end for the request that was sent behind each, which \
         shows that the\nconnection is still in step; and behind `->` what reached the origin: method, target, `Host`, \
         bytes of the body, further\nheaders.\n\n\
         ## Where robin differs\n\n\
         {} of {}. Each time robin is the stricter one, or passes on what it has judged.\n\n\
         | request | tries | nginx | robin | why |\n| --- | --- | --- | --- | --- |\n",
        differing.len(),
        cases.len(),
    );
    for case in differing {
        let Case { name, rule, nginx, robin, why, .. } = case;
        let (nginx, robin) = (cell(nginx), cell(robin));
        let _ = writeln!(page, "| {name} | {rule} | `{nginx}` | `{robin}` | {why} |");
    }
    let mut chapter = "";
    for case in cases.iter().filter(|case| case.why.is_empty()) {
        if case.chapter != chapter {
            chapter = case.chapter;
            let head = "| request | tries | nginx and robin |\n| --- | --- | --- |";
            let _ = write!(page, "\n## The same: {}\n\n{head}\n", chapter.to_lowercase());
        }
        let _ = writeln!(page, "| {} | {} | `{}` |", case.name, case.rule, cell(case.robin));
    }
    page
}
