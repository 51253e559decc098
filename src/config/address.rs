//! Words that say where something is: hosts, ports, listeners, targets of routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::diagnostics::quote;
use super::model::{Host, ListenAddress};

/// The port of an address that has none.
pub(crate) const HTTP_PORT: u16 = 80;
/// The port of `https`.
pub(crate) const HTTPS_PORT: u16 = 443;

/// What a target may begin with, whether that means TLS, and whether gRPC.
const SCHEMES: [(&str, bool, bool); 4] = [
    ("http://", false, false),
    ("https://", true, false),
    ("grpc://", false, true),
    ("grpcs://", true, true),
];

/// The longest path that a socket can have on Linux (unix(7)).
/// What nginx calls the host behind a socket of the file system.
const UNIX_HOST: &str = "localhost";
const LONGEST_UNIX: usize = 107;

/// Why a word is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAddress {
    /// A port that is no number from 1 to 65535.
    #[error("bad port {}", quote(.0))]
    Port(String),
    /// Nothing before the port.
    #[error("an address without a host")]
    NoHost,
    /// No host name.
    #[error("{} is not a host name", quote(.0))]
    Name(String),
    /// Numbers and dots, but no IPv4 address.
    #[error("{} is not an IPv4 address", quote(.0))]
    Ipv4(String),
    /// No IPv6 address, or one without brackets.
    #[error("{} is not an IPv6 address in brackets", quote(.0))]
    Ipv6(String),
    /// Any other scheme.
    #[error("unknown scheme {}", quote(.0))]
    Scheme(String),
    /// A scheme where only host and port can be.
    #[error("a server line has no scheme, found {}", quote(.0))]
    ServerScheme(String),
    /// `unix:`.
    #[error("not the path of a socket")]
    Unix,
    /// A path where only host and port can be.
    #[error("a server line has no path, found {}", quote(.0))]
    Path(String),
    /// A path that cannot be sent.
    #[error("{} is not a path", quote(.0))]
    Uri(String),
    /// A name where only an address can be listened on.
    #[error("{} is not an address to listen on", quote(.0))]
    Listen(String),
}

impl BadAddress {
    /// What would have been right.
    #[must_use]
    pub(crate) fn expected(&self) -> &'static str {
        match self {
            Self::Port(_) => "expected a port from 1 to 65535",
            Self::NoHost => "expected `host:port`",
            Self::Name(_) => "expected letters, digits, `-`, `_` and dots",
            Self::Ipv4(_) => "expected four numbers from 0 to 255",
            Self::Ipv6(_) => "expected an address such as `[::1]:80`",
            Self::Scheme(_) => "expected `http://` or no scheme",
            Self::Unix => "expected `unix:` and a path of at most 107 bytes",
            Self::Path(_) | Self::ServerScheme(_) => "expected `host:port`",
            Self::Uri(_) => "expected a path without blanks and control characters",
            Self::Listen(_) => "expected a port, `address:port` or `[address]:port`",
        }
    }
}

/// Where a route leads when it is not the name of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Whether it begins with `https://` or `grpcs://`.
    pub tls: bool,
    /// Whether it begins with `grpc://` or `grpcs://`.
    pub grpc: bool,
    /// The host as written, with brackets where it has them.
    pub host_text: String,
    /// The host.
    pub host: Host,
    /// The port, if one was written.
    pub port: Option<u16>,
    /// The path, if one was written; begins with `/`.
    pub uri: Option<String>,
}

/// Reads a server line's address: `host`, `host:port`, an address, `_service._proto.name`.
///
/// # Errors
/// [`BadAddress`] says what is wrong with it.
pub(crate) fn server(text: &str) -> Result<(Host, Option<u16>), BadAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok((unix(path)?, None));
    }
    refuse_scheme(text)?;
    if text.starts_with("http://") {
        return Err(BadAddress::ServerScheme("http://".into()));
    }
    if let Some(slash) = text.find('/') {
        return Err(BadAddress::Path(text[slash..].to_owned()));
    }
    let (name, port) = split_port(text)?;
    Ok((host(name)?, port))
}

/// Reads a route's target that is an address: `host:port`, `host:port/uri`, `http://host/uri`.
///
/// # Errors
/// [`BadAddress`] says what is wrong with it.
pub(crate) fn target(text: &str) -> Result<Target, BadAddress> {
    let schemes = SCHEMES
        .iter()
        .find_map(|(scheme, tls, grpc)| text.strip_prefix(scheme).map(|rest| (rest, *tls, *grpc)));
    if schemes.is_none() && !text.starts_with("unix:") {
        refuse_scheme(text)?;
    }
    let (rest, tls, grpc) = schemes.unwrap_or((text, false, false));
    if let Some(socket) = rest.strip_prefix("unix:") {
        // As in nginx, a second colon ends the path of the socket.
        let (path, uri) = match socket.split_once(':') {
            Some((path, uri)) => (path, Some(uri).filter(|uri| !uri.is_empty())),
            None => (socket, None),
        };
        if let Some(uri) = uri.filter(|uri| !is_path(uri)) {
            return Err(BadAddress::Uri(uri.to_owned()));
        }
        let uri = uri.map(str::to_owned);
        return Ok(Target {
            tls,
            grpc,
            host_text: UNIX_HOST.to_owned(),
            host: unix(path)?,
            port: None,
            uri,
        });
    }
    let (authority, uri) = match rest.find('/') {
        Some(slash) => (&rest[..slash], Some(&rest[slash..])),
        None => (rest, None),
    };
    // As in nginx a query may be part of it, though what follows is then appended to that.
    let sound = |uri: &str| is_path(&uri.replacen('?', "", 1));
    if let Some(uri) = uri.filter(|uri| !sound(uri)) {
        return Err(BadAddress::Uri(uri.to_owned()));
    }
    let (name, port) = split_port(authority)?;
    let host = host(name)?;
    let uri = uri.map(str::to_owned);
    Ok(Target { tls, grpc, host_text: name.to_owned(), host, port, uri })
}

/// Reads an address to listen on: `80`, `127.0.0.1:80`, `*:80`, `[::]:80`.
///
/// # Errors
/// [`BadAddress`] says what is wrong with it.
pub(crate) fn listen(text: &str) -> Result<ListenAddress, BadAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(|_| ListenAddress::Unix(path.into()));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(ListenAddress::Tcp((Ipv4Addr::UNSPECIFIED, port(text)?).into()));
    }
    let not = || BadAddress::Listen(text.to_owned());
    let (name, port) = split_port(text)?;
    let port = port.ok_or_else(not)?;
    if name == "*" {
        return Ok(ListenAddress::Tcp((Ipv4Addr::UNSPECIFIED, port).into()));
    }
    match host(name) {
        Ok(Host::Address(address)) => Ok(ListenAddress::Tcp((address, port).into())),
        Err(error @ (BadAddress::Ipv4(_) | BadAddress::Ipv6(_))) => Err(error),
        _ => Err(not()),
    }
}

/// Reads the address of a DNS server: an address with or without a port.
#[must_use]
pub(crate) fn resolver(text: &str) -> Option<SocketAddr> {
    const DNS_PORT: u16 = 53;
    let bare = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
    bare.or_else(|_| text.parse::<SocketAddr>()).ok().filter(|address| address.port() != 0)
}

/// Reads a port.
///
/// # Errors
/// [`BadAddress::Port`] for anything that is not from 1 to 65535.
pub(crate) fn port(text: &str) -> Result<u16, BadAddress> {
    let digits = Some(text).filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|t| t.parse().ok())
        .filter(|port| *port != 0)
        .ok_or_else(|| BadAddress::Port(text.to_owned()))
}

/// Whether a text is a host name: labels of letters, digits, `-` and, as Compose has them, `_`.
#[must_use]
pub(crate) fn is_name(text: &str) -> bool {
    // RFC 1123, section 2.1, and RFC 1035, section 2.3.4; a final dot keeps the search list away.
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Whether a text can be sent as a path: begins with `/`, no query, no blank, all ASCII.
#[must_use]
pub(crate) fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#')
}

/// A socket of the file system.
fn unix(path: &str) -> Result<Host, BadAddress> {
    let sound = path.starts_with('/') && path.len() <= LONGEST_UNIX && !path.contains('\0');
    sound.then(|| Host::Unix(Path::new(path).into())).ok_or(BadAddress::Unix)
}

fn refuse_scheme(text: &str) -> Result<(), BadAddress> {
    match text.split_once("://") {
        Some(("http", _)) | None => Ok(()),
        Some(("https", _)) => Err(BadAddress::ServerScheme("https://".into())),
        Some((scheme, _)) => Err(BadAddress::Scheme(scheme.to_owned())),
    }
}

/// The host as written and the port, if there is one.
fn split_port(text: &str) -> Result<(&str, Option<u16>), BadAddress> {
    let colon = match text.rfind(']') {
        Some(bracket) if text.starts_with('[') => match &text[bracket + 1..] {
            "" => return Ok((text, None)),
            rest if rest.starts_with(':') => bracket + 1,
            _ => return Err(BadAddress::Ipv6(text.to_owned())),
        },
        _ if text.matches(':').count() > 1 => return Err(BadAddress::Ipv6(text.to_owned())),
        _ => match text.find(':') {
            Some(colon) => colon,
            None => return Ok((text, None)),
        },
    };
    Ok((&text[..colon], Some(port(&text[colon + 1..])?)))
}

/// Reads a host without a port.
///
/// # Errors
/// [`BadAddress`] says what is wrong with it.
pub(crate) fn host(text: &str) -> Result<Host, BadAddress> {
    if text.is_empty() {
        return Err(BadAddress::NoHost);
    }
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|t| t.parse::<Ipv6Addr>().ok());
        return address
            .map(|address| Host::Address(address.into()))
            .ok_or_else(|| BadAddress::Ipv6(text.to_owned()));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(BadAddress::Ipv4(text.to_owned()));
    }
    if !is_name(text) {
        return Err(BadAddress::Name(text.to_owned()));
    }
    let labels: Vec<&str> = text.split('.').collect();
    let service = labels.len() > 2 && labels[..2].iter().all(|label| label.starts_with('_'));
    Ok(if service { Host::Service(text.to_owned()) } else { Host::Name(text.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Host {
        Host::Name(text.into())
    }

    #[test]
    fn a_server_is_a_name_an_address_or_a_service() {
        assert_eq!(server("back_end:5252"), Ok((name("back_end"), Some(5252))));
        assert_eq!(server("api.example."), Ok((name("api.example."), None)));
        assert_eq!(server("[::1]:80"), Ok((Host::Address(Ipv6Addr::LOCALHOST.into()), Some(80))));
        assert_eq!(server("10.0.0.1"), Ok((Host::Address([10, 0, 0, 1].into()), None)));
        let service = Host::Service("_http._tcp.api".into());
        assert_eq!(server("_http._tcp.api"), Ok((service, None)));
        assert_eq!(server("_http._tcp"), Ok((name("_http._tcp"), None)));
    }

    #[test]
    fn what_is_no_server_says_why() {
        for (text, error) in [
            ("a:0", BadAddress::Port("0".into())),
            ("a:", BadAddress::Port(String::new())),
            ("a:65536", BadAddress::Port("65536".into())),
            (":80", BadAddress::NoHost),
            ("a b:80", BadAddress::Name("a b".into())),
            ("-a", BadAddress::Name("-a".into())),
            ("a..b", BadAddress::Name("a..b".into())),
            ("256.0.0.1:80", BadAddress::Ipv4("256.0.0.1".into())),
            ("::1", BadAddress::Ipv6("::1".into())),
            ("[::1", BadAddress::Ipv6("[::1".into())),
            ("[::1]80", BadAddress::Ipv6("[::1]80".into())),
            ("https://a", BadAddress::ServerScheme("https://".into())),
            ("http://a", BadAddress::ServerScheme("http://".into())),
            ("unix:x", BadAddress::Unix),
            ("a:80/x", BadAddress::Path("/x".into())),
        ] {
            assert_eq!(server(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_target_has_a_host_and_may_have_port_and_path() {
        let target = |text| target(text).map(|t| (t.host_text, t.port, t.uri));
        assert_eq!(target("a:1"), Ok(("a".into(), Some(1), None)));
        assert_eq!(target("http://a"), Ok(("a".into(), None, None)));
        assert_eq!(target("http://[::1]:8/x/"), Ok(("[::1]".into(), Some(8), Some("/x/".into()))));
        assert_eq!(target("a/"), Ok(("a".into(), None, Some("/".into()))));
        assert_eq!(target("ftp://a"), Err(BadAddress::Scheme("ftp".into())));
        assert_eq!(target("a:1/x#y"), Err(BadAddress::Uri("/x#y".into())));
    }

    #[test]
    fn a_listener_is_an_address() {
        for (text, expected) in [
            ("80", "0.0.0.0:80"),
            ("*:8080", "0.0.0.0:8080"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::]:80", "[::]:80"),
        ] {
            assert_eq!(listen(text).map(|a| a.to_string()).as_deref(), Ok(expected));
        }
        assert_eq!(listen("0"), Err(BadAddress::Port("0".into())));
        assert_eq!(listen("localhost:80"), Err(BadAddress::Listen("localhost:80".into())));
        assert_eq!(listen("127.0.0.1"), Err(BadAddress::Listen("127.0.0.1".into())));
    }
}
