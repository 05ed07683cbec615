//! The server's faults: at any moment some files, and now and then the JSON-RPC service, are answered wrongly.

use std::time::Duration;

use crate::library::{Library, dark, rules};
use crate::origin::{Behaviour, Origin};

/// Chooses, every second anew, the files that are answered wrongly, and in which way.
pub(crate) struct Faults {
    percent: u32,
    random: fastrand::Rng,
}

const BEHAVIOURS: [Behaviour; 22] = [
    Behaviour::Status(403),
    Behaviour::Status(404),
    Behaviour::Status(500),
    Behaviour::Status(503),
    Behaviour::StatusTimes {
        status: 429,
        times: 1,
        retry_after: Some(1),
    },
    Behaviour::StatusTimes {
        status: 503,
        times: 2,
        retry_after: None,
    },
    Behaviour::StallBeforeHead,
    // At a byte of the file: what comes again and again from where it broke off is progress, for as long as it takes.
    Behaviour::StallAt(1000),
    Behaviour::ResetAt(1500),
    Behaviour::DropAfter(1700),
    Behaviour::DropTimes {
        after: 1024,
        times: 2,
    },
    Behaviour::Truncate(2000),
    Behaviour::Extend(100),
    Behaviour::FlipTimes { at: 1100, times: 1 },
    Behaviour::FlipUnseen(1200),
    Behaviour::Html,
    Behaviour::IgnoreRange,
    Behaviour::ChangingEtag,
    Behaviour::ChunkedDrop(1300),
    Behaviour::EndlessHead,
    Behaviour::Hang,
    Behaviour::Drip {
        bytes: 4000,
        every: Duration::from_millis(20),
    },
];

const CALLS: [Behaviour; 4] = [
    Behaviour::Status(500),
    Behaviour::Hang,
    Behaviour::Html,
    Behaviour::DropAfter(1000),
];

impl Faults {
    pub(crate) fn new(percent: u32, seed: u64) -> Self {
        Self {
            percent,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Mends everything, and breaks something else.
    pub(crate) fn change(&mut self, origin: &Origin, library: &Library, contexts: u32) {
        origin.mend();
        for (name, _) in library.files() {
            self.perhaps(origin, name);
        }
        for number in 1..=contexts {
            self.perhaps(origin, &dark(number).0);
            for (name, _) in rules(number) {
                self.perhaps(origin, &name);
            }
        }
        if self.strikes() {
            origin.set_calls(CALLS[self.random.usize(..CALLS.len())]);
        }
    }

    fn perhaps(&mut self, origin: &Origin, name: &str) {
        if self.strikes() {
            origin.set(name, BEHAVIOURS[self.random.usize(..BEHAVIOURS.len())]);
        }
    }

    fn strikes(&mut self) -> bool {
        self.random.u32(..100) < self.percent
    }
}
