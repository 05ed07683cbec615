//! Callers that wait in a request and get a signal to stop.
//!
//! fuser answers `FUSE_INTERRUPT` with ENOSYS, after which the kernel sends no more of them and lets a caller whose request
//! has been read wait without any way out until it is answered. So one thread looks at `/proc/<tid>/status` of the callers that have waited for a
//! while: a caller that has a fatal signal pending, or a SIGINT, SIGTERM, SIGHUP or SIGQUIT that it neither blocks nor
//! ignores, is answered EINTR. Other signals (timers, children, Go's SIGURG) are left alone.
//!
//! There is nothing to wait on instead: a pidfd tells of the end of a process only, and `/proc/<tid>/stat` not of signals to
//! the process as a whole. So the looks are bounded: up to [`LOOKS`] callers are looked at in every round, which gives each
//! its answer within 0.2 s; of more callers each has its turn every few rounds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The time between two rounds over the waiting callers.
const PERIOD: Duration = Duration::from_millis(90);

/// The time that a caller has to have waited before it is looked at.
const PATIENCE: Duration = Duration::from_millis(80);

/// The most callers that are looked at in one round, at some ten microseconds each: 5,000 a second. The next round goes on
/// where this one stopped.
const LOOKS: usize = 450;

/// The number of a waiting caller, in the order in which they came.
type Ticket = u64;

struct Waiter {
    tid: u32,
    since: Instant,
    stop: oneshot::Sender<()>,
}

#[derive(Default)]
struct Waiters {
    next: Ticket,
    by_ticket: BTreeMap<Ticket, Waiter>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    waiters: Mutex<Waiters>,
    changed: Condvar,
}

/// The watcher of a mount's waiting callers. Its thread sleeps while there are none, and ends when the watcher is
/// dropped.
pub(super) struct Watcher {
    shared: Arc<Shared>,
}

impl Watcher {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("signal-watch".into())
            .spawn(move || watch(&theirs))?;
        Ok(Self { shared })
    }

    /// Watches the caller with this thread id from now until the result is dropped.
    pub(super) fn watch(&self, tid: u32) -> Interrupted {
        // 0: a caller outside of our pid namespace, which cannot be seen.
        if tid == 0 {
            return Interrupted {
                stopped: None,
                entry: None,
            };
        }
        let (stop, stopped) = oneshot::channel();
        let mut waiters = self.shared.lock();
        let ticket = waiters.next;
        waiters.next += 1;
        waiters.by_ticket.insert(
            ticket,
            Waiter {
                tid,
                since: Instant::now(),
                stop,
            },
        );
        drop(waiters);
        self.shared.changed.notify_one();
        let entry = Some((Arc::clone(&self.shared), ticket));
        Interrupted {
            stopped: Some(stopped),
            entry,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock()
    }
}

/// The watch over one caller, which ends when it is dropped.
pub(super) struct Interrupted {
    stopped: Option<oneshot::Receiver<()>>,
    entry: Option<(Arc<Shared>, Ticket)>,
}

impl Interrupted {
    /// Completes when the caller is told to stop.
    pub(super) async fn wait(&mut self) {
        if let Some(stopped) = &mut self.stopped
            && stopped.await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        if let Some((shared, ticket)) = self.entry.take() {
            shared.lock().by_ticket.remove(&ticket);
        }
    }
}

fn watch(shared: &Shared) {
    let mut from: Ticket = 0;
    let mut looker = Looker::default();
    let mut waiters = shared.lock();
    while !waiters.closed {
        if waiters.by_ticket.is_empty() {
            shared.changed.wait(&mut waiters);
            continue;
        }
        drop(waiters);
        std::thread::sleep(PERIOD);
        from = round(shared, from, |tid| looker.told_to_stop(tid));
        waiters = shared.lock();
    }
}

/// Looks once at the callers that have waited for [`PATIENCE`], those from ticket `from` on first, at most [`LOOKS`] of
/// them. Returns the ticket at which the next round begins.
fn round(shared: &Shared, from: Ticket, mut told_to_stop: impl FnMut(u32) -> bool) -> Ticket {
    let began = Instant::now();
    let waited = |waiter: &Waiter| began.duration_since(waiter.since) >= PATIENCE;
    let mut waiting: Vec<(Ticket, u32)> = {
        let waiters = shared.lock();
        let ahead = waiters.by_ticket.range(from..);
        let behind = waiters.by_ticket.range((Bound::Unbounded, Bound::Excluded(from)));
        ahead
            .chain(behind)
            .filter(|(_, waiter)| waited(waiter))
            .take(LOOKS + 1)
            .map(|(ticket, waiter)| (*ticket, waiter.tid))
            .collect()
    };
    let next = match waiting.get(LOOKS) {
        Some((next, _)) => *next,
        None => 0,
    };
    waiting.truncate(LOOKS);
    for (ticket, tid) in waiting {
        if told_to_stop(tid) {
            // The lock is not held over the look: a caller that left meanwhile is not found.
            if let Some(waiter) = shared.lock().by_ticket.remove(&ticket) {
                let _ = waiter.stop.send(());
            }
        }
    }
    next
}

/// Reads the state of threads, all into the same memory.
struct Looker {
    text: Vec<u8>,
}

impl Default for Looker {
    fn default() -> Self {
        // Enough for a status; one with thousands of groups makes it grow.
        Self { text: vec![0; 4096] }
    }
}

impl Looker {
    fn told_to_stop(&mut self, tid: u32) -> bool {
        match self.status(tid) {
            Ok(status) => stops(status),
            // It has ended, or ends during the read.
            Err(error) => {
                error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
            }
        }
    }

    fn status(&mut self, tid: u32) -> io::Result<&[u8]> {
        let mut file = File::open(format!("/proc/{tid}/status"))?;
        let mut length = 0;
        loop {
            let read = file.read(self.text.get_mut(length..).unwrap_or_default())?;
            length += read;
            // The kernel gives all that there is room for.
            if length < self.text.len() {
                return Ok(self.text.get(..length).unwrap_or_default());
            }
            self.text.resize(self.text.len() * 2, 0);
        }
    }
}

/// Whether a thread with this `/proc/<tid>/status` is to stop: see proc(5) for the masks. They stand near its end, the first
/// of them is `SigPnd`.
fn stops(status: &[u8]) -> bool {
    let (mut pending, mut held) = (0, 0);
    for line in status.rsplit(|byte| *byte == b'\n') {
        let Some((name, digits)) = line.split_at_checked("SigPnd:\t".len()) else {
            continue;
        };
        match name {
            b"SigBlk:\t" | b"SigIgn:\t" => held |= mask(digits),
            b"ShdPnd:\t" => pending |= mask(digits),
            b"SigPnd:\t" => {
                pending |= mask(digits);
                break;
            }
            _ => {}
        }
    }
    let bit = |signal: i32| 1_u64 << (signal - 1);
    let asked = bit(libc::SIGHUP) | bit(libc::SIGINT) | bit(libc::SIGQUIT) | bit(libc::SIGTERM);
    pending & bit(libc::SIGKILL) != 0 || pending & asked & !held != 0
}

/// A set of signals in hexadecimal digits; none where it makes no sense.
fn mask(digits: &[u8]) -> u64 {
    let digits = std::str::from_utf8(digits).ok();
    let mask = digits.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    mask.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pending: u64, shared: u64, blocked: u64, ignored: u64) -> Vec<u8> {
        format!(
            "Name:\tcat\nState:\tD (disk sleep)\nSigQ:\t1/95\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\n\
             SigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t0000000000000000\n"
        )
        .into_bytes()
    }

    #[test]
    fn signals_that_stop_and_those_that_do_not() {
        let (kill, int, term, alarm, urgent) = (1 << 8, 1 << 1, 1 << 14, 1 << 13, 1 << 22);
        assert!(!stops(&status(0, 0, 0, 0)));
        assert!(
            stops(&status(kill, 0, u64::MAX, u64::MAX)),
            "nobody blocks SIGKILL"
        );
        assert!(stops(&status(0, int, 0, 0)) && stops(&status(term, 0, 0, 0)));
        assert!(!stops(&status(0, int, int, 0)), "blocked");
        assert!(!stops(&status(0, int, 0, int)), "ignored");
        assert!(
            stops(&status(0, int | term, int, 0)),
            "the other one is not blocked"
        );
        assert!(!stops(&status(0, alarm | urgent, 0, 0)), "none of our business");
        assert!(!stops(b"") && !stops(b"SigPnd:\tzz\n"));
    }

    #[test]
    fn sees_a_child_that_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let mut looker = Looker::default();
        assert!(looker.told_to_stop(child.id()));
        assert!(!looker.told_to_stop(std::process::id()));
    }

    #[test]
    fn a_long_status_is_read_to_its_end() {
        let mut looker = Looker { text: vec![0; 7] };
        let read = looker.status(std::process::id()).unwrap().to_vec();
        assert!(read.starts_with(b"Name:"), "{}", String::from_utf8_lossy(&read));
        assert!(read.windows(7).any(|line| line == b"SigIgn:"));
    }

    #[tokio::test]
    async fn only_the_one_who_is_told_is_woken() {
        let watcher = Watcher::start().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let mut gone = watcher.watch(child.id());
        let mut alive = watcher.watch(std::process::id());
        let mut unseen = watcher.watch(0);
        tokio::select! {
            () = gone.wait() => {}
            () = alive.wait() => panic!("this process has no signal pending"),
            () = unseen.wait() => panic!("nobody knows that caller"),
        }
        drop((gone, alive));
        assert!(watcher.shared.lock().by_ticket.is_empty());
    }

    #[test]
    fn a_round_looks_at_so_many_and_the_next_goes_on_there() {
        let shared = Shared::default();
        let old = Instant::now().checked_sub(PATIENCE * 2).unwrap();
        let enter = |ticket: Ticket, since| {
            let (stop, _) = oneshot::channel();
            let tid = u32::try_from(ticket).unwrap();
            let waiter = Waiter { tid, since, stop };
            shared.lock().by_ticket.insert(ticket, waiter);
        };
        let all = u64::try_from(LOOKS * 2 + 10).unwrap();
        (0..all).for_each(|ticket| enter(ticket, old));
        let too_young = all;
        enter(too_young, Instant::now() + Duration::from_secs(3600));
        let (mut from, mut looks) = (0, vec![0; LOOKS * 2 + 11]);
        // Three rounds for each to have its turn; the third goes on with the first ones.
        for _ in 0..3 {
            let before = looks.iter().sum::<usize>();
            from = round(&shared, from, |tid| {
                looks[usize::try_from(tid).unwrap()] += 1;
                tid == 7
            });
            assert_eq!(looks.iter().sum::<usize>() - before, LOOKS);
        }
        assert_eq!(looks.pop(), Some(0), "too young to be looked at");
        assert!(looks.iter().all(|count| (1..=2).contains(count)), "{looks:?}");
        assert_eq!(looks[7], 1, "it has been told and is gone");
        assert!(!shared.lock().by_ticket.contains_key(&7));
    }
}
