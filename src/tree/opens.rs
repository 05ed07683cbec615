//! The files that were opened, where `run --record` or `run --lock` wants to know.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::crds::LockFile;

/// The files that were opened or refused so far.
#[derive(Debug, Default)]
pub(super) struct Opens {
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Catalogued files.
    pub(super) files: LockFile,
    /// Paths of the user's own files among rules and references.
    pub(super) local: BTreeSet<String>,
    /// Refusals, each told once in the log.
    pub(super) refused: BTreeSet<String>,
}
