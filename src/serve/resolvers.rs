//! What looks names up: one resolver for each way in which the configuration says so.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::model::{self, Config};
use crate::discovery::Resolver;

/// The resolvers of a configuration.
#[derive(Clone)]
pub(super) struct Resolvers {
    common: Arc<Resolver>,
    own: Arc<HashMap<model::Resolver, Arc<Resolver>>>,
}

impl Resolvers {
    /// Makes them, which reads files: it belongs before serving.
    pub(super) fn new(config: &Config) -> Result<Self, impl std::fmt::Display + use<>> {
        let routes = config.virtual_servers.iter().flat_map(|server| {
            let routes = server.routes.iter().map(|route| &route.settings);
            routes.chain([&server.settings]).filter_map(|settings| settings.resolver.as_ref())
        });
        let upstreams = config.upstreams.iter().filter_map(|upstream| upstream.resolver.as_ref());
        let mut own = HashMap::new();
        for spec in routes.chain(upstreams) {
            if !own.contains_key(spec) {
                own.insert(spec.clone(), Arc::new(Resolver::new(spec)?));
            }
        }
        let common = Resolver::new(&config.resolver)?;
        Ok::<_, hickory_resolver::net::NetError>(Self {
            common: Arc::new(common),
            own: Arc::new(own),
        })
    }

    /// The one for what is written; without that the common one.
    pub(super) fn of(&self, spec: Option<&model::Resolver>) -> &Arc<Resolver> {
        spec.and_then(|spec| self.own.get(spec)).unwrap_or(&self.common)
    }
}
