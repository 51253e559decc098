//! What a route and its clients may do to each other.

use std::time::Duration;

use super::Said;
use crate::config::diagnostics::{Diagnostics, quote};
use crate::config::model::admission::Admission;
use crate::config::model::site::{BodyFile, Clients};
use crate::config::raw::Settings;

impl Clients {
    pub(in crate::config::resolve) fn defaults() -> Self {
        Self {
            limit_except: None,
            access: Vec::new(),
            admission: Admission::default(),
            real_ip: None,
            body_buffer_bytes: 16 << 10,
            body_timeout: Duration::from_mins(1),
            body_file: BodyFile::Off,
            body_temp_path: None,
            send_timeout: Duration::from_mins(1),
            keepalive_requests: 1000,
        }
    }

    /// What holds inside of `outer` once these are said.
    pub(in crate::config::resolve) fn resolve(
        settings: &Settings,
        outer: &Self,
        diags: &mut Diagnostics,
    ) -> Self {
        let mut said = Said { settings, diags };
        Self {
            // It holds for its own level only.
            limit_except: said.limit_except(),
            access: said.access(&outer.access),
            admission: said.admission(&outer.admission),
            real_ip: said.real_ip(outer.real_ip.as_ref()),
            body_buffer_bytes: said.size("client_body_buffer_size", outer.body_buffer_bytes),
            body_timeout: said.time("client_body_timeout", outer.body_timeout),
            body_file: said.body_file().unwrap_or(outer.body_file),
            body_temp_path: settings
                .word("client_body_temp_path")
                .map(|word| word.value.clone().into())
                .or_else(|| outer.body_temp_path.clone()),
            send_timeout: said.time("send_timeout", outer.send_timeout),
            keepalive_requests: said
                .diags
                .number("keepalive_requests", settings.word("keepalive_requests"), 0..=u64::MAX)
                .unwrap_or(outer.keepalive_requests),
        }
    }
}

impl Said<'_, '_> {
    fn body_file(&mut self) -> Option<BodyFile> {
        const WORDS: [&str; 3] = ["off", "clean", "on"];
        let word = self.settings.word("client_body_in_file_only")?;
        match word.value.as_str() {
            "off" => Some(BodyFile::Off),
            "clean" => Some(BodyFile::Clean),
            "on" => Some(BodyFile::Kept),
            other => {
                self.diags
                    .error(
                        &word.place,
                        format!(
                            "`client_body_in_file_only` is on, clean or off, found {}",
                            quote(other)
                        ),
                    )
                    .in_nginx(format!("invalid value \"{other}\""))
                    .expected("expected one of off, clean, on")
                    .nearest(other, WORDS);
                None
            }
        }
    }
}
