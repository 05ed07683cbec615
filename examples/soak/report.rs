//! The samples of a run, and the judgement of them.

use std::time::Duration;

use crate::Fallible;
use crate::daemon::{Daemon, Usage};
use crate::problems::Problems;
use crate::readers::Readers;

/// Samples of what the mount uses, and all that was wrong.
pub(crate) struct Report {
    room: u64,
    samples: Vec<Usage>,
    pub(crate) problems: Problems,
}

impl Report {
    pub(crate) fn new(room: u64) -> Self {
        Self {
            room,
            samples: Vec::new(),
            problems: Problems::default(),
        }
    }

    pub(crate) fn sample(&mut self, daemon: &Daemon) -> Fallible<()> {
        self.samples.push(daemon.usage()?);
        Ok(())
    }

    /// One line on how it is.
    pub(crate) fn line(&self, elapsed: Duration, readers: &Readers, context: u32) {
        let Some(usage) = self.samples.last() else { return };
        println!(
            "{:4} s: {} | {} MB resident, {} descriptors, {} threads, store {} of {} MB, context {context}",
            elapsed.as_secs(),
            readers.counts(),
            usage.memory / 1_000_000,
            usage.descriptors,
            usage.threads,
            usage.store / 1_000_000,
            self.room / 1_000_000,
        );
    }

    /// Looks at what was counted while it ran.
    pub(crate) fn judge(&mut self, readers: &Readers) {
        for problem in readers.problems() {
            self.problems.add(problem);
        }
        self.flat("resident memory (MB)", 25, 8, |usage| usage.memory / 1_000_000);
        self.flat("descriptors", 50, 50, |usage| usage.descriptors);
        let most = self.samples.iter().map(|usage| usage.store).max().unwrap_or(0);
        println!("at most {most} bytes in the store of {}", self.room);
        // The readers' own files come whether there is room or not.
        if most > self.room + self.room / 20 {
            self.problems
                .add(format!("{most} bytes in a store of {}", self.room));
        }
    }

    /// That the last third uses no more than the one before, but for so many percent and so much.
    fn flat(&mut self, what: &str, percent: u64, more: u64, value: impl Fn(&Usage) -> u64) {
        let third = self.samples.len() / 3;
        let middle = |samples: &[Usage]| {
            let mut values: Vec<u64> = samples.iter().map(&value).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or(0)
        };
        let before = middle(&self.samples[third..2 * third]);
        let last = middle(&self.samples[2 * third..]);
        println!("{what}: {before}, in the last third {last}");
        if last > before + before * percent / 100 + more {
            self.problems
                .add(format!("{what} grow: {before}, in the last third {last}"));
        }
    }
}
