//! The state machine of a transfer: its states, events and steps. Pure; times and random numbers are given.

use std::time::Duration;

use fastrand::Rng;

use super::settings::FetchSettings;
use crate::remote::{RemoteError, RemoteErrorKind, Retry};

#[cfg(test)]
mod tests;

/// The state of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for a slot of its lane.
    Queued,
    /// Another mount of the shared store fetches the file.
    Elsewhere,
    /// Bytes arrive.
    Receiving,
    /// Pauses before the next try.
    Waiting,
    /// All bytes are there; the last of them are hashed.
    Verifying,
    /// The digest is right; the store publishes the file.
    Publishing,
    /// The file is in the store.
    Done,
    /// The transfer has failed.
    Failed,
}

impl State {
    /// The state in a word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Elsewhere => "elsewhere",
            Self::Receiving => "receiving",
            Self::Waiting => "waiting",
            Self::Verifying => "verifying",
            Self::Publishing => "publishing",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// An event of a transfer.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A slot of its lane is free.
    Slot,
    /// A try ended early.
    Broke {
        /// The failure.
        error: &'a RemoteError,
        /// Whether it brought bytes beyond the farthest so far.
        progress: bool,
        /// The time without progress.
        idle: Duration,
    },
    /// The content on the server is no longer the one that the first bytes are from.
    Changed,
    /// The pause is over.
    Rested,
    /// All bytes have arrived.
    Complete,
    /// The digest, and the length, are right.
    Match,
    /// The digest, or the length, is wrong.
    Mismatch {
        /// Whether the bytes are from several sources, or from an earlier run.
        mixed: bool,
    },
    /// The store has the file.
    Published,
}

/// The next step of a transfer. Bytes are requested from the source [`StateMachine::source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Request the bytes that are missing.
    Receive,
    /// Forget all bytes that have arrived and request the whole file, over one connection.
    ReceiveAnew,
    /// Pause.
    Pause(Duration),
    /// Hash the rest and compare.
    Verify,
    /// Publish.
    Publish,
    /// End with the file.
    Finish,
    /// End with the last error.
    GiveUp,
}

/// The state of a transfer and the failures so far that decide about retries.
///
/// A transfer has sources in order. Each has its own retries; when those are used up, the next source goes on from the
/// bytes that have arrived. When those of the last one are used up the transfer fails.
#[derive(Debug)]
pub(super) struct StateMachine {
    state: State,
    sources: usize,
    /// The index of the source that is tried.
    source: usize,
    /// The index of the tier, which gets one try where there are others.
    tier: Option<usize>,
    /// The number of tries of it in a row that brought nothing new.
    fruitless: u32,
    /// The number of whole files with wrong contents that it has given.
    mismatches: u32,
    /// The number of changes of its content.
    changes: u32,
    /// The number of files of several sources, or runs, that were wrong.
    mixtures: usize,
    rules: Rules,
}

/// The settings that matter here.
#[derive(Debug, Clone)]
struct Rules {
    timeout: Duration,
    tries: u32,
    tries_unreachable: u32,
    tries_silent: u32,
    pause: Duration,
    longest_pause: Duration,
}

const OVER: (State, Step) = (State::Failed, Step::GiveUp);

/// The most changes of a source's content during a transfer before the source is given up.
const CHANGES: u32 = 3;

impl StateMachine {
    /// A transfer that has so many sources.
    pub(super) fn new(settings: &FetchSettings, sources: usize) -> Self {
        Self {
            state: State::Queued,
            sources,
            source: 0,
            tier: None,
            fruitless: 0,
            mismatches: 0,
            changes: 0,
            mixtures: 0,
            rules: Rules {
                timeout: settings.timeout,
                tries: settings.tries,
                tries_unreachable: settings.tries_unreachable,
                tries_silent: settings.tries_silent,
                pause: settings.pause,
                longest_pause: settings.longest_pause,
            },
        }
    }

    /// The same transfer with the tier as the source of this index.
    pub(super) fn with_tier(self, tier: Option<usize>) -> Self {
        Self { tier, ..self }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The index of the source whose turn it is.
    pub(super) fn source(&self) -> usize {
        self.source
    }

    /// Whether others come after it.
    fn has_others(&self) -> bool {
        self.source + 1 < self.sources
    }

    fn choose_next_source(&mut self) {
        self.source += 1;
        self.fruitless = 0;
        self.mismatches = 0;
        self.changes = 0;
    }

    /// The step that follows from an event. An event that cannot happen in this state ends the transfer.
    pub(super) fn on(&mut self, event: &Event<'_>, chance: &mut Rng) -> Step {
        let (state, step) = self.follow(event, chance);
        self.state = state;
        step
    }

    fn follow(&mut self, event: &Event<'_>, chance: &mut Rng) -> (State, Step) {
        match (self.state, event) {
            (State::Queued, Event::Slot) | (State::Waiting, Event::Rested) => {
                (State::Receiving, Step::Receive)
            }
            (State::Receiving, Event::Complete) => (State::Verifying, Step::Verify),
            (State::Verifying, Event::Match) => (State::Publishing, Step::Publish),
            (State::Publishing, Event::Published) => (State::Done, Step::Finish),
            (State::Receiving | State::Verifying, Event::Mismatch { mixed }) => self.after_mismatch(*mixed),
            (State::Receiving, Event::Changed) => self.after_change(),
            (
                State::Receiving,
                Event::Broke {
                    error,
                    progress,
                    idle,
                },
            ) => self.after_break(error, *progress, *idle, chance),
            _ => (State::Failed, Step::GiveUp),
        }
    }

    /// Chooses the source after a mismatch. Of bytes from several sources it is not known which are wrong: the whole
    /// file is requested once more, from one source. A source that gives a wrong file is left for the next one; the
    /// last one has a second try.
    fn after_mismatch(&mut self, mixed: bool) -> (State, Step) {
        if mixed && self.mixtures < self.sources {
            self.mixtures += 1;
        } else {
            self.mismatches += 1;
            if self.has_others() {
                self.choose_next_source();
            } else if self.mismatches > 1 {
                return OVER;
            }
        }
        (State::Receiving, Step::ReceiveAnew)
    }

    /// Begins anew because the content of the source has changed.
    fn after_change(&mut self) -> (State, Step) {
        self.changes += 1;
        if self.changes > CHANGES {
            if !self.has_others() {
                return OVER;
            }
            self.choose_next_source();
        }
        (State::Receiving, Step::ReceiveAnew)
    }

    fn after_break(
        &mut self,
        error: &RemoteError,
        progress: bool,
        idle: Duration,
        chance: &mut Rng,
    ) -> (State, Step) {
        if error.kind == RemoteErrorKind::NoSuchRange && self.changes < CHANGES {
            // The requested range lies beyond the end: the content has changed.
            return self.after_change();
        }
        self.fruitless = if progress {
            1
        } else {
            self.fruitless.saturating_add(1)
        };
        let left = self.rules.timeout.saturating_sub(idle);
        match self.pause_after(error, chance) {
            Some(pause) if pause < left => (State::Waiting, Step::Pause(pause)),
            _ if self.has_others() && !left.is_zero() => {
                self.choose_next_source();
                (State::Receiving, Step::Receive)
            }
            _ => OVER,
        }
    }

    /// The pause before the next try of this source; `None` if it gets no other.
    fn pause_after(&self, error: &RemoteError, chance: &mut Rng) -> Option<Duration> {
        let tries = match error.kind {
            _ if self.tier == Some(self.source) && self.sources > 1 => 1,
            RemoteErrorKind::Unreachable => self.rules.tries_unreachable,
            RemoteErrorKind::TimedOut if self.has_others() => self.rules.tries_unreachable,
            RemoteErrorKind::TimedOut => self.rules.tries_silent,
            _ => self.rules.tries,
        };
        if self.fruitless >= tries {
            return None;
        }
        match error.retry {
            Retry::No => None,
            Retry::Soon => Some(self.jittered_pause(chance)),
            Retry::After(least) if self.has_others() && least > self.rules.longest_pause => None,
            Retry::After(least) => Some(least.saturating_add(self.jittered_pause(chance) / 4)),
        }
    }

    /// Exponential back-off with full jitter.
    fn jittered_pause(&self, chance: &mut Rng) -> Duration {
        let doublings = self.fruitless.saturating_sub(1).min(16);
        let ceiling = self
            .rules
            .pause
            .saturating_mul(1 << doublings)
            .min(self.rules.longest_pause);
        ceiling.mul_f64(chance.f64())
    }
}
