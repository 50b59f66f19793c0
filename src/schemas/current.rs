//! The schemas that are known now: replaced whole while they are used.

use std::sync::{Arc, RwLock};

use super::Schemas;

/// A handle on the schemas in force. Clones are of the same.
#[derive(Debug, Clone, Default)]
pub struct Current(Arc<RwLock<Arc<Schemas>>>);

impl From<Arc<Schemas>> for Current {
    fn from(schemas: Arc<Schemas>) -> Self {
        Self(Arc::new(RwLock::new(schemas)))
    }
}

impl Current {
    /// What is in force now.
    #[must_use]
    pub fn now(&self) -> Arc<Schemas> {
        Arc::clone(&self.0.read().expect("no holder panics"))
    }

    /// From now on these are.
    pub fn replace(&self, schemas: Arc<Schemas>) {
        *self.0.write().expect("no holder panics") = schemas;
    }
}
