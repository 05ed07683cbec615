//! `crds-fs run` and `crds-fs env`: what commands are told, what is fetched for them, what they may open.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::library::{Library, dataset_file};
use crate::origin::{Behaviour, Content, Origin};
use crate::outputs::{done, failed, said};
use crate::rig::{Rig, program, within};
use crate::{DARK, FLAT, PMAP, content, server_flag};

/// A place for one cache.
struct Place {
    directory: TempDir,
    server: String,
}

impl Place {
    fn new(server: &str) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            server: server.to_owned(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `crds-fs run` with a cache of its own.
    fn command(&self, arguments: &[&str]) -> Command {
        let observatory = self.server.split('=').next().unwrap();
        let mut command = program();
        command
            .args([
                "run",
                "--cache",
                &self.name("cache"),
                "--observatory",
                observatory,
            ])
            .args(arguments)
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env("CRDS_FS_SERVER", &self.server)
            .env("CRDS_IGNORE_MAPPING_CHECKSUM", "1");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The references in the cache.
    fn references(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.path("cache/references/roman"))
            .into_iter()
            .flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }
}

/// The CRDS variables in the output of `env`.
fn variables(output: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with("CRDS_") && !line.starts_with("CRDS_FS_"))
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_command_is_told_cache_observatory_and_context_and_asks_no_server() {
    let origin = Origin::start(content());
    let place = Place::new(&server_flag(&origin));
    let output = place
        .command(&["--", "env"])
        .env("CRDS_SERVER_URL", "https://roman-crds.example.org")
        .env("CRDS_MAPPATH", "/nowhere")
        .env("CRDS_REFERENCE_URI", "none")
        .env("CRDS_CONTEXT", "None")
        .output()
        .unwrap();
    assert_eq!(
        variables(&done(&output)),
        [
            &format!("CRDS_CONTEXT={PMAP}"),
            "CRDS_IGNORE_MAPPING_CHECKSUM=1",
            "CRDS_OBSERVATORY=roman",
            &format!("CRDS_PATH={}", place.name("cache")),
            "CRDS_SERVER_URL=https://serverless.crds-fs.invalid",
        ]
    );
    // Also without a network, and by the user's own choice.
    origin.refuse();
    let own = place.run(&["--context", "roman_0001", "--offline", "--", "env"]);
    assert!(done(&own).contains(&format!("CRDS_CONTEXT={PMAP}\n")));
    // Without a known context that is told, and the command runs.
    let elsewhere = Place::new(&server_flag(&origin));
    let output = elsewhere.run(&["--", "env"]);
    assert!(
        said(&output).contains("CRDS_CONTEXT is not set"),
        "{}",
        said(&output)
    );
    assert!(!done(&output).contains("CRDS_CONTEXT"));
}

/// A server of JWST, whose release 1.18.0 has an older context.
fn jwst() -> Origin {
    let content = Content {
        observatory: "jwst",
        context: "jwst_0002.pmap".to_owned(),
        ..Content::default()
    };
    let mut content = content.file("jwst_0001.pmap", 100).file("jwst_0002.pmap", 200);
    content
        .results
        .insert("get_build_context", "\"jwst_0001.pmap\"".to_owned());
    Origin::start(content)
}

/// A program as pip installs it into an environment with this release of `jwst`: its "Python" is a shell.
fn strun(place: &Place, release: &str) -> String {
    let bin = place.path("env/bin");
    fs::create_dir_all(&bin).unwrap();
    let packages = place.path("env/lib/python3.12/site-packages");
    fs::create_dir_all(packages.join(format!("jwst-{release}.dist-info"))).unwrap();
    let python = bin.join("python3");
    if !python.exists() {
        symlink("/bin/sh", &python).unwrap();
    }
    let script = bin.join("strun");
    fs::write(&script, format!("#!{}\nenv\n", python.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script.display().to_string()
}

#[test]
fn the_context_is_that_of_the_release_that_the_command_imports() {
    let origin = jwst();
    let place = Place::new(&format!("jwst={}", origin.url()));
    let strun = strun(&place, "1.18.0");
    let told = |output: &Output| {
        let text = done(output);
        let context = text.lines().find_map(|line| line.strip_prefix("CRDS_CONTEXT="));
        context.unwrap().to_owned()
    };
    assert_eq!(told(&place.run(&["--", &strun])), "jwst_0001.pmap");
    assert_eq!(origin.called("get_build_context"), [json!(["jwst", "1.18.0"])]);
    // The user's --context counts more.
    let own = place.run(&["--context", "jwst_0002.pmap", "--", &strun]);
    assert_eq!(told(&own), "jwst_0002.pmap");
    // It is remembered: without a network it is the same.
    origin.refuse();
    assert_eq!(told(&place.run(&["--offline", "--", &strun])), "jwst_0001.pmap");
    // A release that the server does not know has the latest one, as with the client.
    let other = jwst();
    other.change(|content| content.results.clear());
    let elsewhere = Place::new(&format!("jwst={}", other.url()));
    let output = elsewhere.run(&["--", &strun]);
    assert_eq!(told(&output), "jwst_0002.pmap");
    assert!(said(&output).contains("jwst 1.18.0"), "{}", said(&output));
}

#[test]
fn a_mount_shows_the_context_of_a_release() {
    let origin = jwst();
    let rig = Rig::mounted(&[&format!("jwst={}", origin.url())], &[]);
    let link = fs::read_link(rig.path("bestrefs/jwst-build-1.18.0")).unwrap();
    assert_eq!(link, Path::new("jwst_0001.pmap"));
    origin.change(|content| content.results.clear());
    assert!(fs::read_link(rig.path("bestrefs/jwst-build-1.17.0")).is_err());
}

#[test]
fn references_of_dataset_files_among_the_arguments_are_fetched_beforehand() {
    let library = Library::demo();
    let place = Place::new(&library.flags()[0]);
    let file = dataset_file(&place.path("")).display().to_string();
    done(&place.run(&["--no-prefetch", "--", "true", &file]));
    assert_eq!(place.references(), BTreeSet::new());
    // The command opens nothing; it waits until the last of them is here.
    let wait = "for name in roman_wfi_flat_0001.asdf roman_wfi_dark_0001.asdf roman_wfi_readnoise_0001.r4d; do \
                until grep -q '\"cached\"' \"$CRDS_PATH/.crds-fs/files/references/roman/$name\"; do sleep 0.02; done; done";
    let output = place.run(&["--context", "roman_0001.pmap", "--", "sh", "-c", wait, &file]);
    done(&output);
    let references = place.references();
    assert!(references.contains("roman_wfi_flat_0001.asdf"), "{references:?}");
    assert!(!references.contains("roman_wfi_dark_0002.asdf"), "{references:?}");
}

#[test]
fn a_command_that_ends_early_does_not_wait_for_what_is_fetched() {
    let origin = Origin::start(content());
    origin.set(PMAP, Behaviour::StallBeforeHead);
    let place = Place::new(&server_flag(&origin));
    let file = dataset_file(&place.path("")).display().to_string();
    let mut command = place.command(&["--", "sh", "-c", "exit 3", &file]);
    let status = within(move || command.output().unwrap().status);
    assert_eq!(status.code(), Some(3));
}

fn cat(names: &[&str]) -> String {
    let paths: Vec<String> = names
        .iter()
        .map(|name| {
            let area = if name.ends_with("map") {
                "mappings"
            } else {
                "references"
            };
            format!("\"$CRDS_PATH/{area}/roman/{name}\"")
        })
        .collect();
    format!("cat {} > /dev/null", paths.join(" "))
}

#[test]
fn what_a_run_opened_is_recorded_and_a_lock_lets_nothing_else_be_opened() {
    let origin = Origin::start(content());
    let place = Place::new(&server_flag(&origin));
    let script = cat(&[PMAP, FLAT]);
    done(&place.run(&["--record", "lock.json", "--", "sh", "-c", &script]));
    assert_eq!(
        place.json("lock.json"),
        json!({"version": 1, "contexts": {"roman": PMAP}, "files": [
            {"observatory": "roman", "name": PMAP, "size": 2000, "sha1": origin.blob(PMAP).sha1()},
            {"observatory": "roman", "name": FLAT, "size": 20_000, "sha1": origin.blob(FLAT).sha1()},
        ]})
    );
    // The same run gives the same text, which is the key of a CI cache.
    let again = Place::new(&server_flag(&origin));
    let backwards = cat(&[FLAT, PMAP, FLAT]);
    done(&again.run(&["--record", "lock.json", "--", "sh", "-c", &backwards]));
    assert_eq!(
        fs::read(again.path("lock.json")).unwrap(),
        fs::read(place.path("lock.json")).unwrap()
    );

    let locked = Place::new(&server_flag(&origin));
    fs::copy(place.path("lock.json"), locked.path("lock.json")).unwrap();
    origin.change(|content| content.context = "roman_0002.pmap".to_owned());
    let told = format!("{script}; echo $CRDS_CONTEXT");
    let output = locked.run(&["--lock", "lock.json", "--", "sh", "-c", &told]);
    assert_eq!(done(&output), format!("{PMAP}\n"));
    let refused = locked.run(&["--lock", "lock.json", "--", "sh", "-c", &cat(&[DARK])]);
    let reason = format!("crds-fs: roman/{DARK} is not opened: it is not in the lock file");
    failed(&refused, 1, &["Permission denied", &reason]);
    assert!(origin.asked(DARK).is_empty());
    let log = fs::read_dir(locked.path(".local/state/crds-fs")).unwrap();
    let log: String = log
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert!(
        log.contains(&format!("roman/{DARK} is not opened: it is not in the lock file")),
        "{log}"
    );
    // Other contents under the same name are something else.
    let other = Place::new(&server_flag(&origin));
    let text = fs::read_to_string(place.path("lock.json")).unwrap();
    let text = text.replace(origin.blob(FLAT).sha1(), origin.blob(DARK).sha1());
    fs::write(other.path("lock.json"), text).unwrap();
    let refused = other.run(&["--lock", "lock.json", "--", "sh", "-c", &script]);
    failed(&refused, 1, &["Permission denied"]);
}

/// Files that would be fetched beforehand are not those that the command opens.
#[test]
fn a_record_has_what_the_command_opened_and_nothing_else() {
    let library = Library::demo();
    let place = Place::new(&library.flags()[0]);
    let file = dataset_file(&place.path("")).display().to_string();
    // Of `run` there are two children: the process of the mount, and the command.
    let script = format!(
        "{}; wc -w < /proc/$PPID/task/$PPID/children",
        cat(&["roman_wfi_gain_0001.json"])
    );
    let output = place.run(&["--record", "lock.json", "--", "sh", "-c", &script, &file]);
    assert_eq!(done(&output).trim(), "2", "nothing else opens files");
    let lock = place.json("lock.json");
    let files = lock["files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{lock}");
    assert_eq!(lock["contexts"], json!({"roman": "roman_0002.pmap"}));
}

#[test]
fn the_users_own_files_are_no_part_of_a_lock() {
    let origin = Origin::start(content());
    let place = Place::new(&server_flag(&origin));
    let mine = "roman_wfi_mine_0001.asdf";
    fs::create_dir_all(place.path("cache/references/roman")).unwrap();
    fs::write(place.path("cache/references/roman").join(mine), "mine").unwrap();
    let script = cat(&[mine, FLAT]);
    let output = place.run(&["--record", "lock.json", "--", "sh", "-c", &script]);
    done(&output);
    assert!(said(&output).contains(mine), "{}", said(&output));
    assert_eq!(place.json("lock.json")["files"].as_array().unwrap().len(), 1);
    let refused = place.run(&["--lock", "lock.json", "--", "sh", "-c", &script]);
    failed(&refused, 1, &["Permission denied"]);
}

#[test]
fn a_record_that_cannot_be_written_is_refused_before_the_command_runs() {
    let origin = Origin::start(content());
    let place = Place::new(&server_flag(&origin));
    let ran = place.name("ran");
    failed(
        &place.run(&["--record", "no/such/lock.json", "--", "touch", &ran]),
        1,
        &["cannot write the lock file 'no/such/lock.json'"],
    );
    fs::write(place.path("lock.json"), "{\"version\": 2, \"files\": []}").unwrap();
    failed(
        &place.run(&["--lock", "lock.json", "--", "touch", &ran]),
        1,
        &["'lock.json'", "version 2"],
    );
    failed(
        &place.run(&["--lock", "lock.json", "--record", "x", "--", "touch", &ran]),
        2,
        &["cannot be used with"],
    );
    assert!(!Path::new(&ran).exists());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let mut command = program();
    command.args(["run", "--cache"]).arg(rig.mountpoint());
    command.args(["--record", "lock.json", "--", "true"]);
    failed(&command.output().unwrap(), 2, &["is mounted already", "--record"]);
}

#[test]
fn on_a_mount_that_is_there_its_context_holds_unless_another_is_named() {
    let library = Library::demo();
    let rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let context = |variables: &[(&str, &str)]| {
        let mut command = program();
        command.args(["run", "--cache"]).arg(rig.mountpoint());
        command.args(["--", "sh", "-c", "echo $CRDS_CONTEXT"]);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        done(&output).trim().to_owned()
    };
    assert_eq!(context(&[]), "roman_0002.pmap");
    assert_eq!(context(&[("CRDS_CONTEXT", "roman_0001")]), "roman_0001.pmap");
    assert_eq!(
        context(&[("CRDS_CONTEXT", "roman-2026-02-01")]),
        "roman_0001.pmap"
    );
}

#[test]
fn env_prints_what_a_shell_evaluates() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let output = program().arg("env").arg(rig.mountpoint()).output().unwrap();
    let mount = rig.mountpoint().canonicalize().unwrap();
    let expected = format!(
        "export CRDS_PATH={}\nexport CRDS_SERVER_URL=https://serverless.crds-fs.invalid\nexport \
         CRDS_OBSERVATORY=roman\nexport CRDS_CONTEXT={PMAP}\n",
        mount.display()
    );
    assert_eq!(done(&output), expected);
    let script =
        "eval \"$(\"$0\" env)\" && cat \"$CRDS_PATH/mappings/$CRDS_OBSERVATORY/$CRDS_CONTEXT\" | wc -c";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_crds-fs")]);
    let output = shell.current_dir(rig.path("config")).output().unwrap();
    assert_eq!(done(&output).trim(), "2000");
    let nowhere = tempfile::tempdir().unwrap();
    let output = program().arg("env").arg(nowhere.path()).output().unwrap();
    failed(&output, 1, &["no crds-fs file system is mounted at"]);
}
