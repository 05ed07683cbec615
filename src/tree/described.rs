//! The description of one catalogued file, as JSON in a file below `.crds-fs/files`. It is made from memory when it is
//! looked at or opened; the catalogued file is never fetched for it.

use std::ffi::OsStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::crds::{Observatory, times};
use crate::fetch::FileState;
use crate::store::HoldingKind;

use super::core::Core;
use super::error::{Error, chain};
use super::ino::{Area, catalogued, described};
use super::lookup::NOT_NOW;
use super::ops::{Attr, CacheTtl, Ino, Lookup, NodeKind, Outcome};
use super::process::Process;
use super::report::{self, FileFailure, FileProgress, FileReport, OpenerReport, timestamp};
use super::views::Catalogued;

/// The most threads of which the processes are looked for, for one file.
const OPENERS: usize = 100;

impl Core {
    /// Finds the description of a catalogued file under the file's name.
    pub(super) fn lookup_described(
        self: &Arc<Self>,
        area: Area,
        observatory: Observatory,
        name: &OsStr,
    ) -> Outcome<Lookup, Error> {
        let (core, name) = (Arc::clone(self), name.to_owned());
        self.ensure_soon(observatory).map(move |view| {
            let view = view?;
            let file = name.to_str().and_then(|name| view.named(name));
            let Some(file) = file.filter(|file| area_of(file) == area) else {
                return Ok(NOT_NOW);
            };
            let ino = described(observatory, file.serial);
            Ok(Lookup::Found {
                attr: core.described_attr(ino, &core.description(&file)),
                keep: CacheTtl::Never,
            })
        })
    }

    /// The text of the description with this serial.
    pub(super) fn described_text(&self, observatory: Observatory, serial: u32) -> Result<Bytes, Error> {
        let file = self.view(observatory).and_then(|view| view.with_serial(serial));
        Ok(self.description(&file.ok_or(Error::Stale)?))
    }

    pub(super) fn described_attr(&self, ino: Ino, text: &Bytes) -> Attr {
        let size = u64::try_from(text.len()).unwrap_or_default();
        self.own(ino, NodeKind::File, 0o444, size)
            .dated(std::time::SystemTime::now())
    }

    fn description(&self, file: &Catalogued) -> Bytes {
        let key = &file.key;
        let (done, total) = self.progress(file);
        let failure = self.fetcher.last_failure(key);
        let store = self.fetcher.store();
        let holding = store.holding(key);
        let openers = self.openers(file);
        report::text(&FileReport {
            observatory: key.observatory.as_str().to_owned(),
            name: key.name.as_str().to_owned(),
            path: self.path_of(key).display().to_string(),
            state: self.fetcher.state(key).as_str().to_owned(),
            size: file.entry.size,
            local_size: self.local_size(file),
            sha1: file.entry.sha1.map(|sha1| sha1.to_string()),
            progress: FileProgress { done, total },
            source: self.fetcher.url(key).map(|url| url.to_string()),
            transfer: self.transfer_of(key),
            error: failure.as_ref().map(|(when, error)| FileFailure {
                kind: error.kind.as_str().to_owned(),
                url: error.url.as_ref().map(ToString::to_string),
                message: chain(error),
                remedy: error.advice(),
                when: timestamp(*when),
            }),
            held: store.is_held(key),
            verified: holding.is_some_and(|holding| holding.kind == HoldingKind::Catalogued),
            open: !openers.is_empty(),
            openers: processes(openers),
            written: holding.map(|holding| timestamp(holding.modified)),
            last_used: store.last_used(key).map(times::rfc3339_exact),
        })
    }

    /// The threads that opened the file, one for each handle that is open. The handles of this process itself, as of the
    /// publisher, are none.
    fn openers(&self, file: &Catalogued) -> Vec<u32> {
        let ino = catalogued(file.key.observatory, file.serial);
        self.files
            .of_each(|open| (open.ino == ino).then_some(open.opener))
    }

    /// The size of the user's own file in place of the catalogued one.
    fn local_size(&self, file: &Catalogued) -> Option<u64> {
        let holding = self.fetcher.store().holding(&file.key)?;
        (holding.kind == HoldingKind::Local).then_some(holding.size)
    }

    /// The number of bytes of a file that are here, and the number that it has.
    pub(super) fn progress(&self, file: &Catalogued) -> (u64, u64) {
        let size = file.entry.size.unwrap_or_default();
        match self.fetcher.state(&file.key) {
            FileState::Remote => (0, size),
            FileState::Fetching { done, total } => (done, if total == 0 { size } else { total }),
            FileState::Cached | FileState::Local => (size, size),
        }
    }
}

/// The processes of threads, as far as they can be seen.
fn processes(mut threads: Vec<u32>) -> Vec<OpenerReport> {
    threads.sort_unstable();
    threads.dedup();
    let mut processes: Vec<Process> = threads
        .into_iter()
        .take(OPENERS)
        .filter_map(Process::of_thread)
        .collect();
    processes.dedup_by_key(|process| process.pid);
    let report = |process: Process| OpenerReport {
        pid: process.pid,
        command: process.command,
    };
    processes.into_iter().map(report).collect()
}

fn area_of(file: &Catalogued) -> Area {
    if file.key.name.kind().is_mapping() {
        Area::Mappings
    } else {
        Area::References
    }
}
