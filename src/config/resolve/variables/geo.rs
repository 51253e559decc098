//! `geo` (`ngx_http_geo_module`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::pair;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::program::Geo;
use crate::config::raw::{Statement, Word};

/// Reads a `geo`; none where its source is no template.
pub(super) fn geo(statement: &Statement, diags: &mut Diagnostics) -> Option<Geo> {
    let source = match &statement.args[..] {
        [source, _] => Some(diags.template(source)?),
        _ => None,
    };
    let mut geo = Geo {
        source,
        networks: BTreeMap::new(),
        lengths: Vec::new(),
        ranges: BTreeMap::new(),
        proxies: Vec::new(),
        recursive: false,
        default: String::new(),
    };
    let mut ranges = false;
    for (n, entry) in statement.block.iter().flatten().enumerate() {
        match (&entry.name.value[..], &entry.args[..], &entry.block) {
            ("ranges", [], None) if n == 0 => ranges = true,
            ("ranges", [], None) => {
                diags
                    .error(&entry.name.place, "`ranges` must come first in `geo`")
                    .in_nginx(
                        "the \"ranges\" directive must be the first directive inside \"geo\" block",
                    )
                    .expected("expected it at the beginning of the block");
            }
            ("proxy_recursive", [], None) => geo.recursive = true,
            _ => {
                let Some((key, value)) = pair(entry, "geo", diags) else { continue };
                match &key.value[..] {
                    "default" => geo.default.clone_from(&value.value),
                    "proxy" => geo.proxies.extend(network(value, diags)),
                    _ if ranges => add_range(&mut geo, key, value, diags),
                    _ => add_network(&mut geo, key, value, diags),
                }
            }
        }
    }
    geo.lengths = geo.networks.keys().map(IpNet::prefix_len).collect();
    geo.lengths.sort_by_key(|length| Reverse(*length));
    geo.lengths.dedup();
    Some(geo)
}

/// The word that says which network or range a line is about, and the value; none for `delete`.
fn entry<'w>(key: &'w Word, value: &'w Word) -> (&'w Word, Option<&'w Word>) {
    if key.value == "delete" { (value, None) } else { (key, Some(value)) }
}

fn add_network(geo: &mut Geo, key: &Word, value: &Word, diags: &mut Diagnostics) {
    let (word, value) = entry(key, value);
    let Some(network) = network(word, diags) else { return };
    match value {
        // As in nginx, the last one counts.
        Some(value) => geo.networks.insert(network, value.value.clone()),
        None => geo.networks.remove(&network),
    };
}

fn network(word: &Word, diags: &mut Diagnostics) -> Option<IpNet> {
    let text = &word.value;
    let single = || text.parse().map(|address: IpAddr| IpNet::from(address)).ok();
    let network = text.parse::<IpNet>().ok().or_else(single).or_else(|| masked(text));
    if network.is_none() {
        diags
            .error(&word.place, format!("{} is not a network", quote(text)))
            .in_nginx(format!("invalid network \"{text}\""))
            .expected("expected an address or a network such as `10.0.0.0/8`");
    }
    network.map(|network| network.trunc())
}

/// `10.0.0.0/255.0.0.0`.
fn masked(text: &str) -> Option<IpNet> {
    let (address, mask) = text.split_once('/')?;
    let mask: Ipv4Addr = mask.parse().ok()?;
    IpNet::with_netmask(address.parse().ok()?, mask.into()).ok()
}

fn add_range(geo: &mut Geo, key: &Word, value: &Word, diags: &mut Diagnostics) {
    let (word, value) = entry(key, value);
    let text = &word.value;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let parse = |text: &str| text.trim().parse::<Ipv4Addr>().ok();
    let bounds = parse(first).zip(parse(last)).filter(|(first, last)| first <= last);
    let Some((first, last)) = bounds else {
        diags
            .error(&word.place, format!("{} is not a range", quote(text)))
            .in_nginx(format!("invalid range \"{text}\""))
            .expected("expected a range such as `10.0.0.1-10.0.0.99`");
        return;
    };
    cut(&mut geo.ranges, u32::from(first), u32::from(last));
    if let Some(value) = value {
        geo.ranges.insert(first, (last, value.value.clone()));
    }
}

/// Takes the addresses from `first` to `last` out of the ranges.
fn cut(ranges: &mut BTreeMap<Ipv4Addr, (Ipv4Addr, String)>, first: u32, last: u32) {
    let touched: Vec<Ipv4Addr> = ranges
        .range(..=Ipv4Addr::from(last))
        .rev()
        .take_while(|(_, (end, _))| u32::from(*end) >= first)
        .map(|(start, _)| *start)
        .collect();
    for start in touched {
        let Some((end, value)) = ranges.remove(&start) else { continue };
        let (from, to) = (u32::from(start), u32::from(end));
        if from < first {
            ranges.insert(start, (Ipv4Addr::from(first - 1), value.clone()));
        }
        if to > last {
            ranges.insert(Ipv4Addr::from(last + 1), (end, value));
        }
    }
}
