//! The answers of a site server: those that it gives by itself, those that it asks upstream, and those that it remembers.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::rig::{Site, path, why};
use crate::caches::{IMAP, RMAP, rules};
use crate::origin::{Content, Origin};
use crate::rig::{Rig, eventually};
use crate::{DARK, FLAT, PMAP, content, server_flag};

const DATASET: &str = "SET1.WFI01";
const IN_TWO_PARTS: &str = "SET1.WFI01:SET1.WFI01";

/// The header of the only dataset.
fn header() -> Value {
    json!({"ROMAN.META.INSTRUMENT.NAME": "WFI", "ROMAN.META.INSTRUMENT.DETECTOR": "WFI01"})
}

/// An archive with one dataset.
fn archive() -> Content {
    let answers = BTreeMap::from([(PMAP.to_owned(), json!({"dark": DARK}))]);
    Content {
        datasets: [(DATASET.to_owned(), (header(), answers))].into(),
        results: [(
            "get_dataset_headers_by_id",
            json!({IN_TWO_PARTS: header()}).to_string(),
        )]
        .into(),
        ..rules()
    }
}

#[test]
fn what_is_new_upstream_is_found() {
    let new = "roman_wfi_dark_0002.asdf";
    let origin = Origin::start(content());
    let site = Site::of(&origin, &[]);
    assert_eq!(site.get(new).status, 404);
    origin.change(|content| *content = std::mem::take(content).file(new, 5_000));
    // Upstream is not asked more often than every few seconds.
    eventually("the new catalog is asked for", || site.get(new).status == 200);
    assert!(site.get(new).body == origin.contents(new));
}

#[test]
fn the_rules_of_a_context_come_with_it() {
    let origin = Origin::start(rules());
    let site = Site::of(&origin, &["--prefetch", "rules"]);
    assert_eq!(site.get(PMAP).status, 200);
    eventually("the rules come", || {
        [IMAP, RMAP].iter().all(|name| origin.asked(name).len() == 1)
    });
}

#[test]
fn own_files_in_place_of_catalogued_ones_are_not_given_out() {
    let origin = Origin::start(content());
    let mut site = Site::new(&origin, &[]);
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.use_store(&site.cache());
    rig.mount();
    let own = rig.path("references/roman/.own");
    fs::write(&own, "another dark").unwrap();
    fs::rename(&own, rig.path(format!("references/roman/{DARK}"))).unwrap();
    rig.umount();
    site.start();
    let refused = site.get(DARK);
    assert_eq!(refused.status, 502, "{refused:?}");
    assert!(why(&refused).contains(DARK));
    assert_eq!(site.get(FLAT).status, 200);
}

#[test]
fn urls_lead_back_by_the_way_that_the_client_came() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &[]);
    let url = |headers: &str| {
        let body = json!({"method": "get_url", "params": [PMAP, DARK], "id": 1}).to_string();
        let reply = site.ask("POST", "/roman/json/", headers, &body);
        serde_json::from_slice::<Value>(&reply.body).unwrap()["result"].take()
    };
    let rest = format!("{}{}", site.address, path(DARK));
    assert_eq!(url(""), format!("http://{rest}"));
    assert_eq!(url("X-Forwarded-Proto: https\r\n"), format!("https://{rest}"));
}

#[test]
fn what_does_not_last_is_asked_each_time() {
    let origin = Origin::start(Content {
        results: [("get_remote_context", json!(PMAP).to_string())].into(),
        ..content()
    });
    let site = Site::of(&origin, &[]);
    for count in 1..=2 {
        assert_eq!(
            site.result("get_remote_context", &json!(["roman", "pipeline"])),
            PMAP
        );
        assert_eq!(origin.called("get_remote_context").len(), count);
    }
    site.until_metrics(&[
        "crds_fs_serve_upstream_calls_total{observatory=\"roman\",method=\"get_remote_context\"} 2",
    ]);
}

#[test]
fn calls_are_answered_by_all_that_is_known_while_upstream_is_away() {
    let origin = Origin::start(archive());
    let mut site = Site::of(&origin, &[]);
    let best = |ids: &Value| site.result("get_best_references_by_ids", &json!([PMAP, ids, null, true]));
    let first = best(&json!([DATASET]));
    assert_eq!(first["headers"][IN_TWO_PARTS], header());
    // Fields that the catalog does not have are asked upstream, whose own error is told.
    let whole = json!(["roman", [DARK], null]);
    assert!(site.error("get_file_info_map", &whole).starts_with("OtherError"));

    origin.refuse();
    let some = best(&json!([DATASET, "OTHER"]));
    assert_eq!(some[IN_TWO_PARTS], first[IN_TWO_PARTS]);
    assert_eq!(some["OTHER"][0], false);
    let told = some["OTHER"][1].as_str().unwrap();
    assert!(told.starts_with("FAILED: "), "{told}");
    // The header came with the best references.
    let headers = |ids: Value| json!([PMAP, ids, null]);
    let some = site.result("get_dataset_headers_by_id", &headers(json!([DATASET, "OTHER"])));
    assert_eq!(some[IN_TWO_PARTS], header());
    let told = some["OTHER:OTHER"].as_str().unwrap();
    assert!(told.starts_with("NOT FOUND "), "{told}");
    let none = site.error("get_dataset_headers_by_id", &headers(json!(["OTHER"])));
    assert!(none.starts_with("UpstreamError: "), "{none}");
    let here = site.result("get_file_info_map", &whole);
    assert_eq!(here[DARK]["size"], "300000");
    eventually("upstream is missed", || {
        // A name that is not there asks for a new catalog, if the last one is a few seconds old.
        assert_eq!(site.get("roman_wfi_dark_9999.asdf").status, 404);
        site.metrics()
            .contains("crds_fs_serve_upstream_offline{observatory=\"roman\"} 1\n")
    });
    site.end();
    site.arguments.push("--offline".to_owned());
    site.start();
    site.until_metrics(&["crds_fs_serve_upstream_offline{observatory=\"roman\"} 1"]);
}

#[test]
fn old_headers_do_while_upstream_is_away() {
    let origin = Origin::start(archive());
    let site = Site::of(&origin, &["--bestrefs-ttl", "0s"]);
    let params = json!([PMAP, [DATASET], null]);
    let first = site.result("get_dataset_headers_by_id", &params);
    assert_eq!(site.result("get_dataset_headers_by_id", &params), first);
    assert_eq!(origin.called("get_dataset_headers_by_id").len(), 2);
    origin.refuse();
    assert_eq!(site.result("get_dataset_headers_by_id", &params), first);
}

#[test]
fn a_call_has_as_many_datasets_as_upstream_takes() {
    let origin = Origin::start(archive());
    let site = Site::of(&origin, &[]);
    let ids: Vec<String> = (0..10_000).map(|number| format!("SET{number}")).collect();
    for method in ["get_best_references_by_ids", "get_dataset_headers_by_id"] {
        let refused = site.error(method, &json!([PMAP, ids, null]));
        assert!(refused.contains("the limit is "), "{refused}");
        assert!(origin.called(method).is_empty());
    }
}
