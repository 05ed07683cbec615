//! The steps of one who seeks a lease, with the files of a lease as others leave them.

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
