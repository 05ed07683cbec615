//! From FUSE requests to the tree and back: decode, call, encode, and nothing else.

mod dispatch;
mod encode;
mod op_counters;
mod reply;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};

use crate::tree::ops::{Caller, FileSystem, NodeKind, Outcome, SetAttr};
use dispatch::Reply;
use op_counters::Op;
use reply::{
    rewound, send_attr, send_attribute, send_created, send_data, send_done, send_entries, send_entry,
    send_listing, send_names, send_opened, send_target, send_written, time,
};

pub(super) use dispatch::Core;

/// Background requests (readahead) that the kernel may have under way.
const MAX_BACKGROUND: u16 = 64;

/// fuser's view of a [`FileSystem`].
pub(super) struct Adapter<F> {
    core: Arc<Core<F>>,
}

impl<F: FileSystem> Adapter<F> {
    pub(super) fn new(core: Arc<Core<F>>) -> Self {
        Self { core }
    }

    /// Asks the tree for a caller, and sends its answer.
    fn ask<T: Send + 'static, R: Reply>(
        &self,
        op: Op,
        request: &Request,
        reply: R,
        send: impl FnOnce(&Core<F>, R, T) + Send + 'static,
        ask: impl FnOnce(&F, Caller) -> Outcome<T, F::Error>,
    ) {
        let caller = Caller {
            tid: request.pid(),
            uid: request.uid(),
            gid: request.gid(),
        };
        self.core
            .answer(op, caller.tid, reply, |tree| ask(tree, caller), send);
    }
}

impl<F: FileSystem> fuser::Filesystem for Adapter<F> {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in [
            // Lookups in one directory need not wait for each other.
            InitFlags::FUSE_PARALLEL_DIROPS,
            // A listing brings the attributes along when the caller is seen to look at them.
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            // Not FUSE_CACHE_SYMLINKS: the kernel then keeps a link's target as long as the link is in use, whatever
            // lifetime its attributes have, and links of /bestrefs lead elsewhere with a new catalog or answer.
        ] {
            if let Err(missing) = config.add_capabilities(flag) {
                log::debug!("this kernel has no {missing:?}");
            }
        }
        // A store on an overlay, as in containers, needs a depth of 2. Linux stacks no more than that, so no overlay
        // could be laid on a mount that asks for more than it needs.
        let depth = if self.core.tree.store_is_stacked() { 2 } else { 1 };
        if config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(depth).is_ok()
        {
            self.core.allow_passthrough();
        }
        if let Err(nearest) = config.set_max_background(MAX_BACKGROUND) {
            log::debug!("max_background stays at {nearest}");
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.ask(Op::Lookup, request, reply, send_entry, |tree, caller| {
            tree.lookup(caller, parent.0, name)
        });
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        self.core.tell(Op::Forget, |tree| tree.forget(ino.0, count));
    }

    fn getattr(&self, request: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let handle = handle.map(|handle| handle.0);
        self.ask(Op::Getattr, request, reply, send_attr, |tree, caller| {
            tree.getattr(caller, ino.0, handle)
        });
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = SetAttr {
            mode,
            uid,
            gid,
            size,
            atime: atime.map(time),
            mtime: mtime.map(time),
            handle: handle.map(|handle| handle.0),
        };
        self.ask(Op::Setattr, request, reply, send_attr, |tree, caller| {
            tree.setattr(caller, ino.0, change)
        });
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        self.ask(Op::Readlink, request, reply, send_target, |tree, _| {
            tree.readlink(ino.0)
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let writable = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let send = move |core: &Core<F>, reply, opened| send_opened(core, ino.0, writable, reply, &opened);
        self.ask(Op::Open, request, reply, send, |tree, caller| {
            tree.open(caller, ino.0, flags.0)
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.ask(Op::Create, request, reply, send_created, |tree, caller| {
            tree.create(caller, parent.0, name, mode, flags)
        });
    }

    fn read(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.ask(Op::Read, request, reply, send_data, |tree, _| {
            tree.read(handle.0, offset, size)
        });
    }

    fn write(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.ask(Op::Write, request, reply, send_written, |tree, _| {
            tree.write(handle.0, offset, data)
        });
    }

    fn flush(&self, request: &Request, _: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.ask(Op::Flush, request, reply, send_done, |tree, _| {
            tree.flush(handle.0)
        });
    }

    fn fsync(&self, request: &Request, _: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.ask(Op::Fsync, request, reply, send_done, |tree, _| {
            tree.fsync(handle.0, data_only)
        });
    }

    fn fallocate(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.ask(Op::Fallocate, request, reply, send_done, |tree, _| {
            tree.fallocate(handle.0, mode, offset, length)
        });
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.core.close(ino.0);
        self.core.tell(Op::Release, |tree| tree.release(handle.0));
        reply.ok();
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.ask(Op::Opendir, request, reply, send_listing, |tree, caller| {
            tree.opendir(caller, ino.0)
        });
    }

    fn readdir(&self, request: &Request, _: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        let send = move |core: &Core<F>, reply, ()| send_names(core, handle.0, offset, reply);
        self.ask(Op::Readdir, request, reply, send, |tree, _| {
            rewound(tree, handle.0, offset)
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let send = move |core: &Core<F>, reply, ahead| send_entries(core, ahead, offset, reply);
        self.ask(Op::Readdirplus, request, reply, send, |tree, _| {
            tree.look_ahead(handle.0, offset)
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.core.tell(Op::Releasedir, |tree| tree.releasedir(handle.0));
        reply.ok();
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.ask(Op::Fsyncdir, request, reply, send_done, |tree, _| {
            tree.fsyncdir(ino.0)
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        let kind = match mode & libc::S_IFMT {
            // mknod(2) without a type means a file.
            0 | libc::S_IFREG => NodeKind::File,
            libc::S_IFIFO => NodeKind::Fifo,
            libc::S_IFSOCK => NodeKind::Socket,
            // The mount has no devices.
            _ => return reply.error(Errno::EPERM),
        };
        self.ask(Op::Mknod, request, reply, send_entry, |tree, caller| {
            tree.mknod(caller, parent.0, name, kind, mode)
        });
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        self.ask(Op::Mkdir, request, reply, send_entry, |tree, caller| {
            tree.mkdir(caller, parent.0, name, mode)
        });
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.ask(Op::Symlink, request, reply, send_entry, |tree, caller| {
            tree.symlink(caller, parent.0, name, target.as_os_str())
        });
    }

    fn link(&self, request: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.ask(Op::Link, request, reply, send_entry, |tree, caller| {
            tree.link(caller, ino.0, parent.0, name)
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.ask(Op::Unlink, request, reply, send_done, |tree, caller| {
            tree.unlink(caller, parent.0, name)
        });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.ask(Op::Rmdir, request, reply, send_done, |tree, caller| {
            tree.rmdir(caller, parent.0, name)
        });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.ask(Op::Rename, request, reply, send_done, |tree, caller| {
            tree.rename(caller, parent.0, name, new_parent.0, new_name, flags.bits())
        });
    }

    fn getxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let send = move |_: &Core<F>, reply, value: Vec<u8>| send_attribute(size, reply, &value);
        self.ask(Op::Getxattr, request, reply, send, |tree, _| {
            tree.getxattr(ino.0, name)
        });
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let send = move |_: &Core<F>, reply, names: Vec<u8>| send_attribute(size, reply, &names);
        self.ask(Op::Listxattr, request, reply, send, |tree, _| {
            tree.listxattr(ino.0)
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.ask(Op::Setxattr, request, reply, send_done, |tree, _| {
            tree.setxattr(ino.0, name, value, flags)
        });
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.ask(Op::Removexattr, request, reply, send_done, |tree, _| {
            tree.removexattr(ino.0, name)
        });
    }

    fn statfs(&self, request: &Request, _: INodeNo, reply: ReplyStatfs) {
        let send = |_: &Core<F>, reply, size| encode::file_system(size, reply);
        self.ask(Op::Statfs, request, reply, send, |tree, _| tree.statfs());
    }

    // The requests below are answered ENOSYS: the kernel then does its own part (permissions by mode, locks among its
    // processes, holes and copies by reading and writing) and does not ask again.

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn getlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        reply: ReplyLock,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn setlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        _: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn bmap(&self, _: &Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::ENOSYS);
    }
}
