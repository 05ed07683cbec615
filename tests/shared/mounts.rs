//! Mounts of crds-fs on the double.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use fuser::BackgroundSession;
use tempfile::TempDir;

use crate::double::{self, Options, Requests};
use crate::origin::{Content, Origin};
use crate::rig::Rig;

pub(crate) const PMAP: &str = "roman_0001.pmap";
pub(crate) const FLAT: &str = "roman_wfi_flat_0001.asdf";

/// Mounts of one directory, each on a view of its own.
pub(crate) struct Mounts {
    // In this order: a mount goes before the view below it, and that before its directory.
    pub(crate) rigs: Vec<Rig>,
    views: Vec<(BackgroundSession, Arc<Requests>)>,
    pub(crate) origin: Origin,
    pub(crate) root: TempDir,
}

impl Mounts {
    /// So many mounts with the same arguments that are not mounted yet.
    pub(crate) fn new(count: usize, options: Options, arguments: &[&str], content: Content) -> Self {
        // The kernel has applied the umask already.
        rustix::process::umask(rustix::fs::Mode::empty());
        let origin = Origin::start(content);
        let root = tempfile::Builder::new()
            .prefix("crds-fs-double-")
            .tempdir()
            .unwrap();
        fs::create_dir(root.path().join("store")).unwrap();
        let mut mounts = Self {
            rigs: Vec::new(),
            views: Vec::new(),
            origin,
            root,
        };
        for number in 0..count {
            let point = mounts.root.path().join(format!("view-{number}"));
            fs::create_dir(&point).unwrap();
            let view = double::mount_counted(&mounts.store(), &point, options).unwrap();
            mounts.views.push(view);
            let server = format!("roman={}", mounts.origin.url());
            let mut rig = Rig::new(&[&server], arguments);
            rig.use_store(&point);
            rig.set("CRDS_FS_STATE", &mounts.state().display().to_string());
            mounts.rigs.push(rig);
        }
        mounts
    }

    /// The shared directory itself.
    pub(crate) fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    /// The directory of the states of all mounts.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// Mounts all at the same moment.
    pub(crate) fn start(&mut self) {
        std::thread::scope(|scope| {
            for rig in &mut self.rigs {
                scope.spawn(|| rig.mount());
            }
        });
    }

    pub(crate) fn requests(&self, number: usize) -> &Requests {
        &self.views[number].1
    }

    /// Reads a file by each mount, one after the other.
    pub(crate) fn read(&self, path: &str) {
        let name = path.rsplit('/').next().unwrap();
        for rig in &self.rigs {
            assert!(
                rig.read(path).unwrap() == self.origin.contents(name),
                "{path} is another one"
            );
            rig.settle();
        }
    }
}

/// A rule and a small reference.
pub(crate) fn content() -> Content {
    Content {
        observatory: "roman",
        context: PMAP.to_owned(),
        ..Content::default()
    }
    .file(PMAP, 2_000)
    .file(FLAT, 20_000)
}
