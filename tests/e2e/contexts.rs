//! Contexts by name: what the symbolic forms mean while catalogs change.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::origin::{Content, Origin};
use crate::rig::{Rig, equal, eventually};
use crate::{DARK, FLAT, PMAP, content, server_flag};

const NEXT: &str = "roman_0002.pmap";
const ID: &str = "SET1.WFI01";

/// A server whose dataset has another dark under the next context.
fn two_contexts() -> Content {
    let answers = [
        (PMAP.to_owned(), json!({"dark": DARK})),
        (NEXT.to_owned(), json!({"dark": FLAT})),
    ];
    Content {
        datasets: [(ID.to_owned(), (json!({}), answers.into()))].into(),
        ..content()
    }
}

fn status(rig: &Rig) -> Value {
    serde_json::from_slice(&rig.read(".crds-fs/status.json").unwrap()).unwrap()
}

/// Waits until the mount says that the default context of its only observatory is this.
fn wait_for_context(rig: &Rig, context: &str) {
    eventually("the default context is the new one", || {
        equal(status(rig)["observatories"][0]["context"].clone(), context)
    });
}

#[test]
fn symbolic_contexts_move_with_the_catalog_while_they_are_used() {
    let origin = Origin::start(two_contexts());
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--catalog-ttl", "100ms"]);
    let forms = ["roman-latest", "latest", "roman-edit", "roman-2030-01-01"];
    let meanings = || forms.map(|form| fs::read_link(rig.path(format!("bestrefs/{form}"))).unwrap());
    let dark = || fs::read_link(rig.path(format!("bestrefs/roman-latest/{ID}/dark"))).unwrap();
    assert_eq!(meanings(), forms.map(|_| Path::new(PMAP)));
    assert!(dark().ends_with(DARK));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Somebody who uses the links all the time, and somebody who has a directory behind one open.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                meanings();
                dark();
                fs::read_dir(rig.path("bestrefs/roman-latest/")).unwrap().count();
            }
        });
        let held = fs::File::open(rig.path(format!("bestrefs/roman-latest/{ID}"))).unwrap();
        origin.change(|content| {
            NEXT.clone_into(&mut content.context);
            content
                .files
                .insert(NEXT.to_owned(), b"another rule".to_vec().into());
        });
        wait_for_context(&rig, NEXT);
        let moved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (meanings(), dark())));
        stop.store(true, Ordering::Relaxed);
        let (meanings, dark) = moved.unwrap();
        assert_eq!(meanings, forms.map(|_| Path::new(NEXT)));
        assert!(dark.ends_with(FLAT), "{dark:?}");
        drop(held);
    });
    let listed = fs::symlink_metadata(rig.path("bestrefs/roman-latest")).unwrap();
    assert_eq!(listed.len(), NEXT.len() as u64);
}

#[test]
fn a_reference_that_becomes_bad_is_refused_while_its_link_is_in_use() {
    let origin = Origin::start(two_contexts());
    let rig = Rig::mounted(&[&server_flag(&origin)], &["--catalog-ttl", "100ms"]);
    let link = rig.path(format!("bestrefs/{PMAP}/{ID}/dark"));
    assert!(fs::read_link(&link).unwrap().ends_with(DARK));
    // Held, so that the kernel cannot forget it.
    let held = rustix::fs::open(
        &link,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    origin.change(|content| {
        content.bad_files.push(DARK.to_owned());
        NEXT.clone_into(&mut content.context);
        content
            .files
            .insert(NEXT.to_owned(), b"another rule".to_vec().into());
    });
    wait_for_context(&rig, NEXT);
    let refused = fs::read_link(&link).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
    drop(held);
}

#[test]
fn a_default_context_that_turns_out_wrong_fails_in_words_until_it_comes() {
    let wanted = "roman_7777.pmap";
    let origin = Origin::start(two_contexts());
    let rig = Rig::mounted(
        &[&server_flag(&origin)],
        &["--catalog-ttl", "100ms", "--context", wanted],
    );
    for form in ["latest", "roman-latest", "roman-operational", wanted] {
        let path = format!("bestrefs/{form}/{ID}/dark");
        assert_eq!(rig.read(&path), Err(libc::ENOENT), "{path}");
        let link = fs::symlink_metadata(rig.path(format!("bestrefs/{form}")));
        assert_eq!(link.unwrap_err().raw_os_error(), Some(libc::ENOENT), "{form}");
    }
    // Other contexts are as they were.
    assert!(
        fs::read_link(rig.path(format!("bestrefs/{PMAP}/{ID}/dark")))
            .unwrap()
            .ends_with(DARK)
    );
    let config = String::from_utf8(rig.read("config/roman/server_config").unwrap()).unwrap();
    assert!(
        config.contains(&format!("'latest_context': '{wanted}'")),
        "{config}"
    );
    let told = status(&rig)["observatories"][0]["context_error"].to_string();
    assert!(told.contains(wanted) && told.contains("--context"), "{told}");
    let shown = crate::rig::program()
        .arg("status")
        .arg(rig.mountpoint())
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains(&format!("the default context {wanted}")),
        "{shown}"
    );
    assert!(
        rig.log().contains(&format!("the default context {wanted}")),
        "{}",
        rig.log()
    );

    origin.change(|content| {
        content.files.insert(wanted.to_owned(), b"a rule".to_vec().into());
    });
    eventually("the default context is found", || {
        equal(
            status(&rig)["observatories"][0]["context_error"].clone(),
            Value::Null,
        )
    });
    for form in ["latest", "roman-latest"] {
        let target = fs::read_link(rig.path(format!("bestrefs/{form}"))).unwrap();
        assert_eq!(target, Path::new(wanted));
    }
}

#[test]
fn a_default_context_that_is_the_users_own_rule_is_used() {
    let own = "roman_mine.pmap";
    let origin = Origin::start(two_contexts());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &["--context", own]);
    fs::write(rig.path(format!("mappings/roman/{own}")), b"rules of my own").unwrap();
    for mount in 1..=2 {
        let target = fs::read_link(rig.path("bestrefs/roman-latest")).unwrap();
        assert_eq!(target, Path::new(own), "mount {mount}");
        assert!(status(&rig)["observatories"][0]["context_error"].is_null());
        rig.umount();
        rig.mount();
    }
}

/// The messages of the failures in the status, by what failed.
fn failures(rig: &Rig) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let failed = status(rig)["failures"].as_array().unwrap().clone();
    failed
        .iter()
        .map(|failure| (text(&failure["file"]), text(&failure["message"])))
        .collect()
}

#[test]
fn what_is_not_found_says_why() {
    let origin = Origin::start(two_contexts());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    for (path, reason) in [
        (
            format!("bestrefs/{PMAP}/no_such_set.wfi01"),
            "dataset ID does not exist",
        ),
        (format!("bestrefs/{PMAP}/no such set"), "is not a dataset id"),
        (
            "bestrefs/roman_0099.pmap".to_owned(),
            "the roman catalog does not list it",
        ),
        ("bestrefs/roman-2010-01-01".to_owned(), "in use at 2010-01-01"),
        ("bestrefs/jwst-latest".to_owned(), "jwst is not served here"),
    ] {
        for _ in 0..2 {
            let error = fs::read_dir(rig.path(&path)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{path}");
        }
        let found = failures(&rig);
        let about: Vec<_> = found.iter().filter(|(subject, _)| *subject == path).collect();
        assert!(
            matches!(&about[..], [(_, message)] if message.contains(reason)),
            "{path}: {found:?}"
        );
        let log = rig.log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains(&path) && line.contains(reason))
            .collect();
        assert_eq!(lines.len(), 1, "{path}: {log}");
    }
    fs::metadata(rig.path(format!("bestrefs/{PMAP}/.hidden"))).unwrap_err();
    assert!(!rig.log().contains("hidden"));
}
