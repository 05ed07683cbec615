//! The requests of a node to the server, by kind: what memory answers is none.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The numbers of requests by kind.
pub type Counts = BTreeMap<&'static str, u64>;

/// Counts requests.
#[derive(Debug, Default)]
pub struct Requests(Mutex<Counts>);

impl Requests {
    pub(super) fn note(&self, kind: &'static str) {
        *self.0.lock().entry(kind).or_default() += 1;
    }

    /// The requests so far.
    pub fn counts(&self) -> Counts {
        self.0.lock().clone()
    }
}
