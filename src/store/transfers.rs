//! Files on their way into a store.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::leases::{Seeking, Sought};
use super::verified::Identity;
use super::{Partial, Record, StoreError, Unkept};
use crate::crds::{CatalogEntry, FileKey, Observatory, Sha1Sum};

/// One who wants to fetch a file, and asks whether another does so already.
#[derive(Debug, Default)]
pub(crate) struct LeaseSeeker(pub(super) Option<Seeking<Identity>>);

/// Files on their way: room, partial files, publication.
///
/// Methods may wait for the disk.
pub(crate) trait Transfers: Send + Sync + 'static {
    /// Asks whether to fetch a file, or to wait until another has brought it. Without `may_take` nothing is taken, and the
    /// answer says when that should be done. Holds a lease on the file after [`Sought::Fetch`], where there are leases.
    fn seek(
        &self,
        key: &FileKey,
        wanted: CatalogEntry,
        seeker: &mut LeaseSeeker,
        may_take: bool,
    ) -> Result<Sought, StoreError> {
        let _ = (key, wanted, seeker, may_take);
        Ok(Sought::Fetch)
    }

    /// Notes that all bytes of a transfer have come, and are being hashed.
    fn note_complete(&self, key: &FileKey) {
        let _ = key;
    }

    /// Ends what [`Transfers::seek`] has begun, when the transfer has ended in whatever way.
    fn end_seeking(&self, key: &FileKey) {
        let _ = key;
    }

    /// Reserves room for a file before its first byte is asked for. Nothing is evicted yet, but enough could be. Called
    /// again for the same file it changes the amount. Fails with [`StoreError::NoSpace`].
    fn reserve(&self, key: &FileKey, size: u64) -> Result<(), StoreError>;

    /// Opens the partial file of a transfer, with the progress of an earlier attempt at it.
    fn begin(&self, key: &FileKey) -> Result<Partial, StoreError>;

    /// Evicts others where the reservation of a file needs that, and allocates its blocks. To be called when its first
    /// bytes have come, and again when the first have come after its partial file was emptied. May take long.
    fn claim(&self, key: &FileKey, partial: &Partial) -> Result<(), StoreError>;

    /// Evicts files of at least `bytes` in all, or as many as there are, after the disk turned out to be full all the
    /// same. Fails with [`StoreError::NoSpace`] if there is nothing to evict.
    fn make_room(&self, key: &FileKey, bytes: u64) -> Result<(), StoreError>;

    /// Saves the progress of a transfer, so that it can go on after a restart.
    fn record(&self, key: &FileKey, record: &Record) -> Result<(), StoreError>;

    /// Ends a transfer whose bytes have all come and hash to `sha1`, and returns a handle for reading at once, which
    /// later openers share. In the background the file is made durable and then gets its final name; where too many
    /// files wait for that, this waits first. A local file that took the name meanwhile stays.
    fn publish(&self, key: &FileKey, partial: &Partial, sha1: Sha1Sum) -> Result<Arc<File>, StoreError>;

    /// Publishes `bytes`, which hash to `sha1`, as a whole file: a transfer in one call, for small files.
    fn store_whole(&self, key: &FileKey, bytes: &[u8], sha1: Sha1Sum) -> Result<Arc<File>, StoreError> {
        let stored = || {
            let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.reserve(key, size)?;
            let partial = match self.begin(key) {
                Err(error) if error.is_no_space() => {
                    self.make_room(key, size)?;
                    self.begin(key)?
                }
                other => other?,
            };
            self.claim(key, &partial)?;
            let failed = |error| StoreError::io("write", key.name.as_str(), error);
            partial.file.set_len(0).map_err(failed)?;
            partial.file.write_all_at(bytes, 0).map_err(failed)?;
            self.publish(key, &partial, sha1)
        };
        stored().inspect_err(|_| {
            if let Err(error) = self.abandon(key, false) {
                log::debug!("{error}");
            }
        })
    }

    /// Waits until every file published so far is durable under its final name or was given up. Fails with the first
    /// error since the last flush. The default, for a store without a disk, returns at once.
    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The last files that were published and could not be kept, oldest first.
    fn unkept(&self) -> Vec<Unkept> {
        Vec::new()
    }

    /// Ends a transfer without publication. With `keep` the bytes that have arrived stay for the next attempt.
    fn abandon(&self, key: &FileKey, keep: bool) -> Result<(), StoreError>;

    /// Removes the partial files of interrupted transfers whose names `is_named` does not know, or that were not
    /// written to for thirty days. To be called before the first transfer of the observatory; may take long.
    fn sweep(&self, observatory: Observatory, is_named: &dyn Fn(&str) -> bool) {
        let _ = (observatory, is_named);
    }
}
