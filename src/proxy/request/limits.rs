//! What the log hears of limits: the first request that a zone stops, and then a sum a minute as long
//! as there is something to add up.

use std::sync::Arc;
use std::time::Duration;

use crate::exchange::limits::{Said, Stopped, Table};
use crate::limits::{ConnectionTable, RequestTable, Told};
use crate::observe::event::{self, Stop};
use crate::proxy::Runtime;

/// A table of either kind.
enum Either {
    Requests(Arc<RequestTable>),
    Connections(Arc<ConnectionTable>),
}

impl Either {
    fn told(&self) -> &Told {
        match self {
            Self::Requests(table) => &table.told,
            Self::Connections(table) => &table.told,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Requests(table) => table.name(),
            Self::Connections(table) => table.name(),
        }
    }
}

/// Tells of a request that a zone has stopped.
pub(super) fn tell(runtime: &Runtime, stopped: &Stopped) {
    let tables = &runtime.tables;
    let table = match stopped.table {
        Table::Requests(n) => tables.requests.get(n).cloned().map(Either::Requests),
        Table::Connections(n) => tables.connections.get(n).cloned().map(Either::Connections),
    };
    let Some(table) = table else { return };
    let stop = match (&table, stopped.said) {
        (Either::Connections(_), Said::RejectedDryRun) => Stop::ConnectionsDryRun,
        (Either::Connections(_), _) => Stop::Connections,
        (_, Said::DelayedDryRun) => Stop::DelayDryRun,
        (_, Said::Delayed) => Stop::Delay,
        (_, Said::RejectedDryRun) => Stop::RequestsDryRun,
        _ => Stop::Requests,
    };
    event::limited(stop, table.name(), stopped.excess, stopped.level);
    if !table.told().begin() {
        return;
    }
    let level = stopped.level;
    tokio::spawn(async move {
        let mut since = Duration::ZERO;
        loop {
            tokio::time::sleep(Told::SPAN).await;
            since += Told::SPAN;
            let Some(sum) = table.told().sum() else { return };
            event::limited_sum(table.name(), sum, since, level);
            since = Duration::ZERO;
        }
    });
}
