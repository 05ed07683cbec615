//! The rows: what is measured, against what, and with which goal.

use std::path::{Path, PathBuf};

use crate::columns::Column;
use crate::data::{Directory, Entry};
use crate::mounts::Mount;
use crate::rig::{Rig, retire};
use crate::table::Table;
use crate::{Fallible, context, downloads, warm, work};

/// One row of the table.
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) what: &'static str,
    /// The column that all others are compared with.
    pub(crate) reference: Option<Column>,
    pub(crate) goal: Goal,
    pub(crate) unit: Unit,
}

/// The goal of crds-fs in a row.
pub(crate) enum Goal {
    None,
    /// So many times the reference's time at most.
    Times(f64),
    /// As fast as the limit: so many times its time at most.
    AsLimit(f64),
    /// So many seconds more than the reference at most.
    Plus(f64),
    /// So much at most.
    Most(f64),
}

pub(crate) enum Unit {
    Seconds,
    Bytes,
}

impl Goal {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Times(most) => format!("≤ {most:.2}"),
            Self::AsLimit(_) => "as the limit".to_owned(),
            Self::Plus(seconds) => format!("≤ {seconds} s more"),
            Self::Most(most) if *most >= 1e6 => format!("≤ {}", Unit::Bytes.show(*most)),
            Self::Most(most) => format!("≤ {}", Unit::Seconds.show(*most)),
        }
    }
}

impl Unit {
    pub(crate) fn show(&self, value: f64) -> String {
        match self {
            Self::Bytes => format!("{:.0} MB", value / 1e6),
            Self::Seconds if value < 0.1 => format!("{:.1} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

impl Row {
    /// A row of seconds.
    pub(crate) const fn new(key: &'static str, what: &'static str, reference: Column, goal: Goal) -> Self {
        Self {
            key,
            what,
            reference: Some(reference),
            goal,
            unit: Unit::Seconds,
        }
    }
}

static LARGE: Row = Row::new(
    "large",
    "cold 1 GiB, open to last byte",
    Column::Curl,
    Goal::Times(1.1),
);
static LARGE_FAR: Row = Row::new("large", "cold 1 GiB, far", Column::Curl, Goal::Times(1.0 / 7.0));
static SMALL: Row = Row::new(
    "small",
    "2,000 × 16 KiB cold, one after the other",
    Column::Thread,
    Goal::Times(1.5),
);
static SMALL_16: Row = Row::new(
    "small16",
    "the same, 16 at a time",
    Column::Thread,
    Goal::Times(1.5),
);

/// Rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Group {
    /// 1 GiB cold.
    Large,
    /// 2,000 small files cold, one after the other.
    Small,
    /// 2,000 small files cold, 16 at a time.
    Small16,
    /// `ls -l` of 40,000 names.
    Names,
    /// 1 GiB after a remount, again, and mapped.
    Warm,
    /// 5,000 small files warm.
    SmallWarm,
    /// Time until mounted, and memory after all that.
    Resident,
    /// The user's own files: create, stat, unlink.
    Own,
    /// A cold context of HST, loaded by the Python client.
    Context,
}

impl Group {
    /// The rows measured over loopback. Those that leave removed files behind are the last.
    pub(crate) const NEAR: [Self; 8] = [
        Self::Large,
        Self::Small,
        Self::Small16,
        Self::Names,
        Self::Warm,
        Self::SmallWarm,
        Self::Resident,
        Self::Own,
    ];
    pub(crate) const FAR: [Self; 2] = [Self::Large, Self::Context];
}

pub(crate) fn measure(rig: &Rig, table: &mut Table) -> Fallible<()> {
    for group in rig.groups() {
        match group {
            Group::Large => large(rig, table)?,
            Group::Small => small(rig, table, &SMALL, 1)?,
            Group::Small16 => small(rig, table, &SMALL_16, 16)?,
            Group::Names => warm::names(rig, table)?,
            Group::Warm => warm::large(rig, table)?,
            Group::SmallWarm => warm::small(rig, table)?,
            Group::Resident => warm::resident(rig, table)?,
            Group::Own => warm::own(rig, table)?,
            Group::Context => context::measure(rig, table)?,
        }
    }
    Ok(())
}

fn large(rig: &Rig, table: &mut Table) -> Fallible<()> {
    let row = if rig.far() { &LARGE_FAR } else { &LARGE };
    let files = [&rig.data().large];
    let columns = [
        Column::Curl,
        Column::Python,
        Column::Rclone,
        Column::Thread,
        Column::CrdsFs,
    ];
    for repetition in 0..rig.repetitions() {
        for column in rig.columns(&columns) {
            let seconds = cold(rig, column, Directory::Large, &files, 1, repetition == 0)?;
            table.add(row, column, seconds);
        }
    }
    Ok(())
}

fn small(rig: &Rig, table: &mut Table, row: &'static Row, at_once: usize) -> Fallible<()> {
    let files: Vec<&Entry> = rig.data().cold.iter().collect();
    let all = [
        Column::Curl,
        Column::Python,
        Column::Rclone,
        Column::Thread,
        Column::CrdsFs,
    ];
    // curl's one process and the client fetch one file after the other.
    let columns = if at_once == 1 { &all[..] } else { &all[2..] };
    for repetition in 0..rig.repetitions() {
        for column in rig.columns(columns) {
            let seconds = cold(rig, column, Directory::Cold, &files, at_once, repetition == 0)?;
            table.add(row, column, seconds);
        }
    }
    Ok(())
}

/// Seconds until the files are here by the way of a column, which has none of them before.
fn cold(
    rig: &Rig,
    column: Column,
    directory: Directory,
    files: &[&Entry],
    at_once: usize,
    check: bool,
) -> Fallible<f64> {
    let target = rig.directory(column.name())?;
    rig.settle()?;
    let seconds = match column {
        Column::Curl => downloads::curl(rig, files, &target)?,
        Column::Python => downloads::python(rig, files, &target)?,
        Column::Thread => downloads::one_thread(rig, files, at_once, &target)?,
        _ => {
            let mount = Mount::start(rig, column, &target)?;
            let paths = paths(&mount.directory(directory), files.iter().copied());
            let seconds = work::timed(|| work::read_many(&paths, at_once))?;
            if check {
                verify(&mount.directory(directory), files)?;
            }
            mount.unmount()?;
            seconds
        }
    };
    if check && !matches!(column, Column::Rclone | Column::CrdsFs) {
        verify(&target, files)?;
    }
    retire(&target)?;
    Ok(seconds)
}

/// Paths and sizes of files in a directory.
pub(crate) fn paths<'a>(directory: &Path, files: impl IntoIterator<Item = &'a Entry>) -> Vec<(PathBuf, u64)> {
    let path = |file: &Entry| (directory.join(&file.name), file.size);
    files.into_iter().map(path).collect()
}

fn verify(directory: &Path, files: &[&Entry]) -> Fallible<()> {
    for file in files {
        if work::digest(&directory.join(&file.name))? != file.sha1 {
            return Err(format!("{} in {} is wrong", file.name, directory.display()).into());
        }
    }
    Ok(())
}
