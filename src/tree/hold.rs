//! `.crds-fs/hold`, the one file there that takes something: it tells what is held, a line for each name, and lines that are
//! written to it hold and release names. [`crate::store::holds`] has the format.
//!
//! Writes are lists of changes, not new contents: their offsets do not matter, and truncating the file changes nothing. The
//! whole lines of one write count together, or none of them if one is wrong; when write(2) returns, they are durable. A last
//! line without an end counts when the file is closed.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::store::{HoldChange, holds};

use super::core::{Core, ready};
use super::error::Error;
use super::handles::Content;
use super::hold_lines::Unended;
use super::ino::{ControlFile, Fixed};
use super::inode::Access;
use super::ops::{Opened, Outcome};

impl Core {
    /// The text of the file as it is now.
    pub(super) fn hold_text(&self) -> Bytes {
        holds::text(&self.fetcher.store().held()).into()
    }

    /// Opens the file.
    pub(super) fn open_hold(&self, access: Access) -> Outcome<Opened, Error> {
        let ino = Fixed::ControlFile(ControlFile::Hold).ino();
        let text = self.hold_text();
        if !access.changes() {
            return ready(Ok(self.opened_text(ino, text)));
        }
        if !self.fetcher.store().is_writable() {
            return ready(Err(Error::ReadOnly));
        }
        let size = u64::try_from(text.len()).unwrap_or_default();
        let unended = Arc::new(Mutex::default());
        ready(Ok(self.opened_file(
            0,
            ino,
            size,
            Content::Hold { text, unended },
            false,
            None,
        )))
    }

    /// Lines are written to the file.
    pub(super) fn write_holds(
        self: &Arc<Self>,
        unended: &Mutex<Unended>,
        data: &[u8],
    ) -> Outcome<u32, Error> {
        let written = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let changes = unended.lock().take(data);
        self.change_holds(changes).map(move |done| done.map(|()| written))
    }

    /// A descriptor of the file is closed.
    pub(super) fn end_holds(self: &Arc<Self>, unended: &Mutex<Unended>) -> Outcome<(), Error> {
        let changes = unended.lock().end();
        self.change_holds(changes)
    }

    fn change_holds(self: &Arc<Self>, changes: Result<Vec<HoldChange>, Error>) -> Outcome<(), Error> {
        match changes {
            Ok(changes) if changes.is_empty() => ready(Ok(())),
            Ok(changes) => self.on_pool(move |core| Ok(core.fetcher.store().change_holds(changes)?)),
            Err(error) => ready(Err(error)),
        }
    }
}
