use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::crds::Observatory;

fn key(number: u8) -> FileKey {
    FileKey {
        observatory: Observatory::Hst,
        name: format!("f{number}.fits").parse().unwrap(),
    }
}

const AMPLE: u64 = 1 << 40;
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn order_of(ledger: &Ledger) -> Vec<FileKey> {
    ledger.order().map(|(key, _)| key.clone()).collect()
}

fn nobody(_: &FileKey) -> bool {
    false
}

/// Reserves, and makes room as the store does when bytes arrive.
fn reserve(
    ledger: &mut Ledger,
    key: &FileKey,
    size: u64,
    free: u64,
    busy: impl Fn(&FileKey) -> bool,
) -> Result<Vec<FileKey>, Full> {
    ledger.reserve(key, size, free, &busy)?;
    let victims = ledger.claim(key, free, &busy).unwrap();
    assert!(victims.partials.is_empty());
    for victim in &victims.copies {
        ledger.remove(victim);
    }
    Ok(victims.copies)
}

#[test]
fn evicts_the_least_recently_used_that_are_neither_open_nor_kept() {
    let mut ledger = Ledger::new(Some(100), 0);
    ledger.add_kept(&key(0), 20, NOW);
    for number in 1..=4 {
        ledger.add_copy(&key(number), 20, true, NOW);
    }
    ledger.touch(&key(1), NOW);
    let victims = reserve(&mut ledger, &key(9), 30, AMPLE, |other| *other == key(2)).unwrap();
    assert_eq!(victims, [key(3), key(4)]);
    assert_eq!(ledger.used(), 90);
    ledger.release(&key(9));
    ledger.add_copy(&key(9), 30, true, NOW);
    assert_eq!(order_of(&ledger), [key(2), key(1), key(9)]);
}

#[test]
fn what_can_never_fit_is_refused_and_evicts_nothing() {
    let mut ledger = Ledger::new(Some(100), 0);
    ledger.add_kept(&key(0), 20, NOW);
    ledger.add_copy(&key(1), 20, true, NOW);
    let refused = ledger.reserve(&key(9), 81, AMPLE, nobody).unwrap_err();
    assert!(refused.to_string().contains("--cache-size"), "{refused}");
    assert_eq!((ledger.used(), ledger.files()), (40, 2));
    assert_eq!(
        reserve(&mut ledger, &key(9), 80, AMPLE, nobody).unwrap(),
        [key(1)]
    );
}

#[test]
fn what_is_held_stays_and_is_told_where_it_is_in_the_way() {
    let mut ledger = Ledger::new(Some(100), 0);
    for number in 1..=3 {
        ledger.add_copy(&key(number), 30, true, NOW);
    }
    ledger.set_held([key(1), key(3), key(7)].into());
    assert_eq!(
        reserve(&mut ledger, &key(9), 40, AMPLE, nobody).unwrap(),
        [key(2)]
    );
    ledger.release(&key(9));
    let refused = ledger.reserve(&key(9), 41, AMPLE, nobody).unwrap_err();
    assert!(refused.to_string().contains("60 bytes are held"), "{refused}");
    ledger.set_held(BTreeSet::new());
    assert_eq!(
        reserve(&mut ledger, &key(9), 41, AMPLE, nobody).unwrap(),
        [key(1)]
    );
}

#[test]
fn the_time_of_use_is_that_of_the_last_one() {
    let mut ledger = Ledger::new(None, 0);
    ledger.add_copy(&key(1), 30, true, NOW);
    let later = NOW + std::time::Duration::from_secs(5);
    ledger.touch(&key(1), later);
    assert_eq!(ledger.last_used(&key(1)), Some(later));
    assert_eq!(ledger.last_used(&key(2)), None);
}

#[test]
fn copies_that_must_stay_are_not_evicted() {
    let mut ledger = Ledger::new(Some(100), 0);
    ledger.add_copy(&key(1), 60, false, NOW);
    ledger.add_copy(&key(2), 30, true, NOW);
    assert!(ledger.reserve(&key(9), 50, AMPLE, nobody).is_err());
    assert_eq!(
        reserve(&mut ledger, &key(9), 40, AMPLE, nobody).unwrap(),
        [key(2)]
    );
}

/// Until bytes come nothing is removed for a reservation; but the room is not promised twice.
#[test]
fn nobody_goes_before_bytes_come() {
    let mut ledger = Ledger::new(Some(100), 0);
    for number in 0..=4 {
        ledger.add_copy(&key(number), 20, true, NOW);
    }
    ledger.reserve(&key(8), 40, AMPLE, nobody).unwrap();
    ledger.reserve(&key(9), 60, AMPLE, nobody).unwrap();
    assert!(ledger.reserve(&key(7), 1, AMPLE, nobody).is_err());
    let victims = ledger.claim(&key(8), AMPLE, nobody).unwrap();
    assert_eq!(victims.copies, [key(0), key(1)]);
    for victim in &victims.copies {
        ledger.remove(victim);
    }
    assert!(ledger.claim(&key(8), AMPLE, nobody).unwrap().is_empty());
    // The other transfer fails: the copies that it would have needed stay.
    ledger.release(&key(9));
    assert_eq!((ledger.files(), ledger.used()), (3, 100));
}

#[test]
fn partial_files_count_and_go_first() {
    let mut ledger = Ledger::new(Some(100), 0);
    ledger.add_copy(&key(1), 40, true, NOW);
    ledger.add_partial(&key(2), 30);
    ledger.add_partial(&key(3), 30);
    assert_eq!((ledger.used(), ledger.partial_bytes()), (100, 60));
    // A transfer that goes on has the bytes of its partial file in its reservation.
    ledger.reserve(&key(3), 50, AMPLE, nobody).unwrap();
    assert_eq!((ledger.used(), ledger.partial_bytes()), (120, 30));
    let victims = ledger.claim(&key(3), AMPLE, nobody).unwrap();
    assert_eq!((victims.partials, victims.copies), (vec![key(2)], vec![]));
    // A refusal changes nothing.
    assert!(
        ledger
            .reserve(&key(2), 70, AMPLE, |other| *other == key(1))
            .is_err()
    );
    assert_eq!((ledger.used(), ledger.partial_bytes()), (120, 30));
    // The bytes that it has need no new space on the disk.
    let mut ledger = Ledger::new(None, 0);
    ledger.add_partial(&key(2), 30);
    ledger.reserve(&key(2), 50, 20, nobody).unwrap();
    assert!(ledger.reserve(&key(3), 1, 20, nobody).is_err());
}

#[test]
fn quarantine_counts_and_is_named() {
    let mut ledger = Ledger::new(Some(100), 0);
    ledger.set_aside(70);
    assert_eq!(ledger.used(), 70);
    let refused = ledger.reserve(&key(1), 40, AMPLE, nobody).unwrap_err();
    assert!(refused.to_string().contains("quarantine"), "{refused}");
    ledger.reserve(&key(1), 30, AMPLE, nobody).unwrap();
}

#[test]
fn the_floor_of_the_disk_is_kept() {
    let mut ledger = Ledger::new(None, 50);
    ledger.add_copy(&key(1), 30, true, NOW);
    assert_eq!(reserve(&mut ledger, &key(2), 40, 100, nobody).unwrap(), []);
    // 40 are promised and not taken yet: 10 of the 100 are left for others.
    let refused = ledger.reserve(&key(3), 41, 100, nobody).unwrap_err();
    assert!(refused.to_string().contains("--keep-free"), "{refused}");
    assert_eq!(reserve(&mut ledger, &key(3), 40, 100, nobody).unwrap(), [key(1)]);
    // Once the disk has given them they are missing from its free space instead.
    ledger.took(&key(2), 40);
    ledger.took(&key(3), 40);
    assert_eq!(reserve(&mut ledger, &key(4), 20, 70, nobody).unwrap(), []);
}

#[test]
fn a_reservation_can_change() {
    let mut ledger = Ledger::new(Some(100), 0);
    ledger.reserve(&key(1), 60, AMPLE, nobody).unwrap();
    ledger.reserve(&key(1), 100, AMPLE, nobody).unwrap();
    assert!(ledger.reserve(&key(1), 101, AMPLE, nobody).is_err());
    assert_eq!(ledger.reservation(&key(1)), Some(100));
    ledger.release(&key(1));
    assert_eq!(ledger.used(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(u8, u64),
    Commit(u8),
    Release(u8),
    Keep(u8, u64),
    Copy(u8, u64),
    Remove(u8),
    Touch(u8),
    Evict(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..8_u8, 0..60_u64).prop_map(|(number, size)| Step::Reserve(number, size)),
        4 => (0..8_u8).prop_map(Step::Commit),
        1 => (0..8_u8).prop_map(Step::Release),
        1 => (0..8_u8, 0..30_u64).prop_map(|(number, size)| Step::Keep(number, size)),
        1 => (0..8_u8, 0..30_u64).prop_map(|(number, size)| Step::Copy(number, size)),
        1 => (0..8_u8).prop_map(Step::Remove),
        2 => (0..8_u8).prop_map(Step::Touch),
        1 => (0..60_u64).prop_map(Step::Evict),
    ];
    prop::collection::vec(step, 0..60)
}

/// The obvious ledger: lists, and sums made anew each time.
#[derive(Debug, Default)]
struct Model {
    copies: Vec<(u8, u64)>,
    kept: BTreeMap<u8, u64>,
    reserved: BTreeMap<u8, u64>,
}

impl Model {
    fn used(&self) -> u64 {
        self.copies.iter().map(|(_, size)| size).sum::<u64>()
            + self.kept.values().sum::<u64>()
            + self.reserved.values().sum::<u64>()
    }

    fn remove(&mut self, number: u8) {
        self.copies.retain(|(other, _)| *other != number);
        self.kept.remove(&number);
    }

    /// Takes the oldest that are not busy until `bytes` are free.
    fn oldest(&self, bytes: u64, busy: impl Fn(u8) -> bool) -> (Vec<u8>, u64) {
        let mut freed = 0;
        let mut victims = Vec::new();
        for (number, size) in &self.copies {
            if freed < bytes && !busy(*number) {
                freed += size;
                victims.push(*number);
            }
        }
        (victims, freed)
    }
}

proptest! {
    #[test]
    fn agrees_with_the_model(steps in steps(), limit in 20..200_u64, open in 0..8_u8) {
        let mut ledger = Ledger::new(Some(limit), 0);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Reserve(number, size) => {
                    let answer =
                        reserve(&mut ledger, &key(number), size, AMPLE, |other| *other == key(open));
                    let earlier = model.reserved.remove(&number);
                    let over = (model.used() + size).saturating_sub(limit);
                    let (victims, freed) = model.oldest(over, |other| other == open || other == number);
                    if freed >= over {
                        let expected: Vec<FileKey> = victims.iter().copied().map(key).collect();
                        prop_assert_eq!(answer.unwrap(), expected);
                        for victim in victims {
                            model.remove(victim);
                        }
                        model.reserved.insert(number, size);
                    } else {
                        prop_assert!(answer.is_err());
                        model.reserved.extend(earlier.map(|size| (number, size)));
                    }
                }
                Step::Commit(number) => {
                    if let Some(size) = model.reserved.remove(&number) {
                        ledger.release(&key(number));
                        ledger.add_copy(&key(number), size, true, NOW);
                        model.remove(number);
                        model.copies.push((number, size));
                    }
                }
                Step::Release(number) => {
                    ledger.release(&key(number));
                    model.reserved.remove(&number);
                }
                Step::Keep(number, size) => {
                    ledger.add_kept(&key(number), size, NOW);
                    model.remove(number);
                    model.kept.insert(number, size);
                }
                Step::Copy(number, size) => {
                    ledger.add_copy(&key(number), size, true, NOW);
                    model.remove(number);
                    model.copies.push((number, size));
                }
                Step::Remove(number) => {
                    ledger.remove(&key(number));
                    model.remove(number);
                }
                Step::Touch(number) => {
                    ledger.touch(&key(number), NOW);
                    if let Some(at) = model.copies.iter().position(|(other, _)| *other == number) {
                        let copy = model.copies.remove(at);
                        model.copies.push(copy);
                    }
                }
                Step::Evict(bytes) => {
                    let answer = ledger.oldest(bytes, |other| *other == key(open)).copies;
                    for victim in &answer {
                        ledger.remove(victim);
                    }
                    let (victims, _) = model.oldest(bytes, |other| other == open);
                    let expected: Vec<FileKey> = victims.iter().copied().map(key).collect();
                    prop_assert_eq!(answer, expected);
                    for victim in victims {
                        model.remove(victim);
                    }
                }
            }
            prop_assert_eq!(ledger.used(), model.used());
            prop_assert_eq!(ledger.files(), model.copies.len() + model.kept.len());
            let order: Vec<FileKey> = model.copies.iter().map(|(number, _)| key(*number)).collect();
            prop_assert_eq!(order_of(&ledger), order);
        }
    }
}
