//! Two hundred openers wait for a server that says nothing; nobody else notices.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::os::unix::thread::JoinHandleExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::origin::{Behaviour, Origin};
use crate::rig::{Rig, eventually, wait, within};
use crate::{DARK, FLAT, content, server_flag};

const STALLED: usize = 200;

/// The readers of files that do not come.
struct Readers(Vec<Child>);

impl Drop for Readers {
    fn drop(&mut self) {
        for reader in &mut self.0 {
            let _ = reader.kill();
            let _ = reader.wait();
        }
    }
}

fn name(number: usize) -> String {
    format!("roman_wfi_mask_{number:04}.asdf")
}

#[test]
fn two_hundred_stalled_openers_disturb_nobody() {
    let content = (0..STALLED).fold(content(), |content, number| content.file(&name(number), 5_000));
    let origin = Origin::start(content);
    // Far more patient than the test.
    let patience = ["--stall-timeout", "1h", "--timeout", "1h"];
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &patience);
    let warm = rig.path(format!("references/roman/{FLAT}"));
    fs::read(&warm).unwrap();
    for number in 0..STALLED {
        origin.set(&name(number), Behaviour::StallBeforeHead);
    }
    let mut readers = Readers(
        (0..STALLED)
            .map(|number| {
                let path = rig.path(format!("references/roman/{}", name(number)));
                Command::new("cat")
                    .arg(path)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect(),
    );
    // As many as transfers are allowed at a time; the others wait for a place.
    origin.wait_for_stalled(4);

    let cold = rig.path(format!("references/roman/{}", name(7)));
    let (length, read, listed) = within(move || {
        let listed = fs::read_dir(cold.parent().unwrap()).unwrap().count();
        (fs::metadata(cold).unwrap().len(), fs::read(warm).unwrap(), listed)
    });
    assert_eq!((length, listed), (5_000, STALLED + 2));
    assert!(read == origin.contents(FLAT));

    for (index, reader) in readers.0.drain(..).enumerate() {
        let signal = if index % 2 == 0 { Signal::KILL } else { Signal::INT };
        kill_process(Pid::from_child(&reader), signal).unwrap();
        let status = wait(reader);
        assert_eq!(status.signal(), Some(signal.as_raw()));
    }
    rig.umount();
}

/// A caller that catches a signal, as Python and IDL do with ^C, gets its handler run and EINTR.
#[test]
fn a_caught_signal_is_eintr_for_the_caller_alone() {
    let _caught = Caught::new();
    let origin = Origin::start(content());
    origin.set(FLAT, Behaviour::StallBeforeHead);
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let path = rig.path(format!("references/roman/{FLAT}"));
    let patient = std::thread::spawn({
        let path = path.clone();
        move || open(&path)
    });
    let interrupted = std::thread::spawn(move || open(&path));
    // Both wait for the one transfer. The kernel may be a moment later with the second one, hence not one signal only.
    origin.wait_for_stalled(1);
    eventually("the caller goes on", || {
        if !interrupted.is_finished() {
            interrupt(&interrupted);
        }
        interrupted.is_finished()
    });
    assert_eq!(interrupted.join().unwrap(), Err(Errno::INTR));

    origin.release();
    let patient = within(move || patient.join().unwrap());
    assert_eq!(patient, Ok(()));
    assert_eq!(origin.asked(FLAT).len(), 1, "one transfer, which went on");
    rig.umount();
}

/// [`fs::File::open`] would try again after EINTR.
fn open(path: &Path) -> Result<(), Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map(drop)
}

/// While it lives, SIGINT is caught in this process, and calls are not restarted behind it.
struct Caught {
    before: SigAction,
}

impl Caught {
    fn new() -> Self {
        extern "C" fn nothing(_: libc::c_int) {}
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        Self {
            before: handle_interrupts(&action),
        }
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        handle_interrupts(&self.before);
    }
}

fn handle_interrupts(action: &SigAction) -> SigAction {
    #[expect(unsafe_code, reason = "handlers of signals are unsafe")]
    // SAFETY: a handler that does nothing is safe in every signal, and so is the one that was there before.
    unsafe {
        sigaction(nix::sys::signal::Signal::SIGINT, action).unwrap()
    }
}

/// Sends SIGINT to one thread of this process.
fn interrupt<T>(thread: &JoinHandle<T>) {
    #[expect(unsafe_code, reason = "there is no safe way to signal a thread")]
    // SAFETY: the handle is there, so the thread is not joined, and its number is its own.
    let errno = unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGINT) };
    assert_eq!(errno, 0);
}

#[test]
fn the_daemon_s_end_is_eshutdown_for_all_who_wait() {
    let origin = Origin::start(content());
    for name in [DARK, FLAT] {
        origin.set(name, Behaviour::StallBeforeHead);
    }
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let readers = [DARK, FLAT].map(|name| {
        let path = rig.path(format!("references/roman/{name}"));
        std::thread::spawn(move || fs::read(path).unwrap_err().raw_os_error())
    });
    origin.wait_for_stalled(2);
    rig.terminate();
    let errnos = within(move || readers.map(|reader| reader.join().unwrap()));
    assert_eq!(errnos, [Some(libc::ESHUTDOWN); 2]);
}
