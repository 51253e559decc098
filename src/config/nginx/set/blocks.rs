//! The blocks: each is read into a frame of its own and becomes one entry of the raw tree.

use crate::config::nginx::frame::{Context, Frame};
use crate::config::nginx::parser::{Block, Directive};
use crate::config::nginx::reader::Reader;
use crate::config::raw::Word;

impl Reader<'_> {
    /// Reads the block of a directive.
    pub(super) fn inside(&mut self, directive: &Directive, frame: &mut Frame) {
        if let Some(block) = &directive.block {
            self.block(block, frame);
        }
    }
}

pub(in crate::config::nginx) fn events(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let mut inner = frame.inner(Context::Events, directive.name.place.clone());
    reader.inside(directive, &mut inner);
}

pub(in crate::config::nginx) fn http(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let inner = frame.inner(Context::Http, directive.name.place.clone());
    if let Some(block) = &directive.block {
        read_http(reader, block, inner);
    }
}

/// Reads what stands in `http`, with its braces or, in a file of `conf.d/`, without.
pub(in crate::config::nginx) fn read_http(
    reader: &mut Reader<'_>,
    block: &Block,
    mut frame: Frame,
) {
    reader.block(block, &mut frame);
    reader.finish(&mut frame);
    if reader.servers.is_empty() && !frame.broken {
        reader
            .diags
            .error(&frame.place, "no \"server\" in \"http\"")
            .expected("expected at least one `server { }` in it");
        frame.broken = true;
    }
    reader.refuse_port_of_upstream();
    reader.http = Some(frame);
}

pub(in crate::config::nginx) fn server(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let mut inner = frame.inner(Context::Server, directive.name.place.clone());
    reader.inside(directive, &mut inner);
    reader.finish(&mut inner);
    reader.server_shared.push(std::mem::take(&mut inner.shared));
    frame.broken |= inner.broken;
    reader.servers.push(inner.into_server());
}

pub(in crate::config::nginx) fn location(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let path = reader.path(directive, frame);
    let mut inner = frame.inner(Context::Location, directive.name.place.clone());
    inner.path = path.as_ref().map(|path| path.value.clone());
    reader.inside(directive, &mut inner);
    let Some(path) = path else {
        frame.broken = true;
        return;
    };
    reader.finish(&mut inner);
    reader.location_shared.push(std::mem::take(&mut inner.shared));
    frame.broken |= inner.broken;
    if path.value.starts_with(['/', '=', '^', '~', '@']) {
        frame.routes.push(inner.into_route(path));
    } else {
        // nginx takes it without a word.
        let message =
            format!("location \"{}\" never matches: a path begins with a slash", path.value);
        reader.diags.warn(&path.place, message);
    }
}

pub(in crate::config::nginx) fn internal(
    _: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let place = directive.name.place.clone();
    frame.internal = Some(Word { value: "on".to_owned(), place });
}

impl Reader<'_> {
    /// Which paths a location matches, as a route says it.
    fn path(&mut self, directive: &Directive, frame: &Frame) -> Option<Word> {
        let (modifier, typed) = match &directive.args[..] {
            [modifier, path] => (modifier.value.as_str(), path),
            [path] => ("", path),
            // The row asks for one or two.
            _ => return None,
        };
        let word = |value: String| Word { value, place: typed.place.clone() };
        let path = match modifier {
            // nginx reads `location =/x` as `location = /x`.
            "" => word(typed.value.clone()),
            "=" | "^~" | "~" | "~*" => word(format!("{modifier} {}", typed.value)),
            other => {
                self.diags
                    .error(
                        &directive.args[0].place,
                        format!("invalid location modifier \"{other}\""),
                    )
                    .expected("expected one of =, ^~, ~, ~*");
                return None;
            }
        };
        let problem = frame.path.as_ref().and_then(|outer| not_inside(&path.value, outer));
        if let Some(message) = problem {
            self.diags
                .error(&typed.place, message)
                .expected("a location in another has a part of its paths");
            return None;
        }
        Some(path)
    }
}

/// Why a location cannot stand in another one, as `ngx_http_core_location` has it.
fn not_inside(path: &str, outer: &str) -> Option<String> {
    let bare = |path: &str| path.trim_start_matches(['=', '^', '~', '*', ' ']).to_owned();
    let (inner, around) = (bare(path), bare(outer));
    if outer.starts_with('=') {
        Some(format!("location \"{inner}\" cannot be inside the exact location \"{around}\""))
    } else if outer.starts_with('@') {
        Some(format!("location \"{inner}\" cannot be inside the named location \"{around}\""))
    } else if path.starts_with('@') {
        Some(format!("named location \"{inner}\" can be on the server level only"))
    } else if !path.starts_with('~') && !inner.starts_with(&around) {
        Some(format!("location \"{inner}\" is outside location \"{around}\""))
    } else {
        None
    }
}

pub(in crate::config::nginx) fn upstream(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let name = directive.args[0].clone();
    // Where "no servers are inside upstream" points.
    let mut inner = frame.inner(Context::Upstream, name.place.clone());
    reader.inside(directive, &mut inner);
    if let Some(zone) = inner.zone.take() {
        reader.zone_of_sessions(zone, &name);
    }
    frame.broken |= inner.broken;
    reader.upstreams.push(inner.into_upstream(name));
}
