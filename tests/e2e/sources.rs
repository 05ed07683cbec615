//! Sources of files beside the CRDS server.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{Rig, at_least, eventually, program};
use crate::{DARK, FLAT, PMAP, content, reference, server_flag};

/// A store that was filled with everything, which is an ordinary CRDS cache.
fn cache() -> Rig {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    for name in [DARK, FLAT] {
        assert!(rig.read(reference(name)).is_ok());
    }
    assert!(rig.read(format!("mappings/roman/{PMAP}")).is_ok());
    rig.umount();
    rig
}

fn file_url(directory: &Path) -> String {
    format!("file://{}", directory.display())
}

/// The sources of Roman's files by the status: name, state, files.
fn sources(rig: &Rig) -> Vec<(String, String, u64)> {
    let status = rig.json(".crds-fs/status.json").unwrap();
    let sources = status["observatories"][0]["sources"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let told = |source: &Value| {
        (
            text(&source["source"]),
            text(&source["state"]),
            source["files"].as_u64().unwrap(),
        )
    };
    sources.iter().map(told).collect()
}

/// The URL that is told of a file.
fn told_url(rig: &Rig, name: &str) -> String {
    let told = rig
        .json(format!(".crds-fs/files/references/roman/{name}"))
        .unwrap();
    told["source"].as_str().unwrap().to_owned()
}

#[test]
fn files_come_from_the_first_source_that_has_them() {
    let (server, mirror) = (Origin::start(content()), Origin::start(content()));
    let mut rig = Rig::new(&[&server_flag(&server)], &["--source", &mirror.url(), "--xattr"]);
    rig.mount();
    assert!(rig.read(reference(DARK)).unwrap() == server.contents(DARK));
    assert_eq!((mirror.asked(DARK).len(), server.asked(DARK).len()), (1, 0));
    assert_eq!(
        told_url(&rig, DARK),
        format!("{}/references/roman/{DARK}", mirror.url())
    );
    let url = rustix::fs::getxattr(rig.path(reference(DARK)), "user.crds.url", &mut [0_u8; 200][..]);
    assert!(url.is_ok());
    mirror.set(FLAT, Behaviour::Status(404));
    assert!(rig.read(reference(FLAT)).unwrap() == server.contents(FLAT));
    // It may have either layout, as long as it has given no reference; this one is flat.
    assert_eq!((mirror.asked(FLAT).len(), server.asked(FLAT).len()), (1, 1));
    assert!(told_url(&rig, FLAT).starts_with(&server.url()));
    let ready = |source: String| (source, "ready".to_owned(), 1);
    assert_eq!(sources(&rig), [ready(mirror.url()), ready("crds".to_owned())]);
    assert!(server.called("get_server_info").len() == 1, "the server is named");
    rig.umount();
}

#[test]
fn a_source_that_dies_in_the_middle_is_succeeded_by_the_next() {
    const SIZE: usize = 96 << 20;
    let large = || {
        Origin::start(
            Content {
                observatory: "roman",
                context: PMAP.to_owned(),
                ..Content::default()
            }
            .file(PMAP, 2_000)
            .file(DARK, SIZE)
            .file(FLAT, 20_000),
        )
    };
    let (server, mirror) = (large(), large());
    let mut rig = Rig::mounted(
        &[&server_flag(&server)],
        &["--source", &mirror.url(), "--streams", "1"],
    );
    mirror.set(DARK, Behaviour::StallAt(SIZE / 2));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| rig.read(reference(DARK)));
        mirror.wait_for_stalled(1);
        eventually("half of it is here", || {
            at_least(rig.received(&reference(DARK)), (SIZE / 2) as u64 - (2 << 20))
        });
        mirror.refuse();
        assert!(reader.join().unwrap().unwrap() == server.contents(DARK));
    });
    let asked = server.asked(DARK);
    let [only] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    let from: usize = only.range.as_ref().unwrap()["bytes=".len()..]
        .split('-')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(from > SIZE / 2 - (2 << 20), "it began anew: {asked:?}");
    // The next file does not wait for the source that fails.
    assert!(rig.read(reference(FLAT)).unwrap() == server.contents(FLAT));
    let sources = sources(&rig);
    assert_eq!(
        (sources[0].1.as_str(), sources[1].1.as_str(), sources[1].2),
        ("failing", "ready", 2)
    );
    let told = program().arg("status").arg(rig.mountpoint()).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains(": failing since 2"), "{told}");
    assert!(told.contains("; others are asked before it for "), "{told}");
    rig.umount();
}

#[test]
fn with_a_cache_as_its_source_a_mount_needs_no_server() {
    let filled = cache();
    let directory = filled.store();
    for layout in ["flat", "instrument"] {
        if layout == "instrument" {
            let references = directory.join("references/roman");
            fs::create_dir(references.join("wfi")).unwrap();
            for name in [DARK, FLAT] {
                fs::rename(references.join(name), references.join("wfi").join(name)).unwrap();
            }
        }
        let mut rig = Rig::of("roman", &["--source", &file_url(&directory)]);
        // Were a server asked, it would be this one.
        let server = Origin::start(content());
        rig.set("CRDS_SERVER_URL", "https://crds-serverless-mode.stsci.edu");
        rig.mount();
        let context = fs::read_link(rig.path("bestrefs/roman-latest")).unwrap();
        assert_eq!(context.to_str(), Some(PMAP));
        for name in [DARK, FLAT] {
            assert!(
                rig.read(reference(name)).unwrap() == server.contents(name),
                "{layout}"
            );
        }
        assert!(rig.read(format!("mappings/roman/{PMAP}")).is_ok());
        assert!(told_url(&rig, DARK).starts_with("file:///"));
        let config = fs::read_to_string(rig.path("config/roman/server_config")).unwrap();
        assert!(config.contains(&file_url(&directory)), "{config}");
        // A file that the only source does not have is gone.
        fs::remove_dir_all(directory.join("mappings")).unwrap();
        rig.umount();
        let _ = fs::remove_dir_all(rig.store().join("mappings"));
        rig.mount();
        assert_eq!(rig.read(format!("mappings/roman/{PMAP}")), Err(libc::ENODATA));
        rig.umount();
        fs::create_dir_all(directory.join("mappings/roman")).unwrap();
        fs::write(directory.join("mappings/roman").join(PMAP), server.contents(PMAP)).unwrap();
    }
}

#[test]
fn a_server_that_is_named_describes_itself() {
    let filled = cache();
    let server = Origin::start(Content {
        context: "roman_0002.pmap".to_owned(),
        ..content().file("roman_0002.pmap", 1000)
    });
    let source = file_url(&filled.store());
    let mut rig = Rig::mounted(&[&server_flag(&server)], &["--source", &source]);
    let latest = fs::read_link(rig.path("bestrefs/roman-latest")).unwrap();
    assert_eq!(latest.to_str(), Some("roman_0002.pmap"));
    assert!(rig.read(reference(DARK)).is_ok());
    assert_eq!(server.all_asked(), 0, "files come from the source");
    rig.umount();
    // While it cannot be reached the source has to do.
    server.refuse();
    let mut rig = Rig::mounted(&[&server_flag(&server)], &["--source", &source]);
    let latest = fs::read_link(rig.path("bestrefs/roman-latest")).unwrap();
    assert_eq!(latest.to_str(), Some(PMAP));
    assert!(rig.read(reference(DARK)).is_ok());
    rig.umount();
}

#[test]
fn who_served_a_file_is_known_after_a_restart() {
    let (server, mirror) = (Origin::start(content()), Origin::start(content()));
    let mut rig = Rig::mounted(&[&server_flag(&server)], &["--source", &mirror.url()]);
    mirror.set(FLAT, Behaviour::Status(404));
    for name in [DARK, FLAT] {
        assert!(rig.read(reference(name)).is_ok());
    }
    rig.umount();
    // The sources are others now.
    let mut rig = {
        let mut later = Rig::new(&[&server_flag(&server)], &[]);
        later.use_store(&rig.store());
        later
    };
    rig.mount();
    // It is read in the background.
    eventually("who served a file is known", || {
        let told = rig.json(format!(".crds-fs/files/references/roman/{DARK}"))?;
        Some(told["source"].as_str()?.to_owned())
    });
    assert!(told_url(&rig, DARK).starts_with(&mirror.url()));
    assert!(told_url(&rig, FLAT).starts_with(&server.url()));
    rig.umount();
}

#[test]
fn verify_tells_who_served_what_is_wrong() {
    let (server, mirror) = (Origin::start(content()), Origin::start(content()));
    let mut rig = Rig::mounted(&[&server_flag(&server)], &["--source", &mirror.url()]);
    assert!(rig.read(reference(DARK)).is_ok());
    rig.umount();
    fs::write(rig.store().join(reference(DARK)), b"wrong").unwrap();
    let output = program()
        .args(["verify", "--server", &server_flag(&server), "--cache"])
        .arg(rig.store())
        .env("CRDS_OBSERVATORY", "roman")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let url = format!("it came from {}/references/roman/{DARK}", mirror.url());
    // Tables are wrapped nowhere where there is no terminal.
    assert!(told.contains(&url), "{told}");
}

#[test]
fn a_mount_is_no_source_of_itself() {
    let filled = cache();
    let directory = filled.store();
    let output = program()
        .args(["mount", "--source", &file_url(&directory)])
        .arg(&directory)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("which is mounted over: name another directory"),
        "{error}"
    );
}

#[test]
fn a_cache_directory_is_filled_from_a_source() {
    let filled = cache();
    let target = tempfile::tempdir().unwrap();
    let output = program()
        .args(["fetch", DARK, "--source", &file_url(&filled.store()), "--cache"])
        .arg(target.path())
        .env("CRDS_SERVER_URL", "https://crds-serverless-mode.stsci.edu")
        .env("CRDS_OBSERVATORY", "roman")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let fetched = fs::read(target.path().join(reference(DARK))).unwrap();
    assert!(fetched == content().files[DARK].to_vec());
}

#[test]
fn a_source_that_makes_no_sense_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    for (source, told) in [
        (
            "/grp/crds",
            "--source: '/grp/crds' is a path, not a URL: write file:///grp/crds",
        ),
        ("mars=https://x/", "--source: 'mars' is not an observatory"),
        (
            "https://x/{file}",
            "--source: 'https://x/{file}' has {file} in it",
        ),
    ] {
        let output = program()
            .args(["mount", "--source", source])
            .arg(directory.path())
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(told), "{error}");
    }
    let output = program()
        .arg("mount")
        .arg(directory.path())
        .env("CRDS_FS_SOURCE", "crds, x")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("CRDS_FS_SOURCE: 'x' is not the URL of a source"),
        "{error}"
    );
}
