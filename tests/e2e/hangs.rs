//! A process that died or stopped at the worst moment, with callers inside its mount: every command still ends, says what
//! is the matter, and mends it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::mounts;
use crate::origin::Origin;
use crate::rig::waiting::await_look;
use crate::rig::{Rig, program};
use crate::{DARK, content, server_flag};

const ROUNDS: u64 = 8;

/// So many names come and go with every other catalog.
const COMING_AND_GOING: u64 = 3_000;

/// Runs a command that must end in time. One that hangs is let go by cutting the connection that it hangs in.
#[track_caller]
fn ends(place: &Path, arguments: &[&str]) -> Output {
    let mut child = program()
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = await_look(|| child.try_wait().unwrap());
    if ended.is_err() {
        cut(place);
        let _ = child.kill();
        let _ = child.wait();
        panic!("{arguments:?} hangs");
    }
    child.wait_with_output().unwrap()
}

/// Ends the connection whatever state it is in, as an administrator does: nothing of a failed test may hang for good.
fn cut(place: &Path) {
    let Some(entry) = mounts::at(place).filter(mounts::Mount::is_ours) else {
        return;
    };
    let control = PathBuf::from(format!("/sys/fs/fuse/connections/{}/abort", entry.minor));
    if fs::write(control, "1").is_err() {
        let _ = Command::new("umount")
            .arg("-f")
            .arg(place)
            .stderr(Stdio::null())
            .status();
    }
}

/// Cuts the connection when the test ends, however it does.
struct Cut(PathBuf);

impl Drop for Cut {
    fn drop(&mut self) {
        cut(&self.0);
    }
}

/// Processes that list a directory, and make and remove files in it, until they are dropped. They may come to hang in the
/// mount, which must not happen to this process.
struct Callers(Vec<Child>);

impl Callers {
    fn start(directory: &Path, count: usize) -> Self {
        let script =
            "while :; do ls -l >/dev/null; : > new-$$; mkdir dir-$$; rmdir dir-$$; rm -f new-$$; done";
        let start = |_| {
            Command::new("sh")
                .args(["-c", &format!("cd \"$0\" || exit; {script}")])
                .arg(directory)
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        Self((0..count).map(start).collect())
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        for caller in &mut self.0 {
            let _ = caller.kill();
        }
        for caller in &mut self.0 {
            let _ = caller.wait();
        }
    }
}

/// A process that is killed while the kernel is told of a new catalog and callers are inside the directory.
#[test]
fn a_kill_during_a_change_of_catalog_leaves_no_mount_that_hangs() {
    let origin = Origin::start(content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &["--catalog-ttl", "50ms"]);
    let place = rig.mountpoint();
    let name = place.to_str().unwrap().to_owned();
    let _cut = Cut(place.clone());
    let mut moments = fastrand::Rng::with_seed(2);
    for round in 0..ROUNDS {
        rig.mount();
        let directory = rig.path("references/roman");
        fs::read_dir(&directory).unwrap();
        let callers = Callers::start(&directory, 4);
        let end = Instant::now() + Duration::from_millis(moments.u64(400..1200));
        let mut more = false;
        while Instant::now() < end {
            more = !more;
            origin.change(|content| {
                content.phantoms.clear();
                for number in (0..COMING_AND_GOING).filter(|_| more) {
                    let name = format!("roman_wfi_mask_{number:04}.asdf");
                    content.phantoms.push((name, 10, "0".repeat(40)));
                }
            });
            std::thread::sleep(Duration::from_millis(60));
        }
        rig.kill_shared();
        let status = ends(&place, &["status", &name]);
        let said = String::from_utf8_lossy(&status.stderr).into_owned();
        assert!(said.contains("has died"), "round {round}: {said}");
        if round % 2 == 0 {
            let umount = ends(&place, &["umount", "--lazy", &name]);
            let said = String::from_utf8_lossy(&umount.stderr).into_owned();
            assert!(umount.status.success(), "round {round}: {said}");
        }
        // In the other rounds the next mount mends it, with the callers still inside.
        rig.reap();
        rig.mount();
        drop(callers);
        assert_eq!(
            rig.read(format!("references/roman/{DARK}")).unwrap(),
            origin.contents(DARK)
        );
        rig.umount();
    }
}

/// The connection of a mount, taken over from its process: as long as it is held, the kernel waits for answers although the
/// process is gone, as it does for a process with a thread stuck in the kernel.
fn take_over_connection(pid: u32) -> Vec<std::os::fd::OwnedFd> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let of_fuse = |number: &i32| {
        let link = format!("/proc/{}/fd/{number}", pid.as_raw_nonzero());
        fs::read_link(link).is_ok_and(|target| target == Path::new("/dev/fuse"))
    };
    (0..256)
        .filter(of_fuse)
        .map(|number| {
            rustix::process::pidfd_getfd(&process, number, rustix::process::PidfdGetfdFlags::empty()).unwrap()
        })
        .collect()
}

/// A mount whose process died while the kernel still waits for it: `status` says so, and both `umount` and the next
/// `mount` let go the callers that hang in it.
#[test]
fn a_mount_that_hangs_for_good_is_told_of_and_mended() {
    let origin = Origin::start(content());
    let mut rig = Rig::new(&[&server_flag(&origin)], &[]);
    let place = rig.mountpoint();
    let name = place.to_str().unwrap().to_owned();
    let _cut = Cut(place.clone());
    for by_umount in [true, false] {
        rig.mount();
        fs::read_dir(rig.path("references/roman")).unwrap();
        let held = take_over_connection(rig.pid());
        assert!(!held.is_empty());
        let mut caller = Command::new("stat")
            .arg("-f")
            .arg(&place)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        caller.wait().unwrap();
        rig.kill_shared();
        rig.reap();
        let mut caller = Command::new("stat")
            .arg("-f")
            .arg(&place)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let status = ends(&place, &["status", &name]);
        let said = String::from_utf8_lossy(&status.stderr).into_owned();
        assert_eq!(status.status.code(), Some(1), "{said}");
        assert!(said.contains("has died"), "{said}");
        let file = format!("{name}/references/roman/{DARK}");
        let status = ends(&place, &["status", &file]);
        let said = String::from_utf8_lossy(&status.stderr).into_owned();
        assert!(said.contains("has died"), "{said}");
        assert!(caller.try_wait().unwrap().is_none(), "the mount does not hang");
        if by_umount {
            let umount = ends(&place, &["umount", &name]);
            let said = String::from_utf8_lossy(&umount.stderr).into_owned();
            assert!(umount.status.success(), "{said}");
            assert_eq!(mounts::at(&place), None);
        } else {
            rig.mount();
            assert_eq!(
                rig.read(format!("references/roman/{DARK}")).unwrap(),
                origin.contents(DARK)
            );
            rig.umount();
        }
        assert!(!caller.wait().unwrap().success(), "it was let go with an error");
        drop(held);
    }
}

/// A process that does not answer but lives: nothing is taken from it unless that is asked for.
#[test]
fn a_stopped_process_is_told_of_and_left_alone() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = rig.mountpoint();
    let name = place.to_str().unwrap().to_owned();
    let _cut = Cut(place.clone());
    rig.signal(rustix::process::Signal::STOP);
    for arguments in [["status", name.as_str()], ["mount", name.as_str()]] {
        let output = ends(&place, &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("does not answer") && said.contains(&rig.pid().to_string()),
            "{arguments:?}: {said}"
        );
    }
    rig.signal(rustix::process::Signal::CONT);
    assert_eq!(
        rig.read(format!("references/roman/{DARK}")).unwrap(),
        origin.contents(DARK)
    );
    rig.umount();
}

/// The disk is not to blame for a process that was stopped.
#[test]
fn a_stopped_process_is_told_of_when_it_is_unmounted() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = rig.mountpoint();
    let _cut = Cut(place.clone());
    rig.signal(rustix::process::Signal::STOP);
    // A command of another test that looks at all mounts hangs in this one for a moment.
    let umount = await_look(|| {
        let output = ends(&place, &["umount", place.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("is in use") {
            Err(said)
        } else {
            Ok((output, said))
        }
    });
    // The kernel gives its number to the next mount, which it has nothing to do with.
    let other = std::panic::catch_unwind(|| {
        let mut rig = Rig::of("roman", &["--offline"]);
        rig.mount();
        rig.umount();
    });
    rig.signal(rustix::process::Signal::CONT);
    other.unwrap();
    let (output, said) = umount.expect("it is unmounted");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("kill -CONT {}", rig.pid())), "{said}");
    assert_eq!(mounts::at(&place), None);
    rig.ended();
}
