//! `expires`.

use super::Said;
use crate::config::diagnostics::quote;
use crate::config::model::site::Expires;
use crate::config::words;

/// Why a text is no time for `expires`, in nginx's words.
const NO_TIME: &str = "\"expires\" directive invalid value";

impl Expires {
    /// What a text says, `modified` before it or not (`ngx_http_parse_expires`).
    ///
    /// # Errors
    /// What nginx says of a text that says nothing.
    pub fn parse(text: &str, modified: bool) -> Result<Self, &'static str> {
        /// The latest time of a day, in seconds.
        const DAY: i64 = 24 * 60 * 60;
        match text {
            "epoch" if !modified => return Ok(Self::Epoch),
            "max" if !modified => return Ok(Self::Max),
            "off" if !modified => return Ok(Self::Off),
            _ => {}
        }
        let (sign, time) = match text.split_at_checked(1) {
            Some(("@", _)) if modified => {
                return Err(
                    "\"expires\" directive daily time cannot be used with \"modified\" parameter",
                );
            }
            Some((sign @ ("@" | "+" | "-"), time)) => (sign, time),
            _ => ("", text),
        };
        let time = words::duration(time).map_err(|_| NO_TIME)?;
        // nginx counts whole seconds here.
        if time.subsec_nanos() != 0 {
            return Err(NO_TIME);
        }
        let time = i64::try_from(time.as_secs()).map_err(|_| NO_TIME)?;
        match sign {
            "@" if time > DAY => {
                Err("\"expires\" directive daily time value must be less than 24 hours")
            }
            "@" => u32::try_from(time).map(Self::At).map_err(|_| NO_TIME),
            _ => {
                let time = if sign == "-" { -time } else { time };
                Ok(if modified { Self::Modified(time) } else { Self::In(time) })
            }
        }
    }
}

impl Said<'_, '_> {
    pub(super) fn expires(&mut self) -> Option<Expires> {
        let statement = self.settings.last("expires")?;
        let (modified, word) = match &statement.args[..] {
            [word] => (false, word),
            [modified, word] if modified.value == "modified" => (true, word),
            [other, ..] => {
                self.diags
                    .error(&other.place, format!("invalid value {}", quote(&other.value)))
                    .in_nginx(NO_TIME)
                    .expected("expected a time, or `modified` and a time");
                return None;
            }
            [] => return None,
        };
        if word.value.contains('$') {
            return Some(Expires::Variable { value: self.template(word)?, modified });
        }
        match Expires::parse(&word.value, modified) {
            Ok(expires) => Some(expires),
            Err(reason) => {
                self.diags
                    .error(&word.place, format!("`expires` takes no {}", quote(&word.value)))
                    .in_nginx(reason)
                    .expected("expected epoch, max, off, or a time such as `24h`, `-1` or `@15h`");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_expires_is_read() {
        for (text, modified, expected) in [
            ("epoch", false, Expires::Epoch),
            ("max", false, Expires::Max),
            ("off", false, Expires::Off),
            ("24h", false, Expires::In(86_400)),
            ("+1m30s", false, Expires::In(90)),
            ("-1", false, Expires::In(-1)),
            ("@15h30m", false, Expires::At(55_800)),
            ("-2h", true, Expires::Modified(-7200)),
        ] {
            assert_eq!(Expires::parse(text, modified), Ok(expected), "{text}");
        }
        for (text, modified) in
            [("", false), ("x", false), ("@25h", false), ("@1h", true), ("max", true)]
        {
            assert!(Expires::parse(text, modified).is_err(), "{text}");
        }
    }
}
