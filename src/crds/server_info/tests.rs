//! Tests of the server's description.

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn files() -> serde_json::Value {
    json!({
        "roman_0001.pmap": {"size": "120", "sha1sum": "3f0c92aae539cb67f8e8823cc6815130018948f7"},
        "roman_wfi_dark_0001.asdf": {"size": "5000000000", "sha1sum": "none"},
    })
}

/// A reply in the shape of 2026.
fn reply() -> serde_json::Value {
    json!({
        "observatory": "roman", "latest_context": "roman_0055.pmap", "operational_context": "roman_0054.pmap",
        "edit_context": "roman_0056.pmap", "build_context": "roman_0041.pmap", "versions_context": "",
        "context_history": [["2026-06-17 18:42:21.675150+02:00", "roman_0055.pmap", "To \"support\"\r\n\té🔭 'x'"],
                            ["2020-11-06 16:42:44.900518", "roman_0004.pmap", null], [null, "x"], "junk"],
        "mappings": ["roman_0001.pmap", "roman_0002.pmap", "../roman_0003.pmap", "not_a_mapping.fits"],
        "bad_files_list": ["roman_wfi_dark_0001.asdf", "N/A"], "force_remote_mode": 1,
        "download_metadata": encoded::encode(files().to_string().as_bytes()).unwrap(),
        "mapping_url": {"roman": "https://roman-crds.stsci.edu/unchecked_get/mappings/roman/"},
        "reference_url": {"roman": "https://roman-crds.stsci.edu/unchecked_get/references/roman"},
        "max_bestrefs_per_rpc": 1000, "crds_version": {"str": "13.2.4"}, "last_synced": "2026-06-17 14:43:06.207293",
        "something_new": {"deep": [1, -2.5, true, null, {"x": "y"}]},
    })
}

fn name(text: &str) -> FileName {
    text.parse().unwrap()
}

#[test]
fn reads_what_a_server_sends() {
    let info = ServerInfo::from_json(&reply().to_string()).unwrap();
    assert_eq!(info.observatory(), Observatory::Roman);
    assert_eq!(info.default_context(), Some(&name("roman_0055.pmap")));
    assert_eq!(info.edit_context(), Some(&name("roman_0056.pmap")));
    assert_eq!(info.versions_context(), None);
    assert!(info.force_remote_mode() && info.has_metadata());
    assert_eq!(
        info.limits(),
        Limits {
            bestrefs_per_rpc: 1000,
            headers_per_rpc: 500
        }
    );
    let starts: Vec<_> = info
        .history()
        .iter()
        .map(|entry| entry.start.to_string())
        .collect();
    assert_eq!(
        starts,
        ["2026-06-17T16:42:21.67515", "2020-11-06T16:42:44.900518"]
    );
    let catalog: Vec<_> = info
        .catalog()
        .iter()
        .map(|item| (item.name, item.entry.size))
        .collect();
    assert_eq!(
        catalog,
        [
            ("roman_0001.pmap", Some(120)),
            ("roman_0002.pmap", None),
            ("roman_wfi_dark_0001.asdf", Some(5_000_000_000))
        ]
    );
    assert_eq!(info.bad_files_text(), "roman_wfi_dark_0001.asdf");
    assert_eq!(info.dropped().count, 2);
    assert_eq!(
        info.urls().mappings.as_ref().map(Url::as_str),
        Some("https://roman-crds.stsci.edu/unchecked_get/mappings/roman/")
    );
    assert_eq!(info.urls().config, None);
}

#[test]
fn what_is_written_is_read_again() {
    let info = ServerInfo::from_json(&reply().to_string())
        .unwrap()
        .received_from("https://roman-crds.stsci.edu");
    let text = info.to_literal();
    assert!(text.is_ascii());
    assert!(
        text.contains("'connected': True") && text.contains("'status': 'server'"),
        "{text}"
    );
    let again = ServerInfo::from_literal(&text).unwrap();
    assert!(again.says_the_same(&info));
    assert_eq!(again.to_literal(), text);
    assert_eq!(again.history(), info.history());
    assert_eq!(again.server(), Some("https://roman-crds.stsci.edu"));
    let new = fields::to_json(again.fields.get("something_new").unwrap());
    assert_eq!(new, reply()["something_new"]);
}

#[test]
fn reads_old_servers() {
    let old = "{'observatory': 'hst', 'operational_context': 'hst_0729.pmap', 'last_synced': 'x', \
        'mapping_url': {'checked': {'hst': 'https://c/'}, 'unchecked': {'hst': 'https://u/'}}, \
        'bad_files_list': ('a_drk.fits',), 'mappings': ['hst' '.pmap'], 'force_remote_mode': False, \
        'crds_version': {'str': '7.0', 'rev': 1}}";
    let info = ServerInfo::from_literal(old).unwrap();
    assert_eq!(info.default_context(), Some(&name("hst_0729.pmap")));
    assert_eq!(info.urls().mappings.as_ref().map(Url::as_str), Some("https://u/"));
    assert_eq!(info.bad_files_text(), "a_drk.fits");
    assert!(!info.has_metadata() && !info.force_remote_mode() && info.history().is_empty());
    assert_eq!(
        (info.catalog().len(), info.catalog().get("hst.pmap").unwrap().size),
        (1, None)
    );

    let json_text =
        r#"{"hst.pmap": {"size": "9", "sha1sum": ""}, "a_drk.fits": {"size": "7", "sha1sum": ""}}"#;
    let complete = info.clone().with_metadata(json_text.as_bytes()).unwrap();
    assert_eq!(complete.catalog().get("hst.pmap").unwrap().size, Some(9));
    assert!(!complete.says_the_same(&info));
    let stored = ServerInfo::from_literal(&complete.to_literal()).unwrap();
    assert!(stored.says_the_same(&complete) && stored.has_metadata());
}

#[test]
fn a_catalog_that_is_not_encoded_becomes_so() {
    let mut plain = reply();
    plain["download_metadata"] = files();
    let info = ServerInfo::from_json_value(plain).unwrap();
    assert_eq!(
        info.catalog(),
        ServerInfo::from_json_value(reply()).unwrap().catalog()
    );
    assert!(info.to_literal().contains("'crds_payload': 'H4sI"));
}

#[test]
fn an_observatory_never_reached_has_a_valid_description() {
    let text = ServerInfo::empty(Observatory::Jwst).to_literal();
    let value = literal::parse(&text).unwrap();
    for key in [
        "observatory",
        "last_synced",
        "bad_files_list",
        "operational_context",
        "force_remote_mode",
        "edit_context",
        "versions_context",
        "mappings",
        "server",
        "status",
        "connected",
    ] {
        assert!(value.get(key).is_some(), "{key}");
    }
    let info = ServerInfo::from_literal(&text).unwrap();
    assert_eq!(
        (info.default_context(), info.server(), info.catalog().len()),
        (None, None, 0)
    );
}

#[test]
fn times_are_no_difference() {
    let info = ServerInfo::from_json_value(reply()).unwrap();
    let mut later = reply();
    later["last_synced"] = json!("later");
    // The same catalog may be compressed otherwise.
    later["download_metadata"] = files();
    assert!(
        ServerInfo::from_json_value(later.clone())
            .unwrap()
            .received_from("x")
            .says_the_same(&info)
    );
    later["edit_context"] = json!("roman_0057.pmap");
    assert!(!ServerInfo::from_json_value(later).unwrap().says_the_same(&info));
}

#[test]
fn another_default_context_is_told_to_clients() {
    let info = ServerInfo::from_json_value(reply())
        .unwrap()
        .with_default_context(&name("roman_0007.pmap"));
    assert_eq!(info.default_context(), Some(&name("roman_0007.pmap")));
    let stored = ServerInfo::from_literal(&info.to_literal()).unwrap();
    assert_eq!(stored.default_context(), Some(&name("roman_0007.pmap")));
    assert!(
        stored
            .to_literal()
            .contains("'operational_context': 'roman_0007.pmap'")
    );
}

#[test]
fn refuses_what_is_none() {
    for text in [
        "",
        "[]",
        "{}",
        "null",
        r#"{"observatory": 1}"#,
        r#"{"observatory": "mars"}"#,
    ] {
        assert!(ServerInfo::from_json(text).is_err(), "{text}");
    }
    for text in [
        "",
        "{'observatory': 'hst'",
        "[1]",
        "{'observatory': 'hst', 'download_metadata': {'crds_encoded': 1}}",
    ] {
        assert!(ServerInfo::from_literal(text).is_err(), "{text}");
    }
    let error = ServerInfo::from_json(r#"{"observatory": "hst", "download_metadata": [1]}"#).unwrap_err();
    assert!(matches!(error, ServerInfoError::Catalog(_)), "{error}");
}

/// The descriptions that real servers gave (2019 and 2020).
#[test]
fn reads_real_descriptions() {
    let shared = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/crds-cache/config"
    ));
    if !shared.is_dir() {
        println!("skipped: the shared CRDS cache is not here");
        return;
    }
    for (observatory, files, mappings, bytes, bad, default, longest) in [
        (
            Observatory::Hst,
            43_768,
            2_276,
            3_974_239_964_090,
            99,
            "hst_0729.pmap",
            35,
        ),
        (
            Observatory::Jwst,
            5_718,
            2_482,
            524_711_410_577,
            54,
            "jwst_0541.pmap",
            38,
        ),
        (Observatory::Roman, 0, 0, 0, 0, "roman_0004.pmap", 0),
    ] {
        let directory = shared.join(observatory.as_str());
        let text = std::fs::read_to_string(directory.join("server_config")).unwrap();
        let info = ServerInfo::from_literal(&text).unwrap();
        let catalog = info.catalog();
        let found_bytes: u64 = catalog.iter().filter_map(|item| item.entry.size).sum();
        println!(
            "{observatory}: {} files, {} mappings, {found_bytes} bytes, {} bytes of memory, {} left out",
            catalog.len(),
            catalog.mappings().count(),
            catalog.heap_bytes(),
            info.dropped().count
        );
        assert_eq!(info.default_context(), Some(&name(default)));
        assert_eq!(info.dropped(), &Dropped::default());
        if files > 0 {
            assert_eq!(
                (catalog.len(), catalog.mappings().count(), found_bytes),
                (files, mappings, bytes)
            );
            assert_eq!(catalog.iter().map(|item| item.name.len()).max(), Some(longest));
            assert!(catalog.iter().all(|item| item.entry.sha1.is_some()));
        } else {
            // Three mappings without metadata, and two of the catalog that are not listed (spec 9, trap 4).
            assert_eq!(catalog.iter().filter(|item| item.entry.size.is_none()).count(), 3);
        }
        let bad_text = std::fs::read_to_string(directory.join("bad_files.txt")).unwrap();
        assert_eq!((info.bad_files().len(), info.bad_files_text()), (bad, bad_text));
        assert!(!info.history().is_empty() || observatory == Observatory::Jwst);
        assert!(
            catalog
                .iter()
                .all(|item| crate::crds::grammar::plausible(observatory, item.name)
                    || item.name.contains("SFD_dust"))
        );
        let again = ServerInfo::from_literal(&info.to_literal()).unwrap();
        assert!(again.says_the_same(&info));
    }
}

/// The counts of spec/crds-service 4.3.
#[test]
fn tells_the_instruments_of_real_references() {
    let shared = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/crds-cache/config"
    ));
    if !shared.is_dir() {
        println!("skipped: the shared CRDS cache is not here");
        return;
    }
    let count = |observatory: Observatory| {
        let text = std::fs::read_to_string(shared.join(observatory.as_str()).join("server_config")).unwrap();
        let info = ServerInfo::from_literal(&text).unwrap();
        let mut counts = std::collections::BTreeMap::new();
        for item in info.catalog().references() {
            *counts
                .entry(observatory.instrument_of(item.name).unwrap_or("?"))
                .or_insert(0) += 1;
        }
        counts.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(
        count(Observatory::Hst),
        [
            ("?", 43),
            ("acs", 16_735),
            ("cos", 303),
            ("nicmos", 589),
            ("stis", 3_486),
            ("synphot", 3_164),
            ("wfc3", 9_185),
            ("wfpc2", 7_987)
        ]
    );
    assert!(
        count(Observatory::Jwst)
            .iter()
            .all(|(instrument, _)| *instrument != "?")
    );
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\{('[a-z_]{1,20}': ('[a-z_.]{0,9}'|[1-9][0-9]{0,2}|None|\\[\\]|\\{'a': 1\\}), ){0,6}'observatory': 'hst'\\}") {
        let info = ServerInfo::from_literal(&text).unwrap();
        let again = ServerInfo::from_literal(&info.to_literal()).unwrap();
        prop_assert!(again.says_the_same(&ServerInfo::from_literal(&again.to_literal()).unwrap()));
    }
}

#[test]
fn credentials_are_hidden_in_any_number_of_urls() {
    let urls = |credentials: &str| {
        let all = (0..100_000).map(|number| format!("http://{credentials}h{number}/\n"));
        all.collect::<String>()
    };
    let told = json!({"observatory": "roman", "note": format!("a {}", urls("u:secret@"))});
    let info = ServerInfo::from_json_value(told).unwrap();
    assert!(info.to_json()["note"] == format!("a {}", urls("***@")));
}
