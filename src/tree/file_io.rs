//! Calls on open files: reading, writing, synchronizing, closing.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{ReadWriteFlags, preadv2};

use super::core::{Core, ready};
use super::error::Error;
use super::handles::{Content, OpenFile};
use super::ops::{Handle, Outcome};

impl Core {
    fn opened(&self, handle: Handle) -> Result<Arc<OpenFile>, Error> {
        self.files.get(handle).ok_or(Error::BadHandle)
    }

    pub(super) fn read(self: &Arc<Self>, handle: Handle, offset: u64, size: u32) -> Outcome<Bytes, Error> {
        let open = match self.opened(handle) {
            Ok(open) => open,
            Err(error) => return ready(Err(error)),
        };
        // A read beyond the end needs no system call.
        let left = open
            .length
            .map_or(u64::MAX, |length| length.saturating_sub(offset));
        let size = usize::try_from(left.min(u64::from(size))).unwrap_or_default();
        match &open.content {
            Content::Generated(bytes) | Content::Hold { text: bytes, .. } => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let to = from.saturating_add(size).min(bytes.len());
                ready(Ok(bytes.slice(from..to)))
            }
            Content::Stored(file) | Content::Local { file, .. } => {
                if let Some(bytes) = read_cached(file, offset, size) {
                    return ready(Ok(bytes));
                }
                // The disk may be slow, and the calling thread serves other requests too.
                let file = Arc::clone(file);
                self.on_pool(move |_| {
                    read_at(&file, offset, size).map_err(Error::local("read", Path::new("")))
                })
            }
        }
    }

    pub(super) fn write(self: &Arc<Self>, handle: Handle, offset: u64, data: &[u8]) -> Outcome<u32, Error> {
        let open = match self.opened(handle) {
            Ok(open) => open,
            Err(error) => return ready(Err(error)),
        };
        let file = match &open.content {
            Content::Local { file, access } if access.write => file,
            Content::Hold { unended, .. } => return self.write_holds(unended, data),
            _ => return ready(Err(Error::BadHandle)),
        };
        open.written.store(true, Ordering::Relaxed);
        if let Some(_permission) = self.disk_permission() {
            return ready(write_at(file, offset, data));
        }
        let (file, data) = (Arc::clone(file), data.to_vec());
        self.on_pool(move |_| write_at(&file, offset, &data))
    }

    /// Answers the close of a descriptor. Reports errors that the store's file system finds only when written data is
    /// closed (a quota or a disk error on a network file system), and ends an upload.
    pub(super) fn flush(self: &Arc<Self>, handle: Handle) -> Outcome<(), Error> {
        let open = match self.opened(handle) {
            Ok(open) => open,
            Err(error) => return ready(Err(error)),
        };
        let file = match &open.content {
            Content::Local { file, .. } => file,
            Content::Hold { unended, .. } => return self.end_holds(unended),
            Content::Stored(_) | Content::Generated(_) => return ready(Ok(())),
        };
        if !open.written.swap(false, Ordering::Relaxed) {
            return ready(Ok(()));
        }
        let file = Arc::clone(file);
        if let Some(catalogued) = open.upload.clone() {
            return self.finish_upload(file, catalogued);
        }
        self.on_disk(move |core| {
            core.count_node(open.ino);
            // The file stays open: every close of a descriptor of it asks the file system.
            let closed = file
                .try_clone()
                .and_then(|another| Ok(nix::unistd::close(another)?));
            closed.map_err(Error::local("close", Path::new("")))
        })
    }

    /// Ends an open file whose last descriptor is gone. Bytes written through a mapping may have come after each close.
    pub(super) fn release(self: &Arc<Self>, handle: Handle) {
        let Some(open) = self.files.remove(handle) else {
            return;
        };
        if matches!(open.content, Content::Stored(_)) {
            self.tell_closed(open.ino);
        }
        if open.upload.is_some() || !open.written.load(Ordering::Relaxed) {
            return self.close(open);
        }
        let core = Arc::clone(self);
        self.fetcher.runtime().spawn(async move {
            let counted = core.blocking(move |core| {
                core.count_node(open.ino);
                drop(open);
                Ok(())
            });
            if let Err(error) = counted.await {
                log::debug!("{error}");
            }
        });
    }

    pub(super) fn fsync(self: &Arc<Self>, handle: Handle, data_only: bool) -> Outcome<(), Error> {
        let open = match self.opened(handle) {
            Ok(open) => open,
            Err(error) => return ready(Err(error)),
        };
        let Content::Local { file, .. } = &open.content else {
            return ready(Ok(()));
        };
        let file = Arc::clone(file);
        self.on_pool(move |_| {
            let synced = if data_only {
                file.sync_data()
            } else {
                file.sync_all()
            };
            synced.map_err(Error::local("sync", Path::new("")))
        })
    }

    /// Allocates or frees a part of one of the user's files.
    pub(super) fn fallocate(
        self: &Arc<Self>,
        handle: Handle,
        mode: i32,
        offset: u64,
        length: u64,
    ) -> Outcome<(), Error> {
        let open = match self.opened(handle) {
            Ok(open) => open,
            Err(error) => return ready(Err(error)),
        };
        let file = match &open.content {
            Content::Local { file, access } if access.write => Arc::clone(file),
            _ => return ready(Err(Error::BadHandle)),
        };
        open.written.store(true, Ordering::Relaxed);
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        self.on_pool(move |_| {
            fallocate(&file, mode, offset, length)
                .map_err(|errno| Error::local("allocate a part of", Path::new(""))(errno.into()))
        })
    }
}

/// The bytes that [`read_at`] gives, if all of them are in memory.
fn read_cached(file: &File, offset: u64, size: usize) -> Option<Bytes> {
    let mut buffer = BytesMut::zeroed(size);
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or_default());
        // A file system without this flag counts as one that has nothing in memory.
        match preadv2(file, &mut [IoSliceMut::new(rest)], at, ReadWriteFlags::NOWAIT).ok()? {
            0 => break,
            count => filled += count,
        }
    }
    buffer.truncate(filled);
    Some(buffer.freeze())
}

fn write_at(file: &File, offset: u64, data: &[u8]) -> Result<u32, Error> {
    file.write_all_at(data, offset)
        .map_err(Error::local("write", Path::new("")))?;
    Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))
}

fn read_at(file: &File, offset: u64, size: usize) -> std::io::Result<Bytes> {
    let mut buffer = BytesMut::zeroed(size);
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or_default());
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.freeze())
}
