//! Holds, eviction by name, and checks, for every store.

use super::{Subject, bytes_of, catalogued, key, put, sum, wanted};
use crate::store::{Eviction, Finding, HoldChange};

pub(super) fn what_is_held_stays_whatever_has_to_go(subject: &impl Subject) {
    let store = subject.store();
    let (first, second, third) = (key("hst_0001.pmap"), key("hst_0002.pmap"), key("hst_0003.pmap"));
    let absent = key("hst_0009.pmap");
    for name in [&first, &second] {
        put(store, name, b"0123456789").unwrap();
    }
    let hold = |name: &crate::crds::FileKey| HoldChange::Hold(name.clone());
    store.change_holds(vec![hold(&first), hold(&absent)]).unwrap();
    assert_eq!(store.held(), [first.clone(), absent.clone()].into());
    assert!(store.is_held(&first) && store.is_held(&absent) && !store.is_held(&second));
    store.close().unwrap();
    put(store, &third, b"01234567890123456789").unwrap();
    assert!(store.holding(&first).is_some(), "it is held");
    assert!(store.holding(&second).is_none(), "it is not");
    store.close().unwrap();
    let refused = store.reserve(&key("hst_0004.pmap"), 21).unwrap_err();
    assert!(refused.to_string().contains("10 bytes are held"), "{refused}");
    let release = HoldChange::Release(first.clone());
    store.change_holds(vec![release, hold(&third)]).unwrap();
    assert_eq!(store.held(), [third.clone(), absent].into());
    put(store, &second, b"0123456789").unwrap();
    assert!(store.holding(&first).is_none());
    assert!(store.holding(&third).is_some());
}

pub(super) fn a_copy_is_evicted_by_name_unless_it_must_stay(subject: &impl Subject) {
    let store = subject.store();
    let (rule, mine) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    let wanted = wanted(b"rules");
    assert_eq!(store.evict(&rule, wanted).unwrap(), Eviction::Absent);
    let open = put(store, &rule, b"rules").unwrap();
    store.close().unwrap();
    assert!(store.is_open(&rule));
    assert_eq!(store.evict(&rule, wanted).unwrap(), Eviction::Open);
    assert_eq!(bytes_of(&open), b"rules");
    drop(open);
    let hold = HoldChange::Hold(rule.clone());
    store.change_holds(vec![hold]).unwrap();
    assert_eq!(store.evict(&rule, wanted).unwrap(), Eviction::Held);
    let release = HoldChange::Release(rule.clone());
    store.change_holds(vec![release]).unwrap();
    assert!(store.last_used(&rule).is_some());
    assert_eq!(store.evict(&rule, wanted).unwrap(), Eviction::Gone(5));
    assert!(store.holding(&rule).is_none());
    assert_eq!(store.usage().unwrap().used, 0);
    subject.put_own(&mine, b"mine");
    assert_eq!(store.evict(&mine, wanted).unwrap(), Eviction::Local);
    assert!(store.holding(&mine).is_some());
}

pub(super) fn what_lies_under_a_name_is_told(subject: &impl Subject) {
    let store = subject.store();
    let (rule, mine) = (key("hst_0001.pmap"), key("hst_0002.pmap"));
    assert_eq!(store.examine(&rule, wanted(b"rules")).unwrap(), Finding::Absent);
    store.store_whole(&rule, b"rules", sum(b"rules")).unwrap();
    store.close().unwrap();
    assert_eq!(store.examine(&rule, wanted(b"rules")).unwrap(), Finding::Right);
    subject.put_own(&mine, b"mine");
    assert_eq!(store.examine(&mine, wanted(b"rules")).unwrap(), Finding::Local(4));
    let other = store.examine(&rule, wanted(b"RULES")).unwrap();
    assert_eq!(other, Finding::WrongDigest(sum(b"rules")));
    let longer = store.examine(&rule, wanted(b"more rules")).unwrap();
    assert_eq!(longer, Finding::WrongLength(5));
    // By the entry of the file that is there it is right all the same.
    assert_eq!(store.examine(&rule, wanted(b"rules")).unwrap(), Finding::Right);
    catalogued(&store.open(&rule, wanted(b"rules")).unwrap());
}
