//! `access_log`.

use crate::config::diagnostics::{Span, Syntax};
use crate::config::nginx::frame::Frame;
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::raw::Word;

/// Says what nginx means by silence: a relative path begins at the prefix, and a format is the
/// combined one. In YAML both are robin's own.
pub(in crate::config::nginx) fn access_log(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let mut statement = directive.statement();
    let in_nginx = Span::from(&directive.name.place).source.syntax == Syntax::Nginx;
    if let [path, rest @ ..] = &mut statement.args[..]
        && in_nginx
        && (path.value != "off" || !rest.is_empty())
    {
        let alone = rest.is_empty();
        if !path.value.starts_with("syslog:") && path.value != "off" {
            *path = reader.rooted(path);
        }
        let combined = Word { value: "combined".to_owned(), place: path.place.clone() };
        statement.args.extend(Some(combined).filter(|_| alone));
    }
    frame.settings.statements.push(statement);
}
