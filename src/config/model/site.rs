//! Files, and what is done to the head and body of every answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;

use super::admission::Admission;
use super::program::{Root, TryFiles};
use crate::config::template::Template;

/// How a route serves files.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// Where they are. Default `html` below the prefix (nginx `root`, `alias`).
    pub root: Root,
    /// What stands for a directory, in order; one that begins with `/` is another path. Default `index.html`.
    pub index: Vec<Template>,
    /// Which files are tried before the route's action. Default: none.
    pub try_files: Option<TryFiles>,
    /// MIME types by extension, lower case.
    pub types: Arc<HashMap<String, String>>,
    /// The type of all others. Default `text/plain`.
    pub default_type: String,
    /// Lists of what is in a directory.
    pub autoindex: Autoindex,
    /// Whether answers have an `ETag`. Default true.
    pub etag: bool,
    /// Whether `If-Modified-Since` is heeded. Default [`IfModifiedSince::Exact`].
    pub if_modified_since: IfModifiedSince,
    /// The most ranges in one request; 0 serves none. Default: no limit.
    pub max_ranges: Option<u32>,
    /// Whether a file that is not there is told in the error log. Default true.
    pub log_not_found: bool,
    /// Which symbolic links are followed. Default [`Symlinks::Followed`].
    pub symlinks: Symlinks,
    /// Below which part of a path that is asked (`disable_symlinks … from=`). Default: all of it.
    pub symlinks_from: Option<Template>,
    /// Whether a `.gz` beside a file is served in its place. Default [`GzipStatic::Off`].
    pub gzip_static: GzipStatic,
    /// Files that stay open between requests. Default: none.
    pub open_file_cache: FileCache,
}

/// `open_file_cache` and its kin: what a worker remembers of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCache {
    /// How many paths are remembered at most; 0 remembers none. Default 0.
    pub max: usize,
    /// A path that nobody has asked for so long is forgotten. Default 60 s.
    pub inactive: Duration,
    /// How long what is known of a path is believed (`open_file_cache_valid`). Default 60 s.
    pub valid: Duration,
    /// How often a path has to be asked for until its file stays open (`open_file_cache_min_uses`). Default 1.
    pub min_uses: u32,
    /// Whether it is remembered that a file cannot be had (`open_file_cache_errors`). Default false.
    pub errors: bool,
}

impl FileCache {
    /// Nothing is remembered.
    pub const OFF: Self = Self {
        max: 0,
        inactive: Duration::from_secs(60),
        valid: Duration::from_secs(60),
        min_uses: 1,
        errors: false,
    };

    /// Whether anything is remembered.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.max > 0
    }
}

impl Default for FileCache {
    fn default() -> Self {
        Self::OFF
    }
}

/// `if_modified_since`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfModifiedSince {
    /// Ignored.
    Off,
    /// The times are the same.
    #[default]
    Exact,
    /// The file is not younger.
    Before,
}

/// `disable_symlinks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symlinks {
    /// All.
    #[default]
    Followed,
    /// None.
    Refused,
    /// Those whose owner owns what they lead to.
    SameOwner,
}

/// `gzip_static`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GzipStatic {
    /// Never.
    #[default]
    Off,
    /// For clients that accept it.
    On,
    /// For all clients.
    Always,
}

/// `autoindex`, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autoindex {
    /// Whether directories are listed. Default false.
    pub enabled: bool,
    /// `autoindex_format`. Default HTML.
    pub format: AutoindexFormat,
    /// Bytes, or rounded to KiB, MiB, GiB. Default true.
    pub exact_size: bool,
    /// Local time, or UTC. Default false.
    pub local_time: bool,
}

/// How a directory is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoindexFormat {
    /// A page with links.
    #[default]
    Html,
    /// XML.
    Xml,
    /// JSON.
    Json,
    /// JSON in a callback that the query names.
    Jsonp,
}

/// What is done to the answers of a route, files and upstreams' alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// `add_header`.
    pub headers: Vec<AddHeader>,
    /// `robin_hsts`: what `Strict-Transport-Security` says in answers over TLS. Default: there is none, but that of
    /// the upstream.
    pub hsts: Option<String>,
    /// `add_header_inherit`. Default [`Inherit::On`].
    pub headers_inherit: Inherit,
    /// `add_trailer`.
    pub trailers: Vec<AddHeader>,
    /// `add_trailer_inherit`. Default [`Inherit::On`].
    pub trailers_inherit: Inherit,
    /// Whether browsers are told what to refuse, and strangers less (`secure_headers`). Default false.
    pub secure_headers: bool,
    /// `expires`.
    pub expires: Expires,
    /// `charset`. Default: none.
    pub charset: Option<Template>,
    /// Types that get it (`charset_types`), with `*` for all.
    pub charset_types: Vec<String>,
    /// `gzip`.
    pub gzip: Gzip,
    /// `error_page`.
    pub error_pages: Vec<ErrorPage>,
    /// `recursive_error_pages`. Default false.
    pub recursive_error_pages: bool,
    /// `absolute_redirect`. Default true.
    pub absolute_redirect: bool,
    /// `port_in_redirect`. Default true.
    pub port_in_redirect: bool,
    /// `server_name_in_redirect`. Default false.
    pub server_name_in_redirect: bool,
    /// `chunked_transfer_encoding`. Default true.
    pub chunked: bool,
}

/// What becomes of the headers that an outer level adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inherit {
    /// They are not added here.
    Off,
    /// They are added unless this level adds its own.
    #[default]
    On,
    /// They are added behind this level's own.
    Merge,
}

/// A header that is added to answers.
#[derive(Clone, Debug, PartialEq)]
pub struct AddHeader {
    /// Its name.
    pub name: HeaderName,
    /// The name as written.
    pub written: Bytes,
    /// What it says; nothing is added where that is empty.
    pub value: Template,
    /// Whether errors get it as well.
    pub always: bool,
}

/// `expires`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Expires {
    /// The headers stay as they are.
    #[default]
    Off,
    /// `epoch`.
    Epoch,
    /// `max`.
    Max,
    /// So long from now; less than 0 means never to be cached.
    In(i64),
    /// So long from the file's change.
    Modified(i64),
    /// `@15h30m`: at this time of the day, in seconds.
    At(u32),
    /// What a variable says of the above; `modified` counts from the file's change.
    Variable {
        /// What is asked.
        value: Template,
        /// Whether `modified` stands before it.
        modified: bool,
    },
}

/// `gzip` and what goes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Gzip {
    /// Whether answers are packed. Default false.
    pub enabled: bool,
    /// `gzip_comp_level`. Default 1.
    pub level: u8,
    /// `gzip_min_length`, in bytes. Default 20.
    pub min_length: u64,
    /// `gzip_types`, with `*` for all. Default `text/html`.
    pub types: Vec<String>,
    /// `gzip_http_version`: whether HTTP/1.0 clients get packed answers. Default false.
    pub http10: bool,
    /// `gzip_proxied`: for requests with `Via`.
    pub proxied: GzipProxied,
    /// `gzip_vary`. Default false.
    pub vary: bool,
    /// `gzip_disable`: user agents that get nothing packed.
    pub disable: Vec<crate::config::pattern::Pattern>,
}

/// `gzip_proxied`, a switch for each word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "nginx has a word for each")]
pub struct GzipProxied {
    /// `expired`.
    pub expired: bool,
    /// `no-cache`.
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `private`.
    pub private: bool,
    /// `no_last_modified`.
    pub no_last_modified: bool,
    /// `no_etag`.
    pub no_etag: bool,
    /// `auth`.
    pub auth: bool,
    /// `any`.
    pub any: bool,
}

/// `error_page code … [=[response]] uri`.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorPage {
    /// For which statuses.
    pub statuses: Vec<u16>,
    /// What becomes of the status.
    pub status: ErrorStatus,
    /// Where the page is: what begins with `/` is a path here, with `@` a named route; to anything
    /// else the client is sent.
    pub page: Template,
}

/// The status of an answer that an error page gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorStatus {
    /// The error's.
    #[default]
    Kept,
    /// `=`: the page's own.
    OfPage,
    /// `=CODE`.
    Is(u16),
}

/// What a route and its clients may do to each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    /// The methods that `limit_except` leaves alone, and who may use the others; none without it.
    /// Default: none.
    pub limit_except: Option<(Vec<http::Method>, Vec<AccessRule>)>,
    /// `allow` and `deny`, in order; the first that fits decides. Default: none, all may.
    pub access: Vec<AccessRule>,
    /// What else lets a request in. Default: everything does.
    pub admission: Admission,
    /// `set_real_ip_from` and what goes with it. Default: none, the connection's address counts.
    pub real_ip: Option<RealIp>,
    /// `client_body_buffer_size`, in bytes. Default 16 KiB.
    pub body_buffer_bytes: u64,
    /// `client_body_timeout`. Default 60 s.
    pub body_timeout: Duration,
    /// `client_body_in_file_only`. Default [`BodyFile::Off`].
    pub body_file: BodyFile,
    /// `client_body_temp_path`. Default: the system's directory for such files.
    pub body_temp_path: Option<std::path::PathBuf>,
    /// `send_timeout`. Default 60 s.
    pub send_timeout: Duration,
    /// `keepalive_requests`: requests on one connection at most. Default 1000.
    pub keepalive_requests: u64,
}

/// Whether every request body that is read before it is passed on has a file with a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyFile {
    /// Only one that is too long for memory has a file, and a name only where `$request_body_file` is
    /// asked for.
    #[default]
    Off,
    /// It is there until the request ends.
    Clean,
    /// It stays.
    Kept,
}

/// One `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Whether it lets in.
    pub allow: bool,
    /// Whom it is about.
    pub clients: ClientSet,
}

/// Some clients, by their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSet {
    /// All.
    All,
    /// Those of a network.
    Network(ipnet::IpNet),
    /// Those of sockets of the file system.
    Unix,
}

/// Whose word is taken for the client's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealIp {
    /// `set_real_ip_from`: the proxies that are believed.
    pub from: Vec<ClientSet>,
    /// `real_ip_header`: where they say it. Default `X-Real-IP`; of `Forwarded` the `for` counts (RFC 7239). None: in
    /// the PROXY protocol.
    pub header: Option<HeaderName>,
    /// `real_ip_recursive`: whether the last address that is no such proxy's counts, not the last
    /// of all. Default false.
    pub recursive: bool,
}
