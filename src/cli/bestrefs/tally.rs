//! The counts of `--check`.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::counts::Counts;

/// Counts over all datasets.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// References that headers record.
    references: AtomicUsize,
    /// Those of them that are others now.
    changed: AtomicUsize,
    /// Datasets that have some of those.
    datasets: AtomicUsize,
    /// Datasets that record none.
    silent: AtomicUsize,
}

impl Tally {
    /// Counts a dataset that records so many references, of which so many are others now.
    pub(super) fn count(&self, recorded: usize, changed: usize) {
        self.references.fetch_add(recorded, Ordering::Relaxed);
        self.changed.fetch_add(changed, Ordering::Relaxed);
        self.datasets
            .fetch_add(usize::from(changed > 0), Ordering::Relaxed);
        self.silent
            .fetch_add(usize::from(recorded == 0), Ordering::Relaxed);
    }

    /// Whether any reference is another one now.
    pub(super) fn has_changes(&self) -> bool {
        self.changed.load(Ordering::Relaxed) > 0
    }

    /// All of it in a sentence.
    pub(super) fn summary(&self, counts: Counts) -> String {
        let number = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let looked_at = format!(
            "{}, {} that they record",
            plural(counts.asked, "dataset"),
            plural(number(&self.references), "reference")
        );
        let silent = match number(&self.silent) {
            0 => String::new(),
            silent => format!("; {} without any", plural(silent, "dataset")),
        };
        match number(&self.changed) {
            0 => format!("nothing changed: {looked_at}{silent}\n"),
            changed => format!(
                "{} of {} changed: {looked_at}{silent}\n",
                plural(changed, "reference"),
                plural(number(&self.datasets), "dataset")
            ),
        }
    }
}

/// A number of things.
fn plural(count: usize, thing: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{ending}")
}
