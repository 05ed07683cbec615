//! Credentials in URLs are used, and shown nowhere.

use std::fs;
use std::path::Path;

use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{Rig, program};
use crate::{DARK, FLAT, PMAP, content};

/// The password, and what is behind the URLs that the server tells.
const SECRETS: [&str; 4] = ["pw5ecret", "t0psecret", "c29tZW9uZTpwdzVlY3JldA", "pw5%65cret"];

/// It wants to know who asks, and its URLs have a signature.
fn origin() -> Origin {
    Origin::start(Content {
        authorization: Some("Basic c29tZW9uZTpwdzVlY3JldA==".to_owned()),
        told_query: "?X-Amz-Signature=t0psecret".to_owned(),
        ..content()
    })
}

/// `obs=URL` with user name and password.
fn server(origin: &Origin, password: &str) -> String {
    let url = origin.url();
    format!(
        "roman=http://someone:{password}@{}",
        url.strip_prefix("http://").unwrap()
    )
}

/// Fails if the text has any of the secrets.
#[track_caller]
fn clean(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} tells {secret}: {text}");
    }
}

fn clean_directory(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        clean("a name", path.as_os_str().as_encoded_bytes());
        if path.is_dir() {
            clean_directory(&path);
        } else {
            clean(&path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
}

fn attribute(path: &Path, name: &str) -> Vec<u8> {
    let mut value = [0; 4096];
    let length = match rustix::fs::getxattr(path, name, &mut value) {
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::ACCESS) => 0,
        length => length.unwrap(),
    };
    value[..length].to_vec()
}

/// Everything that a user of the machine, or somebody who is sent the log, can see.
fn clean_everywhere(rig: &Rig) {
    clean("mountinfo", &fs::read("/proc/self/mountinfo").unwrap());
    for file in ["status.json", "metrics"] {
        clean(file, &fs::read(rig.path(".crds-fs").join(file)).unwrap());
    }
    for file in ["server_config", "bad_files.txt"] {
        clean(file, &fs::read(rig.path("config/roman").join(file)).unwrap());
    }
    for name in [DARK, FLAT] {
        let path = rig.path("references/roman").join(name);
        let told = format!(".crds-fs/files/references/roman/{name}");
        match fs::read(rig.path(&told)) {
            // Without a catalog there is no such name.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            text => clean(&told, &text.unwrap()),
        }
        for what in ["user.crds.url", "user.crds.error"] {
            clean(what, &attribute(&path, what));
        }
    }
    for arguments in [&[][..], &["--json"]] {
        let status = program()
            .arg("status")
            .arg(rig.mountpoint())
            .args(arguments)
            .output()
            .unwrap();
        clean("status", &status.stdout);
        clean("status", &status.stderr);
    }
    rig.settle();
    clean_directory(&rig.store());
    clean("the log", rig.log().as_bytes());
}

#[test]
fn credentials_are_used_and_never_shown() {
    let origin = origin();
    let mut rig = Rig::new(
        &[&server(&origin, "pw5ecret")],
        &["-vv", "--timeout", "2s", "--xattr"],
    );
    rig.mount();
    assert!(rig.read(format!("references/roman/{FLAT}")).unwrap() == origin.contents(FLAT));
    for behaviour in [
        Behaviour::Status(403),
        Behaviour::Status(404),
        Behaviour::Status(500),
        Behaviour::Flip(5),
        Behaviour::Hang,
        Behaviour::DropAfter(0),
        Behaviour::Redirect("http://other:pw5ecret@127.0.0.1:9/x?token=t0psecret"),
        Behaviour::Redirect("file:///etc/pw5ecret"),
        Behaviour::Redirect("http://[pw5ecret"),
    ] {
        origin.set(DARK, behaviour);
        assert!(
            rig.read(format!("references/roman/{DARK}")).is_err(),
            "{behaviour:?}"
        );
        let error = attribute(&rig.path(format!("references/roman/{DARK}")), "user.crds.error");
        assert!(!error.is_empty(), "{behaviour:?}");
        clean_everywhere(&rig);
    }
    origin.set_calls(Behaviour::Status(500));
    assert!(rig.read(format!("bestrefs/{PMAP}/SET.WFI01/dark")).is_err());
    clean_everywhere(&rig);
    rig.umount();
    clean_everywhere_stored(&rig);

    // The description in the store has no credentials: they come from the server again.
    origin.mend();
    rig.mount();
    assert!(rig.read(format!("references/roman/{DARK}")).unwrap() == origin.contents(DARK));
    clean_everywhere(&rig);
}

fn clean_everywhere_stored(rig: &Rig) {
    rig.settle();
    clean_directory(&rig.store());
    clean("the log", rig.log().as_bytes());
}

#[test]
fn wrong_credentials_are_refused_and_never_shown() {
    let origin = origin();
    let rig = Rig::mounted(&[&server(&origin, "pw5%65cret")], &["-vv", "--xattr"]);
    assert!(
        rig.read(format!("references/roman/{DARK}")).is_ok(),
        "the same, written otherwise"
    );
    clean_everywhere(&rig);
    let rig = Rig::mounted(&[&server(&origin, "pw5ecret-not")], &["-vv", "--xattr"]);
    assert_eq!(rig.read(format!("references/roman/{DARK}")), Err(libc::EACCES));
    clean_everywhere(&rig);
}

#[test]
fn mistakes_of_the_command_line_are_told_without_the_password() {
    for arguments in [
        &["--server", "htp://someone:pw5ecret@h/roman"][..],
        &["--server", "mars=http://someone:pw5ecret@h/"],
        &["--server", "http://someone:pw5ecret@h/"],
        &["--server", "roman=someone:pw5ecret@h"],
        &["--server", "roman=http://someone:pw5/ecret@h:x/"],
        &["-o", "servr=http://someone:pw5ecret@h/"],
        &["-o", "server=roman=htp://someone:pw5ecret@h/?t0psecret"],
    ] {
        let output = program()
            .args(["mount", "/nowhere"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        clean(&format!("{arguments:?}"), &output.stderr);
        assert!(
            !String::from_utf8_lossy(&output.stderr).contains("ecret"),
            "{arguments:?}"
        );
    }
}
