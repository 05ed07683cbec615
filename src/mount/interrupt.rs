//! Callers that wait in a request and get a signal to stop.
//!
//! fuser does not pass `FUSE_INTERRUPT` on, and the kernel lets a caller whose request has been read wait without any
//! way out until it is answered. So one thread looks at `/proc/<tid>/status` of the callers that have waited for a
//! while: a caller that has a fatal signal pending, or a SIGINT, SIGTERM, SIGHUP or SIGQUIT that it neither blocks nor
//! ignores, is answered EINTR. Other signals (timers, children, Go's SIGURG) are left alone.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The time between two rounds over the waiting callers.
const PERIOD: Duration = Duration::from_millis(50);

/// The time that a caller has to have waited before it is looked at.
const PATIENCE: Duration = Duration::from_millis(100);

/// The longest time for one round; with thousands of waiting callers the next round goes on where this one stopped.
const BUDGET: Duration = Duration::from_millis(10);

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
    let mut waiters = shared.lock();
    while !waiters.closed {
        if waiters.by_ticket.is_empty() {
            shared.changed.wait(&mut waiters);
            continue;
        }
        drop(waiters);
        std::thread::sleep(PERIOD);
        from = round(shared, from);
        waiters = shared.lock();
    }
}

/// Looks once at the callers that have waited for [`PATIENCE`], those from ticket `from` on first, within [`BUDGET`].
/// Returns the ticket at which the next round begins.
fn round(shared: &Shared, from: Ticket) -> Ticket {
    let began = Instant::now();
    let waited = |waiter: &Waiter| began.duration_since(waiter.since) >= PATIENCE;
    let waiting: Vec<(Ticket, u32)> = {
        let waiters = shared.lock();
        let ahead = waiters.by_ticket.range(from..);
        let behind = waiters.by_ticket.range((Bound::Unbounded, Bound::Excluded(from)));
        ahead
            .chain(behind)
            .filter(|(_, waiter)| waited(waiter))
            .map(|(ticket, waiter)| (*ticket, waiter.tid))
            .collect()
    };
    for (ticket, tid) in waiting {
        if began.elapsed() >= BUDGET {
            return ticket;
        }
        if told_to_stop(tid) {
            // The lock is not held over the read above: a caller that left meanwhile is not found.
            if let Some(waiter) = shared.lock().by_ticket.remove(&ticket) {
                let _ = waiter.stop.send(());
            }
        }
    }
    0
}

fn told_to_stop(tid: u32) -> bool {
    match std::fs::read(format!("/proc/{tid}/status")) {
        Ok(status) => stops(&status),
        // It has ended, or ends during the read.
        Err(error) => error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH),
    }
}

/// Whether a thread with this `/proc/<tid>/status` is to stop: see proc(5) for the masks.
fn stops(status: &[u8]) -> bool {
    let mask = |name: &str| {
        status
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":\t"))
            .and_then(|digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?.trim(), 16).ok())
            .unwrap_or(0)
    };
    let bit = |signal: i32| 1_u64 << (signal - 1);
    let pending = mask("SigPnd") | mask("ShdPnd");
    if pending & bit(libc::SIGKILL) != 0 {
        return true;
    }
    let asked = bit(libc::SIGHUP) | bit(libc::SIGINT) | bit(libc::SIGQUIT) | bit(libc::SIGTERM);
    pending & asked & !mask("SigBlk") & !mask("SigIgn") != 0
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
        assert!(told_to_stop(child.id()));
        assert!(!told_to_stop(std::process::id()));
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
    fn a_round_that_is_cut_short_goes_on_where_it_stopped() {
        let shared = Shared::default();
        let old = Instant::now().checked_sub(PATIENCE * 2).unwrap();
        for ticket in 0..3 {
            let (stop, _) = oneshot::channel();
            // No such thread: the largest pid is far below.
            shared.lock().by_ticket.insert(
                ticket,
                Waiter {
                    tid: u32::MAX,
                    since: old,
                    stop,
                },
            );
        }
        let (stop, _) = oneshot::channel();
        shared.lock().by_ticket.insert(
            9,
            Waiter {
                tid: u32::MAX,
                since: Instant::now(),
                stop,
            },
        );
        // On a busy machine the budget may be spent before the last one.
        let mut from = 2;
        while from != 0 {
            from = round(&shared, from);
        }
        assert_eq!(
            shared.lock().by_ticket.keys().copied().collect::<Vec<_>>(),
            [9],
            "too young to be looked at"
        );
    }
}
