//! Holds, for every store.

use super::{Subject, key, put};
use crate::store::HoldChange;

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
