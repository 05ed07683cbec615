//! Attributes, and changing them.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::crds::{Observatory, ServerInfo};
use crate::store::HoldingKind;

use super::core::{Core, ready};
use super::error::Error;
use super::handles::Content;
use super::holders::has_open;
use super::ino::{ConfigFile, ControlFile, Fixed, Number, catalogued};
use super::inode::{LocalStat, change_open};
use super::nodes::Key;
use super::ops::{Attr, CacheTtl, Caller, Handle, Ino, NodeKind, Outcome, SetAttr};
use super::views::Catalogued;

/// The permissions of a catalogued file. With a write bit the opening for writing comes here and is EPERM for everybody; without
/// one the kernel, which sees no reason but the bits, says EACCES to all but root.
pub(super) const CATALOGUED_PERM: u16 = 0o644;

impl Core {
    pub(super) fn perm(&self, perm: u16) -> u16 {
        let most = if self.options.read_only { 0o555 } else { 0o777 };
        perm & most & !self.options.umask
    }

    /// The attributes that everything generated has in common.
    pub(super) fn own(&self, ino: Ino, kind: NodeKind, perm: u16, size: u64) -> Attr {
        Attr {
            ino,
            kind,
            size,
            blocks: 0,
            atime: catalogued_time(),
            mtime: catalogued_time(),
            ctime: catalogued_time(),
            perm: self.perm(perm),
            // For a directory 1 means that the number of subdirectories is not known.
            nlink: 1,
            uid: self.options.uid,
            gid: self.options.gid,
        }
    }

    pub(super) fn link_attr(&self, ino: Ino, target: &str) -> Attr {
        let size = u64::try_from(target.len()).unwrap_or_default();
        Attr {
            perm: 0o777,
            ..self.own(ino, NodeKind::Symlink, 0o777, size)
        }
    }

    /// The attributes of a fixed entry, and the time for which they hold.
    pub(super) fn fixed_attr(self: &Arc<Self>, fixed: Fixed) -> Outcome<(Attr, CacheTtl), Error> {
        let (attr, keep) = self.known_attr(fixed);
        let Fixed::ControlFile(file) = fixed else {
            return ready(Ok((attr, keep)));
        };
        self.control_text(file).map(move |text| {
            let size = u64::try_from(text?.len()).unwrap_or_default();
            Ok((Attr { size, ..attr }, keep))
        })
    }

    /// As [`Self::fixed_attr`], but for the size of what is generated with a look at the disk.
    pub(super) fn known_attr(&self, fixed: Fixed) -> (Attr, CacheTtl) {
        let ino = fixed.ino();
        let directory = |perm| {
            let attr = self.own(ino, NodeKind::Directory, perm, 0);
            let changed = self.directory_time(ino).unwrap_or(attr.mtime);
            (attr.dated(changed), CacheTtl::Forever)
        };
        match fixed {
            Fixed::Root | Fixed::Area(_) | Fixed::Observatory(..) | Fixed::Instrument(..) => directory(0o755),
            Fixed::Bestrefs
            | Fixed::Control
            | Fixed::Files
            | Fixed::FilesArea(_)
            | Fixed::FilesObservatory(..) => directory(0o555),
            Fixed::InstrumentLink(observatory, index) => {
                let links = observatory.legacy_links();
                let target = links.get(usize::from(index)).map_or("", |(_, target)| target);
                (self.link_attr(ino, target), CacheTtl::Forever)
            }
            Fixed::ConfigFile(observatory, file) => {
                let size = u64::try_from(self.config_text(observatory, file).len()).unwrap_or_default();
                let mut attr = self.own(ino, NodeKind::File, 0o644, size);
                if file != ConfigFile::SubdirMode
                    && let Some(view) = self.view(observatory)
                {
                    attr = attr.dated(view.since);
                }
                (attr, CacheTtl::Never)
            }
            Fixed::ControlFile(file) => {
                let takes = file == ControlFile::Hold && self.fetcher.store().is_writable();
                let attr = self.own(ino, NodeKind::File, if takes { 0o644 } else { 0o444 }, 0);
                (attr.dated(SystemTime::now()), CacheTtl::Never)
            }
        }
    }

    /// The attributes of a catalogued file; `None` when the catalog does not have its size and it is not in the store.
    pub(super) fn catalogued_attr(&self, file: &Catalogued) -> Option<Attr> {
        let holding = self.fetcher.store().holding(&file.key);
        let size = file.entry.size.or(holding.map(|holding| holding.size))?;
        let ino = catalogued(file.key.observatory, file.serial);
        Some(Attr {
            blocks: holding.map_or(0, |holding| holding.blocks),
            ..self.own(ino, NodeKind::File, CATALOGUED_PERM, size)
        })
    }

    /// As [`Self::catalogued_attr`]; a file of unknown size (a mapping without metadata, spec/crds-service 9, trap 4) is
    /// fetched to learn it.
    pub(super) fn sized_attr(self: &Arc<Self>, file: Catalogued) -> Outcome<Attr, Error> {
        if let Some(attr) = self.catalogued_attr(&file) {
            return ready(Ok(attr));
        }
        let core = Arc::clone(self);
        let key = file.key.clone();
        let opened = self.on_disk_then(move |core| core.fetcher.open(&key).map(|opened| Ok(opened?)));
        opened.then(move |opened| match opened {
            Ok(opened) => core.on_disk(move |core| core.opened_attr(&file, &opened)),
            Err(error) => ready(Err(error)),
        })
    }

    /// The attributes of a catalogued file, with the size of its copy.
    fn opened_attr(&self, file: &Catalogued, copy: &File) -> Result<Attr, Error> {
        let stat = LocalStat::of_file(copy).map_err(Error::local("stat", &self.path_of(&file.key)))?;
        let ino = catalogued(file.key.observatory, file.serial);
        Ok(Attr {
            blocks: stat.blocks,
            ..self.own(ino, NodeKind::File, CATALOGUED_PERM, stat.size)
        })
    }

    /// Whether the user's own file replaces a catalogued one.
    pub(super) fn is_overridden(&self, file: &Catalogued) -> bool {
        let holding = self.fetcher.store().holding(&file.key);
        holding.is_some_and(|holding| holding.kind == HoldingKind::Local)
    }

    /// The attributes of one of the user's files.
    pub(super) fn local_attr(&self, ino: Ino, stat: &LocalStat) -> Attr {
        Attr {
            ino,
            kind: stat.kind,
            size: stat.size,
            blocks: stat.blocks,
            atime: stat.atime,
            mtime: stat.mtime,
            ctime: stat.ctime,
            perm: if self.options.read_only {
                stat.perm & !0o222
            } else {
                stat.perm
            },
            nlink: stat.nlink,
            uid: stat.uid,
            gid: stat.gid,
        }
    }

    /// The attributes of an inode, and the time for which they hold.
    pub(super) fn getattr(
        self: &Arc<Self>,
        caller: Caller,
        ino: Ino,
        handle: Option<Handle>,
    ) -> Outcome<(Attr, CacheTtl), Error> {
        match Number::of(ino) {
            None => ready(Err(Error::Stale)),
            Some(Number::Fixed(fixed)) => {
                // Generated contents are fixed by the open.
                if let Some(Content::Generated(bytes)) = handle
                    .and_then(|handle| self.files.get(handle))
                    .map(|open| open.content.clone())
                {
                    let (mut attr, keep) = self.known_attr(fixed);
                    attr.size = u64::try_from(bytes.len()).unwrap_or_default();
                    return ready(Ok((attr, keep)));
                }
                self.fixed_attr(fixed)
            }
            Some(Number::Catalogued(observatory, serial)) => {
                match self.view(observatory).and_then(|view| view.with_serial(serial)) {
                    Some(file) => self.sized_attr(file).map(|attr| Ok((attr?, CacheTtl::Forever))),
                    None => self.gone_attr(caller, ino, handle),
                }
            }
            Some(Number::Described(observatory, serial)) => ready(
                self.described_text(observatory, serial)
                    .map(|text| (self.described_attr(ino, &text), CacheTtl::Never)),
            ),
            Some(Number::Noded(_)) => match self.nodes.key(ino) {
                None => ready(Err(Error::Stale)),
                Some(Key::Local { .. }) => self.on_disk(move |core| {
                    let (path, stat) = core.stat_node(ino)?;
                    let keep = path.map_or(CacheTtl::Never, |path| core.keep_of(&path));
                    Ok((core.local_attr(ino, &stat), keep))
                }),
                Some(key) => self.bestref_attr(ino, key),
            },
        }
    }

    /// The attributes of a file that the catalog no longer has, or has with other contents, for processes that have it
    /// open. For all others it is stale, so that the kernel looks the name up again.
    fn gone_attr(
        self: &Arc<Self>,
        caller: Caller,
        ino: Ino,
        handle: Option<Handle>,
    ) -> Outcome<(Attr, CacheTtl), Error> {
        let open = self.files.find(|file| file.ino == ino);
        let Some(Content::Stored(file)) = open.map(|open| open.content.clone()) else {
            return ready(Err(Error::Stale));
        };
        self.on_pool(move |core| {
            // The kernel does not tell whether it asks for the file that is open or for the name, which leads elsewhere now.
            if handle.is_none() && has_open(caller.tid, ino) == Some(false) {
                return Err(Error::Stale);
            }
            let stat = LocalStat::of_file(&file).map_err(Error::local("stat", Path::new("")))?;
            let attr = Attr {
                blocks: stat.blocks,
                nlink: 0,
                ..core.own(ino, NodeKind::File, CATALOGUED_PERM, stat.size)
            };
            Ok((attr, CacheTtl::Never))
        })
    }

    /// Changes attributes.
    pub(super) fn setattr(
        self: &Arc<Self>,
        caller: Caller,
        ino: Ino,
        change: SetAttr,
    ) -> Outcome<(Attr, CacheTtl), Error> {
        let changed = match Number::of(ino) {
            None => ready(Err(Error::Stale)),
            Some(_) if self.options.read_only => ready(Err(Error::ReadOnly)),
            Some(Number::Fixed(fixed)) => ready(self.change_fixed(fixed, &change)),
            Some(Number::Catalogued(observatory, serial)) => {
                match self.view(observatory).and_then(|view| view.with_serial(serial)) {
                    Some(file) => self.on_disk(move |core| core.change_upload(ino, &file, &change)),
                    None => ready(Err(Error::Stale)),
                }
            }
            Some(Number::Described(..)) => ready(Err(Error::ReadOnly)),
            Some(Number::Noded(_)) => self.on_disk(move |core| core.change_node(ino, &change)),
        };
        let core = Arc::clone(self);
        changed.then(move |changed| match changed {
            Ok(()) => core.getattr(caller, ino, change.handle),
            Err(error) => ready(Err(error)),
        })
    }

    /// Answers a change of a fixed entry's attributes, which do not change: the directories of a cache belong to the
    /// mount. Clients change their modes after making them, and are told of success (spec/crds-service 6.4).
    fn change_fixed(&self, fixed: Fixed, change: &SetAttr) -> Result<(), Error> {
        let is_owners = change.mode.is_none() && change.uid.is_none() && change.gid.is_none();
        match fixed {
            // An open for writing may empty the file first, which changes nothing: what is written to it are changes.
            Fixed::ControlFile(ControlFile::Hold) if is_owners => match change.size {
                None | Some(0) => Ok(()),
                Some(_) => Err(Error::Invalid("what is held has no length to be set")),
            },
            Fixed::Bestrefs
            | Fixed::Control
            | Fixed::ControlFile(_)
            | Fixed::Files
            | Fixed::FilesArea(_)
            | Fixed::FilesObservatory(..) => Err(Error::ReadOnly),
            Fixed::ConfigFile(..) if change.size.is_none() => Ok(()),
            Fixed::ConfigFile(..) | Fixed::InstrumentLink(..) => {
                Err(Error::NotPermitted("this file is kept by crds-fs"))
            }
            _ if change.size.is_some() => Err(Error::IsDirectory),
            _ => {
                let owner = change.uid.is_none_or(|uid| uid == self.options.uid)
                    && change.gid.is_none_or(|gid| gid == self.options.gid);
                if owner {
                    Ok(())
                } else {
                    Err(Error::NotPermitted("this directory belongs to crds-fs"))
                }
            }
        }
    }

    fn change_node(&self, ino: Ino, change: &SetAttr) -> Result<(), Error> {
        if !matches!(self.nodes.key(ino), Some(Key::Local { .. })) {
            return Err(Error::ReadOnly);
        }
        self.writable()?;
        if change.size.is_some() {
            self.refuse_adopted(ino)?;
        }
        let failed = || Error::local("change", Path::new(""));
        // The length is that of the open file; it may be open for writing where its mode no longer allows that.
        let open = change
            .handle
            .filter(|_| change.size.is_some())
            .and_then(|handle| self.files.get(handle));
        if let Some(open) = open {
            open.written.store(true, Ordering::Relaxed);
            return match &open.content {
                Content::Local { file, .. } => change_open(file, change).map_err(failed()),
                Content::Stored(_) | Content::Generated(_) | Content::Hold { .. } => Err(Error::Stale),
            };
        }
        match self.inode_of(ino) {
            Ok(inode) => inode.change(change).map_err(failed())?,
            Err(Error::Stale) => change_open(&*self.open_nameless(ino)?, change).map_err(failed())?,
            Err(error) => return Err(error),
        }
        if change.size.is_some() {
            self.count_node(ino);
        }
        Ok(())
    }

    /// The text of a config file as it is now.
    pub(super) fn config_text(&self, observatory: Observatory, file: ConfigFile) -> Bytes {
        let view = self.view(observatory);
        match (file, view) {
            (ConfigFile::SubdirMode, _) => self.layout().as_str().as_bytes().to_vec().into(),
            (ConfigFile::ServerConfig, Some(view)) => view.server_config(),
            (ConfigFile::BadFiles, Some(view)) => view.bad_files(),
            // Clients end with an error when they cannot read it, so that there always is one.
            (ConfigFile::ServerConfig, None) => ServerInfo::empty(observatory).to_literal().into(),
            (ConfigFile::BadFiles, None) => Bytes::new(),
        }
    }
}

/// The time of every catalogued file (2000-01-01 UTC): CRDS keeps none, and it has to be the same before and after a
/// download, and over remounts.
pub(super) fn catalogued_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800)
}
