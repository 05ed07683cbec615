//! Leases on files of a store that many use: whoever fetches a file says so in a small file beside it, so that others wait
//! for it instead of fetching it as well.
//!
//! They save bandwidth and decide about nothing else: without leases, or with leases that are wrong in any way, files are
//! fetched more often than once, and every file in the store is right all the same. Whoever holds one shows signs of life
//! while bytes come, and says at the end that the file is published. An observer for whom nothing has changed for a while,
//! by its own clock, takes the lease over. A part of the file under its final name, which clients of other kinds write,
//! counts as a sign of life of its writer.
//!
//! An observer looks at the lease, and not at the name of the file while that is being fetched: network file systems
//! remember for seconds that a name was absent, and a name that has not been looked up meanwhile is seen at once.
//!
//! [`Seeking`] is the state machine of one who wants to fetch. It is pure; [`seek`] takes its steps with a [`LeaseFiles`].

use std::time::Duration;

/// The pauses between looks at another's lease: the first one, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest one while the file is published and only its name is not seen yet.
const LONGEST_PAUSE_FOR_NAME: Duration = Duration::from_millis(250);
/// The time for which a file is not looked at while another fetches it, in times of silence. Clients of other kinds may have
/// brought it meanwhile.
const LOOK_AFTER: u32 = 3;
/// The most times in a row that a lease is found to be in the way without being waited for: then it is in the way for good,
/// as a file of somebody else in a directory that cannot be written.
const IN_THE_WAY: u32 = 8;

/// The thing under the final name of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence<S> {
    /// Nothing.
    Absent,
    /// A part of it, which somebody may be writing.
    Part(S),
    /// Something that has to be checked, and used or set aside.
    Whole,
}

/// The result of an exclusive creation of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    /// It is ours.
    Made,
    /// There is one.
    Exists,
    /// There cannot be leases: the directory cannot be written, or is full.
    Refused,
}

/// The state of a lease of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its owner fetches the file, if it is alive.
    Fetching,
    /// Its owner has published the file, which may be seen late.
    Published,
    /// Its owner is known to be dead.
    Abandoned,
}

/// A lease of another, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known<S> {
    /// Its stamp.
    pub(crate) stamp: S,
    /// Its state.
    pub(crate) phase: Phase,
    /// The time since which it is known to this process with this stamp.
    pub(crate) since: Duration,
}

/// The operations on the files of one lease. A stamp tells two states of a file apart.
pub(crate) trait LeaseFiles {
    /// Tells two states of a file apart: inode and times.
    type Stamp: Copy + PartialEq;

    /// Makes the lease, if there is none.
    fn create(&self) -> Creation;

    /// The lease at the time `now`; `None` if there is none, or it cannot be looked at.
    fn lease(&self, now: Duration) -> Option<Known<Self::Stamp>>;

    /// The thing under the final name.
    fn file(&self) -> Presence<Self::Stamp>;

    /// Removes a lease of another that has this stamp.
    fn displace(&self, stale: Self::Stamp);

    /// Removes the lease that [`LeaseFiles::create`] has made.
    fn give_back(&self);
}

/// The result of seeking a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sought {
    /// Fetch the file: the lease is ours, or there are none.
    Fetch,
    /// The file is there.
    There,
    /// Another fetches it: look again after this pause.
    Wait(Duration),
    /// Nobody fetches it: take the lease.
    Free,
}

/// A step towards a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<S> {
    /// Make the lease.
    Create,
    /// Look at the file, holding the lease.
    Check,
    /// Look at the lease, and at the file if need be.
    Look,
    /// Remove a lease that shows no sign of life.
    Displace(S),
}

/// One who wants to fetch a file. Times are readings of any clock that only goes forward.
#[derive(Debug)]
pub(crate) struct Seeking<S> {
    silence: Duration,
    next: Step<S>,
    /// The signs of life that were seen last, and when they were first seen.
    watched: Option<(Signs<S>, Duration)>,
    /// The time at which the file was looked at last.
    looked_at: Option<Duration>,
    /// A part of the file that nobody is writing any more.
    dead: Option<S>,
    pause: Duration,
    /// The number of times in a row that a lease was in the way without being waited for.
    in_the_way: u32,
    has_waited: bool,
    has_displaced: bool,
}

/// The signs of life of those who fetch a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signs<S> {
    lease: Option<S>,
    part: Option<S>,
}

impl<S: Copy + PartialEq> Seeking<S> {
    /// One who has not looked yet. A lease is stale once it has shown no sign of life for as long as `silence`.
    pub(crate) fn new(silence: Duration) -> Self {
        Self {
            silence,
            next: Step::Create,
            watched: None,
            looked_at: None,
            dead: None,
            pause: PAUSE,
            in_the_way: 0,
            has_waited: false,
            has_displaced: false,
        }
    }

    /// Whether it has waited for another.
    pub(crate) fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Whether it has removed the lease of another.
    pub(crate) fn has_displaced(&self) -> bool {
        self.has_displaced
    }

    /// The consequence of a creation.
    fn created(&mut self, creation: Creation) -> Option<Sought> {
        match creation {
            Creation::Made => self.next = Step::Check,
            Creation::Exists if self.in_the_way >= IN_THE_WAY => return Some(Sought::Fetch),
            Creation::Exists => {
                self.in_the_way += 1;
                self.next = Step::Look;
            }
            Creation::Refused => return Some(Sought::Fetch),
        }
        None
    }

    /// The consequence of what lies under the name while the lease is ours. If it is `None`, the lease is to be given back.
    fn checked(&mut self, file: Presence<S>, now: Duration) -> Option<Sought> {
        match file {
            Presence::Absent => Some(Sought::Fetch),
            Presence::Part(part) if self.dead == Some(part) => Some(Sought::Fetch),
            Presence::Whole => {
                self.next = Step::Create;
                None
            }
            Presence::Part(part) => {
                let signs = Signs {
                    lease: None,
                    part: Some(part),
                };
                self.watched = Some((signs, now));
                self.next = Step::Look;
                None
            }
        }
    }

    /// Whether the file is to be looked at as well, now that the lease of another is like this.
    fn needs_file(&self, lease: Option<Known<S>>, now: Duration) -> bool {
        let is_being_fetched = lease.is_some_and(|lease| lease.phase == Phase::Fetching);
        let has_part = self.watched.is_some_and(|(signs, _)| signs.part.is_some());
        let is_due = |at: Duration| now.saturating_sub(at) >= self.silence.saturating_mul(LOOK_AFTER);
        !is_being_fetched || has_part || self.looked_at.is_none_or(is_due)
    }

    /// The consequence of a look at the lease, and at the file unless that was not needed.
    fn looked(
        &mut self,
        file: Option<Presence<S>>,
        lease: Option<Known<S>>,
        now: Duration,
    ) -> Option<Sought> {
        if file.is_some() {
            self.looked_at = Some(now);
        }
        let part = match file {
            Some(Presence::Whole) => {
                self.next = Step::Create;
                return Some(Sought::There);
            }
            Some(Presence::Part(part)) => Some(part).filter(|part| self.dead != Some(*part)),
            Some(Presence::Absent) | None => None,
        };
        let stamp = lease.map(|lease| lease.stamp);
        let signs = Signs { lease: stamp, part };
        if lease.is_none() && part.is_none() {
            self.next = Step::Create;
            return None;
        }
        let since = match (self.watched, lease) {
            (Some((watched, since)), _) if watched == signs => since,
            // The first look. It may have been known for a while.
            (None, Some(lease)) if part.is_none() => lease.since.min(now),
            _ => now,
        };
        self.watched = Some((signs, since));
        let phase = lease.map(|lease| lease.phase);
        let left = self.silence.saturating_sub(now.saturating_sub(since));
        if left.is_zero() || part.is_none() && phase == Some(Phase::Abandoned) {
            self.dead = part.or(self.dead);
            self.next = stamp.map_or(Step::Create, Step::Displace);
            return None;
        }
        self.has_waited = true;
        self.in_the_way = 0;
        let longest = match phase {
            Some(Phase::Published) => LONGEST_PAUSE_FOR_NAME,
            _ => LONGEST_PAUSE,
        };
        let pause = self.pause.min(longest).min(left);
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        Some(Sought::Wait(pause))
    }
}

/// Takes steps until there is a result. Without `may_take` no lease is made or removed, and [`Sought::Free`] says when that
/// is to be done.
pub(crate) fn seek<F: LeaseFiles>(
    seeking: &mut Seeking<F::Stamp>,
    files: &F,
    now: Duration,
    may_take: bool,
) -> Sought {
    loop {
        let result = match seeking.next {
            Step::Create | Step::Displace(_) if !may_take => Some(Sought::Free),
            Step::Create => seeking.created(files.create()),
            Step::Displace(stale) => {
                seeking.has_displaced = true;
                files.displace(stale);
                seeking.next = Step::Create;
                None
            }
            Step::Check => {
                let file = files.file();
                let result = seeking.checked(file, now);
                if result.is_none() {
                    files.give_back();
                    if file == Presence::Whole {
                        return Sought::There;
                    }
                }
                result
            }
            Step::Look => {
                // The lease first: it outlives the publication, so that who sees neither knows that nobody has published.
                let lease = files.lease(now);
                let file = seeking.needs_file(lease, now).then(|| files.file());
                seeking.looked(file, lease, now)
            }
        };
        if let Some(result) = result {
            return result;
        }
    }
}

#[cfg(test)]
#[path = "leases/tests.rs"]
mod tests;
