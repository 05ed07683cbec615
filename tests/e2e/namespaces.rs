//! Mounts that others have as well, in mount namespaces of their own or at a second place: a container, a service with
//! `PrivateMounts`, `unshare -m`.
//!
//! Everything happens in a mount namespace of the test's own: what a test mounts there nobody else copies.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::{fs, path::Path};

use nix::unistd::geteuid;

use crate::origin::Origin;
use crate::rig::{fuse, program};
use crate::{DARK, content, server_flag};

/// The beginning of all scripts. `start` mounts in the background; `hold` makes a shell in another namespace that does `$1` when it is
/// told to go on, and waits until it is there; `gone` waits for the end of a process.
const BEGIN: &str = r#"
set -eu
export HOME=$place
mnt=$place/mnt store=$place/store
mkdir "$mnt"
mkfifo "$place/in" "$place/go"
trap 'umount -l "$mnt" 2> /dev/null || true' EXIT
start() { "$program" mount "$mnt" $options --quiet --cache "$store"; }
server() { sed -n 's/^  "pid": \([0-9]*\),$/\1/p' "$mnt/.crds-fs/status.json"; }
hold() {
    unshare --mount --propagation "$1" sh -c 'echo > "$place/in" && read -r go < "$place/go" && eval "$1"' sh "$2" &
    holder=$!
    read -r in < "$place/in"
}
release() { echo > "$place/go"; wait "$holder"; }
gone() { while readlink "/proc/$1/exe" > /dev/null; do sleep 0.02; done; }
heard() { while ! grep -q "$1" "$place/log"; do sleep 0.02; done; }
"#;

/// Does a script as root of a mount namespace, within `$place` and with `$options` for mounts. What hangs ends after two minutes.
fn run(script: &str, place: &Path, options: &str) -> Output {
    fuse::require();
    let mut unshare = Command::new("timeout");
    unshare.args(["120", "unshare"]);
    if !geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--mount", "--propagation", "private", "--"]);
    unshare
        .args(["sh", "-c", &format!("{BEGIN}{script}")])
        .env("program", program().get_program())
        .env("place", place)
        .env("options", options)
        .output()
        .expect("unshare: apt install util-linux")
}

/// As [`run`], in a new directory; all that it says on standard output. No command of it may fail.
#[track_caller]
fn script(text: &str, options: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let output = run(text, &directory.path().canonicalize().unwrap(), options);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}: {err}{out}", output.status);
    out.into_owned()
}

#[track_caller]
fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "'{word}' is not in:\n{said}");
    }
}

/// The text behind a word at the beginning of a line.
fn told<'a>(said: &'a str, word: &str) -> &'a str {
    let told = said.lines().find_map(|line| line.strip_prefix(word));
    told.unwrap_or_else(|| panic!("no '{word}' in:\n{said}")).trim()
}

/// They keep it, all that was fetched is durable under its final name, and the process ends with them.
#[test]
fn an_unmounted_file_system_is_served_to_other_namespaces_to_their_end() {
    let origin = Origin::start(content());
    let dark = format!("references/roman/{DARK}");
    let said = script(
        &format!(
            r#"
            start
            # Unlike a lookup this waits for the catalog as long as it takes.
            ls "$mnt/references/roman" > /dev/null
            cat "$mnt/{dark}" > /dev/null
            server=$(server)
            hold private 'cmp "$place/mnt/{dark}" "$place/store/{dark}"'
            echo "holder $holder"
            echo "server $server"
            "$program" umount "$mnt" 2>&1
            ! mountpoint -q "$mnt"
            test -f "$store/{dark}"
            readlink "/proc/$server/exe" > /dev/null
            ! start 2>&1
            release
            gone "$server"
            start
            "$program" umount "$mnt" 2>&1"#
        ),
        &format!("--observatory roman --server {}", server_flag(&origin)),
    );
    let holder = format!("sh ({})", told(&said, "holder "));
    let process = format!("its process {} goes on", told(&said, "server "));
    let remedy = format!("nsenter --target {} --mount umount /", told(&said, "holder "));
    says(
        &said,
        &["unmounted here", "is on the disk", &process, &holder, &remedy],
    );
    // While they have it, the cache is not free, and who wants it is told why.
    let refused = told(&said, "crds-fs: the store is in use by ");
    says(refused, &[&format!("goes on for {holder}")]);
    assert_eq!(
        said.lines().count(),
        6,
        "the last umount has nothing to say: {said}"
    );
}

/// umount(8) does not wait for the process, which saves what it has; the next mount of the same cache does.
#[test]
fn the_next_mount_waits_for_the_end_of_one_that_was_unmounted() {
    let said = script(
        r#"
        options="$options --log-file $place/log"
        start
        server=$(server)
        trap 'kill -CONT "$server"; umount -l "$mnt" 2> /dev/null || true' EXIT
        kill -STOP "$server"
        umount -c -i "$mnt"
        "$program" mount "$mnt" $options --cache "$store" 2> /dev/null &
        next=$!
        while ! grep -q "process $server, which was unmounted, .*: waiting for its end" "$place/log"; do kill -0 "$next"; sleep 0.02; done
        kill -CONT "$server"
        wait "$next"
        echo "from $server to $(server)"
        "$program" umount "$mnt" 2>&1
        trap - EXIT"#,
        "--offline --observatory roman",
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// Told to end by a signal, it goes on as well, and says for whom. A third signal ends it whoever has it.
#[test]
fn a_signal_leaves_it_to_other_namespaces_and_a_third_one_does_not() {
    let said = script(
        r#"
        "$program" mount --foreground "$mnt" $options --cache "$store" 2> "$place/log" &
        server=$!
        while ! test -e "$mnt/.crds-fs/status.json"; do sleep 0.02; done
        hold private 'ls "$place/mnt" > /dev/null 2>&1 && echo still there || echo has ended'
        echo "holder $holder"
        kill -TERM "$server"
        heard 'going on for'
        grep 'going on for' "$place/log"
        ! mountpoint -q "$mnt"
        kill -TERM "$server"
        heard 'told to stop again'
        readlink "/proc/$server/exe" > /dev/null
        kill -TERM "$server"
        wait "$server"
        release"#,
        "--offline",
    );
    says(
        &said,
        &[&format!(
            "for sh ({}), in another mount namespace",
            told(&said, "holder ")
        )],
    );
    assert_eq!(said.lines().last(), Some("has ended"));
}

/// A second mount point of the same file system.
#[test]
fn a_second_mount_point_is_named() {
    let said = script(
        r#"
        start
        mkdir "$place/second"
        mount --bind "$mnt" "$place/second"
        "$program" umount "$mnt" 2>&1
        "$program" umount "$place/second" 2>&1
        start
        "$program" umount "$mnt" 2>&1"#,
        "--offline",
    );
    assert_eq!(
        said.lines().count(),
        3,
        "the other umounts have nothing to say: {said}"
    );
    says(&said, &["sooner: crds-fs umount /", "/second"]);
}

/// A file system mounted in the mount has to be unmounted first.
#[test]
fn what_is_mounted_in_it_is_named() {
    let said = script(
        r#"
        start
        mkdir -p "$mnt/pickles/mine"
        mount -t tmpfs none "$mnt/pickles/mine"
        ! "$program" umount "$mnt" 2>&1
        umount "$mnt/pickles/mine"
        "$program" umount "$mnt" 2>&1"#,
        "--offline",
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    says(&said, &["in use by what is mounted at '/", "/mnt/pickles/mine'"]);
}

/// A process that has the mount under another name, and in another namespace, keeps it in use where mounts are propagated, as
/// those of a container may be.
#[test]
fn a_user_in_a_namespace_that_mounts_are_propagated_to_is_named() {
    let said = script(
        r#"
        mount --bind "$place" "$place"
        mount --make-private "$place"
        mount --make-shared "$place"
        cd "$place"
        start
        mkdir old
        unshare --mount --propagation slave sh -c 'cd "$place" && pivot_root . old && cd / && exec 3< /mnt/pickles &&
            echo > /in && read -r go < /go' &
        holder=$!
        read -r in < in
        echo "holder $holder"
        ! "$program" umount "$mnt" 2>&1
        release
        "$program" umount "$mnt" 2>&1"#,
        "--offline",
    );
    says(
        &said,
        &[&format!(
            "is in use by sh ({}): end its users",
            told(&said, "holder ")
        )],
    );
    assert_eq!(said.lines().count(), 2, "{said}");
}

/// For root, the only mount is the only one that root has made, and `doctor` notes those of others.
#[test]
fn root_works_on_its_own_mounts() {
    if !geteuid().is_root() {
        println!("only root sees mounts of others: this is tested where tests run as root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().canonicalize().unwrap();
    // The directory of a test is closed to other users; so is that of the build, hence the copy.
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(program().get_program(), place.join("crds-fs")).unwrap();
    fs::set_permissions(place.join("crds-fs"), fs::Permissions::from_mode(0o755)).unwrap();
    let text = r#"
        unset CRDS_PATH
        cd /
        # Mounts of other tests are here as well, and are none of ours.
        sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - fuse.crds-fs .*/\1/p' /proc/self/mountinfo | while read -r copy; do
            umount -l "$copy"
        done
        mkdir "$place/other" "$place/other/mnt"
        chown -R 65534:65534 "$place/other"
        mknod "$place/fuse" c 10 229
        chmod 666 "$place/fuse"
        mount --bind "$place/fuse" /dev/fuse
        other() { setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$place/other" "$@"; }
        other "$place/crds-fs" mount "$place/other/mnt" --offline --quiet
        trap 'umount -l "$mnt" "$place/other/mnt" 2> /dev/null || true' EXIT
        if "$program" contexts --offline 2> "$place/said"; then exit 3; fi
        start
        ! "$program" status "$place/other/mnt" 2>&1
        ! other "$place/crds-fs" umount "$mnt" 2>&1
        test "$("$program" status --json | sed -n 's/^  "mountpoint": "\(.*\)",$/\1/p')" = "$mnt"
        other sh -c 'kill -KILL "$(sed -n "s/^  \"pid\": \([0-9]*\),$/\1/p" "$place/other/mnt/.crds-fs/status.json")"'
        while other ls "$place/other/mnt" > /dev/null 2>&1; do sleep 0.02; done
        "$program" doctor --offline --json > "$place/doctor" || true
        "$program" umount "$place/other/mnt"
        "$program" umount "$mnt"
    "#;
    let output = run(text, &place, "--offline");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    says(
        &String::from_utf8_lossy(&output.stdout),
        &["may look into it", "was mounted by root: run 'crds-fs umount"],
    );
    let doctor: serde_json::Value = serde_json::from_slice(&fs::read(place.join("doctor")).unwrap()).unwrap();
    let state = |mountpoint: &str| {
        let name = place.join(mountpoint).display().to_string();
        let mut checks = doctor["checks"].as_array().unwrap().iter();
        let found = checks.find(|check| check["name"] == name.as_str());
        let found = found.unwrap_or_else(|| panic!("no {name} in {doctor:#}"));
        (found["state"].clone(), found["message"].to_string())
    };
    assert_eq!(state("mnt").0, "ok", "{doctor:#}");
    let (of_other, message) = state("other/mnt");
    assert_eq!(of_other, "note");
    assert!(message.contains("has died"), "{message}");
}
