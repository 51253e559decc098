//! Lines of access logs whose format is the configuration's (`ngx_http_log_module`).

use super::variables::Facts;
use crate::config::model::{LogEscape, LogFormat, LogStyle, RequestLog};
use crate::config::template::Part;
pub(super) use crate::observe::escape::push_json;
use crate::observe::text::push_escaped;

/// What decides whether a request is among the sampled ones.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whether it failed: a status from 500 on, or a reason why there was no answer.
    pub failed: bool,
}

impl Ended<'_> {
    /// Whether a log that takes a share of the requests takes this one. The id decides, so that all
    /// logs agree; what failed is in every log.
    #[must_use]
    pub fn is_sampled(&self, log: &RequestLog) -> bool {
        self.failed || log.sample.is_none_or(|share| hash(self.id) % 10_000 < u64::from(share))
    }
}

/// FNV-1a, and MurmurHash3's last step, without which ids that differ in their ends only lie side
/// by side.
fn hash(id: &str) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// Whether variables decide whether a log has a line, or what stands in it.
#[must_use]
pub fn asks_variables(log: &RequestLog) -> bool {
    log.condition.is_some() || matches!(log.style, LogStyle::Format(_))
}

impl Facts<'_> {
    /// Whether a log wants a line about this request.
    #[must_use]
    pub fn is_logged(&self, log: &RequestLog) -> bool {
        let Some(condition) = &log.condition else { return true };
        !matches!(&self.text(condition)[..], b"" | b"0")
    }

    /// Appends a line with its newline.
    pub fn append_line(&self, format: &LogFormat, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        for part in format.line.parts() {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => {
                    value.clear();
                    let found = self.append(variable, &mut value);
                    match format.escape {
                        LogEscape::Default if !found => out.push(b'-'),
                        LogEscape::Default => push_escaped(out, &value),
                        LogEscape::Json => push_json(out, &value),
                        LogEscape::None => out.extend_from_slice(&value),
                    }
                }
            }
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Preset;

    fn log(sample: Option<u16>) -> RequestLog {
        RequestLog { to: 0, style: LogStyle::Preset(Preset::Json), condition: None, sample }
    }

    #[test]
    fn a_sample_is_a_share_of_the_requests_by_their_ids() {
        let ids: Vec<String> = (0..10_000).map(|n| format!("{n:032x}")).collect();
        let taken = |share| {
            let is = |id: &&String| Ended { id, failed: false }.is_sampled(&log(Some(share)));
            ids.iter().filter(is).collect::<Vec<_>>()
        };
        let (tenth, half) = (taken(1_000), taken(5_000));
        let in_half: std::collections::HashSet<_> = half.iter().collect();
        assert!((900..1_100).contains(&tenth.len()), "{}", tenth.len());
        assert_eq!(taken(1_000), tenth, "the id alone decides");
        assert!(tenth.iter().all(|id| in_half.contains(id)), "a larger sample has it, too");
        assert_eq!(taken(10_000).len(), ids.len());
    }

    #[test]
    fn what_failed_is_in_every_sample() {
        let ids: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let one = log(Some(1));
        assert!(ids.iter().all(|id| Ended { id, failed: true }.is_sampled(&one)));
        assert!(ids.iter().all(|id| Ended { id, failed: false }.is_sampled(&log(None))));
    }

    #[test]
    fn text_is_escaped_for_json_as_nginx_does() {
        let mut out = Vec::new();
        push_json(&mut out, b"a\"b\\c\n\r\t\x08\x0c\x1f\x7f\xc3\xa9");
        assert_eq!(out, b"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u001F\x7f\xc3\xa9");
    }
}
