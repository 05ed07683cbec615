//! Tells the kernel of changes behind its back.
//!
//! Only notifications that never wait are sent: that the attributes of an inode are to be asked for again. A
//! notification for a name waits for the lock of its directory, and one for pages for the processes that read them;
//! both may wait for a caller whose request only this process can answer. A process that is killed while it waits so
//! would keep its threads, and the connection, for good: every caller would hang. The effect of those notifications is
//! reached without them (see [`Invalidation`] and [`OpenModes`](super::open_mode::OpenModes)).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use fuser::{INodeNo, Notifier};

use crate::tree::ops::{Invalidation, InvalidationSink};

/// Sends changes to the kernel until it is disarmed or dropped.
pub(super) struct Invalidator {
    armed: Arc<AtomicBool>,
}

impl Invalidator {
    /// Starts the thread; gives the function through which the tree reports.
    pub(super) fn start(notifier: Notifier) -> io::Result<(Self, InvalidationSink)> {
        let armed = Arc::new(AtomicBool::new(true));
        let (sender, receiver) = mpsc::channel();
        let theirs = Arc::clone(&armed);
        // It ends when the tree drops the sender.
        std::thread::Builder::new()
            .name("announce".into())
            .spawn(move || announce(&notifier, &receiver, &theirs))?;
        Ok((
            Self {
                armed: Arc::clone(&armed),
            },
            changes(sender, armed),
        ))
    }

    /// Sends nothing from now on: a connection that is going away must not be waited for.
    pub(super) fn disarm(&self) {
        self.armed.store(false, Ordering::Release);
    }
}

impl Drop for Invalidator {
    fn drop(&mut self) {
        self.disarm();
    }
}

fn changes(sender: Sender<Invalidation>, armed: Arc<AtomicBool>) -> InvalidationSink {
    Box::new(move |change| {
        if armed.load(Ordering::Acquire) {
            // The receiver is gone only when the thread could not go on; the kernel then keeps what it knows.
            let _ = sender.send(change);
        }
    })
}

fn announce(notifier: &Notifier, changes: &Receiver<Invalidation>, armed: &AtomicBool) {
    while let Ok(change) = changes.recv() {
        if !armed.load(Ordering::Acquire) {
            return;
        }
        let Invalidation::Attributes { ino } = change;
        // A negative offset leaves the pages alone.
        let sent = notifier.inval_inode(INodeNo(ino), -1, 0);
        if let Err(error) = sent {
            // Not known to the kernel, or the mount is going: there is nothing to forget.
            log::debug!("the kernel does not take {change:?}: {error}");
        }
    }
}
