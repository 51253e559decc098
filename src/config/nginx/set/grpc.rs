//! `grpc_pass` and what goes with it. What is said becomes what `proxy_*` would say, where a location
//! passes gRPC on.

use super::proxy::proxy_next_upstream;
use super::upstream::bad_address;
use crate::config::address;
use crate::config::nginx::frame::Frame;
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::raw::{Statement, Word};

/// `grpc_pass address`, with or without `grpc://` or `grpcs://`.
pub(in crate::config::nginx) fn grpc_pass(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let word = &directive.args[0];
    let text = word.value.as_str();
    let bare = ["grpc://", "grpcs://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let whole = if bare.is_some() { text.to_owned() } else { format!("grpc://{text}") };
    let problem = match address::target(&whole) {
        _ if text.contains('$') => None,
        Ok(target) => target.uri.map(|uri| {
            let message = format!("URI part \"{uri}\" in \"grpc_pass\"");
            (message, "expected nothing behind the host")
        }),
        Err(error) => Some((bad_address(bare.unwrap_or(text), &error), error.expected())),
    };
    if let Some((message, expected)) = problem {
        reader.diags.error(&word.place, message).expected(expected);
        frame.broken = true;
        return;
    }
    let word = Word { value: whole, place: word.place.clone() };
    reader.targets.push(word.clone());
    frame.to = Some(word);
}

pub(in crate::config::nginx) fn grpc_set_header(
    _: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let [name, value] = &directive.args[..] else { return };
    frame.grpc.headers.push((name.clone(), value.clone()));
}

pub(in crate::config::nginx) fn grpc_next_upstream(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    std::mem::swap(&mut frame.settings, &mut frame.grpc.settings);
    proxy_next_upstream(reader, directive, frame);
    std::mem::swap(&mut frame.settings, &mut frame.grpc.settings);
}

/// What is kept as written, under the name that it has for `proxy_pass`.
pub(in crate::config::nginx) fn grpc_statement(
    _: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let name = directive.name.value.replacen("grpc_", "proxy_", 1);
    let name = Word { value: name, place: directive.name.place.clone() };
    let args = directive.args.clone();
    frame.grpc.settings.statements.push(Statement { name, args, block: None });
}
