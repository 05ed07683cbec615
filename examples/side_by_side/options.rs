//! The command line.

use std::path::PathBuf;

use crate::columns::Column;
use crate::rows::Group;

/// Measure crds-fs beside other ways to the same bytes.
#[derive(Debug, clap::Parser)]
pub(crate) struct Options {
    /// Measure over a far link: 15 ms each way, 20 MB/s per connection.
    #[arg(long)]
    pub(crate) far: bool,
    /// Repetitions of each row; the table shows medians.
    #[arg(short = 'n', long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repetitions: u32,
    /// Rows to measure. Default: all, with --far large and context.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) rows: Vec<Group>,
    /// Columns to leave out.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) without: Vec<Column>,
    /// Also write every sample to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Directory for data and stores, some 5 GB, removed at the end. Default: the directory for temporary files.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Another crds-fs than this program itself.
    #[arg(long, value_name = "PATH")]
    pub(crate) crds_fs: Option<PathBuf>,
    /// The rclone to use.
    #[arg(long, value_name = "PATH", default_value = "rclone")]
    pub(crate) rclone: PathBuf,
    /// A Python that has the package crds. Default: that of tests/clients/run, else python3.
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    /// A cache with the rules of HST, for the row "context".
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/crds-cache"))]
    pub(crate) rules: PathBuf,
    /// Divide sizes and numbers of files, to try this program out.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) divide: u32,
    /// More options for `crds-fs mount`.
    #[arg(last = true)]
    pub(crate) mount: Vec<String>,
}
