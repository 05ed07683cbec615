//! The choice of the server: the one that the user names is asked, at once, and no other.

use std::fs;

use serde_json::json;

use crate::origin::{Content, Origin};
use crate::rig::{Rig, eventually, program};
use crate::{DARK, FLAT, PMAP, content, server_flag};

const SET: &str = "SET.WFI01";

fn origin() -> Origin {
    let answers = [(PMAP.to_owned(), json!({"dark": DARK}))].into();
    Origin::start(Content {
        datasets: [(SET.to_owned(), (json!({"A": "1"}), answers))].into(),
        ..content()
    })
}

/// A store that was filled from a server, which is not to be asked again.
fn filled() -> (Rig, Origin, Quiet) {
    let old = origin();
    let mut rig = Rig::mounted(&[&server_flag(&old)], &[]);
    assert!(rig.read(format!("references/roman/{FLAT}")).is_ok());
    rig.umount();
    let quiet = Quiet::since(&old);
    (rig, old, quiet)
}

/// The requests for files and the calls that a server had received at a moment after which it is to receive no more.
struct Quiet(usize, usize);

impl Quiet {
    fn since(origin: &Origin) -> Self {
        Self(origin.all_asked(), origin.all_called())
    }

    #[track_caller]
    fn holds(&self, origin: &Origin) {
        assert_eq!(
            (origin.all_asked(), origin.all_called()),
            (self.0, self.1),
            "a server that the user ruled out was asked"
        );
    }
}

fn use_server(rig: &mut Rig, origin: &Origin) {
    rig.add_argument("--server");
    rig.add_argument(&server_flag(origin));
}

#[test]
fn a_young_catalog_of_another_server_is_not_where_files_come_from() {
    let (mut rig, old, quiet) = filled();
    let new = origin();
    use_server(&mut rig, &new);
    rig.mount();
    assert!(rig.read(format!("references/roman/{DARK}")).unwrap() == new.contents(DARK));
    assert_eq!(new.asked(DARK).len(), 1);
    assert_eq!(
        new.called("get_server_info").len(),
        1,
        "its catalog was asked for at once"
    );
    let config = fs::read_to_string(rig.path("config/roman/server_config")).unwrap();
    assert!(
        config.contains(&new.url()) && !config.contains(&old.url()),
        "{config}"
    );
    quiet.holds(&old);
    rig.umount();
    // And so it stays.
    rig.mount();
    assert!(rig.read(format!("mappings/roman/{PMAP}")).unwrap() == new.contents(PMAP));
    quiet.holds(&old);
    rig.umount();
}

/// The old answer is for those who can ask nobody.
#[test]
fn best_references_are_those_of_the_server_in_force() {
    let link = format!("bestrefs/{PMAP}/{SET}/dark");
    let old = origin();
    let mut rig = Rig::mounted(&[&server_flag(&old)], &[]);
    assert!(fs::read_link(rig.path(&link)).unwrap().ends_with(DARK));
    rig.umount();
    let quiet = Quiet::since(&old);
    let new = origin();
    new.change(|content| {
        let answers = [(PMAP.to_owned(), json!({"dark": FLAT}))].into();
        content
            .datasets
            .insert(SET.to_owned(), (json!({"A": "1"}), answers));
    });
    new.refuse();
    use_server(&mut rig, &new);
    rig.mount();
    assert!(fs::read_link(rig.path(&link)).unwrap().ends_with(DARK));
    rig.umount();
    new.accept();
    rig.mount();
    assert!(fs::read_link(rig.path(&link)).unwrap().ends_with(FLAT));
    rig.umount();
    quiet.holds(&old);
}

#[test]
fn a_server_in_force_that_is_not_there_is_told_and_no_other_asked() {
    let (mut rig, old, quiet) = filled();
    let new = origin();
    new.refuse();
    use_server(&mut rig, &new);
    rig.mount();
    assert!(
        rig.path(format!("references/roman/{DARK}")).exists(),
        "names are there"
    );
    assert!(rig.read(format!("references/roman/{FLAT}")).unwrap() == old.contents(FLAT));
    assert_eq!(
        rig.read(format!("references/roman/{DARK}")),
        Err(libc::EHOSTUNREACH)
    );
    let told = rig
        .json(format!(".crds-fs/files/references/roman/{DARK}"))
        .unwrap();
    let error = told["error"]["message"].as_str().unwrap();
    assert!(error.contains(&new.address().to_string()), "{error}");
    assert!(error.contains(DARK), "{error}");
    quiet.holds(&old);
    new.accept();
    // Failures are remembered for a short while.
    let read = eventually("the server is asked again", || {
        rig.read(format!("references/roman/{DARK}"))
    });
    assert!(read == new.contents(DARK));
    quiet.holds(&old);
}

#[test]
fn other_commands_ask_the_server_in_force() {
    let (rig, old, quiet) = filled();
    let new = origin();
    let output = program()
        .args(["bestrefs", "--fetch", "--context", PMAP, "--cache"])
        .arg(rig.store())
        .arg(SET)
        .env("CRDS_SERVER_URL", new.url())
        .env("CRDS_OBSERVATORY", "roman")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(new.asked(DARK).len(), 1);
    assert!(fs::read(rig.store().join("references/roman").join(DARK)).unwrap() == new.contents(DARK));
    quiet.holds(&old);
}

#[test]
fn a_private_mount_asks_the_server_in_force() {
    let (rig, old, quiet) = filled();
    let new = origin();
    let output = program()
        .args([
            "run",
            "--observatory",
            "roman",
            "--server",
            &server_flag(&new),
            "--cache",
        ])
        .arg(rig.store())
        .args([
            "--",
            "sh",
            "-c",
            &format!("cat \"$CRDS_PATH\"/references/roman/{DARK}"),
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.stdout == new.contents(DARK));
    quiet.holds(&old);
}
