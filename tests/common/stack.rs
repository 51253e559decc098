//! A robin with one origin behind it.

use super::net::free_address;
use super::origin::{Behaviour, Origin};
use super::robin::Robin;

/// One origin, and robin before it.
pub struct Stack {
    /// What answers.
    pub origin: Origin,
    /// What is asked.
    pub robin: Robin,
}

/// All requests go to one origin; `settings` is YAML.
pub fn stack(behaviour: Behaviour, settings: &str) -> Stack {
    let origin = Origin::start(free_address(), behaviour);
    let robin = Robin::with(&format!("{settings}\nroutes: {{ /: {} }}", origin.address()));
    Stack { origin, robin }
}
