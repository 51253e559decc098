//! What a proxy before this one says of the client's connection, in front of its first byte: the PROXY
//! protocol, versions 1 and 2 (haproxy's `doc/proxy-protocol.txt`), as `ngx_proxy_protocol_read` takes it.
//!
//! Reading is a function of the bytes that are here: too few ask for more, and more than a header may
//! have are refused, so that a client without one is found out at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::model::ProxyVersion;

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 1 has no longer line.
const LONGEST_LINE: usize = 107;
/// More than any header needs (`NGX_PROXY_PROTOCOL_MAX_HEADER`).
pub const LONGEST: usize = 4096;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The client's end and the proxy's; none where the proxy speaks for itself, or for neither TCP.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// What else version 2 says: type, length, value.
    pub tlvs: Vec<u8>,
}

/// What bytes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// There is more of the header to come.
    More,
    /// A header of so many bytes.
    Header(Said, usize),
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// They begin like neither version.
    #[error("no PROXY protocol header")]
    Missing,
    /// The first line is not one of version 1.
    #[error("broken line of PROXY protocol version 1")]
    Line,
    /// What follows the signature is not version 2.
    #[error("unknown version of the PROXY protocol")]
    Version,
    /// It is longer than a header may be.
    #[error("PROXY protocol header too long")]
    TooLong,
    /// There is no room for the addresses that it announces.
    #[error("PROXY protocol header too short for its addresses")]
    TooShort,
}

/// Reads the header that `bytes` begin with.
///
/// # Errors
/// [`Broken`], once that is certain.
pub fn read(bytes: &[u8]) -> Result<Read, Broken> {
    let begins = |whole: &[u8]| {
        let count = whole.len().min(bytes.len());
        bytes[..count] == whole[..count]
    };
    if begins(SIGNATURE) {
        return if bytes.len() < 16 { Ok(Read::More) } else { binary(bytes) };
    }
    if !begins(b"PROXY ") {
        return Err(Broken::Missing);
    }
    match bytes.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").ok_or(Broken::Line)?;
            Ok(Read::Header(Said { ends: ends(line)?, tlvs: Vec::new() }, end + 1))
        }
        None if bytes.len() < LONGEST_LINE => Ok(Read::More),
        None => Err(Broken::Line),
    }
}

/// What tells an upstream which client a connection is for, as a proxy that stands before it. Where
/// that is unknown, as for a probe, the proxy speaks for itself.
#[must_use]
pub fn write(version: ProxyVersion, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let ends = ends.map(|(from, to)| {
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        (canonical(from), canonical(to))
    });
    match version {
        ProxyVersion::V1 => line(ends).into_bytes(),
        ProxyVersion::V2 => binary_of(ends),
    }
}

fn line(ends: Option<(SocketAddr, SocketAddr)>) -> String {
    let Some((from, to)) = ends else { return "PROXY UNKNOWN\r\n".to_owned() };
    let (family, from_ip, to_ip) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ("TCP4", from.to_string(), to.to_string()),
        (from, to) => ("TCP6", sixteen(from).to_string(), sixteen(to).to_string()),
    };
    format!("PROXY {family} {from_ip} {to_ip} {} {}\r\n", from.port(), to.port())
}

fn binary_of(ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    let Some((from, to)) = ends else {
        // LOCAL, of no family and without addresses.
        bytes.extend_from_slice(&[0x20, 0, 0, 0]);
        return bytes;
    };
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend_from_slice(&[0x21, 0x11, 0, 12]);
            bytes.extend_from_slice(&from.octets());
            bytes.extend_from_slice(&to.octets());
        }
        (from, to) => {
            bytes.extend_from_slice(&[0x21, 0x21, 0, 36]);
            bytes.extend_from_slice(&sixteen(from).octets());
            bytes.extend_from_slice(&sixteen(to).octets());
        }
    }
    bytes.extend_from_slice(&from.port().to_be_bytes());
    bytes.extend_from_slice(&to.port().to_be_bytes());
    bytes
}

/// Both ends have to be of one family.
fn sixteen(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The ends that a line of version 1 tells.
fn ends(line: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, Broken> {
    let line = std::str::from_utf8(line).map_err(|_| Broken::Line)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(Broken::Line)?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let mut address = || words.next()?.parse::<IpAddr>().ok();
    let (from, to) = address().zip(address()).ok_or(Broken::Line)?;
    let fits = match family {
        "TCP4" => from.is_ipv4() && to.is_ipv4(),
        "TCP6" => from.is_ipv6() && to.is_ipv6(),
        _ => false,
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut port = || words.next().filter(|text| digits(text))?.parse::<u16>().ok();
    let (from_port, to_port) = port().zip(port()).ok_or(Broken::Line)?;
    if !fits || words.next().is_some() {
        return Err(Broken::Line);
    }
    Ok(Some((SocketAddr::new(from, from_port), SocketAddr::new(to, to_port))))
}

/// Version 2.
fn binary(bytes: &[u8]) -> Result<Read, Broken> {
    let (version, command) = (bytes[12] >> 4, bytes[12] & 0xf);
    let (family, transport) = (bytes[13] >> 4, bytes[13] & 0xf);
    if version != 2 {
        return Err(Broken::Version);
    }
    let length = 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > LONGEST {
        return Err(Broken::TooLong);
    }
    let Some(rest) = bytes.get(16..length) else { return Ok(Read::More) };
    // Only PROXY, and only streams, say something of a client.
    if command != 1 || transport != 1 {
        return Ok(Read::Header(Said::default(), length));
    }
    let (ends, tlvs) = match family {
        1 => addresses::<4>(rest, |octets| IpAddr::V4(Ipv4Addr::from(octets)))?,
        2 => addresses::<16>(rest, |octets| IpAddr::V6(Ipv6Addr::from(octets)))?,
        _ => return Ok(Read::Header(Said::default(), length)),
    };
    Ok(Read::Header(Said { ends: Some(ends), tlvs: tlvs.to_vec() }, length))
}

/// Two addresses of `N` bytes and two ports, and what follows them.
fn addresses<const N: usize>(
    bytes: &[u8],
    address: impl Fn([u8; N]) -> IpAddr,
) -> Result<((SocketAddr, SocketAddr), &[u8]), Broken> {
    let (from, rest) = bytes.split_first_chunk::<N>().ok_or(Broken::TooShort)?;
    let (to, rest) = rest.split_first_chunk::<N>().ok_or(Broken::TooShort)?;
    let (ports, rest) = rest.split_first_chunk::<4>().ok_or(Broken::TooShort)?;
    let [a, b, c, d] = *ports;
    let from = SocketAddr::new(address(*from), u16::from_be_bytes([a, b]));
    let to = SocketAddr::new(address(*to), u16::from_be_bytes([c, d]));
    Ok(((from, to), rest))
}

/// The value of a type among others; none where there is none, or the lengths do not fit.
fn value(mut tlvs: &[u8], wanted: u8) -> Option<&[u8]> {
    while let Some((head, rest)) = tlvs.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let (value, after) = rest.split_at_checked(length)?;
        if head[0] == wanted {
            return Some(value);
        }
        tlvs = after;
    }
    None
}

/// The types that have names (`ngx_proxy_protocol_tlv_entries`).
const NAMES: [(&str, u8); 5] =
    [("alpn", 0x01), ("authority", 0x02), ("unique_id", 0x05), ("ssl", 0x20), ("netns", 0x30)];
/// Those within `ssl`.
const SSL_NAMES: [(&str, u8); 5] =
    [("version", 0x21), ("cn", 0x22), ("cipher", 0x23), ("sig_alg", 0x24), ("key_alg", 0x25)];

fn kind(name: &str, names: &[(&str, u8)]) -> Option<u8> {
    if let Some(digits) = name.strip_prefix("0x") {
        return u8::try_from(u32::from_str_radix(digits, 16).ok()?).ok();
    }
    names.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

impl Said {
    /// What `$proxy_protocol_tlv_NAME` stands for.
    #[must_use]
    pub fn tlv(&self, name: &str) -> Option<Vec<u8>> {
        let Some(name) = name.strip_prefix("ssl_") else {
            return value(&self.tlvs, kind(name, &NAMES)?).map(<[u8]>::to_vec);
        };
        // A byte for what the client has shown, then how its certificate was judged.
        let ssl = value(&self.tlvs, 0x20)?;
        let (judged, rest) = ssl.get(1..)?.split_first_chunk::<4>()?;
        if name == "verify" {
            return Some(u32::from_be_bytes(*judged).to_string().into_bytes());
        }
        value(rest, kind(name, &SSL_NAMES)?).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(from: &str, to: &str) -> Option<(SocketAddr, SocketAddr)> {
        from.parse().ok().zip(to.parse().ok())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        for (ends, expected) in [
            (said("192.0.2.1:123", "192.0.2.2:80"), said("192.0.2.1:123", "192.0.2.2:80")),
            (said("[2001:db8::1]:1", "[::2]:2"), said("[2001:db8::1]:1", "[::2]:2")),
            (said("[::ffff:192.0.2.1]:1", "192.0.2.2:2"), said("192.0.2.1:1", "192.0.2.2:2")),
            (
                said("[2001:db8::1]:1", "192.0.2.2:2"),
                said("[2001:db8::1]:1", "[::ffff:c000:202]:2"),
            ),
            (None, None),
        ] {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let bytes = write(version, ends);
                let read = read(&bytes);
                let expected = Said { ends: expected, tlvs: Vec::new() };
                assert_eq!(read, Ok(Read::Header(expected, bytes.len())), "{version:?} {ends:?}");
            }
        }
    }

    #[test]
    fn lines_of_version_1_are_read() {
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\r\n",
                Ok(said("192.0.2.1:123", "192.0.2.2:5678")),
            ),
            ("PROXY TCP6 2001:Db8::1 ::2 1 2\r\n", Ok(said("[2001:db8::1]:1", "[::2]:2"))),
            ("PROXY UNKNOWN\r\n", Ok(None)),
            ("PROXY UNKNOWN 1 2 3 4 5 6\r\n", Ok(None)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\n", Err(Broken::Line)),
            ("PROXY TCP4 ::1 ::2 1 2\r\n", Err(Broken::Line)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 123 65536\r\n", Err(Broken::Line)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", Err(Broken::Line)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", Err(Broken::Line)),
            ("PROXY TCP4\r\n", Err(Broken::Line)),
            ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", Err(Broken::Line)),
            ("GET / HTTP/1.1\r\n", Err(Broken::Missing)),
        ] {
            let found = read(format!("{line}GET /").as_bytes());
            let expected =
                expected.map(|ends| Read::Header(Said { ends, tlvs: Vec::new() }, line.len()));
            assert_eq!(found, expected, "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(read(endless.as_bytes()), Err(Broken::Line));
    }

    #[test]
    fn headers_of_version_2_are_read() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 123, 22, 46];
        let whole = v2(0x21, 0x11, &four);
        let ends = said("192.0.2.1:123", "192.0.2.2:5678");
        assert_eq!(read(&whole), Ok(Read::Header(Said { ends, tlvs: vec![] }, 28)));
        assert_eq!(read(&v2(0x20, 0, &[])), Ok(Read::Header(Said::default(), 16)), "LOCAL");
        assert_eq!(
            read(&v2(0x21, 0x31, &[0; 216])),
            Ok(Read::Header(Said::default(), 232)),
            "unix"
        );
        assert_eq!(read(&v2(0x31, 0x11, &four)), Err(Broken::Version));
        assert_eq!(read(&v2(0x21, 0x11, &four[1..])), Err(Broken::TooShort));
        assert_eq!(read(&v2(0x21, 0x21, &four)), Err(Broken::TooShort));
        assert_eq!(read(&v2(0x21, 0x11, &[0; 4096])), Err(Broken::TooLong));
    }

    #[test]
    fn a_header_may_come_in_any_pieces() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 123 5678\r\n".to_vec();
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 123, 22, 46, 1, 0, 2, b'h', b'2'];
        for whole in [line, v2(0x21, 0x11, &four)] {
            for end in 0..whole.len() {
                assert_eq!(read(&whole[..end]), Ok(Read::More), "{end} of {whole:?}");
            }
            assert!(matches!(read(&whole), Ok(Read::Header(_, length)) if length == whole.len()));
        }
    }

    #[test]
    fn what_else_is_said_has_names_and_numbers() {
        let tlv = |kind: u8, value: &[u8]| {
            let length = u16::try_from(value.len()).expect("short").to_be_bytes();
            [&[kind][..], &length, value].concat()
        };
        let ssl = [&[1, 0, 0, 0, 255][..], &tlv(0x21, b"TLSv1.2"), &tlv(0x25, b"RSA")].concat();
        let tlvs = [tlv(1, b"h2"), tlv(0x20, &ssl), tlv(0xae, b"own"), vec![9, 0, 9]].concat();
        let said = Said { ends: None, tlvs };
        for (name, expected) in [
            ("alpn", Some("h2")),
            ("0x01", Some("h2")),
            ("0x000ae", Some("own")),
            ("ssl_version", Some("TLSv1.2")),
            ("ssl_0x25", Some("RSA")),
            ("ssl_verify", Some("255")),
            ("ssl_cn", None),
            ("netns", None),
            ("0x1ff", None),
            ("nothing", None),
        ] {
            assert_eq!(said.tlv(name), expected.map(|text| text.as_bytes().to_vec()), "{name}");
        }
    }
}
