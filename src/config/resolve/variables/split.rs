//! `split_clients` (`ngx_http_split_clients_module`).

use super::pair;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::program::Split;
use crate::config::raw::Statement;
use crate::config::words;

/// All of it, in hundredths of a percent.
const ALL: u64 = 10_000;

/// Reads a `split_clients`; none where its key is no template.
pub(super) fn split(statement: &Statement, diags: &mut Diagnostics) -> Option<Split> {
    let mut split = Split { key: diags.template(statement.args.first()?)?, parts: Vec::new() };
    let mut sum = 0;
    let mut bound = 0_u64;
    for entry in statement.block.iter().flatten() {
        let Some((share, value)) = pair(entry, "split_clients", diags) else { continue };
        let hundredths = match &share.value[..] {
            "*" => None,
            text => match words::hundredths(text) {
                Some(hundredths) => Some(hundredths),
                None => {
                    let message = format!("{} is not a share", quote(text));
                    diags
                        .error(&share.place, message)
                        .in_nginx(format!("invalid percent value \"{text}\""))
                        .expected("expected a share such as `50%` or `0.5%`, or `*` for the rest");
                    continue;
                }
            },
        };
        sum = hundredths.map_or(ALL, |hundredths| sum + hundredths);
        if sum > ALL {
            diags
                .error(&share.place, "the shares of `split_clients` make more than 100%")
                .in_nginx("percent total is greater than 100%")
                .expected("with this one");
            break;
        }
        let upper = hundredths.map(|hundredths| {
            bound += hundredths * u64::from(u32::MAX) / ALL;
            u32::try_from(bound).unwrap_or(u32::MAX)
        });
        split.parts.push((upper, value.value.clone()));
    }
    Some(split)
}
