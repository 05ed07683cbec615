//! Two hundred openers wait for a server that says nothing; nobody else notices.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::origin::{Behaviour, Origin};
use crate::rig::{PATIENCE, Rig, wait, within};
use crate::{FLAT, content, server_flag};

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
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
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
    let (length, read, listed) = within(PATIENCE, move || {
        let listed = fs::read_dir(cold.parent().unwrap()).unwrap().count();
        (fs::metadata(cold).unwrap().len(), fs::read(warm).unwrap(), listed)
    });
    assert_eq!((length, listed), (5_000, STALLED + 2));
    assert!(read == origin.contents(FLAT));

    for (index, reader) in readers.0.drain(..).enumerate() {
        let signal = if index % 2 == 0 { Signal::KILL } else { Signal::INT };
        kill_process(Pid::from_child(&reader), signal).unwrap();
        let status = wait(reader, PATIENCE).expect("a waiter that is signalled dies");
        assert_eq!(status.signal(), Some(signal.as_raw()));
    }
    rig.umount();
}

#[test]
fn umount_ends_what_waits() {
    let origin = Origin::start(content());
    origin.set(FLAT, Behaviour::StallBeforeHead);
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let path = rig.path(format!("references/roman/{FLAT}"));
    let reader = std::thread::spawn(move || fs::read(path).unwrap_err().raw_os_error().unwrap());
    origin.wait_for_stalled(1);
    rig.terminate();
    let errno = within(PATIENCE, move || reader.join().unwrap());
    assert!(
        [libc::ESHUTDOWN, libc::ENOTCONN, libc::ECONNABORTED].contains(&errno),
        "{errno}"
    );
}
