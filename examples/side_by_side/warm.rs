//! The rows without a cold file: what is read again, listed, and made by the user.

use std::fs;
use std::path::PathBuf;

use crate::Fallible;
use crate::columns::Column;
use crate::data::Directory;
use crate::mounts::Mount;
use crate::rig::{Rig, retire};
use crate::rows::{Goal, Row, Unit, paths};
use crate::table::{Table, median};
use crate::work;

/// Within this factor a time is that of the limit: what one run differs from the next by.
const AS_LIMIT: f64 = 1.15;
/// Readings within one repetition where each takes little time.
const READINGS: usize = 3;
const OWN_FILES: u32 = 1000;

static NAMES_FIRST: Row = Row::new(
    "names-first",
    "ls -l of 40,000 names, first",
    Column::Native,
    Goal::Times(1.0 / 0.6),
);
static NAMES_AGAIN: Row = Row::new("names-again", "again", Column::Native, Goal::Times(1.0 / 0.9));
static REMOUNT: Row = Row::new(
    "remount",
    "1 GiB after a remount",
    Column::Native,
    Goal::AsLimit(AS_LIMIT),
);
static WARM: Row = Row::new("warm", "1 GiB warm", Column::Native, Goal::AsLimit(AS_LIMIT));
static MAPPED: Row = Row::new("mmap", "1 GiB mapped", Column::Native, Goal::AsLimit(AS_LIMIT));
static SMALL_WARM: Row = Row::new(
    "small-warm",
    "5,000 small files warm",
    Column::Native,
    Goal::AsLimit(AS_LIMIT),
);
static CREATE: Row = Row::new(
    "own-create",
    "own files: create 1,000",
    Column::Native,
    Goal::Times(2.0),
);
static STAT: Row = Row::new("own-stat", "stat", Column::Native, Goal::Times(3.0));
static UNLINK: Row = Row::new("own-unlink", "unlink", Column::Native, Goal::Times(4.0));
static READY_EMPTY: Row = Row {
    key: "ready-empty",
    what: "mount ready, empty store",
    reference: None,
    goal: Goal::None,
    unit: Unit::Seconds,
};
static READY: Row = Row {
    key: "ready",
    what: "mount ready, with a catalog",
    reference: None,
    goal: Goal::Most(0.030),
    unit: Unit::Seconds,
};
static RESIDENT: Row = Row {
    key: "resident",
    what: "resident after everything",
    reference: None,
    goal: Goal::Most(64e6),
    unit: Unit::Bytes,
};

/// `ls -l` of the names, with a mount and a store that are new: a catalog that is fetched is part of it.
pub(crate) fn names(rig: &Rig, table: &mut Table) -> Fallible<()> {
    let native = rig.data().directory(Directory::Names);
    work::list_long(&native)?;
    for _ in 0..rig.repetitions() {
        for column in rig.columns(&[Column::Native, Column::Rclone, Column::Limit, Column::CrdsFs]) {
            let mount = match column {
                Column::Native => None,
                _ => Some(Mount::start(rig, column, &rig.directory(column.name())?)?),
            };
            let directory = match &mount {
                Some(mount) => mount.directory(Directory::Names),
                None => native.clone(),
            };
            rig.settle()?;
            table.add(&NAMES_FIRST, column, work::timed(|| work::list_long(&directory))?);
            let again = readings(|| work::timed(|| work::list_long(&directory)))?;
            table.add(&NAMES_AGAIN, column, again);
            if let Some(mount) = mount {
                mount.unmount()?;
            }
        }
    }
    Ok(())
}

/// The median of some readings.
fn readings(mut read: impl FnMut() -> Fallible<f64>) -> Fallible<f64> {
    let values = (0..READINGS).map(|_| read()).collect::<Fallible<Vec<f64>>>()?;
    Ok(median(&values))
}

/// A store for each column that is a mount.
fn stores(rig: &Rig, columns: &[Column]) -> Fallible<Vec<(Column, PathBuf)>> {
    let columns = rig.columns(columns).into_iter();
    columns
        .map(|column| Ok((column, rig.directory(column.name())?)))
        .collect()
}

/// 1 GiB that is in the store: after a remount, again, and mapped after another remount.
pub(crate) fn large(rig: &Rig, table: &mut Table) -> Fallible<()> {
    let stores = stores(rig, &[Column::Rclone, Column::Limit, Column::CrdsFs])?;
    let file = &rig.data().large;
    for (column, store) in &stores {
        let mount = Mount::start(rig, *column, store)?;
        work::read_whole(&mount.directory(Directory::Large).join(&file.name), file.size)?;
        mount.unmount()?;
    }
    let native = rig.data().path(Directory::Large, &file.name);
    work::read_whole(&native, file.size)?;
    for _ in 0..rig.repetitions() {
        rig.settle()?;
        let read = |path: &PathBuf| work::timed(|| work::read_whole(path, file.size));
        let map = |path: &PathBuf| work::timed(|| work::touch_mapped(path));
        table.add(&REMOUNT, Column::Native, read(&native)?);
        table.add(&WARM, Column::Native, readings(|| read(&native))?);
        table.add(&MAPPED, Column::Native, map(&native)?);
        for (column, store) in &stores {
            let mount = Mount::start(rig, *column, store)?;
            let path = mount.directory(Directory::Large).join(&file.name);
            table.add(&REMOUNT, *column, read(&path)?);
            table.add(&WARM, *column, readings(|| read(&path))?);
            mount.unmount()?;
            let mount = Mount::start(rig, *column, store)?;
            let path = mount.directory(Directory::Large).join(&file.name);
            table.add(&MAPPED, *column, map(&path)?);
            mount.unmount()?;
        }
    }
    for (_, store) in &stores {
        retire(store)?;
    }
    Ok(())
}

/// 5,000 small files that everybody has read before.
pub(crate) fn small(rig: &Rig, table: &mut Table) -> Fallible<()> {
    let native = paths(&rig.data().directory(Directory::Warm), &rig.data().warm);
    work::read_many(&native, 1)?;
    let mut mounts = Vec::new();
    for (column, store) in stores(rig, &[Column::Rclone, Column::Limit, Column::CrdsFs])? {
        let mount = Mount::start(rig, column, &store)?;
        let files = paths(&mount.directory(Directory::Warm), &rig.data().warm);
        work::read_many(&files, 16)?;
        work::read_many(&files, 1)?;
        mounts.push((column, mount, files));
    }
    for _ in 0..rig.repetitions() {
        rig.settle()?;
        let read = |files: &Vec<_>| readings(|| work::timed(|| work::read_many(files, 1)));
        table.add(&SMALL_WARM, Column::Native, read(&native)?);
        for (column, _, files) in &mounts {
            table.add(&SMALL_WARM, *column, read(files)?);
        }
    }
    for (_, mount, _) in mounts {
        mount.unmount()?;
    }
    Ok(())
}

/// The time until mounted, and the memory after everything that the other rows do.
pub(crate) fn resident(rig: &Rig, table: &mut Table) -> Fallible<()> {
    let data = rig.data();
    for _ in 0..rig.repetitions() {
        for (column, store) in stores(rig, &[Column::Rclone, Column::CrdsFs])? {
            rig.settle()?;
            let mount = Mount::start(rig, column, &store)?;
            table.add(&READY_EMPTY, column, mount.ready);
            let large = mount.directory(Directory::Large).join(&data.large.name);
            work::read_whole(&large, data.large.size)?;
            work::read_many(&paths(&mount.directory(Directory::Cold), &data.cold), 16)?;
            work::read_many(&paths(&mount.directory(Directory::Warm), &data.warm), 16)?;
            work::list_long(&mount.directory(Directory::Names))?;
            work::touch_mapped(&large)?;
            table.add(&RESIDENT, column, mount.resident()?);
            mount.unmount()?;
            rig.settle()?;
            let mount = Mount::start(rig, column, &store)?;
            table.add(&READY, column, mount.ready);
            mount.unmount()?;
            retire(&store)?;
        }
    }
    Ok(())
}

/// Files that the user makes beside the references.
pub(crate) fn own(rig: &Rig, table: &mut Table) -> Fallible<()> {
    let native = rig.directory("native")?.join("references/jwst");
    fs::create_dir_all(&native)?;
    let mut mounts = Vec::new();
    let mut directories = vec![(Column::Native, native)];
    for (column, store) in stores(rig, &[Column::Limit, Column::CrdsFs])? {
        let mount = Mount::start(rig, column, &store)?;
        let below = if column == Column::CrdsFs {
            "references/jwst"
        } else {
            ""
        };
        directories.push((column, mount.point().join(below)));
        mounts.push(mount);
    }
    for repetition in 0..rig.repetitions() {
        for (column, directory) in &directories {
            rig.settle()?;
            let [create, stat, unlink] =
                work::own_files(&directory.join(format!("own_{repetition}")), OWN_FILES)?;
            table.add(&CREATE, *column, create);
            table.add(&STAT, *column, stat);
            table.add(&UNLINK, *column, unlink);
        }
    }
    mounts.into_iter().try_for_each(Mount::unmount)
}
