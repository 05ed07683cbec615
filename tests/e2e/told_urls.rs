//! The limits of URLs that a server tells, and of its redirects.

use std::fs;

use crate::origin::{Behaviour, Content, Origin};
use crate::proxy::Proxy;
use crate::rig::Rig;
use crate::{DARK, FLAT, PMAP, content, reference, server_flag};

/// Reading fails as of a broken protocol, and the error says why.
#[track_caller]
fn refused(rig: &Rig, path: &str, words: &[&str]) {
    let errno = rig.read(path).map(|bytes| bytes.len());
    let status: serde_json::Value =
        serde_json::from_slice(&rig.read(".crds-fs/status.json").unwrap()).unwrap();
    let failure = status["failures"]
        .as_array()
        .and_then(|failures| failures.last())
        .unwrap();
    let error = format!("{}: {}", failure["file"], failure["message"]).replace('"', "");
    let error = format!("{error} ({})", failure["url"].as_str().unwrap());
    assert_eq!(errno, Err(libc::EREMOTEIO), "{path}: {error}");
    for word in words {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
    assert!(
        rig.log().contains(&error),
        "{error} is not in the log: {}",
        rig.log()
    );
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

#[test]
fn servers_lead_to_no_files_of_this_machine() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("unchecked_get/references/roman");
    fs::create_dir_all(&below).unwrap();
    let told = format!("file://{}", directory.path().display());
    let origin = Origin::start(Content {
        told: Some(told.clone()),
        ..content()
    });
    fs::write(below.join(DARK), origin.contents(DARK)).unwrap();
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    refused(
        &rig,
        &reference(DARK),
        &["file://", DARK, "http and https", "CRDS_REFERENCE_URI"],
    );
    drop(rig);

    // A URL of the user's own may be of the scheme file.
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.set("CRDS_REFERENCE_URI", &format!("file://{}", below.display()));
    rig.mount();
    assert!(rig.read(reference(DARK)).unwrap() == origin.contents(DARK));
    drop(rig);

    origin.change(|content| content.told = None);
    origin.set(
        DARK,
        Behaviour::Redirect(leak(format!("file://{}/{DARK}", below.display()))),
    );
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    refused(&rig, &reference(DARK), &["redirect to file://", "http and https"]);
    assert!(rig.read(reference(FLAT)).is_ok());
}

/// A server that is far away: its name is known to a proxy only.
const FAR: &str = "roman=http://crds.invalid/roman";

#[test]
fn servers_far_away_lead_to_no_near_addresses() {
    let near = Origin::start(content());
    let port = near.address().port();
    let origin = Origin::start(Content {
        told: Some("http://crds.invalid/roman".to_owned()),
        ..content()
    });
    let proxy = Proxy::to(&origin);
    let mount = |told: &str| {
        origin.change(|content| content.told = Some(told.to_owned()));
        let mut rig = Rig::new(&[FAR], &[]);
        rig.set("http_proxy", &format!("http://{}", proxy.url));
        rig.set("no_proxy", "localhost,127.0.0.1,10.0.0.0/8,169.254.0.0/16,::1");
        rig.mount();
        rig
    };
    for (host, kind) in [
        (format!("127.0.0.1:{port}"), "loopback"),
        (format!("localhost:{port}"), "loopback"),
        (format!("0x7f000001:{port}"), "loopback"),
        (format!("[::1]:{port}"), "loopback"),
        (format!("[::ffff:127.0.0.1]:{port}"), "loopback"),
        ("10.0.0.1:1".to_owned(), "private"),
        ("169.254.169.254".to_owned(), "link-local"),
    ] {
        let rig = mount(&format!("http://{host}/roman"));
        refused(&rig, &reference(DARK), &[kind, "address", "may not lead", DARK]);
    }
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "169.254.169.254".to_owned(),
    ] {
        origin.set(
            DARK,
            Behaviour::Redirect(leak(format!("http://{host}/roman/{DARK}"))),
        );
        let rig = mount("http://crds.invalid/roman");
        refused(&rig, &reference(DARK), &["redirect", &host, "may not lead"]);
        assert!(rig.read(reference(FLAT)).unwrap() == origin.contents(FLAT));
    }
    assert_eq!(
        (near.all_asked(), near.all_called()),
        (0, 0),
        "it was never asked"
    );
}

#[test]
fn servers_near_by_lead_to_their_neighbours() {
    let neighbour = Origin::start(content());
    let origin = Origin::start(Content {
        told: Some(format!("http://localhost:{}/roman", neighbour.address().port())),
        ..content()
    });
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    assert!(rig.read(reference(DARK)).unwrap() == origin.contents(DARK));
    assert_eq!((origin.asked(DARK).len(), neighbour.asked(DARK).len()), (0, 1));
}

#[test]
fn what_has_no_digest_comes_from_the_server_itself() {
    let other = Origin::start(content());
    let elsewhere = format!("http://localhost:{}/roman", other.address().port());
    let origin = Origin::start(Content {
        told: Some(elsewhere.clone()),
        undigested: vec![PMAP.to_owned()],
        ..content()
    });
    let path = format!("mappings/roman/{PMAP}");
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    refused(&rig, &path, &["SHA-1", "127.0.0.1", PMAP, "localhost"]);
    assert!(rig.read(reference(DARK)).is_ok(), "this one has a digest");
    drop(rig);

    origin.change(|content| content.told = None);
    origin.set(PMAP, Behaviour::Redirect(leak(format!("{elsewhere}/{PMAP}"))));
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    refused(&rig, &path, &["redirect", "SHA-1", "localhost"]);
    assert_eq!(other.asked(PMAP), []);
    origin.mend();
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    assert!(rig.read(&path).unwrap() == origin.contents(PMAP));
}
