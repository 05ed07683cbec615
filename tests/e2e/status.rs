//! `crds-fs status` and the metrics: which mount, how much it holds, and whether it is well.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{ChildStdout, Command, Output, Stdio};

use serde_json::Value;

use crate::origin::{Behaviour, Origin};
use crate::rig::waiting::await_look;
use crate::rig::{Rig, eventually, program, within};
use crate::{DARK, FLAT, content, server_flag};

fn status(arguments: &[&str], directory: &Path) -> Output {
    let mut command = program();
    command.arg("status").args(arguments).current_dir(directory);
    command.output().unwrap()
}

fn of(rig: &Rig, arguments: &[&str]) -> Output {
    let place = rig.mountpoint();
    status(&[&[place.to_str().unwrap()], arguments].concat(), Path::new("/"))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The samples of the metrics, by name with labels, without those of sums, which are no whole numbers. Every metric has its
/// help, its type, and a name that fits.
fn metrics(rig: &Rig) -> BTreeMap<String, u64> {
    let all = text(&rig.read(".crds-fs/metrics").unwrap());
    let (mut helped, mut types, mut samples) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for line in all.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !helped.contains(&name), "{line}");
            helped.push(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(helped.last(), Some(&name), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            types.insert(name, kind);
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let of_histogram = ["_bucket", "_sum", "_count"].into_iter().any(|end| {
                let family = name.strip_suffix(end);
                family.is_some_and(|family| types.get(family) == Some(&"histogram"))
            });
            assert!(of_histogram || types.contains_key(name), "{line}");
            assert!(name.starts_with("crds_fs_"), "{line}");
            if of_histogram && name.ends_with("_sum") {
                assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
                continue;
            }
            let earlier = samples.insert(sample.to_owned(), value.parse().unwrap());
            assert_eq!(earlier, None, "{line}");
        }
    }
    samples
}

#[test]
fn the_store_is_counted_before_anything_is_touched() {
    let origin = Origin::start(content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    for (directory, name, size) in [
        ("references/roman", DARK, 300_000),
        ("mappings/roman", "roman_0001.pmap", 2_000),
    ] {
        let directory = rig.store().join(directory);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), vec![b'x'; size]).unwrap();
    }
    rig.mount_untouched();
    let space = &json(&of(&rig, &["--json"]))["space"];
    assert_eq!(
        (&space["used"], &space["files"]),
        (&302_000.into(), &2.into()),
        "{space}"
    );
    assert_eq!(space["complete"], true);
    let metrics = metrics(&rig);
    assert_eq!(metrics["crds_fs_store_used_bytes"], 302_000);
    assert_eq!(origin.all_asked(), 0, "looking fetches nothing");
}

#[test]
fn a_failing_observatory_is_told_with_its_reason_and_by_the_exit_status() {
    let origin = Origin::start(content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--catalog-ttl", "1h"]);
    rig.mount_untouched();
    assert_eq!(of(&rig, &[]).status.code(), Some(0), "nothing was tried yet");
    origin.set_calls(Behaviour::Status(403));
    assert_eq!(rig.read(format!("references/roman/{DARK}")), Err(libc::EACCES));
    let output = of(&rig, &[]);
    let (out, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{said}");
    for told in [&out, &said] {
        assert!(told.contains("roman") && told.contains("403"), "{told}");
    }
    assert!(out.contains(&origin.url()), "{out}");
    let output = of(&rig, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let observatory = &json(&output)["observatories"][0];
    assert_eq!(
        (
            &observatory["name"],
            &observatory["state"],
            &observatory["error"]["kind"]
        ),
        (&"roman".into(), &"failed".into(), &"denied".into()),
        "{observatory}"
    );
    assert_eq!(metrics(&rig)["crds_fs_catalog_failed{observatory=\"roman\"}"], 1);
}

#[test]
fn a_mount_is_chosen_by_the_working_directory_and_the_environment() {
    let origin = Origin::start(content());
    let mut first = Rig::mounted(&[&server_flag(&origin)], &[]);
    let second = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = |rig: &Rig| rig.mountpoint().canonicalize().unwrap().display().to_string();
    let (one, two) = (place(&first), place(&second));
    let chosen = |output: &Output| json(output)["mountpoint"].as_str().unwrap().to_owned();
    for (rig, place) in [(&first, &one), (&second, &two)] {
        let inside = rig.path("references/roman");
        assert_eq!(&chosen(&status(&["--json"], &inside)), place);
        assert_eq!(
            &chosen(&status(&["--json", inside.to_str().unwrap()], Path::new("/"))),
            place
        );
        let mut command = program();
        command
            .args(["status", "--json"])
            .current_dir("/")
            .env("CRDS_PATH", rig.mountpoint());
        assert_eq!(&chosen(&command.output().unwrap()), place);
    }
    // With nothing to choose one mount by, each has its line.
    let all = status(&["--json"], Path::new("/"));
    let mounts = json(&all)["mounts"].as_array().unwrap().clone();
    let line = |place: &str| mounts.iter().find(|line| line["mountpoint"] == place).unwrap();
    for (rig, place) in [(&first, &one), (&second, &two)] {
        let own = json(&of(rig, &["--json"]));
        let line = line(place);
        assert_eq!(
            (&line["pid"], &line["store"], &line["state"]),
            (&own["pid"], &own["store"], &"well".into()),
            "{line}"
        );
    }
    let told = text(&status(&[], Path::new("/")).stdout);
    let row = |told: &str, place: &str| {
        let mut lines = told.lines().map(str::trim_start);
        let (row, next) = (lines.find(|line| line.starts_with(place)), lines.next());
        (row.unwrap().to_owned(), next.unwrap_or_default().to_owned())
    };
    assert!(row(&told, &one).0.contains("  well  "), "{told}");
    // One that has died is told as such, in the list too.
    first.kill_shared();
    first.reap();
    let output = status(&[], Path::new("/"));
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let (line, reason) = row(&told, &one);
    assert!(
        line.contains("  dead  ") && reason.contains("crds-fs mount"),
        "{told}"
    );
    for inside in [first.mountpoint(), first.path(format!("references/roman/{DARK}"))] {
        let output = status(&[inside.to_str().unwrap()], Path::new("/"));
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("has died"), "{output:?}");
    }
    let lookup = [
        "bestrefs",
        "--mount",
        &one,
        "--header",
        "A=1",
        "--context",
        "roman_0001.pmap",
    ];
    let output = program().args(lookup).output().unwrap();
    assert!(text(&output.stderr).contains("has died"), "{output:?}");
    assert_eq!(of(&second, &[]).status.code(), Some(0));
}

#[test]
fn metrics_tell_failures_by_kind_evictions_and_the_program() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(
        &[&server_flag(&origin)],
        &["--cache-size", "310000", "--keep-free", "0"],
    );
    let before = metrics(&rig);
    let build = format!("crds_fs_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (before[&build], before["crds_fs_store_limit_bytes"]),
        (1, 310_000)
    );
    assert!(before["crds_fs_start_time_seconds"] > 1_700_000_000);
    assert_eq!(before["crds_fs_evicted_files_total"], 0);
    assert_eq!(
        before["crds_fs_failures_total{kind=\"gone\"}"], 0,
        "known before it happens"
    );
    rig.read(format!("references/roman/{DARK}")).unwrap();
    rig.read(format!("references/roman/{FLAT}")).unwrap();
    origin.set("roman_0001.pmap", Behaviour::Status(404));
    assert_eq!(rig.read("mappings/roman/roman_0001.pmap"), Err(libc::ENODATA));
    let after = metrics(&rig);
    assert_eq!(
        (
            after["crds_fs_evicted_files_total"],
            after["crds_fs_evicted_bytes_total"]
        ),
        (1, 300_000)
    );
    assert_eq!(after["crds_fs_failures_total{kind=\"gone\"}"], 1);
    assert!(after.contains_key("crds_fs_catalog_age_seconds{observatory=\"roman\"}"));
    let status = json(&of(&rig, &["--json"]));
    assert_eq!(status["space"]["evicted_files"], 1);
    assert_eq!(status["failures_by_kind"]["gone"], 1);
    assert_eq!(status["counters"]["failures"], 1);
}

#[test]
fn where_nothing_is_mounted_the_place_and_a_remedy_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().canonicalize().unwrap().display().to_string();
    let named = status(&[&place], Path::new("/"));
    let mut command = program();
    command.arg("status").current_dir("/").env("CRDS_PATH", &place);
    let by_variable = command.output().unwrap();
    for output in [&named, &by_variable] {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            said.contains(&format!("no crds-fs file system is mounted at '{place}'")),
            "{said}"
        );
        assert!(said.contains("lists what is"), "{said}");
    }
    assert!(
        text(&by_variable.stderr).contains("CRDS_PATH is "),
        "{by_variable:?}"
    );
}

#[test]
fn operations_of_the_kernel_are_counted_and_their_errors() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let before = metrics(&rig);
    let made = rig.path("pickles/roman/made");
    fs::create_dir(&made).unwrap();
    assert_eq!(
        fs::create_dir(rig.path("made")).unwrap_err().raw_os_error(),
        Some(libc::EPERM),
        "the names in the root are fixed"
    );
    fs::write(made.join("file"), b"text").unwrap();
    assert!(!made.join("absent").exists());
    let after = metrics(&rig);
    let grown = |family: &str, op: &str| {
        let sample = format!("crds_fs_fuse_{family}_total{{op=\"{op}\"}}");
        after[&sample] - before[&sample]
    };
    assert_eq!((grown("operations", "mkdir"), grown("errors", "mkdir")), (2, 1));
    assert_eq!((grown("operations", "create"), grown("errors", "create")), (1, 0));
    assert_eq!((grown("operations", "write"), grown("errors", "write")), (1, 0));
    assert!(grown("operations", "lookup") > 0);
    let refused = "crds_fs_fuse_error_replies_total{errno=\"EPERM\"}";
    assert_eq!(
        after[refused] - before.get(refused).copied().unwrap_or_default(),
        1
    );
    assert_eq!(grown("errors", "lookup"), 0, "what is absent is no error");
    assert_eq!(grown("operations", "symlink"), 0);
}

#[test]
fn who_waits_and_who_has_a_file_open_is_told_and_what_helps_against_a_failure() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let dark = format!("references/roman/{DARK}");
    origin.set(DARK, Behaviour::StallAfter(1000));
    let mut waiter = Command::new("cat")
        .arg(rig.path(&dark))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    origin.wait_for_stalled(1);
    let status = json(&of(&rig, &["--json"]));
    let transfer = &status["transfers"][0];
    assert_eq!(transfer["file"], format!("roman/{DARK}"));
    assert_eq!(transfer["waiters"], 1, "{transfer}");
    assert_eq!(transfer["waiting"][0]["pid"], waiter.id(), "{transfer}");
    assert_eq!(transfer["waiting"][0]["command"], "cat", "{transfer}");
    let described = rig.json(format!(".crds-fs/files/{dark}")).unwrap();
    assert_eq!(
        described["transfer"]["waiting"][0]["pid"],
        waiter.id(),
        "{described}"
    );
    assert_eq!(described["openers"], Value::Array(Vec::new()));
    let halfway = fs::metadata(rig.path(&dark)).unwrap();
    assert_eq!((halfway.len(), halfway.blocks()), (300_000, 0));
    origin.release();
    assert!(waiter.wait().unwrap().success());
    let file = fs::File::open(rig.path(&dark)).unwrap();
    let described = rig.json(format!(".crds-fs/files/{dark}")).unwrap();
    assert_eq!(described["transfer"], Value::Null);
    assert_eq!(described["openers"][0]["pid"], std::process::id(), "{described}");
    assert!(described["written"].is_string(), "{described}");
    drop(file);
    origin.set(FLAT, Behaviour::Status(404));
    assert_eq!(rig.read(format!("references/roman/{FLAT}")), Err(libc::ENODATA));
    let status = json(&of(&rig, &["--json"]));
    let (failure, observatory) = (&status["failures"][0], &status["observatories"][0]);
    assert!(failure["remedy"].is_string(), "{failure}");
    assert!(observatory["online_since"].is_string(), "{observatory}");
    assert_eq!(observatory["stored"][0]["group"], "wfi", "{observatory}");
    let described = rig
        .json(format!(".crds-fs/files/references/roman/{FLAT}"))
        .unwrap();
    assert_eq!(described["error"]["remedy"], failure["remedy"]);
    assert_eq!(described["error"]["when"], failure["when"]);
}

#[test]
fn a_cache_that_was_removed_is_told() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    fs::read(rig.path("references/roman").join(FLAT)).unwrap();
    // Something may just be written there.
    let store = rig.store();
    eventually("all of it is removed", || {
        let _ = fs::remove_dir_all(&store);
        !store.exists()
    });
    let output = program().arg("status").arg(rig.mountpoint()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("has been removed"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("(it has been removed)"));
}

#[test]
fn metrics_are_those_that_are_documented_and_waits_are_counted() {
    let tier = tempfile::tempdir().unwrap();
    let origin = Origin::start(content());
    let rig = Rig::mounted(
        &[&server_flag(&origin)],
        &[
            "--cache-size",
            "10M",
            "--keep-free",
            "0",
            "--tier",
            &tier.path().display().to_string(),
        ],
    );
    let dark = format!("references/roman/{DARK}");
    rig.read(&dark).unwrap();
    rig.read(&dark).unwrap();
    let samples = metrics(&rig);
    for histogram in ["open_wait_seconds", "source_latency_seconds"] {
        let labels = "observatory=\"roman\"";
        assert_eq!(
            samples[&format!("crds_fs_{histogram}_count{{{labels}}}")],
            1,
            "{samples:?}"
        );
        assert_eq!(
            samples[&format!("crds_fs_{histogram}_bucket{{{labels},le=\"+Inf\"}}")],
            1,
            "{samples:?}"
        );
    }
    assert_eq!(
        (samples["crds_fs_hits_total"], samples["crds_fs_misses_total"]),
        (1, 1)
    );
    assert_eq!(samples["crds_fs_received_bytes_total"], 300_000);
    let page = include_str!("../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
    });
    // Those of a server are looked at with one.
    let documented: BTreeMap<String, String> = rows
        .filter(|(name, _)| !name.starts_with("crds_fs_serve_"))
        .collect();
    let all = text(&rig.read(".crds-fs/metrics").unwrap());
    let types = all
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let told: BTreeMap<String, String> = types
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert_eq!(documented, told);
}

/// Reads on until `wanted` has come.
fn read_until(mut from: ChildStdout, mut seen: String, wanted: String) -> (ChildStdout, String) {
    within(move || {
        let mut buffer = [0; 4096];
        while !seen.contains(&wanted) {
            let count = from.read(&mut buffer).unwrap();
            assert!(count > 0, "it ends without '{wanted}': {seen:?}");
            seen += &String::from_utf8_lossy(&buffer[..count]);
        }
        (from, seen)
    })
}

#[test]
fn a_watch_draws_in_place_follows_a_remount_and_gives_the_terminal_back() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let command = format!(
        "'{}' status '{}' --watch; stty -a",
        env!("CARGO_BIN_EXE_crds-fs"),
        rig.mountpoint().display()
    );
    // A terminal of its own: script(1) of util-linux.
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (out, mut keys) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let process = |rig: &Rig| format!("process {}", rig.pid());
    let (out, seen) = read_until(out, String::new(), process(&rig));
    rig.umount();
    let (out, seen) = read_until(out, seen, "is mounted at".to_owned());
    rig.mount();
    let (out, seen) = read_until(out, seen, process(&rig));
    keys.write_all(b"q").unwrap();
    let (_out, seen) = read_until(out, seen, " icanon".to_owned());
    let (enter, leave) = (seen.find("\x1b[?1049h"), seen.rfind("\x1b[?1049l"));
    assert!(enter < leave && enter.is_some(), "{seen:?}");
    assert!(!seen.contains("\x1b[2J"), "nothing is wiped: {seen:?}");
    assert!(seen.contains("\x1b[1m"), "a terminal has colour: {seen:?}");
    let _ = child.kill();
    let _ = child.wait();
}

/// The process that has the file open is named, not the one that opened it and passed its descriptor on.
#[test]
fn who_has_a_file_open_is_told_whoever_opened_it() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let file = rig.path("references/roman").join(DARK);
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stderr(fs::File::open(&file).unwrap())
        .spawn()
        .unwrap();
    // On a busy machine not all processes are looked at in the time that the command takes for it.
    let told = await_look(|| {
        let status = program().arg("status").arg(&file).output().unwrap();
        let said = String::from_utf8(status.stdout).unwrap();
        if said.contains(&format!("in cat ({})", child.id())) {
            Ok(said)
        } else {
            Err(said)
        }
    });
    drop(child.stdin.take());
    child.wait().unwrap();
    let said = told.expect("it is told");
    assert!(!said.contains(&format!("({})", std::process::id())), "{said}");
}
