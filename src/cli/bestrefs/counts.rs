//! The counts of a run over datasets.

/// The number of datasets that were looked up, and of those that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) asked: usize,
    pub(super) failed: usize,
}

impl Counts {
    pub(super) fn count(&mut self, good: bool) {
        self.asked += 1;
        self.failed += usize::from(!good);
    }
}
