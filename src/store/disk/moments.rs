//! Moments between the steps of a change. Tests let somebody else act at them, so that what can happen there once in a
//! million times happens every time, and in builds for debugging the process can be killed at any of them:
//! `CRDS_FS_ABORT_AT=data-synced` kills it as `kill -9` does when the moment comes for the first time,
//! `CRDS_FS_ABORT_AT=data-synced:7` for the seventh time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable with the moment at which the process is killed.
const ABORT_AT: &str = "CRDS_FS_ABORT_AT";

macro_rules! moments {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A moment between two steps.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::store) enum Moment {
            $($(#[$doc])* $name,)*
        }

        impl Moment {
            /// All of them.
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in `CRDS_FS_ABORT_AT`.
            const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

moments! {
    /// Room is set aside for a file.
    Reserved = "reserved",
    /// A partial file is open, and empty or cut to the length in its record.
    Begun = "begun",
    /// The copies to evict are chosen; none is removed yet. Nobody holds a lock.
    VictimsChosen = "victims-chosen",
    /// A copy that is to be evicted has lost its name, and is not removed yet.
    VictimAside = "victim-aside",
    /// A copy has been removed.
    VictimRemoved = "victim-removed",
    /// The progress of a transfer is written down.
    Recorded = "recorded",
    /// A file that was found has been hashed; nothing follows from it yet. Nobody holds a lock.
    Hashed = "hashed",
    /// A file that was wrong has been moved to quarantine.
    Quarantined = "quarantined",
    /// The bytes of a file are right; nothing is durable yet. Nobody holds a lock.
    Verified = "verified",
    /// The bytes of a partial file are durable; it does not have its name yet. Nobody holds a lock.
    DataSynced = "data-synced",
    /// It has its final name; that is not durable yet, and not written down.
    Named = "named",
    /// It is written down that it is a verified copy.
    Remembered = "remembered",
    /// The names of all files of a publication are durable.
    NamesSynced = "names-synced",
    /// It is written down that a name is the user's; his file is not there yet.
    OverrideRemembered = "override-remembered",
    /// The user's file has the name.
    OverrideNamed = "override-named",
    /// The contents of a file of our own are written beside the one that they replace.
    ReplacementWritten = "replacement-written",
}
/// Kills the process if this is the moment for it.
pub(super) fn crash(moment: Moment) {
    static PLAN: OnceLock<Option<(Moment, u64)>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);
    if !cfg!(debug_assertions) {
        return;
    }
    let plan = PLAN.get_or_init(|| parse(&std::env::var(ABORT_AT).ok()?));
    let Some((when, times)) = plan else { return };
    if *when == moment && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *times {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// `moment` or `moment:times`.
fn parse(text: &str) -> Option<(Moment, u64)> {
    let (name, times) = text.split_once(':').unwrap_or((text, "1"));
    let moment = Moment::ALL.iter().find(|moment| moment.as_str() == name);
    let plan = moment.copied().zip(times.parse().ok());
    if plan.is_none() {
        log::warn!("{ABORT_AT}='{}' names no moment", text.escape_debug());
    }
    plan
}

#[cfg(test)]
type Action = Box<dyn FnOnce() + Send>;

/// The actions planned for moments; there are none except in tests.
#[derive(Default)]
pub(super) struct Moments {
    #[cfg(test)]
    planned: parking_lot::Mutex<Vec<(Moment, usize, Action)>>,
}

impl std::fmt::Debug for Moments {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Moments").finish_non_exhaustive()
    }
}

impl Moments {
    /// Kills the process if [`ABORT_AT`] names this moment.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests keep plans in it")]
    pub(super) fn reach(&self, moment: Moment) {
        crash(moment);
    }

    /// Runs the action that is planned for a moment, once.
    #[cfg(test)]
    pub(super) fn reach(&self, moment: Moment) {
        let action = {
            let mut planned = self.planned.lock();
            let mut due = None;
            for (at, (when, times, _)) in planned.iter_mut().enumerate() {
                if *when == moment && due.is_none() {
                    *times -= 1;
                    due = Some(at).filter(|_| *times == 0);
                }
            }
            due.map(|at| planned.remove(at).2)
        };
        if let Some(action) = action {
            action();
        }
    }

    /// Plans what happens when a moment is reached for the n-th time.
    #[cfg(test)]
    pub(super) fn plan_nth(&self, moment: Moment, times: usize, action: impl FnOnce() + Send + 'static) {
        self.planned.lock().push((moment, times, Box::new(action)));
    }

    /// Plans what happens when a moment is reached next.
    #[cfg(test)]
    pub(super) fn plan(&self, moment: Moment, action: impl FnOnce() + Send + 'static) {
        self.plan_nth(moment, 1, action);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_moment_is_found_by_its_name() {
        for moment in Moment::ALL {
            assert_eq!(parse(moment.as_str()), Some((*moment, 1)));
            assert_eq!(parse(&format!("{}:12", moment.as_str())), Some((*moment, 12)));
        }
        assert_eq!(parse("nowhere"), None);
        assert_eq!(parse("named:often"), None);
        let names: BTreeSet<_> = Moment::ALL.iter().map(|moment| moment.as_str()).collect();
        assert_eq!(names.len(), Moment::ALL.len());
        // The test of the program kills it at each of them.
        let test = include_str!("../../../tests/e2e/crash_points.rs");
        for name in names {
            assert!(test.contains(&format!("    \"{name}\",\n")), "{name}");
        }
    }
}
