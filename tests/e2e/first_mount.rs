//! The messages of a first mount, whatever the server does; and contexts that are known to be wrong.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::mounts;
use crate::origin::{Behaviour, Origin};
use crate::rig::{eventually, program};
use crate::{PMAP, content, server_flag};

/// A directory to mount on, in the background as users do it.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("cache")).unwrap();
        Self { root }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command
            .args(arguments)
            .env("HOME", self.root.path())
            .env("CRDS_FS_XATTR", "1");
        command.output().unwrap()
    }

    /// Mounts; what was said.
    fn mount(&self, server: &str, arguments: &[&str]) -> String {
        let path = self.path().display().to_string();
        let observatory = server.split_once('=').unwrap().0;
        let fixed = ["mount", &path, "--server", server, "--observatory", observatory];
        let output = self.run(&[&fixed, arguments].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(output.stdout, b"", "it has no result");
        said
    }

    /// Waits until the catalog is there, as a lookup does only for a moment.
    fn await_catalog(&self) {
        assert!(
            fs::read_dir(self.path().join("references/roman"))
                .unwrap()
                .count()
                > 0
        );
    }

    fn umount(&self) {
        let output = self.run(&["umount", &self.path().display().to_string()]);
        assert!(output.status.success(), "{output:?}");
        mounts::await_end(&output);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.run(&["umount", "--lazy", &self.path().display().to_string()]);
    }
}

/// A first mount, and what it said once it had heard of the server: on a busy machine it may not wait for that.
#[track_caller]
fn first_mount(server: &str, arguments: &[&str]) -> (Place, String) {
    eventually("a first mount has heard of the server", || {
        let place = Place::new();
        let said = place.mount(server, arguments);
        if said.contains("has not told its catalog yet") {
            Err(said)
        } else {
            Ok((place, said))
        }
    })
}

#[track_caller]
fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "'{word}' is not in:\n{said}");
    }
}

#[test]
fn a_first_mount_tells_what_is_there_and_what_is_next() {
    let origin = Origin::start(content());
    let (place, said) = first_mount(&server_flag(&origin), &[]);
    let path = place.path().display().to_string();
    let log = place.root.path().join(".local/state/crds-fs");
    says(
        &said,
        &[
            "roman: context roman_0001.pmap, 3 files\n",
            &format!("next: eval \"$(crds-fs env {path})\""),
            &log.display().to_string(),
            &format!("mounted at '{path}'"),
        ],
    );
    place.umount();

    // Later mounts ask nobody, and say little.
    let asked = origin.all_called();
    let said = place.mount(&server_flag(&origin), &[]);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(origin.all_called(), asked);
    place.umount();
    let quiet = Place::new();
    assert_eq!(quiet.mount(&server_flag(&origin), &["-q"]), "");
}

/// A directory that the mount cannot write, or that it would close to its group: its users would only see errors.
#[test]
fn a_mount_tells_that_nothing_can_be_kept_and_that_its_group_is_kept_out() {
    let origin = Origin::start(content());
    let place = Place::new();
    let store = place.root.path().join("store");
    fs::create_dir_all(store.join("mappings")).unwrap();
    let cache = store.to_str().unwrap();
    let mode = |mode| fs::set_permissions(&store, Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    let unwritable = "the cache cannot be written";
    says(
        &place.mount(&server_flag(&origin), &["--cache", cache]),
        &[unwritable],
    );
    place.umount();
    let said = place.mount(&server_flag(&origin), &["--cache", cache, "--read-only"]);
    assert!(!said.contains(unwritable), "it was meant: {said}");
    place.umount();
    mode(0o2775);
    for (umask, is_closed) in [("022", true), ("002", false)] {
        let program = program();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let output = shell
            .arg(program.get_program())
            .args([
                "mount",
                "--shared",
                "--cache",
                cache,
                "--server",
                &server_flag(&origin),
            ])
            .args(["--observatory", "roman"])
            .arg(place.path())
            .env("HOME", place.root.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.contains("the cache is for a group"), is_closed, "{said}");
        place.umount();
    }
}

#[test]
fn a_server_that_is_slow_keeps_no_mount_waiting() {
    let origin = Origin::start(content());
    origin.set_calls(Behaviour::StallBeforeHead);
    let place = Place::new();
    let said = place.mount(&server_flag(&origin), &[]);
    says(
        &said,
        &[
            "roman: ",
            &origin.url(),
            "has not told its catalog yet",
            "next: eval",
        ],
    );
    origin.mend();
    place.await_catalog();
    assert!(fs::read(place.path().join("mappings/roman").join(PMAP)).unwrap() == origin.contents(PMAP));
}

/// Each cause stands on the terminal, in the status, in the status' exit and in the attribute, with what to do.
#[track_caller]
fn fails(server: &str, words: &[&str]) {
    let (place, said) = first_mount(server, &[]);
    says(&said, &["no catalog: ", "next: eval"]);
    says(&said, words);
    assert!(
        !said.contains("get_server_info/crds-fs-"),
        "the URL of the server, not of a call: {said}"
    );
    let observatory = server.split_once('=').unwrap().0;
    // The failure of the mount is as good as one of an access.
    let path = place.path().display().to_string();
    for arguments in [&["status", &path][..], &["status", &path, "--json"]] {
        let status = place.run(arguments);
        let text = String::from_utf8(status.stdout).unwrap();
        says(&text, words);
        assert_eq!(status.status.code(), Some(1), "{text}");
    }
    for name in [
        format!("references/{observatory}"),
        format!("config/{observatory}/server_config"),
    ] {
        let mut value = [0; 4096];
        let length = rustix::fs::getxattr(place.path().join(&name), "user.crds.error", &mut value);
        let error = String::from_utf8_lossy(&value[..length.unwrap()]).into_owned();
        says(&error, words);
    }
    let log = fs::read_dir(place.root.path().join(".local/state/crds-fs")).unwrap();
    let log = log.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    says(&log.collect::<String>(), words);
}

#[test]
fn nobody_there() {
    let origin = Origin::start(content());
    origin.refuse();
    fails(
        &server_flag(&origin),
        &["refused", "nobody listens there", "--offline", &origin.url()],
    );
}

#[test]
fn no_such_host() {
    fails(
        "roman=http://nowhere.invalid/roman",
        &["nobody knows that host", "nowhere.invalid"],
    );
}

#[test]
fn not_a_crds_server() {
    let origin = Origin::start(content());
    for behaviour in [Behaviour::Status(404), Behaviour::Html] {
        origin.set_calls(behaviour);
        fails(
            &server_flag(&origin),
            &["no CRDS server answers at this URL", &origin.url()],
        );
    }
}

#[test]
fn https_where_only_http_is_spoken() {
    let origin = Origin::start(content());
    let url = origin.url();
    let secure = url.replace("http://", "https://");
    fails(
        &format!("roman={secure}"),
        &["no https is spoken there", &format!("--server roman={url}")],
    );
}

#[test]
fn http_where_only_https_is_spoken() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            // A TLS alert: unexpected message.
            let _ = stream.write_all(b"\x15\x03\x03\x00\x02\x02\x0a");
        }
    });
    let words = [
        "no plain http is spoken there",
        &format!("--server roman=https://{address}/roman"),
    ];
    fails(&format!("roman=http://{address}/roman"), &words);

    let origin = Origin::start(content());
    origin.set_calls(Behaviour::Redirect(
        "https://crds.example/roman/json/get_server_info/x/",
    ));
    let words = [
        "redirects to https://crds.example",
        "--server roman=https://crds.example/roman",
    ];
    fails(&server_flag(&origin), &words);
}

#[test]
fn the_server_of_another_observatory() {
    let origin = Origin::start(content());
    let url = origin.url();
    let words = [
        "the server of roman, not of jwst",
        &format!("--server roman={url}"),
        "--server jwst=URL",
    ];
    fails(&format!("jwst={url}"), &words);
}

#[test]
fn a_server_that_wants_a_password() {
    let origin = Origin::start(content());
    origin.set_calls(Behaviour::Status(401));
    fails(
        &server_flag(&origin),
        &["401", "CRDS_FS_SERVER=roman=https://USER:PASSWORD@HOST"],
    );
}

#[test]
fn contexts_that_are_known_to_be_wrong_are_refused() {
    let origin = Origin::start(content());
    let server = server_flag(&origin);
    let place = Place::new();
    let path = place.path().display().to_string();
    let refused = |command: &str, context: &str, words: &[&str]| {
        let rest = [
            "--server",
            &server,
            "--observatory",
            "roman",
            "--context",
            context,
        ];
        let output = if command == "run" {
            place.run(&[&["run", "--cache", &path], &rest[..], &["--", "true"]].concat())
        } else {
            place.run(&[&["mount", &path], &rest[..]].concat())
        };
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success(),
            "{command} --context {context} is accepted"
        );
        says(&said, words);
        says(&said, &["--context"]);
    };
    for command in ["mount", "run"] {
        refused(command, "hst_0729.pmap", &["context of hst", "--observatory"]);
        refused(command, "no context", &["not a context"]);
        refused(command, "whatever.pmap", &["whatever.pmap"]);
    }
    // Without a catalog nobody knows yet.
    place.mount(&server, &["--context", PMAP]);
    place.await_catalog();
    place.umount();
    for command in ["mount", "run"] {
        refused(
            command,
            "roman_7777.pmap",
            &[
                "does not list 'roman_7777.pmap'",
                "latest context of roman is roman_0001.pmap",
            ],
        );
    }
    place.mount(&server, &["--context", PMAP]);
    place.umount();
    // Without a catalog from before, the mount tells it when the first one has come.
    let (_other, said) = first_mount(&server, &["--context", "roman_7777.pmap"]);
    says(&said, &["roman_7777.pmap", "neither in the roman catalog"]);
    // An old catalog does not know what came since.
    place.mount(&server, &["--context", "roman_7777.pmap", "--catalog-ttl", "0"]);
    place.umount();
    // The user's own rules need not be listed.
    fs::create_dir_all(place.path().join("mappings/roman")).unwrap();
    fs::write(place.path().join("mappings/roman/roman_7777.pmap"), "mine").unwrap();
    place.mount(&server, &["--context", "roman_7777.pmap"]);
}

#[test]
fn a_disk_on_which_nothing_can_be_kept_is_told() {
    let origin = Origin::start(content());
    let place = Place::new();
    let server = server_flag(&origin);
    let said = place.mount(&server, &["--keep-free", "1000P"]);
    assert!(
        said.contains("nothing can be fetched") && said.contains("--keep-free"),
        "{said}"
    );
    place.umount();
    let said = place.mount(&server, &["--keep-free", "0"]);
    assert!(!said.contains("--keep-free"), "{said}");
    place.umount();
}
