//! `/bestrefs`.

use super::*;
use crate::tree::BestrefsAs;
use crate::tree::ops::NodeKind;

const CONTEXT: &str = "bestrefs/hst_0001.pmap";

fn asked(making: Making) -> Fixture {
    let fixture = making.make();
    fixture.server.state.lock().answers.insert(
        "J8BA0HRPQ".into(),
        json!({
            "idctab": "v8q14451j_idc.fits", "maskfile": "a0h1524tu.r4h", "darkfile": "x1o1958ej_drk.fits",
            "flshfile": "NOT FOUND n/a", "biasfile": "NOT FOUND No match found."
        }),
    );
    fixture
}

#[tokio::test]
async fn symbolic_contexts_are_links_to_the_literal_name() {
    let fixture = asked(Making::default());
    let names = fixture.list("bestrefs").await.unwrap();
    for name in [
        "hst-latest",
        "hst-operational",
        "hst-edit",
        "latest",
        "hst_0001.pmap",
    ] {
        assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
        assert!(fixture.exists(&format!("bestrefs/{name}")).await);
    }
    let link = fixture.stat("bestrefs/hst-latest").await.unwrap();
    assert_eq!(link.kind, NodeKind::Symlink);
    assert_eq!(now(fixture.tree.readlink(link.ino)).unwrap(), "hst_0001.pmap");
    for name in [
        "hst_9999.pmap",
        "nonsense",
        "jwst-latest",
        "hst-versions",
        "x.lock",
    ] {
        assert!(!fixture.exists(&format!("bestrefs/{name}")).await, "{name}");
    }
    assert_eq!(
        fixture.stat("bestrefs/hst_acs_0001.imap").await.unwrap().kind,
        NodeKind::Directory
    );
}

#[tokio::test]
async fn a_dataset_shows_its_references_as_links() {
    let fixture = asked(Making::default());
    let dataset = format!("{CONTEXT}/j8ba0hrpq");
    assert_eq!(
        fixture.list(&dataset).await.unwrap(),
        [
            "bestrefs.json",
            "darkfile",
            "header.json",
            "idctab",
            "maskfile",
            "maskfile.r4d"
        ]
    );
    assert_eq!(fixture.list(CONTEXT).await.unwrap(), ["J8BA0HRPQ"]);
    for (name, target) in [
        ("idctab", "v8q14451j_idc.fits"),
        ("idctab.fits", "v8q14451j_idc.fits"),
        ("maskfile", "a0h1524tu.r4h"),
        ("maskfile.r4h", "a0h1524tu.r4h"),
        ("maskfile.r4d", "a0h1524tu.r4d"),
    ] {
        let link = fixture.stat(&format!("{dataset}/{name}")).await.unwrap();
        assert_eq!(link.kind, NodeKind::Symlink, "{name}");
        let expected = format!("../../../references/hst/{target}");
        assert_eq!(now(fixture.tree.readlink(link.ino)).unwrap(), *expected, "{name}");
        assert_eq!(link.size, expected.len() as u64);
    }
    for name in [
        "flshfile",
        "biasfile",
        "idctab.asdf",
        "darkfile.r4d",
        "other",
        "IDCTAB",
        "x.y.z",
    ] {
        assert!(!fixture.exists(&format!("{dataset}/{name}")).await, "{name}");
    }
    assert_eq!(fixture.downloads(), 0);
}

#[tokio::test]
async fn in_instrument_mode_the_links_lead_to_the_instruments() {
    let fixture = asked(Making::default().instrument());
    let link = fixture.ino(&format!("{CONTEXT}/j8ba0hrpq/idctab")).await;
    assert_eq!(
        now(fixture.tree.readlink(link)).unwrap(),
        "../../../references/hst/acs/v8q14451j_idc.fits"
    );
}

#[tokio::test]
async fn a_dataset_is_asked_for_once_and_any_case_will_do() {
    let fixture = asked(Making::default());
    for id in ["J8BA0HRPQ", "j8ba0hrpq", "J8ba0hrPQ"] {
        assert_eq!(
            fixture.stat(&format!("{CONTEXT}/{id}")).await.unwrap().kind,
            NodeKind::Directory
        );
    }
    let calls = fixture.server.state.lock().calls.clone();
    assert_eq!(
        calls
            .iter()
            .filter(|call| *call == "get_best_references_by_ids")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_context_lists_the_datasets_asked_for() {
    let fixture = asked(Making::default());
    assert_eq!(fixture.list(CONTEXT).await.unwrap(), [""; 0]);
    assert!(fixture.exists(&format!("{CONTEXT}/j8ba0hrpq")).await);
    assert!(!fixture.exists(&format!("{CONTEXT}/J00000000")).await);
    assert_eq!(fixture.list(CONTEXT).await.unwrap(), ["J8BA0HRPQ"]);
}

#[tokio::test]
async fn unknown_datasets_and_names_that_are_none_are_absent() {
    let fixture = asked(Making::default());
    for name in ["J00000000", "a b", "N%A", ".hidden"] {
        assert!(!fixture.exists(&format!("{CONTEXT}/{name}")).await, "{name}");
    }
}

#[tokio::test]
async fn the_whole_answer_is_there_as_json() {
    let fixture = asked(Making::default());
    let answer: Value =
        serde_json::from_str(&fixture.text(&format!("{CONTEXT}/J8BA0HRPQ/bestrefs.json")).await).unwrap();
    assert_eq!(answer["context"], "hst_0001.pmap");
    assert!(
        answer.to_string().contains("NOT FOUND No match found."),
        "{answer}"
    );
    let header: Value =
        serde_json::from_str(&fixture.text(&format!("{CONTEXT}/J8BA0HRPQ/header.json")).await).unwrap();
    assert_eq!(header["INSTRUME"], "ACS");
}

#[tokio::test]
async fn references_can_be_shown_as_files_that_share_the_inode() {
    let options = TreeOptions {
        bestrefs_as: BestrefsAs::File,
        ..TreeOptions::default()
    };
    let fixture = asked(Making {
        options,
        ..Making::default()
    });
    let real = fixture.stat("references/hst/v8q14451j_idc.fits").await.unwrap();
    assert_eq!(
        fixture
            .stat(&format!("{CONTEXT}/J8BA0HRPQ/idctab"))
            .await
            .unwrap(),
        real
    );
    assert_eq!(
        fixture
            .stat(&format!("{CONTEXT}/J8BA0HRPQ/idctab.fits"))
            .await
            .unwrap(),
        real
    );
    assert_eq!(
        fixture
            .read(&format!("{CONTEXT}/J8BA0HRPQ/idctab"))
            .await
            .unwrap(),
        contents("v8q14451j_idc.fits")
    );
    let names = fixture.list(&format!("{CONTEXT}/J8BA0HRPQ")).await.unwrap();
    assert!(names.contains(&"idctab".to_owned()), "{names:?}");
}

#[tokio::test]
async fn bad_references_are_refused_unless_they_are_allowed() {
    for (allow_references, expected) in [(false, Some(13)), (true, None)] {
        for bestrefs_as in [BestrefsAs::Link, BestrefsAs::File] {
            let bad_files = BadFilePolicy {
                allow_references,
                ..BadFilePolicy::default()
            };
            let options = TreeOptions {
                bestrefs_as,
                ..TreeOptions::default()
            };
            let fixture = asked(Making {
                options,
                bad_files,
                ..Making::default()
            });
            fixture.server.state.lock().bad = vec!["v8q14451j_idc.fits".into()];
            let path = format!("{CONTEXT}/J8BA0HRPQ/idctab");
            let followed = match fixture.stat(&path).await {
                Ok(attr) if attr.kind == NodeKind::Symlink => now(fixture.tree.readlink(attr.ino)).map(drop),
                other => other.map(drop),
            };
            assert_eq!(followed.err().map(|error| fixture.tree.errno(&error)), expected);
            assert!(fixture.exists(&format!("{CONTEXT}/J8BA0HRPQ/darkfile")).await);
            fixture.read("references/hst/v8q14451j_idc.fits").await.unwrap();
        }
    }
}

#[tokio::test]
async fn bestrefs_cannot_be_changed() {
    let fixture = asked(Making::default());
    let path = format!("{CONTEXT}/J8BA0HRPQ/idctab");
    fixture.stat(&path).await.unwrap();
    assert_eq!(fixture.errno(fixture.unlink(&path).await), libc::EROFS);
    let refused = fixture.mkdir(&format!("{CONTEXT}/new")).await;
    assert_eq!(fixture.errno(refused), libc::EROFS);
    let refused = fixture.rmdir("bestrefs/hst_0001.pmap").await;
    assert_eq!(fixture.errno(refused), libc::EROFS);
}
