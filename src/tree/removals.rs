//! Catalogued files that were just removed.
//!
//! The name stays whatever becomes of the copy. A program that removes it to make a new file under the name (tar, `cp
//! -f`, `install`, `mv`) must fail, and without costing the copy; one that removes it to be rid of the copy, or to have
//! it fetched again, must succeed. Both begin alike, so that a copy goes only when the next step of its remover is
//! clear: before an exclusive create the kernel looks the name up, is told that it is there, and nothing follows;
//! whereas the lookup of a `stat` or of an open is followed by a request for attributes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::crds::FileKey;

use super::ops::Ino;

/// The time for which a copy stays after its removal while its remover does nothing more.
pub(super) const DELAY: Duration = Duration::from_secs(1);

/// The time for which the remover of a file may write it anew. Clients first remove all files that they are about to
/// download.
const ANEW: Duration = Duration::from_secs(3600);

/// The removals whose purpose is not clear yet.
#[derive(Debug, Default)]
pub(super) struct Removals {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<Ino, Removal>,
    /// The thread that may write a file anew, and the time of its removal.
    removers: HashMap<Ino, (u32, Instant)>,
    /// Whether a task runs that ends the pending removals after [`DELAY`].
    is_watched: bool,
}

#[derive(Debug)]
struct Removal {
    key: FileKey,
    /// The thread that removed it.
    by: u32,
    since: Instant,
    then: Then,
}

/// The step that followed a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// The same thread looked the name up, and nothing more.
    LookedUp,
    /// Attributes were asked for, by a `stat` or an open.
    Asked,
}

/// The meaning of a lookup for the removal of the name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// Nothing was removed, or the copy stays.
    Nothing,
    /// The next step of the remover decides.
    Open,
    /// The copy goes.
    Gone(FileKey),
}

impl Removals {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Begins a removal by the thread `by`. Gives the copies that go now, and whether a task has to be started that
    /// ends the other removals. `None`, and the copy stays, when the same thread removed the file before and has not
    /// asked for its attributes since: it wants to make a new file.
    pub(super) fn begin(
        &self,
        ino: Ino,
        key: &FileKey,
        by: u32,
        now: Instant,
    ) -> Option<(Vec<FileKey>, bool)> {
        let mut state = self.state();
        let before = state.pending.remove(&ino);
        if before
            .as_ref()
            .is_some_and(|before| before.by == by && before.then != Then::Asked)
        {
            state.removers.remove(&ino);
            return None;
        }
        // A thread that goes on to another name is done with the one before.
        let mut gone: Vec<_> = state
            .pending
            .extract_if(|_, removal| removal.by == by)
            .filter_map(|(_, removal)| removal.unclaimed())
            .collect();
        gone.extend(
            before
                .filter(|before| before.by != by)
                .and_then(Removal::unclaimed),
        );
        let removal = Removal {
            key: key.clone(),
            by,
            since: now,
            then: Then::Nothing,
        };
        state.pending.insert(ino, removal);
        state.removers.insert(ino, (by, now));
        let unwatched = !std::mem::replace(&mut state.is_watched, true);
        Some((gone, unwatched))
    }

    pub(super) fn looked_up(&self, ino: Ino, by: u32) -> Looked {
        let mut state = self.state();
        match state.pending.get_mut(&ino) {
            None => Looked::Nothing,
            Some(removal) if removal.by == by => {
                if removal.then == Then::Nothing {
                    removal.then = Then::LookedUp;
                }
                Looked::Open
            }
            Some(_) => match state.pending.remove(&ino).and_then(Removal::unclaimed) {
                Some(key) => Looked::Gone(key),
                None => Looked::Nothing,
            },
        }
    }

    /// Records that attributes were asked for. Whether the file has a pending removal.
    pub(super) fn asked(&self, ino: Ino) -> bool {
        let mut state = self.state();
        let Some(removal) = state.pending.get_mut(&ino) else {
            return false;
        };
        removal.then = Then::Asked;
        true
    }

    /// Ends the pending removal of a file that is about to be read, and gives the copy that goes.
    pub(super) fn used(&self, ino: Ino) -> Option<FileKey> {
        Some(self.state().pending.remove(&ino)?.key)
    }

    /// Whether this thread has removed the file.
    pub(super) fn is_by(&self, ino: Ino, by: u32) -> bool {
        self.remover(ino) == Some(by)
    }

    pub(super) fn remover(&self, ino: Ino) -> Option<u32> {
        Some(self.state().removers.get(&ino)?.0)
    }

    /// Cancels a pending removal: the copy stays.
    pub(super) fn cancel(&self, ino: Ino) {
        self.state().pending.remove(&ino);
    }

    /// Ends the removals that began at least [`DELAY`] before `now`, without it all, and gives the copies that go.
    /// `None` when no removal is pending any more.
    pub(super) fn expired(&self, now: Option<Instant>) -> Option<Vec<FileKey>> {
        let mut state = self.state();
        if let Some(now) = now {
            state
                .removers
                .retain(|_, (_, since)| now.duration_since(*since) < ANEW);
        }
        if state.pending.is_empty() {
            state.is_watched = false;
            return None;
        }
        let over = |removal: &Removal| now.is_none_or(|now| now.duration_since(removal.since) >= DELAY);
        Some(
            state
                .pending
                .extract_if(|_, removal| over(removal))
                .filter_map(|(_, removal)| removal.unclaimed())
                .collect(),
        )
    }
}

impl Removal {
    /// The copy that goes, unless its remover wants to make a new file under the name.
    fn unclaimed(self) -> Option<FileKey> {
        (self.then != Then::LookedUp).then_some(self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAR: u32 = 7;
    const OTHER: u32 = 8;

    fn key(name: &str) -> FileKey {
        let observatory = crate::crds::Observatory::Hst;
        let name = name.parse().unwrap();
        FileKey { observatory, name }
    }

    #[test]
    fn who_removes_a_name_again_without_having_looked_is_refused() {
        let removals = Removals::default();
        let (file, now) = (key("hst_0001.pmap"), Instant::now());
        assert_eq!(removals.begin(1, &file, TAR, now), Some((vec![], true)));
        assert_eq!(removals.looked_up(1, TAR), Looked::Open);
        assert_eq!(removals.begin(1, &file, TAR, now), None);
        assert_eq!(removals.expired(Some(now + DELAY)), None, "the copy stays");
    }

    #[test]
    fn a_copy_goes_when_nothing_follows_or_its_remover_goes_on() {
        let removals = Removals::default();
        let (one, two, now) = (key("hst_0001.pmap"), key("hst_0002.pmap"), Instant::now());
        assert_eq!(removals.begin(1, &one, TAR, now), Some((vec![], true)));
        assert_eq!(removals.begin(2, &two, TAR, now), Some((vec![one], false)));
        assert_eq!(removals.expired(Some(now)), Some(vec![]));
        assert_eq!(removals.expired(Some(now + DELAY)), Some(vec![two]));
        assert_eq!(removals.expired(Some(now + DELAY)), None);
    }

    #[test]
    fn a_copy_goes_when_somebody_looks_or_reads_and_stays_after_a_refused_create() {
        let removals = Removals::default();
        let (file, now) = (key("hst_0001.pmap"), Instant::now());
        removals.begin(1, &file, TAR, now);
        assert_eq!(removals.looked_up(1, OTHER), Looked::Gone(file.clone()));
        removals.begin(1, &file, TAR, now);
        assert_eq!(removals.looked_up(1, TAR), Looked::Open);
        assert!(removals.asked(1));
        assert_eq!(removals.begin(1, &file, TAR, now), Some((vec![], false)));
        assert!(removals.asked(1));
        assert_eq!(removals.expired(Some(now + DELAY)), Some(vec![file.clone()]));
        removals.begin(1, &file, TAR, now);
        assert_eq!(removals.looked_up(1, TAR), Looked::Open);
        assert_eq!(removals.used(1), Some(file.clone()));
        removals.begin(1, &file, TAR, now);
        assert_eq!(removals.looked_up(1, TAR), Looked::Open);
        assert_eq!(removals.looked_up(1, OTHER), Looked::Nothing);
        assert_eq!(removals.used(1), None);
        removals.begin(1, &file, TAR, now);
        assert_eq!(removals.looked_up(1, TAR), Looked::Open);
        assert_eq!(removals.expired(Some(now + DELAY)), Some(vec![]));
    }
}
