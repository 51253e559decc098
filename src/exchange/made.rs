//! The variables that a configuration makes: `map`, `geo`, `split_clients`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::variables::Facts;
use crate::config::model::program::{Geo, Map, Split, VariableSource};
use crate::config::template::Template;

/// As deep as variables may be made of one another; nginx gives up at the same depth.
const DEEPEST: u8 = 100;

impl<'a> Facts<'a> {
    /// Appends what a variable of the configuration's own says: what it was set to, else what it is
    /// made of, worked out once a request.
    pub(super) fn append_own(&self, slot: usize, out: &mut Vec<u8>) {
        let course = self.course;
        if let Some(value) = course.value(slot) {
            return out.extend_from_slice(value);
        }
        let Some(variable) = self.scene.config.variables.get(slot) else { return };
        let lasting = match &variable.source {
            VariableSource::Assigned => return,
            VariableSource::Map(map) => !map.volatile,
            VariableSource::Geo(_) | VariableSource::Split(_) => true,
        };
        let start = out.len();
        let Some(deeper) = self.deeper() else { return };
        match &variable.source {
            VariableSource::Assigned => {}
            VariableSource::Map(map) => deeper.append_mapped(map, out),
            VariableSource::Geo(geo) => out.extend_from_slice(deeper.located(geo).as_bytes()),
            VariableSource::Split(split) => {
                out.extend_from_slice(part(split, &deeper.text(&split.key)).as_bytes());
            }
        }
        if lasting {
            course.remember(slot, &out[start..]);
        }
    }

    /// The same one level deeper; none where it is deep enough.
    pub(super) fn deeper(&self) -> Option<Self> {
        (self.depth < DEEPEST).then_some(Self { depth: self.depth + 1, ..*self })
    }

    fn append_mapped(&self, map: &Map, out: &mut Vec<u8>) {
        let source = self.text(&map.source);
        let mut key = &source[..];
        if map.hostnames {
            key = key.strip_suffix(b".").unwrap_or(key);
        }
        if let Some(value) = named(map, key) {
            return self.append_template(value, out);
        }
        // As in nginx, no pattern is asked about nothing.
        let patterns = if key.is_empty() { &[][..] } else { &map.patterns[..] };
        let matching = patterns.iter().find_map(|(pattern, value)| {
            pattern.captures(key).map(|captures| (pattern, captures, value))
        });
        match matching {
            Some((pattern, captures, value)) => {
                for (group, slot) in pattern.slots() {
                    let group = captures.get(*group).and_then(Option::as_deref);
                    self.course.remember(*slot, group.unwrap_or_default());
                }
                let facts = Facts { captures: &captures, ..*self };
                facts.append_template(value, out);
            }
            None => self.append_template(&map.default, out),
        }
    }

    /// What `geo` says of an address.
    fn located<'g>(&self, geo: &'g Geo) -> &'g str {
        // What is no address is looked up as nginx does it.
        let none = IpAddr::V4(Ipv4Addr::BROADCAST);
        let address = match &geo.source {
            Some(source) => {
                let text = self.text(source);
                std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(none)
            }
            None => self.client().map_or(none, |client| client.ip()),
        };
        let address = self.forwarded(geo, address.to_canonical());
        if let IpAddr::V4(v4) = address
            && let Some((_, (last, value))) = geo.ranges.range(..=v4).next_back()
            && v4 <= *last
        {
            return value;
        }
        let mut networks = geo.lengths.iter().filter_map(|length| {
            let network = IpNet::new(address, *length).ok()?;
            geo.networks.get(&network.trunc())
        });
        networks.next().map_or(&geo.default, String::as_str)
    }

    /// The client that a proxy tells of, if its word counts (`ngx_http_get_forwarded_addr`).
    fn forwarded(&self, geo: &Geo, address: IpAddr) -> IpAddr {
        if geo.proxies.is_empty() {
            return address;
        }
        let trusted = |address: &IpAddr| geo.proxies.iter().any(|proxy| proxy.contains(address));
        let headers = self.scene.head.headers.get_all("x-forwarded-for");
        let lines: Vec<&[u8]> = headers.iter().map(http::HeaderValue::as_bytes).collect();
        let mut hops =
            lines.iter().rev().flat_map(|line| line.rsplit(|b| matches!(b, b',' | b' ')));
        let mut client = address;
        while trusted(&client)
            && let Some(hop) = hops.find(|hop| !hop.is_empty())
        {
            match std::str::from_utf8(hop).ok().and_then(parse) {
                Some(hop) => client = hop.to_canonical(),
                None => break,
            }
            if !geo.recursive {
                break;
            }
        }
        client
    }

    pub(super) fn client(&self) -> Option<SocketAddr> {
        self.course.client.or(self.scene.client)
    }
}

/// An address with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

/// The value of a text or a wildcard.
fn named<'m>(map: &'m Map, key: &[u8]) -> Option<&'m Template> {
    let key = std::str::from_utf8(key).ok()?;
    let key: Cow<'_, str> = match key.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Cow::Owned(key.to_ascii_lowercase()),
        false => Cow::Borrowed(key),
    };
    let longer = |part: &str| key.len() > part.len();
    let ends = |(part, _): &&(String, Template)| longer(part) && key.ends_with(part.as_str());
    let begins = |(part, _): &&(String, Template)| longer(part) && key.starts_with(part.as_str());
    let exact = map.exact.get(&key[..]);
    exact
        .or_else(|| map.suffixes.iter().find(ends).map(|(_, value)| value))
        .or_else(|| map.prefixes.iter().find(begins).map(|(_, value)| value))
}

/// The part of `split_clients` that a key belongs to.
fn part<'s>(split: &'s Split, key: &[u8]) -> &'s str {
    let hash = murmur2(key);
    let part = split.parts.iter().find(|(bound, _)| bound.is_none_or(|bound| hash < bound));
    part.map_or("", |(_, value)| value)
}

/// `MurmurHash2`, as nginx has it.
fn murmur2(text: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    // As in nginx, only the lower 32 bits of the length count.
    let mut hash = u32::try_from(text.len() & 0xffff_ffff).unwrap_or(0);
    let mut words = text.chunks_exact(4);
    for word in &mut words {
        let word = word.iter().rev().fold(0, |word: u32, byte| word << 8 | u32::from(*byte));
        let word = word.wrapping_mul(M);
        let word = (word ^ word >> 24).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ word;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0, |word: u32, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ word).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}
