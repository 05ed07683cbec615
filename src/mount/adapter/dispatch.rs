//! The dispatch of every request: asks the tree, answers now or from a task, and lets no panic out.

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::{BackingId, Errno};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::op_counters::{Op, OpCounters};
use crate::mount::interrupt::Watcher;
use crate::mount::open_mode::{Mode, OpenModes};
use crate::tree::ops::{FileSystem, Ino, Opened, Outcome};

/// The state that all requests of a mount share.
pub(in crate::mount) struct Core<F> {
    pub(super) tree: Arc<F>,
    runtime: Handle,
    watcher: Watcher,
    open_modes: Mutex<OpenModes<BackingId>>,
    passthrough: AtomicBool,
    ending: CancellationToken,
    op_counters: Arc<OpCounters>,
}

/// A reply object of fuser, which can always be answered with an error.
pub(super) trait Reply: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! replies {
    ($($reply:ident),* $(,)?) => {
        $(impl Reply for fuser::$reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}
replies!(
    ReplyEntry,
    ReplyAttr,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyOpen,
    ReplyCreate,
    ReplyEmpty,
    ReplyWrite,
    ReplyStatfs,
    ReplyXattr
);

/// The tree or the adapter has a bug; it was logged, and the caller gets EIO.
struct Panicked;

impl<F: FileSystem> Core<F> {
    pub(in crate::mount) fn new(tree: Arc<F>, runtime: Handle) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            tree,
            runtime,
            watcher: Watcher::start()?,
            open_modes: Mutex::new(OpenModes::new()),
            passthrough: AtomicBool::new(false),
            ending: CancellationToken::new(),
            op_counters: Arc::default(),
        }))
    }

    pub(in crate::mount) fn op_counters(&self) -> Arc<OpCounters> {
        Arc::clone(&self.op_counters)
    }

    /// Allows passthrough, which the kernel supports.
    pub(super) fn allow_passthrough(&self) {
        self.passthrough.store(true, Ordering::Relaxed);
    }

    /// Forbids passthrough, which the kernel does not allow this process.
    pub(in crate::mount) fn forbid_passthrough(&self) {
        self.passthrough.store(false, Ordering::Relaxed);
    }

    /// Whether large files are registered with the kernel.
    pub(in crate::mount) fn passes_through(&self) -> bool {
        self.passthrough.load(Ordering::Relaxed)
    }

    /// Answers ESHUTDOWN to all waiting requests, and from now on to every request that would have to wait.
    pub(in crate::mount) fn end(&self) {
        self.ending.cancel();
    }

    /// Asks the tree and sends its answer: at once when it is there, else from a task, in which the answer races against
    /// the caller's signals and the end of the mount.
    pub(super) fn answer<T, R>(
        self: &Arc<Self>,
        op: Op,
        tid: u32,
        reply: R,
        ask: impl FnOnce(&F) -> Outcome<T, F::Error>,
        send: impl FnOnce(&Self, R, T) + Send + 'static,
    ) where
        T: Send + 'static,
        R: Reply,
    {
        self.op_counters.count(op);
        match guarded(op, || ask(&self.tree)) {
            Ok(Outcome::Ready(answer)) => {
                let answer = answer.map_err(|error| self.errno(op, &error));
                self.send(op, reply, answer, send);
            }
            Ok(Outcome::Later(later)) => {
                let core = Arc::clone(self);
                self.runtime.spawn(async move {
                    let answer = core.settle(op, tid, later).await;
                    core.send(op, reply, answer, send);
                });
            }
            Err(Panicked) => self.refuse(op, reply, Errno::EIO),
        }
    }

    /// Asks the tree for a part of an answer, which it always gives at once. An error is counted.
    pub(super) fn now<T>(&self, op: Op, ask: impl FnOnce(&F) -> Result<T, F::Error>) -> Result<T, Errno> {
        let answer = match guarded(op, || ask(&self.tree)) {
            Ok(answer) => answer.map_err(|error| self.errno(op, &error)),
            Err(Panicked) => Err(Errno::EIO),
        };
        answer.inspect_err(|errno| self.op_counters.count_error(op, errno.code()))
    }

    /// Tells the tree something that needs no answer.
    pub(super) fn tell(&self, op: Op, tell: impl FnOnce(&F)) {
        self.op_counters.count(op);
        // A panic has been logged, and no caller waits for an answer.
        let _ = guarded(op, || tell(&self.tree));
    }

    async fn settle<T>(
        &self,
        op: Op,
        tid: u32,
        later: BoxFuture<'static, Result<T, F::Error>>,
    ) -> Result<T, Errno> {
        if self.ending.is_cancelled() {
            return Err(Errno::from_i32(libc::ESHUTDOWN));
        }
        let mut interrupted = self.watcher.watch(tid);
        tokio::select! {
            // An answer that is there is given: it may hold an open file.
            biased;
            answer = AssertUnwindSafe(later).catch_unwind() => match answer {
                Ok(answer) => answer.map_err(|error| self.errno(op, &error)),
                Err(panic) => {
                    report(op, &*panic);
                    Err(Errno::EIO)
                }
            },
            () = interrupted.wait() => Err(Errno::EINTR),
            () = self.ending.cancelled() => Err(Errno::from_i32(libc::ESHUTDOWN)),
        }
    }

    fn send<T, R: Reply>(&self, op: Op, reply: R, answer: Result<T, Errno>, send: impl FnOnce(&Self, R, T)) {
        match answer {
            // A reply lost in a panic is answered EIO by fuser as it is dropped.
            Ok(value) => _ = guarded(op, || send(self, reply, value)),
            Err(errno) => self.refuse(op, reply, errno),
        }
    }

    fn refuse<R: Reply>(&self, op: Op, reply: R, errno: Errno) {
        self.op_counters.count_error(op, errno.code());
        reply.refuse(errno);
    }

    fn errno(&self, op: Op, error: &F::Error) -> Errno {
        let errno = self.tree.errno(error);
        log::trace!("{op:?}: {error} ({errno})");
        Errno::from_i32(errno)
    }

    /// Records a new handle of `ino`, and gives the mode that the kernel must be told.
    pub(super) fn open_mode(
        &self,
        ino: Ino,
        opened: &Opened,
        register: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> Mode<BackingId> {
        let mut opens = self.open_modes.lock();
        opens.open(ino, opened, |file| {
            if !self.passthrough.load(Ordering::Relaxed) {
                return None;
            }
            register(file)
                .inspect_err(|error| {
                    // It fails for all files of this store alike (a right lost, a store on too many layers), so the
                    // question is not asked again.
                    self.passthrough.store(false, Ordering::Relaxed);
                    log::info!("the kernel does not read files of this store itself ({error}); it reads through crds-fs");
                })
                .ok()
        })
    }

    /// Records the release of a handle of `ino`.
    pub(super) fn close(&self, ino: Ino) {
        self.open_modes.lock().release(ino);
    }
}

/// Registers `file` through the reply of an open.
pub(super) fn register(reply: &fuser::ReplyOpen, file: &File) -> io::Result<BackingId> {
    reply.open_backing(file.as_fd())
}

/// Runs `work`. A panic is logged and ends here.
fn guarded<T>(op: Op, work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        report(op, &*panic);
        Panicked
    })
}

fn report(op: Op, panic: &(dyn Any + Send)) {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    log::error!("{op:?} panicked, a bug in crds-fs, and is answered EIO: {text}");
}
