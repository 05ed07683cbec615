//! Tests of the catalog.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn entry(size: u64) -> CatalogEntry {
    CatalogEntry {
        size: Some(size),
        sha1: Some(Sha1Sum::from_bytes([u8::try_from(size % 251).unwrap(); 20])),
    }
}

fn name(text: &str) -> FileName {
    text.parse().unwrap()
}

fn catalog(names: &[(&str, u64)]) -> Catalog {
    Catalog::new(names.iter().map(|&(text, size)| (name(text), entry(size))))
}

#[test]
fn finds_by_name_and_by_place() {
    let catalog = catalog(&[("b.fits", 2), ("a.fits", 1), ("hst.pmap", 3), ("aa.fits", 4)]);
    assert_eq!(catalog.get("a.fits"), Some(entry(1)));
    assert_eq!(catalog.get("aa.fits"), Some(entry(4)));
    assert_eq!(catalog.get("a.fit"), None);
    assert_eq!(catalog.get("zzz"), None);
    assert_eq!(catalog.get(""), None);
    let names: Vec<_> = catalog.iter().map(|item| (item.index, item.name)).collect();
    assert_eq!(
        names,
        [(0, "a.fits"), (1, "aa.fits"), (2, "b.fits"), (3, "hst.pmap")]
    );
    assert_eq!(catalog.at(3).unwrap().kind(), FileKind::Pmap);
    assert_eq!(catalog.at(4), None);
    assert_eq!(catalog.mappings().count(), 1);
    assert_eq!(catalog.references().count(), 3);
}

#[test]
fn capitals_are_found_when_nothing_else_is() {
    let catalog = catalog(&[("SFD_dust.fits", 1), ("weekdark_0H.fits", 2), ("plain.fits", 3)]);
    assert_eq!(catalog.get("sfd_dust.fits"), None);
    assert_eq!(
        catalog.find_ignoring_case("sfd_dust.fits").unwrap().name,
        "SFD_dust.fits"
    );
    assert_eq!(
        catalog.find_ignoring_case("WEEKdark_0h.fits").unwrap().name,
        "weekdark_0H.fits"
    );
    assert_eq!(
        catalog.find_ignoring_case("PLAIN.fits").unwrap().name,
        "plain.fits"
    );
    assert_eq!(catalog.find_ignoring_case("other.fits"), None);
}

#[test]
fn an_entry_without_a_size_replaces_nothing() {
    let listed = CatalogEntry {
        size: None,
        sha1: None,
    };
    for files in [[entry(7), listed], [listed, entry(7)]] {
        let catalog = Catalog::new(files.map(|entry| (name("a.rmap"), entry)));
        assert_eq!((catalog.len(), catalog.get("a.rmap")), (1, Some(entry(7))));
    }
    let catalog = Catalog::new([(name("a.rmap"), listed)]);
    assert_eq!(catalog.get("a.rmap"), Some(listed));
}

#[test]
fn reads_what_servers_write() {
    let text = r#"{"a.fits": {"size": "5000000000", "sha1sum": "3f0c92aae539cb67f8e8823cc6815130018948f7"},
        "b.fits": {"size": 12, "sha1sum": "none", "state": "archived"}, "c.fits": {"size": "", "sha1sum": ""},
        "nope.fits": "NOT FOUND", "../evil": {"size": "1", "sha1sum": ""}, "d.fits": {"size": "-1"}}"#;
    let (catalog, dropped) = Catalog::from_json(text.as_bytes()).unwrap();
    assert_eq!(
        catalog.get("a.fits"),
        Some(CatalogEntry {
            size: Some(5_000_000_000),
            sha1: Some("3f0c92aae539cb67f8e8823cc6815130018948f7".parse().unwrap()),
        })
    );
    assert_eq!(catalog.get("b.fits").unwrap().size, Some(12));
    assert_eq!(catalog.get("b.fits").unwrap().sha1, None);
    assert_eq!(catalog.get("c.fits").unwrap().size, None);
    assert_eq!(catalog.get("d.fits").unwrap().size, None);
    assert!(!catalog.contains("nope.fits"));
    assert_eq!((dropped.count, dropped.examples), (1, vec!["../evil".to_owned()]));
    for broken in ["", "[]", "{", r#"{"a": {}} x"#] {
        assert!(Catalog::from_json(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn a_hundred_thousand_names_stay_small() {
    let files = (0..100_000_u64).map(|serial| {
        (
            name(&format!("jwst_nirspec_wavelengthrange_{serial:06}.asdf")),
            entry(serial),
        )
    });
    let catalog = Catalog::new(files);
    assert_eq!(catalog.len(), 100_000);
    assert!(catalog.heap_bytes() < 9_000_000, "{} bytes", catalog.heap_bytes());
    assert_eq!(
        catalog.get("jwst_nirspec_wavelengthrange_099999.asdf"),
        Some(entry(99_999))
    );
}

#[test]
fn tells_what_changed() {
    let old = catalog(&[("a", 1), ("b", 2), ("c", 3)]);
    let new = catalog(&[("b", 2), ("c", 4), ("d", 5)]);
    assert_eq!(
        Catalog::difference(&old, &new),
        Difference {
            added: vec![name("d")],
            removed: vec![name("a")],
            changed: vec![name("c")],
        }
    );
    assert!(Catalog::difference(&new, &new).is_empty());
    assert_eq!(Catalog::difference(&Catalog::default(), &new).added.len(), 3);
    assert_eq!(Catalog::difference(&new, &Catalog::default()).removed.len(), 3);
}

proptest! {
    #[test]
    fn behaves_like_a_map(
        old in prop::collection::btree_map("[a-cA-C._]{0,3}x", 0_u64..5, 0..40),
        new in prop::collection::btree_map("[a-cA-C._]{0,3}x", 0_u64..5, 0..40),
        probe in "[a-cA-C._]{0,3}x",
    ) {
        let valid = |files: BTreeMap<String, u64>| -> BTreeMap<FileName, CatalogEntry> {
            files.into_iter().filter_map(|(text, size)| Some((text.parse().ok()?, entry(size)))).collect()
        };
        let (old, new) = (valid(old), valid(new));
        let (was, is) = (Catalog::new(old.clone()), Catalog::new(new.clone()));
        prop_assert_eq!(is.get(&probe), new.get(probe.as_str()).copied());
        prop_assert_eq!(is.lower_bound(&probe), new.keys().filter(|key| key.as_str() < probe.as_str()).count());
        prop_assert_eq!(
            is.find_ignoring_case(&probe).is_some(),
            new.keys().any(|key| key.as_str().eq_ignore_ascii_case(&probe))
        );
        let difference = Catalog::difference(&was, &is);
        let expected = Difference {
            added: new.keys().filter(|key| !old.contains_key(*key)).cloned().collect(),
            removed: old.keys().filter(|key| !new.contains_key(*key)).cloned().collect(),
            changed: new.iter().filter(|(key, entry)| old.get(*key).is_some_and(|was| was != *entry)).map(|(key, _)| key.clone()).collect(),
        };
        prop_assert_eq!(difference, expected);
        let (back, dropped) = Catalog::from_json(is.to_json().as_bytes()).unwrap();
        prop_assert_eq!((back, dropped.count), (is, 0));
    }
}
