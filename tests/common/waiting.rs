//! Waiting for what happens by itself.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    reason = "shared by several test binaries, each of which uses a part; a wait that fails fails its test; values are written as \
              in assert_eq!"
)]

use std::fmt::Debug;
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The limit of every wait. It only ends a hang: a machine may be as busy as it likes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// The outcome of a look at something that is waited for: that it is there, or what is seen instead.
pub trait Look {
    type Found;

    fn found(self) -> Result<Self::Found, String>;
}

impl Look for bool {
    type Found = ();

    fn found(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "it is not so".to_owned())
    }
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Debug> Look for Result<T, E> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.map_err(|seen| format!("{seen:?}"))
    }
}

/// Something that is to be equal to `wanted`; an error with it, as long as it is not.
pub fn equal<S: Debug + PartialEq<W>, W>(seen: S, wanted: W) -> Result<(), S> {
    if seen == wanted { Ok(()) } else { Err(seen) }
}

/// A number that is to be `enough`; an error with it, as long as it is smaller.
pub fn at_least<N: Debug + PartialOrd>(seen: N, enough: N) -> Result<(), N> {
    if seen >= enough { Ok(()) } else { Err(seen) }
}

/// Looks again and again until what is waited for is there, and gives it. Fails with what was seen last.
#[track_caller]
pub fn eventually<L: Look>(what: &str, look: impl FnMut() -> L) -> L::Found {
    await_look(look).unwrap_or_else(|seen| panic!("not within {PATIENCE:?}: {what}. Seen last: {seen}"))
}

/// As [`eventually`], for who goes on without it: the error is what was seen last.
pub fn await_look<L: Look>(mut look: impl FnMut() -> L) -> Result<L::Found, String> {
    let begun = Instant::now();
    loop {
        match look().found() {
            Err(_) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
            shown => return shown,
        }
    }
}

/// The exit status of a process; one that does not end is killed, and fails the test.
#[track_caller]
pub fn wait(mut child: Child) -> ExitStatus {
    ended(&mut child).expect("the process ends")
}

/// The exit status of a process, unless it does not end; then it is killed.
pub fn ended(child: &mut Child) -> Option<ExitStatus> {
    let status = await_look(|| child.try_wait().unwrap()).ok();
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    status
}

/// Does work on a thread of its own, and gives its result. Work that hangs fails the test.
#[track_caller]
pub fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).expect("the work ends")
}
