//! From answers of the tree to replies to the kernel.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use fuser::{
    Errno, FileHandle, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, ReplyXattr, TimeOrNow,
};

use super::dispatch::{Core, register};
use super::encode;
use super::op_counters::Op;
use crate::mount::open_mode::Mode;
use crate::tree::ops::{Attr, CacheTtl, FileSystem, Handle, Ino, Lookup, NewTime, Opened, Outcome};

pub(super) fn send_attr<F>(_: &Core<F>, reply: ReplyAttr, (attr, keep): (Attr, CacheTtl)) {
    reply.attr(&encode::lifetime(keep), &encode::attributes(&attr));
}

pub(super) fn send_entry<F>(_: &Core<F>, reply: ReplyEntry, found: Lookup) {
    match found {
        Lookup::Found { attr, keep } => {
            reply.entry(&encode::lifetime(keep), &encode::attributes(&attr), Generation(0));
        }
        Lookup::Absent {
            keep: CacheTtl::Never,
        } => reply.error(Errno::ENOENT),
        Lookup::Absent { keep } => {
            reply.entry(&encode::lifetime(keep), &encode::absent(), Generation(0));
        }
    }
}

pub(super) fn send_done<F>(_: &Core<F>, reply: ReplyEmpty, (): ()) {
    reply.ok();
}

/// The flags with which a new handle is answered.
pub(super) fn open_flags<B>(mode: &Mode<B>, keep_pages: bool, writable: bool) -> FopenFlags {
    let mut flags = match mode {
        Mode::Direct => FopenFlags::FOPEN_DIRECT_IO,
        Mode::Cached if keep_pages => FopenFlags::FOPEN_KEEP_CACHE,
        Mode::Cached | Mode::Passthrough(_) => FopenFlags::empty(),
    };
    if !writable {
        // Nothing is written through it, so its close has no errors to report.
        flags |= FopenFlags::FOPEN_NOFLUSH;
    }
    flags
}

pub(super) fn send_opened<F: FileSystem>(
    core: &Core<F>,
    ino: Ino,
    writable: bool,
    reply: ReplyOpen,
    opened: &Opened,
) {
    let mode = core.open_mode(ino, opened, |file| register(&reply, file));
    let flags = open_flags(&mode, opened.keep_cache, writable);
    match mode {
        Mode::Passthrough(id) => reply.opened_passthrough(FileHandle(opened.handle), flags, &id),
        Mode::Cached | Mode::Direct => reply.opened(FileHandle(opened.handle), flags),
    }
}

pub(super) fn send_created<F: FileSystem>(
    core: &Core<F>,
    reply: ReplyCreate,
    (found, opened): (Lookup, Opened),
) {
    let Lookup::Found { attr, keep } = found else {
        log::error!("a bug in crds-fs, please report it: a created file is absent");
        reply.error(Errno::EIO);
        return;
    };
    // A file that was there all the time may be open already, and passed through.
    let mode = core.open_mode(attr.ino, &opened, |file| reply.open_backing(file));
    let flags = open_flags(&mode, opened.keep_cache, true);
    let (lifetime, handle) = (encode::lifetime(keep), FileHandle(opened.handle));
    let attr = encode::attributes(&attr);
    match mode {
        Mode::Passthrough(id) => {
            reply.created_passthrough(&lifetime, &attr, Generation(0), handle, flags, &id);
        }
        Mode::Cached | Mode::Direct => reply.created(&lifetime, &attr, Generation(0), handle, flags),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what the tree gives is taken")]
pub(super) fn send_target<F>(_: &Core<F>, reply: ReplyData, target: OsString) {
    reply.data(target.as_bytes());
}

#[expect(clippy::needless_pass_by_value, reason = "what the tree gives is taken")]
pub(super) fn send_data<F>(_: &Core<F>, reply: ReplyData, data: Bytes) {
    reply.data(&data);
}

pub(super) fn send_written<F>(_: &Core<F>, reply: ReplyWrite, written: u32) {
    reply.written(written);
}

/// The value of an attribute, or the list of them; only its length where the caller asks for that.
pub(super) fn send_attribute(size: u32, reply: ReplyXattr, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

/// Answers an opendir. The kernel could keep the listing as well, but what it keeps comes without attributes, and every
/// `stat` behind it would be a request of its own.
pub(super) fn send_listing<F>(_: &Core<F>, reply: ReplyOpen, (handle, _keep): (Handle, CacheTtl)) {
    reply.opened(FileHandle(handle), FopenFlags::empty());
}

/// Asks for a new snapshot of a listing that is read from its start, where it was read before.
pub(super) fn rewound<F: FileSystem>(tree: &F, handle: Handle, offset: u64) -> Outcome<(), F::Error> {
    if offset == 0 {
        tree.rewind(handle)
    } else {
        Outcome::Ready(Ok(()))
    }
}

pub(super) fn send_names<F: FileSystem>(
    core: &Core<F>,
    handle: Handle,
    offset: u64,
    mut reply: ReplyDirectory,
) {
    let listed = core.now(Op::Readdir, |tree| {
        tree.readdir(handle, offset, &mut |entry| {
            let kind = encode::kind(entry.kind);
            !reply.add(INodeNo(entry.ino), entry.next, kind, &entry.name)
        })
    });
    match listed {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn send_entries<F: FileSystem>(
    core: &Core<F>,
    ahead: F::Ahead,
    offset: u64,
    mut reply: ReplyDirectoryPlus,
) {
    let listed = core.now(Op::Readdirplus, |tree| {
        tree.readdirplus(ahead, offset, &mut |entry, attr, keep| {
            let lifetime = encode::lifetime(keep);
            let attr = encode::attributes(&attr);
            let ino = INodeNo(entry.ino);
            !reply.add(ino, entry.next, &entry.name, &lifetime, &attr, Generation(0))
        })
    });
    match listed {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn time(asked: TimeOrNow) -> NewTime {
    let TimeOrNow::SpecificTime(time) = asked else {
        return NewTime::Now;
    };
    // The kernel counts nanoseconds forward from the second; before 1970 fuser 0.18 counts them backward.
    let meant = UNIX_EPOCH.duration_since(time).ok().and_then(|before| {
        let second = UNIX_EPOCH.checked_sub(Duration::from_secs(before.as_secs()))?;
        second.checked_add(Duration::from_nanos(before.subsec_nanos().into()))
    });
    NewTime::At(meant.unwrap_or(time))
}
