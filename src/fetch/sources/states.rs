//! The state of each source: what it has given, whether it fails, whether it lies.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Source;
use crate::crds::{FileKey, Observatory, ReferenceLayout, Url};
use crate::remote::RemoteError;

#[cfg(test)]
mod tests;

/// The time for which a source that gave a wrong file is asked after all others.
pub(in crate::fetch) const LEFT_ALONE: Duration = Duration::from_secs(600);

/// The time for which a source that fails is asked after all others: at first, and at most, as it doubles.
pub(in crate::fetch) const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The references that a tier may lack in both layouts before it is taken for flat: each costs one request more.
const ABSENT: u32 = 4;

/// A file from one source whose length or digest is not what the catalog says.
#[derive(Debug, Clone)]
pub(crate) struct WrongFile {
    /// The file.
    pub key: FileKey,
    /// The place that it was read from.
    pub url: Url,
    /// The time at which it turned out to be wrong.
    pub when: SystemTime,
}

/// The condition of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceHealth {
    /// It was not asked yet.
    Unused,
    /// It answers.
    Ready,
    /// It fails, and others are asked before it.
    Failing,
    /// It gave a wrong file, and others are asked before it.
    Wrong,
}

impl SourceHealth {
    /// The condition in a word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Ready => "ready",
            Self::Failing => "failing",
            Self::Wrong => "wrong",
        }
    }
}

/// The state of a source.
#[derive(Debug, Clone)]
pub(crate) struct SourceStatus {
    /// The source as the user named it, without credentials; `crds` for the server's own URLs.
    pub source: String,
    /// Whether it is the tier.
    pub is_tier: bool,
    /// Its condition.
    pub health: SourceHealth,
    /// Files that came from it, most of their bytes at least.
    pub files: u64,
    /// Bytes that came from it.
    pub bytes: u64,
    /// The reason why it is left alone.
    pub error: Option<String>,
    /// The time since which it fails, or at which it gave a wrong file.
    pub since: Option<SystemTime>,
    /// The time until it is tried again; zero when the next file will.
    pub retry_in: Option<Duration>,
}

/// The states of all sources. A source is known by the observatory and its number in the order of the settings.
#[derive(Debug, Default)]
pub(in crate::fetch) struct SourceStates {
    states: Mutex<HashMap<(Observatory, usize), State>>,
}

#[derive(Debug, Default)]
struct State {
    files: u64,
    bytes: u64,
    /// Whether it has answered, if only that it does not have a file.
    is_used: bool,
    layout: Option<ReferenceLayout>,
    /// References that it had in neither layout.
    absent: u32,
    wrong: Option<(Instant, WrongFile)>,
    failing: Option<Failing>,
}

/// A source that fails.
#[derive(Debug)]
struct Failing {
    since: SystemTime,
    error: RemoteError,
    /// The time for which it is left alone after each failure.
    pause: Duration,
    until: Instant,
    /// The time of the last failure, or at which a transfer began to look whether it is over.
    tried: Instant,
    /// Whether a transfer tries it, for all others.
    is_probed: bool,
}

impl State {
    fn lies(&self) -> bool {
        let wrong = self.wrong.as_ref();
        wrong.is_some_and(|(when, _)| when.elapsed() < LEFT_ALONE)
    }

    fn fails(&self) -> bool {
        let failing = self.failing.as_ref();
        failing.is_some_and(|failing| Instant::now() < failing.until)
    }
}

impl SourceStates {
    fn with<T>(&self, observatory: Observatory, source: usize, look: impl FnOnce(&mut State) -> T) -> T {
        look(self.states.lock().entry((observatory, source)).or_default())
    }

    /// Notes that a source, alone, has given a wrong file.
    pub(in crate::fetch) fn note_wrong(&self, source: usize, key: &FileKey, url: &Url) {
        let wrong = WrongFile {
            key: key.clone(),
            url: url.clone(),
            when: SystemTime::now(),
        };
        self.with(key.observatory, source, |state| {
            state.is_used = true;
            state.wrong = Some((Instant::now(), wrong));
        });
    }

    /// Notes that a source was given up because it fails. It is left alone, longer each time it is tried in vain.
    pub(in crate::fetch) fn note_failure(
        &self,
        observatory: Observatory,
        source: usize,
        error: &RemoteError,
    ) {
        let now = Instant::now();
        self.with(observatory, source, |state| {
            state.is_used = true;
            let Some(failing) = &mut state.failing else {
                state.failing = Some(Failing {
                    since: SystemTime::now(),
                    error: error.clone(),
                    pause: FIRST_PAUSE,
                    until: now + jittered(FIRST_PAUSE),
                    tried: now,
                    is_probed: false,
                });
                return;
            };
            failing.error = error.clone();
            failing.tried = now;
            // Others that were under way when it failed tell nothing new.
            if failing.is_probed || now >= failing.until {
                failing.pause = failing.pause.saturating_mul(2).min(LONGEST_PAUSE);
                failing.until = now + jittered(failing.pause);
                failing.is_probed = false;
            }
        });
    }

    /// Notes that a source has answered for itself, though not with the file.
    pub(in crate::fetch) fn note_answer(&self, observatory: Observatory, source: usize) {
        self.with(observatory, source, |state| {
            state.is_used = true;
            state.failing = None;
        });
    }

    /// Notes that the tier does not have a reference in either layout. After some such references files are written to it flat.
    pub(in crate::fetch) fn note_absent(&self, observatory: Observatory, tier: usize) {
        self.with(observatory, tier, |state| {
            state.absent += 1;
            if state.absent >= ABSENT {
                state.layout.get_or_insert(ReferenceLayout::Flat);
            }
        });
    }

    /// Notes that `bytes` of a right file came from a source, and whether they were its last.
    pub(in crate::fetch) fn note_served(
        &self,
        observatory: Observatory,
        source: &Source,
        bytes: u64,
        is_last: bool,
    ) {
        self.with(observatory, source.number, |state| {
            state.is_used = true;
            state.bytes = state.bytes.saturating_add(bytes);
            if is_last {
                state.files += 1;
                state.layout = Some(source.layout);
                if state.failing.take().is_some() {
                    log::info!("{} answers again", source.url);
                }
            }
        });
    }

    /// Whether a source is to be left alone, as long as there are others.
    pub(in crate::fetch) fn is_left_alone(&self, observatory: Observatory, source: usize) -> bool {
        let states = self.states.lock();
        let state = states.get(&(observatory, source));
        state.is_some_and(|state| state.lies() || state.fails())
    }

    /// Whether a source has failed and has not answered since.
    pub(in crate::fetch) fn is_failing(&self, observatory: Observatory, source: usize) -> bool {
        let states = self.states.lock();
        let state = states.get(&(observatory, source));
        state.is_some_and(|state| state.failing.is_some())
    }

    /// Whether a transfer may begin with a source. One that fails, and whose time is over, is tried by the first that asks,
    /// for all others.
    pub(in crate::fetch) fn try_now(&self, observatory: Observatory, source: usize) -> bool {
        let now = Instant::now();
        self.with(observatory, source, |state| match &mut state.failing {
            Some(failing) if now < failing.until => false,
            Some(failing) => {
                failing.is_probed = true;
                failing.until = now + failing.pause;
                true
            }
            None => true,
        })
    }

    /// The failure of a source that was unreachable or silent less than `outage` ago. After that time the caller tries it,
    /// for all others.
    pub(in crate::fetch) fn outage(
        &self,
        observatory: Observatory,
        source: usize,
        outage: Duration,
    ) -> Option<RemoteError> {
        let now = Instant::now();
        self.with(observatory, source, |state| {
            let failing = state
                .failing
                .as_mut()
                .filter(|failing| failing.error.is_of_network())?;
            if now.saturating_duration_since(failing.tried) < outage {
                return Some(failing.error.clone());
            }
            failing.tried = now;
            None
        })
    }

    /// The layout of the references there, once it has given one.
    pub(in crate::fetch) fn layout(
        &self,
        observatory: Observatory,
        source: usize,
    ) -> Option<ReferenceLayout> {
        self.states.lock().get(&(observatory, source))?.layout
    }

    /// The files that came from a source, the last of their bytes at least, and all bytes.
    pub(in crate::fetch) fn served(&self, observatory: Observatory, source: usize) -> (u64, u64) {
        let states = self.states.lock();
        let state = states.get(&(observatory, source));
        state.map_or((0, 0), |state| (state.files, state.bytes))
    }

    /// The last wrong file of each source that is to be left alone, oldest first.
    pub(in crate::fetch) fn wrong_files(&self) -> Vec<WrongFile> {
        let states = self.states.lock();
        let wrong = states.values().filter(|state| state.lies());
        let mut recent: Vec<_> = wrong
            .filter_map(|state| Some(state.wrong.as_ref()?.1.clone()))
            .collect();
        drop(states);
        recent.sort_by_key(|wrong| wrong.when);
        recent
    }

    /// The state of the source that the user names `source`.
    pub(in crate::fetch) fn status(
        &self,
        observatory: Observatory,
        number: usize,
        source: String,
    ) -> SourceStatus {
        self.with(observatory, number, |state| {
            let mut status = SourceStatus {
                source,
                is_tier: false,
                health: if state.is_used {
                    SourceHealth::Ready
                } else {
                    SourceHealth::Unused
                },
                files: state.files,
                bytes: state.bytes,
                error: None,
                since: None,
                retry_in: None,
            };
            if let Some(failing) = &state.failing {
                status.health = SourceHealth::Failing;
                status.error = Some(failing.error.to_string());
                status.since = Some(failing.since);
                status.retry_in = Some(failing.until.saturating_duration_since(Instant::now()));
            } else if let Some((when, wrong)) = state.wrong.as_ref().filter(|_| state.lies()) {
                status.health = SourceHealth::Wrong;
                status.error = Some(format!("{} was not what the catalog says", wrong.key));
                status.since = Some(wrong.when);
                status.retry_in = Some(LEFT_ALONE.saturating_sub(when.elapsed()));
            }
            status
        })
    }
}

/// A little more than this time, so that many mounts do not try at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + fastrand::f64() / 4.0)
}
