//! The state machine of a transfer: its states, and what follows from what happens. Pure; time and chance are given.

use std::time::Duration;

use fastrand::Rng;

use super::settings::FetchSettings;
use crate::remote::{RemoteError, RemoteErrorKind, Retry};

#[cfg(test)]
mod tests;

/// Where a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for a slot of its lane.
    Queued,
    /// Bytes arrive.
    Receiving,
    /// Pauses before the next try.
    Waiting,
    /// All bytes are there; the last of them are hashed.
    Verifying,
    /// The digest is right; the file is made durable and gets its name.
    Publishing,
    /// The file is in the store.
    Done,
    /// There will be no file.
    Failed,
}

impl State {
    /// The state in a word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Receiving => "receiving",
            Self::Waiting => "waiting",
            Self::Verifying => "verifying",
            Self::Publishing => "publishing",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// What happens to a transfer.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A slot of its lane is free.
    Slot,
    /// A try ended early.
    Broke {
        /// How.
        error: &'a RemoteError,
        /// Whether it brought any bytes.
        progress: bool,
        /// For how long no byte has come.
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
    /// They are not.
    Mismatch {
        /// Whether the bytes are from several sources, or from several runs.
        mixed: bool,
    },
    /// The store has the file.
    Published,
}

/// What to do next. Bytes are asked of the source that [`StateMachine::source`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for what is missing.
    Receive,
    /// Forget what has arrived and ask for everything, over one connection.
    ReceiveAnew,
    /// Pause.
    Pause(Duration),
    /// Hash what is not hashed yet.
    Verify,
    /// Publish.
    Publish,
    /// It is over, and well.
    Finish,
    /// It is over: report the error at hand.
    GiveUp,
}

/// A transfer's state and its memory of what went wrong.
///
/// It has sources in order. Each is tried by its own rules; when they say that it is over, the next one goes on from the
/// bytes that are here. The last one's end is that of the transfer.
#[derive(Debug)]
pub(super) struct StateMachine {
    state: State,
    sources: usize,
    /// Which of them is tried.
    source: usize,
    /// Tries of it in a row that brought nothing.
    fruitless: u32,
    /// How often it has given a whole file that was wrong.
    mismatches: u32,
    /// How often its content has changed.
    changes: u32,
    /// How often bytes of several sources were wrong together.
    mixtures: usize,
    rules: Rules,
}

/// The settings that matter here.
#[derive(Debug, Clone)]
struct Rules {
    timeout: Duration,
    tries: u32,
    tries_unreachable: u32,
    pause: Duration,
    longest_pause: Duration,
}

const OVER: (State, Step) = (State::Failed, Step::GiveUp);

/// How often the content may change under a transfer before that is called trouble.
const CHANGES: u32 = 3;

impl StateMachine {
    /// A transfer that has so many sources.
    pub(super) fn new(settings: &FetchSettings, sources: usize) -> Self {
        Self {
            state: State::Queued,
            sources,
            source: 0,
            fruitless: 0,
            mismatches: 0,
            changes: 0,
            mixtures: 0,
            rules: Rules {
                timeout: settings.timeout,
                tries: settings.tries,
                tries_unreachable: settings.tries_unreachable,
                pause: settings.pause,
                longest_pause: settings.longest_pause,
            },
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The number of the source whose turn it is.
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

    /// What follows from an event. One that cannot happen in this state ends the transfer.
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

    /// Of bytes from several sources nobody knows which are wrong: they all come once more, from one. A source that gives
    /// a wrong file is left for the next one, and the last one has a second try.
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

    /// The content of a source is another one than before.
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
            // What was asked for lies beyond the end: the content is another one now.
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

    /// How long to leave the source alone before the next try, if it gets one.
    fn pause_after(&self, error: &RemoteError, chance: &mut Rng) -> Option<Duration> {
        let tries = match error.kind {
            RemoteErrorKind::Unreachable => self.rules.tries_unreachable,
            RemoteErrorKind::TimedOut if self.has_others() => self.rules.tries_unreachable,
            // Without others, a server that says nothing is bounded by time alone.
            RemoteErrorKind::TimedOut => u32::MAX,
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
