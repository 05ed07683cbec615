//! The state of a file of the store, and the guard under which it changes.
//!
//! ```text
//! Absent ─ Begin ─▶ Arriving ─ Publish ─▶ Verified ─ Name ─▶ Held ─ Evict, Drop ─▶ Absent
//!    any ─ Override ─▶ Override ─ Drop ─▶ Absent
//!    Absent, Arriving, Held ─ Find ─▶ Unverified ─ Accept ─▶ Held
//! ```
//!
//! Every change is an [`Event`]; one that the state of the file does not allow is [`Refused`].
//!
//! A guard is held over the system calls of one change (rename, unlink, open), never while bytes are read or made durable.
//! Nobody holds two.

use std::collections::HashSet;
use std::hash::Hash;

use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Nothing has its name, and nothing is on its way.
    Absent,
    /// Nothing has its name; a transfer has its partial file open.
    Arriving,
    /// All its bytes have come and are right, and openers have them. Its final name follows when they are durable.
    Verified,
    /// Something was found under its name that has to be hashed.
    Unverified,
    /// A copy that was verified has its name.
    Held,
    /// The user's own file has its name.
    Override,
}

/// A change of the state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// A transfer opens its partial file. Where something has the name it can only be published if that goes meanwhile.
    Begin,
    /// A transfer ends without publication.
    Abandon,
    /// All bytes of a transfer have come and are right.
    Publish,
    /// A published file is durable and has its final name.
    Name,
    /// Something lies under the name, and it is not known to be right.
    Find,
    /// The file under the name is right.
    Accept,
    /// A copy makes room for others.
    Evict,
    /// The file under the name is removed, or was found to be gone.
    Drop,
    /// The user's file takes the name.
    Override,
}

/// A change that the state of the file does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not for a file that is {state:?}")]
pub(super) struct Refused {
    /// The state that the file is in, and stays in.
    pub(super) state: State,
    /// The event that was refused.
    pub(super) event: Event,
}

impl State {
    /// The state after an event.
    #[expect(clippy::match_same_arms, reason = "a line for each event")]
    pub(super) fn on(self, event: Event) -> Result<Self, Refused> {
        use Event::{Abandon, Accept, Begin, Drop, Evict, Find, Name, Publish};
        use State::{Absent, Arriving, Held, Override, Unverified, Verified};
        let refused = Refused { state: self, event };
        Ok(match (self, event) {
            (_, Event::Override) => Override,
            (Absent | Arriving, Begin) => Arriving,
            (Absent | Arriving, Abandon) => Absent,
            // A transfer that came too late leaves the file under the name alone.
            (Unverified | Held | Override, Begin | Abandon) => self,
            (Arriving, Publish) => Verified,
            (Verified, Name) => Held,
            (Absent | Arriving | Unverified | Held, Find) => Unverified,
            (Absent | Arriving | Unverified | Held | Override, Accept) => Held,
            (Held, Evict) => Absent,
            (Arriving, Drop) => Arriving,
            (Absent | Verified | Unverified | Held | Override, Drop) => Absent,
            (Verified, Begin | Abandon | Find | Accept)
            | (Override, Find)
            | (Absent | Verified | Unverified | Held | Override, Publish)
            | (Absent | Arriving | Unverified | Held | Override, Name)
            | (Absent | Arriving | Verified | Unverified | Override, Evict) => return Err(refused),
        })
    }
}

/// The guards of all files, one for each key.
#[derive(Debug)]
pub(super) struct Guards<K> {
    taken: Mutex<HashSet<K>>,
    freed: Condvar,
}

/// Held while a file changes.
#[derive(Debug)]
pub(super) struct Guard<'a, K: Eq + Hash> {
    guards: &'a Guards<K>,
    key: K,
}

impl<K> Default for Guards<K> {
    fn default() -> Self {
        Self {
            taken: Mutex::new(HashSet::new()),
            freed: Condvar::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Guards<K> {
    /// Waits for the guard of a file.
    pub(super) fn of(&self, key: &K) -> Guard<'_, K> {
        let mut taken = self.taken();
        while taken.contains(key) {
            taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.insert(key.clone());
        Guard {
            guards: self,
            key: key.clone(),
        }
    }
}

impl<K> Guards<K> {
    fn taken(&self) -> MutexGuard<'_, HashSet<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Guard<'_, K> {
    /// The file that may change while this is held.
    pub(super) const fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Eq + Hash> Drop for Guard<'_, K> {
    fn drop(&mut self) {
        self.guards.taken().remove(&self.key);
        self.guards.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 6] = [
        State::Absent,
        State::Arriving,
        State::Verified,
        State::Unverified,
        State::Held,
        State::Override,
    ];
    const EVENTS: [Event; 9] = [
        Event::Begin,
        Event::Abandon,
        Event::Publish,
        Event::Name,
        Event::Find,
        Event::Accept,
        Event::Evict,
        Event::Drop,
        Event::Override,
    ];

    fn letter(state: State) -> char {
        match state {
            State::Absent => '.',
            State::Arriving => 'A',
            State::Verified => 'V',
            State::Unverified => 'u',
            State::Held => 'H',
            State::Override => 'O',
        }
    }

    /// The first letter of the state that follows, `.` for absent, `-` where the event is refused.
    #[test]
    fn every_event_in_every_state() {
        let table = STATES.map(|state| {
            let row = EVENTS.map(|event| state.on(event).map_or('-', letter));
            (letter(state), row.iter().collect::<String>())
        });
        let expected = [
            ('.', "A.--uH-.O"),
            ('A', "A.V-uH-AO"),
            ('V', "---H---.O"),
            ('u', "uu--uH-.O"),
            ('H', "HH--uH..O"),
            ('O', "OO---H-.O"),
        ];
        assert_eq!(table, expected.map(|(state, row)| (state, row.to_owned())));
    }

    #[test]
    fn a_refusal_says_what_was_refused() {
        let refused = State::Verified.on(Event::Evict).unwrap_err();
        assert_eq!(refused.to_string(), "Evict is not for a file that is Verified");
    }
}
