//! Catalogued files that somebody has just removed.
//!
//! The name stays whatever becomes of the copy. Who removes it to make a new file under the name (tar, `cp -f`, `install`,
//! `mv`) must fail, and shall fail without costing the copy; who removes it to be rid of the copy, or to have it fetched
//! again, shall be rid of it. Both begin alike, so that a copy goes only when it is clear what its remover does next: the
//! kernel looks the name up for an exclusive create, is told that it is there, and nothing follows; whereas a `stat` is
//! followed by a question for attributes, and so is an open.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::crds::FileKey;

use super::ops::Ino;

/// How long a copy waits for what its remover does next.
pub(super) const DELAY: Duration = Duration::from_secs(1);

/// How long the remover of a file may write it anew. Clients remove all that they are about to download first.
const ANEW: Duration = Duration::from_secs(3600);

/// The removals of which it is not clear yet what they are for.
#[derive(Debug, Default)]
pub(super) struct Removals {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<Ino, Removal>,
    /// Who may write a file anew, since when.
    removers: HashMap<Ino, (u32, Instant)>,
    /// Whether a task waits for those that nothing follows.
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

/// What followed a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// The same thread looked the name up, and nothing more.
    LookedUp,
    /// Attributes were asked for: for a look, or for an open.
    Asked,
}

/// What a lookup of a name means for its removal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// Nothing was removed, or the copy stays.
    Nothing,
    /// What follows will tell.
    Open,
    /// The copy goes.
    Gone(FileKey),
}

impl Removals {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// `by` removes a name: the copies that go now, and whether somebody has to wait for the others. None, and the copy
    /// stays, when the same thread removed it before and has not looked at it since: it wants a place for a new file.
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
        // Who goes on to another name has done with the one before.
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

    /// Attributes are asked for; whether the file was removed.
    pub(super) fn asked(&self, ino: Ino) -> bool {
        let mut state = self.state();
        let Some(removal) = state.pending.get_mut(&ino) else {
            return false;
        };
        removal.then = Then::Asked;
        true
    }

    /// Somebody reads the file: the copy that goes for that.
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

    /// The copy stays.
    pub(super) fn cancel(&self, ino: Ino) {
        self.state().pending.remove(&ino);
    }

    /// The copies of those that nothing followed until `now`; without it of all. None when nobody has to wait any more.
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
    /// The copy that goes, unless its remover wanted a place for a new file.
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
