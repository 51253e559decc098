//! How the requests of a virtual server are read.

use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::Requests;
use crate::config::raw::Settings;
use crate::config::words;

impl Requests {
    /// What holds inside of `outer` once these are said.
    pub(super) fn resolve(settings: &Settings, outer: &Self, diags: &mut Diagnostics) -> Self {
        let mut switch = |name: &str, outer| {
            settings.word(name).map_or(outer, |word| match word.value.as_str() {
                "on" => true,
                "off" => false,
                other => {
                    diags
                        .error(
                            &word.place,
                            format!("`{name}` is on or off, found {}", quote(other)),
                        )
                        .in_nginx(format!(
                            "invalid value \"{other}\" in \"{name}\" directive, it must be \"on\" \
                             or \"off\""
                        ))
                        .expected("expected one of on, off");
                    outer
                }
            })
        };
        let merge_slashes = switch("merge_slashes", outer.merge_slashes);
        let ignore_invalid_headers = switch("ignore_invalid_headers", outer.ignore_invalid_headers);
        let underscores_in_headers = switch("underscores_in_headers", outer.underscores_in_headers);
        let (header_buffers, header_buffer_bytes) =
            buffers(settings, diags).unwrap_or((outer.header_buffers, outer.header_buffer_bytes));
        let max_headers = settings.word("max_headers");
        let max_headers = diags
            .number("max_headers", max_headers, 1..=u64::from(u32::MAX))
            .unwrap_or(outer.max_headers);
        Self {
            merge_slashes,
            ignore_invalid_headers,
            underscores_in_headers,
            header_buffers,
            header_buffer_bytes,
            concurrent_streams: diags
                .number(STREAMS, settings.word(STREAMS), 1..=MOST_STREAMS)
                .unwrap_or(outer.concurrent_streams),
            max_headers,
        }
    }
}

const STREAMS: &str = "http2_max_concurrent_streams";
/// Stream numbers have 31 bits, half of them the client's.
const MOST_STREAMS: u64 = (1 << 30) - 1;

/// `large_client_header_buffers`: how many, and how large.
fn buffers(settings: &Settings, diags: &mut Diagnostics) -> Option<(u32, u64)> {
    const NAME: &str = "large_client_header_buffers";
    let statement = settings.last(NAME)?;
    let [number, size] = &statement.args[..] else { return None };
    let count = words::number(&number.value).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let bytes = words::size(&size.value).ok().filter(|bytes| *bytes > 0);
    for (word, right) in [(number, count.is_some()), (size, bytes.is_some())] {
        if !right {
            diags
                .error(
                    &word.place,
                    format!("`{NAME}` takes a number and a size, found {}", quote(&word.value)),
                )
                .in_nginx(format!("\"{NAME}\" directive invalid value"))
                .expected("expected a number and a size, as in `4 8k`");
        }
    }
    count.zip(bytes)
}
