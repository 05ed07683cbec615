use proptest::prelude::*;

use super::*;
use crate::crds::Observatory;
use crate::remote::RemoteErrorKind;

fn item(number: usize, size: u64) -> Item {
    let key = FileKey {
        observatory: Observatory::Hst,
        name: format!("hst_acs_darkfile_{number:05}.fits").parse().unwrap(),
    };
    let entry = CatalogEntry {
        size: Some(size),
        sha1: None,
    };
    Item::new(key, entry, size)
}

fn error() -> RemoteError {
    RemoteError::new(RemoteErrorKind::Unreachable, "s3://bucket/x", "told to fail")
}

/// A queue with so many files of a hundred bytes.
fn filled(count: usize, now: Instant) -> Queue {
    let mut queue = Queue::new();
    for number in 0..count {
        let expected = if number == 0 { Offer::First } else { Offer::Taken };
        assert_eq!(queue.offer(item(number, 100), now), expected);
    }
    queue
}

fn take(queue: &mut Queue, now: Instant) -> Item {
    match queue.next(now, false) {
        Next::Write(item) => item,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_few_are_written_at_a_time_and_fewer_beside_transfers() {
    let now = Instant::now();
    let mut queue = filled(10, now);
    let first: Vec<_> = (0..AT_ONCE).map(|_| take(&mut queue, now)).collect();
    assert_eq!(queue.next(now, false), Next::Wait);
    assert_eq!(queue.offer(first[0].clone(), now), Offer::Known);
    for item in first.into_iter().skip(1) {
        assert_eq!(queue.end(item, Ended::Written, now), None);
    }
    assert_eq!(queue.next(now, true), Next::Wait, "one is under way");
    let status = queue.status(now);
    assert_eq!((status.queued_files, status.queued_bytes), (7, 700));
    assert_eq!(
        (status.counts.written_files, status.counts.written_bytes),
        (3, 300)
    );
}

#[test]
fn what_does_not_fit_is_counted() {
    let now = Instant::now();
    let mut queue = filled(MOST, now);
    assert_eq!(queue.offer(item(MOST, 1), now), Offer::NoRoom);
    let mut queue = Queue::new();
    assert_eq!(
        queue.offer(item(0, MOST_BYTES + 1), now),
        Offer::First,
        "alone it may be large"
    );
    assert_eq!(queue.offer(item(1, 1), now), Offer::NoRoom);
    assert_eq!(queue.status(now).counts.unwritten_files, 1);
    let large = take(&mut queue, now);
    queue.end(large, Ended::Exists, now);
    assert_eq!(queue.offer(item(1, 1), now), Offer::Taken);
}

#[test]
fn a_place_that_fails_is_tried_by_one_file_after_longer_and_longer_times() {
    let mut now = Instant::now();
    let mut queue = filled(8, now);
    let under_way: Vec<_> = (0..AT_ONCE).map(|_| take(&mut queue, now)).collect();
    let mut told = Vec::new();
    for item in under_way {
        told.extend(queue.end(item, Ended::Failed(error()), now));
    }
    assert_eq!(told.len(), 1, "it is told once: {told:?}");
    assert!(queue.is_at_rest(), "the end does not wait for it");
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let Next::WaitUntil(until) = queue.next(now, false) else {
            break;
        };
        pauses.push((until - now).as_secs());
        now = until;
        let item = take(&mut queue, now);
        assert_eq!(queue.next(now, false), Next::Wait, "one tries it for all");
        assert_eq!(queue.end(item, Ended::Failed(error()), now), None);
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    // Each file has had its tries or waits.
    let status = queue.status(now);
    assert_eq!(status.state, WriteBackState::Failing);
    assert_eq!(status.queued_files + status.counts.unwritten_files, 8);
    assert_eq!(
        queue.offer(item(20, 1), now),
        Offer::Taken,
        "it may be well again"
    );
    now += LONGEST_PAUSE * 2;
    let item = take(&mut queue, now);
    let told = queue.end(item, Ended::Written, now).unwrap();
    assert!(told.contains("again"), "{told}");
    assert_eq!(queue.status(now).state, WriteBackState::Ready);
}

#[test]
fn a_file_that_fails_again_and_again_is_given_up() {
    let mut now = Instant::now();
    let mut queue = filled(1, now);
    for tries in 1..=TRIES {
        let item = take(&mut queue, now);
        queue.end(item, Ended::Failed(error()), now);
        let waits = u64::from(tries < TRIES);
        assert_eq!(queue.status(now).queued_files, waits, "{tries}");
        now += LONGEST_PAUSE * 2;
    }
    let status = queue.status(now);
    assert_eq!((status.queued_bytes, status.counts.unwritten_files), (0, 1));
}

#[test]
fn the_end_waits_for_what_can_be_written() {
    let now = Instant::now();
    assert!(Queue::new().is_at_rest());
    let mut queue = filled(2, now);
    assert!(!queue.is_at_rest(), "they wait to be written");
    let (first, second) = (take(&mut queue, now), take(&mut queue, now));
    queue.end(first, Ended::Failed(error()), now);
    assert!(!queue.is_at_rest(), "one is under way");
    let told = queue.end(second, Ended::Refused(error()), now);
    assert!(told.is_some_and(|told| told.contains("only read from")));
    assert_eq!(queue.status(now).state, WriteBackState::ReadOnly);
    assert!(queue.is_at_rest());
}

#[test]
fn what_is_left_at_the_end_is_counted_once() {
    let now = Instant::now();
    let mut queue = filled(3, now);
    let first = take(&mut queue, now);
    assert_eq!(queue.close(), (3, 300));
    assert_eq!(queue.end(first, Ended::Stopped, now), None);
    let status = queue.status(now);
    assert_eq!((status.queued_files, status.counts.unwritten_files), (0, 3));
    assert_eq!(queue.next(now, false), Next::End);
}

#[test]
fn a_place_that_lets_nobody_write_is_not_tried_for_each_file() {
    for (ended, state, pause) in [
        (Ended::Refused(error()), WriteBackState::ReadOnly, REFUSED_PAUSE),
        (Ended::Full(error()), WriteBackState::Full, FULL_PAUSE),
    ] {
        let mut now = Instant::now();
        let mut queue = filled(5, now);
        let first = take(&mut queue, now);
        assert!(queue.end(first, ended.clone(), now).is_some());
        let status = queue.status(now);
        assert_eq!(
            (status.state, status.queued_files, status.queued_bytes),
            (state, 0, 0)
        );
        assert_eq!(status.counts.unwritten_files, 5, "those that waited too");
        assert_eq!(queue.offer(item(9, 1), now), Offer::NotWritable);
        assert_eq!(queue.next(now, false), Next::Wait);
        assert!(queue.is_at_rest());
        now += pause;
        assert_eq!(queue.offer(item(9, 1), now), Offer::Taken);
        let tried = take(&mut queue, now);
        assert!(queue.end(tried, ended, now).is_none(), "it is told once");
        assert_eq!(queue.offer(item(10, 1), now), Offer::NotWritable);
    }
}

#[test]
fn a_place_that_asks_for_patience_gets_it() {
    let now = Instant::now();
    let mut queue = filled(1, now);
    let first = take(&mut queue, now);
    let patience = Duration::from_secs(77);
    queue.end(
        first,
        Ended::Failed(error().with_retry(Retry::After(patience))),
        now,
    );
    assert_eq!(queue.next(now, false), Next::WaitUntil(now + patience));
}

#[test]
fn the_end_tells_what_is_left() {
    let now = Instant::now();
    let mut queue = filled(3, now);
    let first = take(&mut queue, now);
    assert!(!queue.is_at_rest());
    assert_eq!(queue.close(), (3, 300));
    assert_eq!(queue.next(now, false), Next::End);
    assert_eq!(queue.end(first, Ended::Stopped, now), None);
    assert_eq!(queue.offer(item(9, 1), now), Offer::NotWritable);
}

#[derive(Debug, Clone)]
enum Event {
    Offer(usize, u64),
    Next(bool),
    End(u8),
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0..40_usize, 1..1000_u64).prop_map(|(number, size)| Event::Offer(number, size)),
        3 => any::<bool>().prop_map(Event::Next),
        3 => (0..9_u8).prop_map(Event::End),
        1 => (1..2000_u64).prop_map(Event::Pass),
    ];
    proptest::collection::vec(event, 1..200)
}

proptest! {
    /// Whatever happens, each file that was offered is counted once in the end, and what is shown adds up.
    #[test]
    fn every_file_is_counted_once(events in events()) {
        let mut now = Instant::now();
        let mut queue = Queue::new();
        let mut under_way: Vec<Item> = Vec::new();
        let mut offered = 0;
        for event in events {
            match event {
                Event::Offer(number, size) => {
                    if queue.offer(item(number, size), now) != Offer::Known {
                        offered += 1;
                    }
                }
                Event::Next(is_busy) => {
                    if let Next::Write(item) = queue.next(now, is_busy) {
                        under_way.push(item);
                    }
                }
                Event::End(how) => {
                    let Some(item) = under_way.pop() else { continue };
                    let ended = match how {
                        0 => Ended::Exists,
                        1 => Ended::Gone,
                        2 => Ended::Damaged,
                        3 => Ended::Wrong,
                        4 => Ended::Refused(error()),
                        5 => Ended::Full(error()),
                        6 => Ended::Failed(error()),
                        7 => Ended::Stopped,
                        _ => Ended::Written,
                    };
                    queue.end(item, ended, now);
                }
                Event::Pass(seconds) => now += Duration::from_secs(seconds),
            }
            prop_assert!(under_way.len() <= AT_ONCE);
            let WriteBackStatus { queued_files, counts, .. } = queue.status(now);
            let ended = counts.written_files + counts.existing_files + counts.unwritten_files
                + counts.wrong_files + counts.damaged_files;
            prop_assert_eq!(queued_files + ended, offered);
        }
        // Nothing waits for ever: with time and a place that is well all is written.
        for item in under_way.drain(..) {
            queue.end(item, Ended::Written, now);
        }
        for _ in 0..1000 {
            now += Duration::from_secs(4000);
            match queue.next(now, true) {
                Next::Write(item) => drop(queue.end(item, Ended::Written, now)),
                _ => break,
            }
        }
        prop_assert_eq!((queue.status(now).queued_files, queue.status(now).queued_bytes), (0, 0));
    }
}
