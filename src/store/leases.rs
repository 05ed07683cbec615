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
    /// Its owner fetches the file, if he is alive.
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
mod tests {
    use std::cell::RefCell;

    use super::*;

    const SILENCE: Duration = Duration::from_secs(10);

    /// The files of a lease, as the others leave them.
    #[derive(Default)]
    struct Others {
        lease: Option<u32>,
        /// Its state, if it is not being fetched.
        phase: Option<Phase>,
        /// The lease that was seen earlier, and when.
        seen: Option<(u32, Duration)>,
        file: Option<Presence<u32>>,
        refuses: bool,
        /// The lease cannot be looked at.
        hides: bool,
        /// The lease cannot be removed.
        stays: bool,
        done: Vec<&'static str>,
        /// Looks at the file.
        looks: u32,
    }

    impl LeaseFiles for RefCell<Others> {
        type Stamp = u32;

        fn create(&self) -> Creation {
            let mut others = self.borrow_mut();
            others.done.push("create");
            if others.refuses {
                return Creation::Refused;
            }
            if others.lease.is_some() {
                return Creation::Exists;
            }
            others.lease = Some(0);
            Creation::Made
        }

        fn lease(&self, now: Duration) -> Option<Known<u32>> {
            let others = self.borrow();
            let stamp = others.lease.filter(|_| !others.hides)?;
            let seen = others.seen.filter(|(seen, _)| *seen == stamp);
            let since = seen.map_or(now, |(_, since)| since);
            let phase = others.phase.unwrap_or(Phase::Fetching);
            Some(Known { stamp, phase, since })
        }

        fn file(&self) -> Presence<u32> {
            let mut others = self.borrow_mut();
            others.looks += 1;
            others.file.unwrap_or(Presence::Absent)
        }

        fn displace(&self, stale: u32) {
            let mut others = self.borrow_mut();
            others.done.push("displace");
            let stays = others.stays;
            others.lease.take_if(|lease| *lease == stale && !stays);
        }

        fn give_back(&self) {
            let mut others = self.borrow_mut();
            others.done.push("give back");
            others.lease = None;
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held() -> RefCell<Others> {
        RefCell::new(Others {
            lease: Some(7),
            ..Others::default()
        })
    }

    #[test]
    fn a_free_lease_is_taken() {
        let (files, mut seeking) = (RefCell::<Others>::default(), Seeking::new(SILENCE));
        assert_eq!(seek(&mut seeking, &files, seconds(0), false), Sought::Free);
        assert!(files.borrow().done.is_empty());
        assert_eq!(seek(&mut seeking, &files, seconds(0), true), Sought::Fetch);
        assert!(!seeking.has_waited());
    }

    #[test]
    fn without_leases_it_is_fetched() {
        let (files, mut seeking) = (RefCell::<Others>::default(), Seeking::new(SILENCE));
        files.borrow_mut().refuses = true;
        assert_eq!(seek(&mut seeking, &files, seconds(0), true), Sought::Fetch);
    }

    #[test]
    fn a_file_that_came_meanwhile_is_used_and_the_lease_given_back() {
        let (files, mut seeking) = (RefCell::<Others>::default(), Seeking::new(SILENCE));
        files.borrow_mut().file = Some(Presence::Whole);
        assert_eq!(seek(&mut seeking, &files, seconds(0), true), Sought::There);
        assert_eq!(files.borrow().done, ["create", "give back"]);
    }

    #[test]
    fn who_waits_looks_more_and_more_seldom_and_uses_what_comes() {
        let (files, mut seeking) = (held(), Seeking::new(SILENCE));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            match seek(&mut seeking, &files, seconds(1), true) {
                Sought::Wait(pause) => pauses.push(u64::try_from(pause.as_millis()).unwrap()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        files.borrow_mut().file = Some(Presence::Whole);
        files.borrow_mut().phase = Some(Phase::Published);
        assert_eq!(seek(&mut seeking, &files, seconds(2), false), Sought::There);
        assert!(seeking.has_waited() && !seeking.has_displaced());
    }

    /// A name that is looked up in vain is remembered as absent.
    #[test]
    fn a_file_that_is_being_fetched_is_looked_at_when_its_lease_says_that_it_is_published() {
        let (files, mut seeking) = (held(), Seeking::new(SILENCE));
        for now in 0..=9 {
            files.borrow_mut().lease = Some(now);
            let sought = seek(&mut seeking, &files, seconds(now.into()), true);
            assert!(matches!(sought, Sought::Wait(_)));
        }
        assert_eq!(files.borrow().looks, 1);
        files.borrow_mut().phase = Some(Phase::Published);
        for looks in 2..5 {
            let soon = Sought::Wait(LONGEST_PAUSE_FOR_NAME);
            assert_eq!(seek(&mut seeking, &files, seconds(10), true), soon);
            assert_eq!(files.borrow().looks, looks);
        }
        files.borrow_mut().file = Some(Presence::Whole);
        assert_eq!(seek(&mut seeking, &files, seconds(10), true), Sought::There);
    }

    #[test]
    fn a_file_that_another_brings_while_it_is_being_fetched_is_seen_after_a_while() {
        let (files, mut seeking) = (held(), Seeking::new(SILENCE));
        for now in 0..30 {
            files.borrow_mut().lease = Some(now);
            let sought = seek(&mut seeking, &files, seconds(now.into()), true);
            assert!(matches!(sought, Sought::Wait(_)));
            files.borrow_mut().file = Some(Presence::Whole);
        }
        assert_eq!(seek(&mut seeking, &files, seconds(30), true), Sought::There);
    }

    #[test]
    fn a_lease_whose_owner_is_known_to_be_dead_is_taken_over_at_once() {
        let (files, mut seeking) = (held(), Seeking::new(SILENCE));
        files.borrow_mut().phase = Some(Phase::Abandoned);
        assert_eq!(seek(&mut seeking, &files, seconds(0), true), Sought::Fetch);
        assert!(seeking.has_displaced() && !seeking.has_waited());
        // A client of another kind may be at it all the same.
        let (files, mut seeking) = (held(), Seeking::new(SILENCE));
        files.borrow_mut().phase = Some(Phase::Abandoned);
        files.borrow_mut().file = Some(Presence::Part(1));
        let sought = seek(&mut seeking, &files, seconds(0), true);
        assert!(matches!(sought, Sought::Wait(_)));
    }

    #[test]
    fn a_lease_is_taken_over_a_while_after_its_last_sign_of_life() {
        let (files, mut seeking) = (held(), Seeking::new(SILENCE));
        for (now, lease) in [(0, 7), (9, 8), (18, 9)] {
            files.borrow_mut().lease = Some(lease);
            let may_take = now == 0;
            assert!(matches!(
                seek(&mut seeking, &files, seconds(now), may_take),
                Sought::Wait(_)
            ));
        }
        let now = Duration::from_millis(27_700);
        // Never longer than the lease.
        assert_eq!(
            seek(&mut seeking, &files, now, false),
            Sought::Wait(Duration::from_millis(300))
        );
        assert_eq!(seek(&mut seeking, &files, seconds(28), false), Sought::Free);
        assert_eq!(seek(&mut seeking, &files, seconds(28), true), Sought::Fetch);
        assert!(seeking.has_displaced());
    }

    #[test]
    fn a_lease_that_has_been_known_for_long_is_taken_over_at_once() {
        let (files, mut seeking) = (held(), Seeking::new(SILENCE));
        files.borrow_mut().seen = Some((7, seconds(3)));
        assert!(matches!(
            seek(&mut seeking, &files, seconds(12), true),
            Sought::Wait(_)
        ));
        let mut seeking = Seeking::new(SILENCE);
        assert_eq!(seek(&mut seeking, &files, seconds(13), true), Sought::Fetch);
        assert!(seeking.has_displaced() && !seeking.has_waited());
    }

    #[test]
    fn a_lease_that_was_renewed_since_it_was_seen_is_not_taken_over() {
        let (files, mut seeking) = (held(), Seeking::new(SILENCE));
        files.borrow_mut().seen = Some((6, seconds(0)));
        assert!(matches!(
            seek(&mut seeking, &files, seconds(60), true),
            Sought::Wait(_)
        ));
        // Nor is one beside which a part grows.
        files.borrow_mut().seen = Some((7, seconds(0)));
        files.borrow_mut().file = Some(Presence::Part(1));
        let mut seeking = Seeking::new(SILENCE);
        assert!(matches!(
            seek(&mut seeking, &files, seconds(60), true),
            Sought::Wait(_)
        ));
    }

    #[test]
    fn a_lease_that_is_given_back_is_free() {
        let (files, mut seeking) = (held(), Seeking::new(SILENCE));
        assert!(matches!(
            seek(&mut seeking, &files, seconds(0), true),
            Sought::Wait(_)
        ));
        files.borrow_mut().lease = None;
        assert_eq!(seek(&mut seeking, &files, seconds(1), false), Sought::Free);
        // Another was faster.
        files.borrow_mut().lease = Some(8);
        assert!(matches!(
            seek(&mut seeking, &files, seconds(2), true),
            Sought::Wait(_)
        ));
    }

    /// Others may put anything in the place of a lease, or make its directory read-only.
    #[test]
    fn a_lease_that_can_be_neither_seen_nor_removed_is_done_without() {
        let (files, mut seeking) = (held(), Seeking::new(SILENCE));
        files.borrow_mut().stays = true;
        files.borrow_mut().hides = true;
        assert_eq!(seek(&mut seeking, &files, seconds(0), true), Sought::Fetch);
        files.borrow_mut().hides = false;
        let mut seeking = Seeking::new(SILENCE);
        assert!(matches!(
            seek(&mut seeking, &files, seconds(0), true),
            Sought::Wait(_)
        ));
        assert_eq!(seek(&mut seeking, &files, seconds(10), true), Sought::Fetch);
        assert_eq!(files.borrow().lease, Some(7));
    }

    #[test]
    fn a_part_that_grows_is_waited_for_and_one_that_does_not_is_not() {
        let (files, mut seeking) = (RefCell::<Others>::default(), Seeking::new(SILENCE));
        for (now, part) in [(0, 1), (9, 2), (18, 3)] {
            files.borrow_mut().file = Some(Presence::Part(part));
            let may_take = now == 0;
            assert!(matches!(
                seek(&mut seeking, &files, seconds(now), may_take),
                Sought::Wait(_)
            ));
            assert_eq!(files.borrow().lease, None, "nobody waits for who waits");
        }
        assert_eq!(seek(&mut seeking, &files, seconds(28), false), Sought::Free);
        assert_eq!(seek(&mut seeking, &files, seconds(28), true), Sought::Fetch);
        assert_eq!(files.borrow().lease, Some(0));
    }
}
