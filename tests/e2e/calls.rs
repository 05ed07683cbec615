//! A server whose JSON-RPC service stalls, drips or is gone: nobody waits longer than promised, and the errno says why.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::origin::{Behaviour, Origin};
use crate::rig::{Rig, eventually, wait, within};
use crate::{FLAT, PMAP, content, reference, server_flag};

const NEW: &str = "roman_wfi_dark_0002.asdf";
const IMPATIENT: &[&str] = &["--stall-timeout", "1s", "--timeout", "3s"];

/// A dataset, which the server is asked for.
const DATASET: &str = "bestrefs/roman_0001.pmap/R0000101001001001001_0001.WFI01/dark";

#[test]
fn a_missing_name_is_absent_soon_while_the_server_says_nothing() {
    let origin = Origin::start(content());
    // As patient as the program is by default.
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    assert_eq!(fs::read_dir(rig.path("references/roman")).unwrap().count(), 2);
    origin.set_calls(Behaviour::StallBeforeHead);
    // A name is not asked for right after a catalog has come.
    let missing = rig.path(reference(NEW));
    eventually("another catalog is asked for", || {
        let missing = missing.clone();
        assert!(!within(move || missing.try_exists().unwrap()));
        origin.called("get_server_info").len() > 1
    });
    let others: Vec<_> = (3..40)
        .map(|number| rig.path(reference(&format!("roman_wfi_dark_{number:04}.asdf"))))
        .chain([rig.path(reference(FLAT)), missing.clone()])
        .collect();
    let found = within(move || others.iter().filter(|path| path.try_exists().unwrap()).count());
    assert_eq!(found, 1, "{FLAT} alone is there");
    // It comes, and is seen, although it was looked for before.
    origin.change(|content| *content = std::mem::take(content).file(NEW, 1_000));
    origin.mend();
    eventually("the new name is seen", || missing.try_exists().unwrap());
}

#[test]
fn a_first_catalog_that_does_not_come_is_etimedout() {
    for behaviour in [
        Behaviour::StallBeforeHead,
        Behaviour::Drip {
            bytes: 1,
            every: Duration::from_millis(300),
        },
    ] {
        let origin = Origin::start(content());
        origin.set_calls(behaviour);
        let mut rig = Rig::new(&[&server_flag(&origin)], IMPATIENT);
        rig.mount_untouched();
        for part in ["references", "mappings"] {
            let directory = rig.path(part).join("roman");
            let failed = within(move || fs::read_dir(directory).map(drop));
            assert_eq!(
                failed.unwrap_err().raw_os_error(),
                Some(libc::ETIMEDOUT),
                "{behaviour:?}"
            );
        }
        origin.mend();
        let read = eventually("the catalog comes", || rig.read(reference(FLAT)));
        assert!(read == origin.contents(FLAT), "{behaviour:?}");
    }
}

/// The client opens its `server_config` before anything else, with whatever patience the mount has.
#[test]
fn config_files_are_there_at_once_and_opens_of_them_wait_for_a_slow_server() {
    let origin = Origin::start(content());
    origin.set_calls(Behaviour::StallBeforeHead);
    // As patient as the program is by default: far more than the test.
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.mount_untouched();
    let config = rig.path("config/roman");
    let names = within(move || {
        ["server_config", "bad_files.txt", "ref_cache_subdir_mode"].map(|name| {
            let found = fs::metadata(config.join(name)).unwrap();
            assert!(found.is_file());
            name
        })
    });
    assert_eq!(rig.read("config/roman/ref_cache_subdir_mode").unwrap(), b"flat");
    std::thread::scope(|scope| {
        let readers: Vec<_> = names[..2]
            .iter()
            .map(|name| Path::new("config/roman").join(name))
            .map(|path| scope.spawn(|| rig.read(path).unwrap()))
            .collect();
        origin.wait_for_stalled(1);
        let told = rig.json(".crds-fs/status.json").unwrap();
        assert_eq!(
            told["observatories"][0]["files"],
            serde_json::Value::Null,
            "no catalog yet"
        );
        assert!(readers.iter().all(|reader| !reader.is_finished()), "they wait");
        origin.mend();
        let texts: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(String::from_utf8_lossy(&texts[0]).contains(PMAP), "the server's");
        let size = fs::metadata(rig.path("config/roman/server_config"))
            .unwrap()
            .len();
        assert_eq!(size, u64::try_from(texts[0].len()).unwrap());
    });
}

#[test]
fn a_name_without_any_catalog_is_etimedout_soon_and_not_remembered() {
    let origin = Origin::start(content());
    origin.set_calls(Behaviour::StallBeforeHead);
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.mount_untouched();
    for name in [reference(FLAT), format!("mappings/roman/{PMAP}"), reference(NEW)] {
        let place = rig.path(name);
        let failed = within(move || fs::metadata(place).unwrap_err());
        assert_eq!(failed.raw_os_error(), Some(libc::ETIMEDOUT));
    }
    // A name that no catalog can have does not wait for one.
    let own = rig.path("references/roman/notes.lock");
    assert!(!within(move || own.try_exists().unwrap()));
    origin.mend();
    eventually("the name is there", || fs::metadata(rig.path(reference(FLAT))));
}

#[test]
fn who_waits_for_a_first_catalog_can_be_interrupted() {
    let origin = Origin::start(content());
    origin.set_calls(Behaviour::StallBeforeHead);
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.mount_untouched();
    for (program, place) in [
        ("ls", rig.path("references/roman")),
        ("cat", rig.path("config/roman/server_config")),
    ] {
        let caller = Command::new(program)
            .arg(place)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        origin.wait_for_stalled(1);
        kill_process(Pid::from_child(&caller), Signal::INT).unwrap();
        let status = wait(caller);
        assert_eq!(status.signal(), Some(libc::SIGINT), "{program}");
    }
}

#[test]
fn a_call_that_does_not_come_back_is_etimedout() {
    for behaviour in [
        Behaviour::StallBeforeHead,
        Behaviour::Drip {
            bytes: 1,
            every: Duration::from_millis(300),
        },
    ] {
        let origin = Origin::start(content());
        let rig = Rig::mounted(&[&server_flag(&origin)], IMPATIENT);
        rig.read(format!("mappings/roman/{PMAP}")).unwrap();
        origin.set_calls(behaviour);
        let dataset = rig.path(DATASET);
        let failed = within(move || fs::read(dataset).unwrap_err().raw_os_error());
        assert_eq!(failed, Some(libc::ETIMEDOUT), "{behaviour:?}: {}", rig.log());
    }
}

#[test]
fn a_reply_whose_headers_have_no_end_is_a_broken_protocol() {
    let origin = Origin::start(content());
    origin.set_calls(Behaviour::EndlessHead);
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.mount_untouched();
    let directory = rig.path("references/roman");
    let failed = within(move || fs::read_dir(directory).map(drop));
    assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EREMOTEIO));
}

#[test]
fn a_refused_server_is_ehostunreach_for_catalogs() {
    let origin = Origin::start(content());
    origin.refuse();
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    rig.mount_untouched();
    for _ in 0..3 {
        let failed = fs::read_dir(rig.path("references/roman")).map(drop);
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EHOSTUNREACH));
    }
    assert_eq!(rig.read(reference(FLAT)), Err(libc::EHOSTUNREACH));
}

/// Connections that were kept from before die with the server: that is no broken protocol.
#[test]
fn a_server_that_goes_away_is_ehostunreach_for_calls_and_files() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    rig.read(format!("mappings/roman/{PMAP}")).unwrap();
    origin.refuse();
    assert_eq!(rig.read(DATASET), Err(libc::EHOSTUNREACH), "{}", rig.log());
    assert_eq!(
        rig.read(reference(FLAT)),
        Err(libc::EHOSTUNREACH),
        "{}",
        rig.log()
    );
}
