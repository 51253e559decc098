//! `passive`: how failures of traffic are judged, in robin's own words.

use crate::config::nginx::frame::Frame;
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::raw::{Passive, Word};
use crate::config::words;

/// `passive consecutive=5 …` or `passive success_rate=80% …`; without the `=` the usual number.
pub(in crate::config::nginx) fn passive(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let mut passive = Passive::at(directive.name.place.clone());
    for word in &directive.args {
        let (name, value) = match word.value.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.value.as_str(), None),
        };
        let number = |most: u64| {
            value.and_then(words::number).is_some_and(|number| (1..=most).contains(&number))
        };
        let time = || value.is_some_and(|v| words::duration(v).is_ok_and(|time| !time.is_zero()));
        let share =
            || value.and_then(words::percent).is_some_and(|percent| (1..=100).contains(&percent));
        let (slot, fits, expected) = match name {
            "consecutive" => (
                &mut passive.consecutive,
                value.is_none() || number(u64::from(u16::MAX)),
                "expected a number from 1 to 65535",
            ),
            "success_rate" => (
                &mut passive.success_rate,
                value.is_none() || share(),
                "expected a percentage from 1% to 100%",
            ),
            "requests" => {
                (&mut passive.requests, number(u64::from(u32::MAX)), "expected a number above 0")
            }
            "window" => (&mut passive.window, time(), "expected a time above 0"),
            "eject" => (&mut passive.eject, time(), "expected a time above 0"),
            "eject_max" => (&mut passive.eject_max, time(), "expected a time above 0"),
            _ => {
                let expected = "expected one of consecutive=, success_rate=, requests=, window=, \
                                eject=, eject_max=";
                reader.invalid_parameter(directive, word, expected);
                frame.broken = true;
                return;
            }
        };
        if !fits {
            reader.invalid_parameter(directive, word, expected);
            frame.broken = true;
            return;
        }
        let value = value.unwrap_or("on").to_owned();
        if let Some(first) = slot {
            let first = first.place.clone();
            let message = format!("\"passive\" directive parameter \"{name}\" is duplicate");
            reader
                .diags
                .error(&word.place, message)
                .expected("written again here")
                .also(&first, "first written here");
            frame.broken = true;
            return;
        }
        *slot = Some(Word { value, place: word.place.clone() });
    }
    frame.passive = Some(passive);
}
