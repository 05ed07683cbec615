//! The state machine of a transfer: its states, and what follows from what happens. Pure; time and chance are given.

use std::time::Duration;

use fastrand::Rng;

use super::settings::FetchSettings;
use crate::remote::{RemoteError, RemoteErrorKind, Retry};

#[cfg(test)]
mod tests;

/// Where a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
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
    pub const fn as_str(self) -> &'static str {
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
    Mismatch,
    /// The store has the file.
    Published,
}

/// What to do next.
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
#[derive(Debug)]
pub(super) struct StateMachine {
    state: State,
    /// Tries in a row that brought nothing.
    fruitless: u32,
    mismatched: bool,
    changes: u32,
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

/// How often the content may change under a transfer before that is called trouble.
const CHANGES: u32 = 3;

impl StateMachine {
    pub(super) fn new(settings: &FetchSettings) -> Self {
        Self {
            state: State::Queued,
            fruitless: 0,
            mismatched: false,
            changes: 0,
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
            (State::Receiving | State::Verifying, Event::Mismatch) if !self.mismatched => {
                self.mismatched = true;
                (State::Receiving, Step::ReceiveAnew)
            }
            (State::Receiving, Event::Changed) if self.changes < CHANGES => {
                self.changes += 1;
                (State::Receiving, Step::ReceiveAnew)
            }
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

    fn after_break(
        &mut self,
        error: &RemoteError,
        progress: bool,
        idle: Duration,
        chance: &mut Rng,
    ) -> (State, Step) {
        const OVER: (State, Step) = (State::Failed, Step::GiveUp);
        if error.kind == RemoteErrorKind::NoSuchRange && self.changes < CHANGES {
            // What was asked for lies beyond the end: the content is another one now.
            self.changes += 1;
            return (State::Receiving, Step::ReceiveAnew);
        }
        self.fruitless = if progress {
            1
        } else {
            self.fruitless.saturating_add(1)
        };
        let tries = match error.kind {
            RemoteErrorKind::Unreachable => self.rules.tries_unreachable,
            // A server that says nothing is bounded by time alone.
            RemoteErrorKind::TimedOut => u32::MAX,
            _ => self.rules.tries,
        };
        let pause = match error.retry {
            Retry::No => return OVER,
            Retry::Soon => self.jittered_pause(chance),
            Retry::After(least) => least.saturating_add(self.jittered_pause(chance) / 4),
        };
        if self.fruitless >= tries || idle.saturating_add(pause) >= self.rules.timeout {
            return OVER;
        }
        (State::Waiting, Step::Pause(pause))
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
