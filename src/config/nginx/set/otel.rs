//! nginx's otel module (`ngx_otel_module`), in robin's words.

use crate::config::nginx::frame::Frame;
use crate::config::nginx::parser::Directive;
use crate::config::nginx::reader::Reader;
use crate::config::raw::{Statement, Word};

/// `otel_trace_context ignore`, `extract`, `inject` or `propagate`.
pub(in crate::config::nginx) fn otel_trace_context(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    const WORDS: [(&str, &str); 4] =
        [("ignore", "ignore"), ("extract", "extract"), ("inject", "inject"), ("propagate", "on")];
    let word = &directive.args[0];
    let Some((_, ours)) = WORDS.iter().find(|(theirs, _)| *theirs == word.value) else {
        let names = WORDS.map(|(name, _)| name);
        reader
            .diags
            .error(&word.place, format!("invalid value \"{}\"", word.value))
            .expected(format!("expected one of {}", names.join(", ")))
            .nearest(&word.value, names);
        return;
    };
    let name = Word { value: "robin_trace".to_owned(), place: directive.name.place.clone() };
    let args = vec![Word { value: (*ours).to_owned(), place: word.place.clone() }];
    frame.settings.statements.push(Statement { name, args, block: None });
}

/// `otel_exporter { endpoint …; interval …; batch_size …; batch_count …; }`, and robin's `sample`.
pub(in crate::config::nginx) fn otel_exporter(
    reader: &mut Reader<'_>,
    directive: &Directive,
    frame: &mut Frame,
) {
    let mut statement = directive.statement();
    statement.name.value = "robin_otlp".to_owned();
    for entry in statement.block.take().into_iter().flatten() {
        let Statement { name, args, .. } = entry;
        match &args[..] {
            [value] => {
                let value =
                    Word { value: format!("{}={}", name.value, value.value), ..value.clone() };
                statement.args.push(value);
            }
            _ => {
                let message = format!("invalid number of arguments in \"{}\"", name.value);
                reader.diags.error(&name.place, message).expected("expected one");
            }
        }
    }
    frame.settings.statements.push(statement);
}
