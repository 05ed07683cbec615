//! Files on their way into a store.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::{Partial, Record, StoreError};
use crate::crds::{FileKey, Observatory, Sha1Sum};

/// Files on their way: room, partial files, publication.
///
/// Methods may wait for the disk.
pub(crate) trait Transfers: Send + Sync + 'static {
    /// Sets bytes aside for a file before the first one is asked for. Nothing is evicted yet, but it is certain that what
    /// would have to go can. Called again for the same file it changes the amount.
    fn reserve(&self, key: &FileKey, size: u64) -> Result<(), StoreError>;

    /// Opens the partial file of a transfer, with what is known of an earlier attempt at it.
    fn begin(&self, key: &FileKey) -> Result<Partial, StoreError>;

    /// The first bytes of a file have come, or the first since its partial file was emptied: evicts others where its
    /// reservation needs that, and takes the room. May take long.
    fn claim(&self, key: &FileKey, partial: &Partial) -> Result<(), StoreError>;

    /// The disk turned out to be full all the same: evicts at least `bytes`, if there is anything to evict.
    fn make_room(&self, key: &FileKey, bytes: u64) -> Result<(), StoreError>;

    /// Remembers how far a transfer came, so that it can go on after a restart.
    fn record(&self, key: &FileKey, record: &Record) -> Result<(), StoreError>;

    /// Ends a transfer whose bytes have all come and hash to `sha1`: gives the handle for reading, which others who open the
    /// file get as well, at once. Making it durable, and giving it its final name then, follows in the background; where much
    /// of that waits, this waits first. Where a local file took the name meanwhile, that one stays.
    fn publish(&self, key: &FileKey, partial: &Partial, sha1: Sha1Sum) -> Result<Arc<File>, StoreError>;

    /// Publishes a file that has arrived whole, whose bytes hash to `sha1`: a transfer in one call, for small files.
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

    /// Waits until everything that was published so far is durable under its final name, and tells what could not be made so
    /// since this was asked last. A store without a disk has nothing to wait for.
    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Ends a transfer without publication. What has arrived stays for the next attempt if `keep` says so.
    fn abandon(&self, key: &FileKey, keep: bool) -> Result<(), StoreError>;

    /// Removes what interrupted transfers have left of files that `is_named` does not know, or that nobody has gone on with
    /// for thirty days. To be called before the first transfer of the observatory; may take long. Nothing is lost by it
    /// that cannot be fetched again.
    fn sweep(&self, observatory: Observatory, is_named: &dyn Fn(&str) -> bool) {
        let _ = (observatory, is_named);
    }
}
