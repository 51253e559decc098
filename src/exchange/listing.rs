//! What a list of a directory looks like: `autoindex` in its four formats, as nginx writes them
//! (`ngx_http_autoindex_module`), since people read them with programs.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::Offset;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::flow::Kind;
use super::log::push_json;
use crate::config::model::site::{Autoindex, AutoindexFormat};

/// What stays as it is in the part of a link (`ngx_escape_uri` with `NGX_ESCAPE_URI_COMPONENT`).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As many characters of a name are shown.
const WIDEST: usize = 50;

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// When it was changed, in seconds since 1970.
    pub modified: i64,
    /// Its length in bytes.
    pub length: u64,
}

/// A list that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// How.
    pub style: Autoindex,
    /// The path of the directory.
    pub uri: &'a [u8],
    /// The function that is called with the list, in JSONP.
    pub callback: &'a [u8],
    /// Whether names are UTF-8, so that their characters can be counted.
    pub utf8: bool,
    /// How far local time is ahead of UTC, in seconds.
    pub ahead: i32,
}

impl Listing<'_> {
    /// The type of the list.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self.style.format {
            AutoindexFormat::Html => "text/html",
            AutoindexFormat::Xml => "text/xml; charset=utf-8",
            AutoindexFormat::Jsonp if !self.callback.is_empty() => "application/javascript",
            AutoindexFormat::Json | AutoindexFormat::Jsonp => "application/json",
        }
    }

    /// The list, directories first.
    #[must_use]
    pub fn write(&self, mut entries: Vec<Entry>) -> Vec<u8> {
        entries.sort_by(|a, b| {
            let directory = |entry: &Entry| entry.kind != Kind::Directory;
            (directory(a), &a.name).cmp(&(directory(b), &b.name))
        });
        match self.style.format {
            AutoindexFormat::Html => self.html(&entries),
            AutoindexFormat::Xml => xml(&entries),
            AutoindexFormat::Jsonp if !self.callback.is_empty() => {
                let json = json(&entries);
                [b"/* callback */\r\n", self.callback, b"(", &json, b");"].concat()
            }
            AutoindexFormat::Json | AutoindexFormat::Jsonp => json(&entries),
        }
    }

    fn html(&self, entries: &[Entry]) -> Vec<u8> {
        let uri = escape_html(self.uri);
        let mut page = Vec::new();
        for piece in [
            &b"<html>\r\n<head><title>Index of "[..],
            &uri,
            b"</title></head>\r\n<body>\r\n<h1>Index of ",
            &uri,
            b"</h1><hr><pre><a href=\"../\">../</a>\r\n",
        ] {
            page.extend_from_slice(piece);
        }
        for entry in entries {
            self.line(entry, &mut page);
        }
        page.extend_from_slice(b"</pre><hr></body>\r\n</html>\r\n");
        page
    }

    fn line(&self, entry: &Entry, page: &mut Vec<u8>) {
        let directory = entry.kind == Kind::Directory;
        page.extend_from_slice(b"<a href=\"");
        page.extend(percent_encode(&entry.name, ESCAPED).flat_map(str::bytes));
        page.extend_from_slice(if directory { b"/\">" } else { b"\">" });
        let ends = self.ends_of_characters(&entry.name);
        let mut width = ends.len();
        if width > WIDEST {
            page.extend_from_slice(&escape_html(&entry.name[..ends[WIDEST - 4]]));
            page.extend_from_slice(b"..&gt;</a>");
        } else {
            page.extend_from_slice(&escape_html(&entry.name));
            if directory && width < WIDEST {
                page.push(b'/');
                width += 1;
            }
            page.extend_from_slice(b"</a>");
            page.resize(page.len() + WIDEST - width, b' ');
        }
        let mut rest = String::from(" ");
        let ahead = if self.style.local_time { self.ahead } else { 0 };
        let _ = write!(rest, "{} ", at(entry.modified, ahead, "%d-%b-%Y %H:%M"));
        let _ = match (self.style.exact_size, directory) {
            (true, true) => write!(rest, "{:>19}", "-"),
            (true, false) => write!(rest, "{:>19}", entry.length),
            (false, true) => write!(rest, "{:>7}", "-"),
            (false, false) => write!(rest, "{}", rounded(entry.length)),
        };
        page.extend_from_slice(rest.as_bytes());
        page.extend_from_slice(b"\r\n");
    }

    /// Where each character of a name ends.
    fn ends_of_characters(&self, name: &[u8]) -> Vec<usize> {
        match std::str::from_utf8(name) {
            Ok(text) if self.utf8 => {
                text.char_indices().map(|(start, c)| start + c.len_utf8()).collect()
            }
            _ => (1..=name.len()).collect(),
        }
    }
}

/// A length in seven characters, rounded.
fn rounded(length: u64) -> String {
    const K: u64 = 1 << 10;
    for (unit, letter, from) in [(K * K * K, 'G', K * K * K), (K * K, 'M', K * K), (K, 'K', 10_000)]
    {
        if length >= from {
            let size = length / unit + u64::from(length % unit > unit / 2 - 1);
            return format!("{size:>6}{letter}");
        }
    }
    format!(" {length:>6}")
}

fn xml(entries: &[Entry]) -> Vec<u8> {
    let mut list = b"<?xml version=\"1.0\"?>\r\n<list>\r\n".to_vec();
    for entry in entries {
        let kind = kind(entry);
        let modified = at(entry.modified, 0, "%Y-%m-%dT%H:%M:%SZ");
        let mut open = format!("<{kind} mtime=\"{modified}\"");
        if entry.kind == Kind::File {
            let _ = write!(open, " size=\"{}\"", entry.length);
        }
        list.extend_from_slice(open.as_bytes());
        list.push(b'>');
        list.extend_from_slice(&escape_html(&entry.name));
        list.extend_from_slice(format!("</{kind}>\r\n").as_bytes());
    }
    list.extend_from_slice(b"</list>\r\n");
    list
}

fn json(entries: &[Entry]) -> Vec<u8> {
    let mut list = b"[".to_vec();
    for (n, entry) in entries.iter().enumerate() {
        list.extend_from_slice(if n > 0 { b",\r\n{ \"name\":\"" } else { b"\r\n{ \"name\":\"" });
        push_json(&mut list, &entry.name);
        let seconds = u64::try_from(entry.modified).unwrap_or(0);
        let modified = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        let mut rest = format!("\", \"type\":\"{}\", \"mtime\":\"{modified}\"", kind(entry));
        if entry.kind == Kind::File {
            let _ = write!(rest, ", \"size\":{}", entry.length);
        }
        list.extend_from_slice(rest.as_bytes());
        list.extend_from_slice(b" }");
    }
    list.extend_from_slice(b"\r\n]");
    list
}

fn kind(entry: &Entry) -> &'static str {
    match entry.kind {
        Kind::Directory => "directory",
        Kind::File => "file",
        Kind::Other => "other",
    }
}

/// A time in words, `ahead` seconds ahead of UTC.
fn at(seconds: i64, ahead: i32, format: &str) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    let offset = Offset::from_seconds(ahead).unwrap_or(Offset::UTC);
    offset.to_datetime(time).strftime(format).to_string()
}

fn escape_html(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'<' => escaped.extend_from_slice(b"&lt;"),
            b'>' => escaped.extend_from_slice(b"&gt;"),
            b'&' => escaped.extend_from_slice(b"&amp;"),
            b'"' => escaped.extend_from_slice(b"&quot;"),
            byte => escaped.push(*byte),
        }
    }
    escaped
}

/// The function that a query names; none where its name is none (`ngx_http_autoindex_jsonp_callback`).
#[must_use]
pub fn callback(args: &[u8]) -> Option<&[u8]> {
    let value = args.split(|b| *b == b'&').find_map(|arg| {
        let name = arg.get(..9).filter(|name| name.eq_ignore_ascii_case(b"callback="))?;
        arg.get(name.len()..)
    });
    let value = value.unwrap_or_default();
    let sound = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
    (value.len() <= 128 && value.iter().all(sound)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(format: AutoindexFormat, exact_size: bool) -> Listing<'static> {
        let style = Autoindex { enabled: true, format, exact_size, local_time: false };
        Listing { style, uri: b"/a&b/", callback: b"", utf8: true, ahead: 0 }
    }

    fn entries() -> Vec<Entry> {
        let entry = |name: &str, kind, length| Entry {
            name: name.as_bytes().to_vec(),
            kind,
            modified: 784_111_777,
            length,
        };
        vec![
            entry("b.txt", Kind::File, 1234),
            entry("sub", Kind::Directory, 4096),
            entry("a <é>.html", Kind::File, 20_000),
        ]
    }

    fn text(listing: Listing<'_>) -> String {
        String::from_utf8(listing.write(entries())).expect("it is UTF-8")
    }

    #[test]
    fn a_page_has_directories_first_and_columns() {
        let page = text(listing(AutoindexFormat::Html, false));
        let lines: Vec<&str> = page.split("\r\n").collect();
        assert_eq!(lines[3], "<h1>Index of /a&amp;b/</h1><hr><pre><a href=\"../\">../</a>");
        let date = "06-Nov-1994 08:49";
        assert_eq!(lines[4], format!("<a href=\"sub/\">sub/</a>{:47}{date}       -", ""));
        let name = "<a href=\"a%20%3C%C3%A9%3E.html\">a &lt;é&gt;.html</a>";
        assert_eq!(lines[5], format!("{name}{:41}{date}     20K", ""));
        let exact = text(listing(AutoindexFormat::Html, true));
        assert!(exact.contains(&format!("{date} {:>19}\r\n", 1234)), "{exact}");
    }

    #[test]
    fn a_long_name_is_cut() {
        let entry = Entry { name: vec![b'x'; 51], ..entries().remove(0) };
        let page = listing(AutoindexFormat::Html, true).write(vec![entry]);
        let page = String::from_utf8(page).expect("it is UTF-8");
        assert!(page.contains(&format!(">{}..&gt;</a> 06-Nov", "x".repeat(47))), "{page}");
    }

    #[test]
    fn programs_get_json_and_xml() {
        let json = text(listing(AutoindexFormat::Json, true));
        assert!(json.starts_with("[\r\n{ \"name\":\"sub\", \"type\":\"directory\", \"mtime\":"));
        assert!(
            json.ends_with("\"Sun, 06 Nov 1994 08:49:37 GMT\", \"size\":1234 }\r\n]"),
            "{json}"
        );
        let xml = text(listing(AutoindexFormat::Xml, true));
        let line = "<file mtime=\"1994-11-06T08:49:37Z\" size=\"1234\">b.txt</file>\r\n";
        assert!(xml.contains(line), "{xml}");
        let jsonp = Listing { callback: b"f", ..listing(AutoindexFormat::Jsonp, true) };
        assert!(text(jsonp).starts_with("/* callback */\r\nf(["));
    }

    #[test]
    fn a_callback_has_a_name() {
        assert_eq!(callback(b"a=1&callback=x.y_1"), Some(&b"x.y_1"[..]));
        assert_eq!(callback(b""), Some(&b""[..]));
        assert_eq!(callback(b"callback=x(1)"), None);
    }
}
