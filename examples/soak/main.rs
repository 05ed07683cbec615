//! Many readers for a long time, in too little room, with a server that fails: does anything break, leak, or hang?
//!
//!     cargo run --release --example soak [-- --minutes 10] [--readers 200] [--files 5000] [--faults 5] [--context-every 30]
//!
//! Readers in several processes open files at random, compare every byte, follow best references, replace and remove; now and
//! then one of their processes is killed. The room is a third of all files. So many files in a hundred are answered
//! wrongly at any moment, and the server has a new context every so many seconds. A line is printed every ten seconds; at
//! the end the server is well again, everything is read once more, and the store is looked through. Exit status 1 when
//! anything was wrong, with what.

#[path = "../../tests/common/origin.rs"]
mod origin;
#[path = "../support/problems.rs"]
mod problems;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/sizes.rs"]
mod sizes;

mod daemon;
mod faults;
mod library;
mod readers;
mod report;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser as _;

use daemon::Daemon;
use faults::Faults;
use library::Library;
use origin::Origin;
use readers::Readers;
use report::Report;

pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Read, fail and change for a long time, and see whether anything breaks.
#[derive(Debug, clap::Parser)]
struct Options {
    /// Minutes of reading.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Readers at a time.
    #[arg(long, default_value_t = 200)]
    readers: u32,
    /// Files to read.
    #[arg(long, default_value_t = 5000)]
    files: u32,
    /// So many files in a hundred are answered wrongly at a time.
    #[arg(long, default_value_t = 5)]
    faults: u32,
    /// Seconds until the server has another context.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    context_every: u64,
    /// The seed of the random choices. Default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Directory for the store, removed at the end. Default: the directory for temporary files.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    if let Some(code) = program::as_crds_fs() {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &words[..] {
        [command, rest @ ..] if command == readers::COMMAND => readers::read(rest).map(|()| true),
        _ => soak(&Options::parse()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the readers for the time that the options give. True if nothing was wrong.
fn soak(options: &Options) -> Fallible<bool> {
    program::notice_signals()?;
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let mut builder = tempfile::Builder::new();
    builder.prefix("crds-fs-soak-");
    let scratch = match &options.dir {
        Some(directory) => builder.tempdir_in(directory)?,
        None => builder.tempdir()?,
    };
    let library = Library::new(options.files);
    let room = library.bytes() / 3;
    println!(
        "{} readers, {} files of {} MB in all, room for {} MB, {} % faults, seed {seed}",
        options.readers,
        options.files,
        library.bytes() / 1_000_000,
        room / 1_000_000,
        options.faults
    );
    let origin = Origin::start(library.content(1));
    let binary = program::install(scratch.path())?;
    let mut daemon = Daemon::mount(&binary, scratch.path(), &origin.url(), room)?;
    let mut report = Report::new(room);
    let mut readers = Readers::start(&daemon.point(), options.readers, options.files, seed)?;
    let mut faults = Faults::new(options.faults, seed);
    let begin = Instant::now();
    let (mut second, mut context) = (0, 1);
    while begin.elapsed() < Duration::from_secs_f64(options.minutes * 60.0) {
        program::go_on()?;
        second += 1;
        faults.change(&origin, &library, context);
        if second % options.context_every == 0 {
            context += 1;
            origin.change(|content| *content = library.content(context));
        }
        if second % 7 == 0 {
            readers.kill_one(&mut report)?;
        }
        std::thread::sleep((begin + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        report.sample(&daemon)?;
        if second % 10 == 0 {
            report.line(begin.elapsed(), &readers, context);
        }
    }
    // Those that wait for a stalled server are answered within `--timeout` all the same.
    readers.stop(&mut report)?;
    origin.mend();
    report.judge(&readers);
    finish(&mut report, &mut daemon, &library, context, scratch.path());
    Ok(report.problems.verdict())
}

/// The end: the mount is asked whether it is well, unmounted, and its store is looked through.
fn finish(report: &mut Report, daemon: &mut Daemon, library: &Library, context: u32, scratch: &Path) {
    report.problems.check("the mount at the end", || {
        readers::read_everything(&daemon.point(), library, context)
    });
    report.problems.check("the newest context", || {
        daemon.leads_to(&library::context(context))
    });
    // Those for disk calls end after ten idle seconds.
    report.problems.check("the threads", || daemon.threads_end());
    report.problems.check("the unmount", || daemon.unmount());
    report.problems.check("the store at the end", || {
        library.check_store(&scratch.join("store"))
    });
}
