//! Attributes, and changing them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::crds::{Observatory, ServerInfo};
use crate::store::HoldingKind;

use super::core::{Core, ready};
use super::error::Error;
use super::handles::Content;
use super::ino::{ConfigFile, Fixed, Number, catalogued};
use super::inode::{LocalInode, LocalStat, change_open};
use super::local::Local;
use super::nodes::Key;
use super::ops::{Attr, CacheTtl, Handle, Ino, NodeKind, Outcome, SetAttr};
use super::views::Catalogued;

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
            // For directories 1 says that the number of subdirectories is not told.
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

    /// The attributes of a fixed place, and how long they hold.
    pub(super) fn fixed_attr(&self, fixed: Fixed) -> (Attr, CacheTtl) {
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
                let size = u64::try_from(self.control_text(file).len()).unwrap_or_default();
                let attr = self.own(ino, NodeKind::File, 0o444, size);
                (attr.dated(SystemTime::now()), CacheTtl::Never)
            }
        }
    }

    /// The attributes of a catalogued file; none when the catalog does not tell its size and it is not in the store.
    pub(super) fn catalogued_attr(&self, file: &Catalogued) -> Option<Attr> {
        let holding = self.fetcher.store().holding(&file.key);
        let size = file.entry.size.or(holding.map(|holding| holding.size))?;
        let ino = catalogued(file.key.observatory, file.serial);
        Some(Attr {
            blocks: holding.map_or(0, |holding| holding.blocks),
            ..self.own(ino, NodeKind::File, 0o444, size)
        })
    }

    /// As [`Self::catalogued_attr`]; a file of unknown size (a mapping without metadata, spec/crds-service 9, trap 4) is
    /// fetched to learn it.
    pub(super) fn sized_attr(self: &Arc<Self>, file: Catalogued) -> Outcome<Attr, Error> {
        if let Some(attr) = self.catalogued_attr(&file) {
            return ready(Ok(attr));
        }
        let core = Arc::clone(self);
        self.fetcher.open(&file.key).map(move |opened| {
            let stat =
                LocalStat::of_file(&*opened?).map_err(Error::local("stat", &core.path_of(&file.key)))?;
            let ino = catalogued(file.key.observatory, file.serial);
            Ok(Attr {
                blocks: stat.blocks,
                ..core.own(ino, NodeKind::File, 0o444, stat.size)
            })
        })
    }

    /// Whether the user's own file has taken the place of a catalogued one.
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

    /// Looks under the names of a local node until what is there is the node. `None` when it has no name any more.
    fn look_for<T>(
        &self,
        ino: Ino,
        look: impl Fn(&Local, &Path) -> io::Result<Option<(T, LocalStat)>>,
    ) -> Result<Option<(PathBuf, T)>, Error> {
        let Some(key @ Key::Local { .. }) = self.nodes.key(ino) else {
            return Err(Error::Stale);
        };
        let local = self.local()?;
        loop {
            let names = self.nodes.names(ino).ok_or(Error::Stale)?;
            for path in &names.paths {
                let found = look(local, path).map_err(Error::local("stat", path))?;
                if let Some((found, stat)) = found
                    && Key::of(&stat) == key
                {
                    return Ok(Some((path.clone(), found)));
                }
            }
            if self.nodes.lost(ino, &names) {
                return Ok(None);
            }
        }
    }

    /// The user's file with this number: a name of it, unless all are gone, and what the store's file system says.
    pub(super) fn stat_node(&self, ino: Ino) -> Result<(Option<PathBuf>, LocalStat), Error> {
        let named = self.look_for(ino, |local, path| Ok(local.stat(path)?.map(|stat| (stat, stat))))?;
        if let Some((path, stat)) = named {
            return Ok((Some(path), stat));
        }
        let stat = match self.nodes.held(ino) {
            Some(held) => held.stat(),
            None => LocalStat::of_file(&*self.open_nameless(ino)?).map(Some),
        };
        let stat = stat.map_err(Error::local("stat", Path::new("")))?;
        Ok((None, stat.ok_or(Error::Stale)?))
    }

    /// The inode of the user's file with this number.
    pub(super) fn inode_of(&self, ino: Ino) -> Result<Arc<LocalInode>, Error> {
        let named = self.look_for(ino, |local, path| {
            let Some(inode) = local.inode(path)? else {
                return Ok(None);
            };
            Ok(inode.stat()?.map(|stat| (inode, stat)))
        })?;
        match named {
            Some((_, inode)) => Ok(Arc::new(inode)),
            None => self.nodes.held(ino).ok_or(Error::Stale),
        }
    }

    /// An open file that lost its name behind the back of the mount.
    fn open_nameless(&self, ino: Ino) -> Result<Arc<File>, Error> {
        let open = self.files.find(|file| file.ino == ino).ok_or(Error::Stale)?;
        match &open.content {
            Content::Local { file, .. } => Ok(Arc::clone(file)),
            Content::Stored(_) | Content::Generated(_) => Err(Error::Stale),
        }
    }

    /// Keeps a way to what lies at a path of the store, and is about to lose that name.
    pub(super) fn hold(&self, path: &Path) {
        let inode = self.local.as_ref().and_then(|local| local.inode(path).ok()?);
        let stat = inode.as_ref().and_then(|inode| inode.stat().ok()?);
        if let (Some(inode), Some(stat)) = (inode, stat) {
            self.nodes.hold(&Key::of(&stat), inode);
        }
    }

    /// Attributes, and how long they hold.
    pub(super) fn getattr(
        self: &Arc<Self>,
        ino: Ino,
        handle: Option<Handle>,
    ) -> Outcome<(Attr, CacheTtl), Error> {
        match Number::of(ino) {
            None => ready(Err(Error::Stale)),
            Some(Number::Fixed(fixed)) => {
                let (mut attr, keep) = self.fixed_attr(fixed);
                // What is open does not change its length any more.
                if let Some(Content::Generated(bytes)) = handle
                    .and_then(|handle| self.files.get(handle))
                    .map(|open| open.content.clone())
                {
                    attr.size = u64::try_from(bytes.len()).unwrap_or_default();
                }
                ready(Ok((attr, keep)))
            }
            Some(Number::Catalogued(observatory, serial)) => {
                match self.view(observatory).and_then(|view| view.with_serial(serial)) {
                    Some(file) => self.sized_attr(file).map(|attr| Ok((attr?, CacheTtl::Forever))),
                    None => ready(self.gone_attr(ino)),
                }
            }
            Some(Number::Described(observatory, serial)) => ready(
                self.described_text(observatory, serial)
                    .map(|text| (self.described_attr(ino, &text), CacheTtl::Never)),
            ),
            Some(Number::Noded(_)) => match self.nodes.key(ino) {
                None => ready(Err(Error::Stale)),
                Some(Key::Local { .. }) => {
                    let core = Arc::clone(self);
                    ready(
                        self.stat_node(ino)
                            .map(|(_, stat)| (core.local_attr(ino, &stat), CacheTtl::Never)),
                    )
                }
                Some(key) => self.bestref_attr(ino, key),
            },
        }
    }

    /// The attributes of a file that the catalog has no more, or with other contents, for those who have it open.
    fn gone_attr(&self, ino: Ino) -> Result<(Attr, CacheTtl), Error> {
        let open = self.files.find(|file| file.ino == ino).ok_or(Error::Stale)?;
        let Content::Stored(file) = &open.content else {
            return Err(Error::Stale);
        };
        let stat = LocalStat::of_file(file).map_err(Error::local("stat", Path::new("")))?;
        let attr = Attr {
            blocks: stat.blocks,
            nlink: 0,
            ..self.own(ino, NodeKind::File, 0o444, stat.size)
        };
        Ok((attr, CacheTtl::Never))
    }

    /// Changes attributes.
    pub(super) fn setattr(self: &Arc<Self>, ino: Ino, change: SetAttr) -> Outcome<(Attr, CacheTtl), Error> {
        let changed = match Number::of(ino) {
            None => Err(Error::Stale),
            Some(_) if self.options.read_only => Err(Error::ReadOnly),
            Some(Number::Fixed(fixed)) => self.change_fixed(fixed, &change),
            Some(Number::Catalogued(observatory, serial)) => {
                let file = self.view(observatory).and_then(|view| view.with_serial(serial));
                file.map_or(Err(Error::Stale), |file| self.change_upload(ino, &file, &change))
            }
            Some(Number::Described(..)) => Err(Error::ReadOnly),
            Some(Number::Noded(_)) => self.change_node(ino, &change),
        };
        match changed {
            Ok(()) => self.getattr(ino, change.handle),
            Err(error) => ready(Err(error)),
        }
    }

    /// The directories of a cache belong to the mount. Clients change their modes after making them, and are told that
    /// all is well (spec/crds-service 6.4).
    fn change_fixed(&self, fixed: Fixed, change: &SetAttr) -> Result<(), Error> {
        match fixed {
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
                Content::Stored(_) | Content::Generated(_) => Err(Error::Stale),
            };
        }
        match self.inode_of(ino) {
            Ok(inode) => inode.change(change).map_err(failed()),
            Err(Error::Stale) => change_open(&*self.open_nameless(ino)?, change).map_err(failed()),
            Err(error) => Err(error),
        }
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
