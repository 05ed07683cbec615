//! Many mounts on one shared directory, with Python clients beside them, and mounts that are killed: is every byte right, is
//! each file fetched once, and does anybody wait for the dead?
//!
//!     tests/shared/run                       small, with two Python clients, as CI runs it
//!     tests/shared/run --files 5000 --kills 100 --pace 2 --patience 10     ten minutes
//!     cargo run --release --example storm -- --files 5000 --kills 100 --pace 2 --patience 10     without Python clients
//!
//! Each mount has a namespace, a state directory and a view of the shared directory of its own. The views are those of
//! `tests/shared/double.rs`, which shows every weakness that shared file systems have; `--without-double` takes the directory
//! as it is. Readers on every mount open all files in orders drawn at random and compare every byte. Clients download the
//! same files straight into the shared directory.
//!
//! First nobody is killed: mounts ask for each file that no client downloads 1.05 times at most. Then, on a new directory
//! and with some files that come slowly, mounts are killed at random while files are removed below them. For each mount that
//! has died while it fetched a file, an open of that file takes `--patience` at most: five seconds without a sign of life,
//! half of a lease, then the transfer, and the name that a view may show three seconds late. Of a file whose open takes longer
//! the mounts' logs are shown. At the end all files are removed and read once more, so that leases left behind would show, and
//! the shared directory is looked through. Exit status 1 when anything was wrong, with what.
//!
//! A client of 13.x writes under the final name itself, and over what is there. Who has that file open meanwhile reads its
//! beginning only: that is counted, and wrong bytes in it are not excused.

#[path = "../../tests/shared/double.rs"]
mod double;
#[path = "../../tests/common/origin.rs"]
mod origin;
#[path = "../support/problems.rs"]
mod problems;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/sizes.rs"]
mod sizes;

mod library;
mod mount;
mod node;
mod nodes;
mod readers;
mod report;
mod shared;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser as _;

use double::Locks;
use node::Setup;
use nodes::Node;
use origin::{Behaviour, Origin};
use report::Report;
use shared::Shared;

pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Many mounts on one shared directory.
#[derive(Debug, clap::Parser)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
struct Options {
    /// Files to read.
    #[arg(long, default_value_t = 150)]
    files: u32,
    /// Mounts at a time.
    #[arg(long, default_value_t = 8)]
    mounts: u32,
    /// Readers on each mount.
    #[arg(long, default_value_t = 2)]
    readers: u32,
    /// Mounts to kill.
    #[arg(long, default_value_t = 5)]
    kills: u32,
    /// Seconds from one kill to the next, on average.
    #[arg(long, default_value_t = 1.0)]
    pace: f64,
    /// Seconds that no open takes, for each mount that dies while it fetches that file.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// A Python that has the CRDS client, as often as wanted.
    #[arg(long, value_name = "PYTHON")]
    client: Vec<PathBuf>,
    /// Where the shared directory and all else is made, and removed at the end. Default: the directory for temporary files.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What random choices begin with. Default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// The shared directory as it is, for everybody.
    #[arg(long)]
    without_double: bool,
    /// The state of each mount in the shared directory's own file system.
    #[arg(long)]
    state_beside: bool,
    /// Each mount with a store of its own: what happens when nothing is shared.
    #[arg(long)]
    apart: bool,
    /// References lie below their instrument.
    #[arg(long)]
    instrument: bool,
    /// What locks do: granted to everybody, refused (ENOLCK) or unknown (ENOSYS). Clients of 14.x give up where they are refused.
    #[arg(long, value_parser = ["granted", "refused", "unknown"], default_value = "granted")]
    locks: String,
    /// There are no hard links.
    #[arg(long)]
    no_links: bool,
    /// A name that was found absent stays absent for a while also after a creation has failed because it is there.
    #[arg(long)]
    stubborn: bool,
    /// So many replies in a thousand are lost: what was asked is done, and fails as if another had done it.
    #[arg(long, default_value_t = 0)]
    lost: u32,
    /// The server's clock is so many seconds ahead.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    clock: i64,
    /// Milliseconds that a call to the server takes at most.
    #[arg(long, default_value_t = 1.0)]
    delay: f64,
}

fn main() -> ExitCode {
    if std::env::var_os(mount::MARK).is_some() {
        // What a node starts ends with it.
        let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    }
    if let Some(code) = program::as_crds_fs() {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &words[..] {
        [command, setup] if command == node::COMMAND => node::run(setup).map(|()| true),
        [command, rest @ ..] if command == mount::VIEW => mount::serve_view(rest).map(|()| true),
        _ => both(&Options::parse()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("storm: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well.
fn both(options: &Options) -> Fallible<bool> {
    program::notice_signals()?;
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut report = Report::default();
    println!(
        "{} mounts, {} readers on each, {} files of {} MB, {} Python clients, seed {seed}",
        options.mounts,
        options.readers,
        options.files,
        library::bytes(options.files) / 1_000_000,
        options.client.len(),
    );
    println!("== nobody is killed");
    storm(options, 0, &mut random, &mut report)?;
    if options.kills > 0 {
        println!("== {} are killed", options.kills);
        storm(options, options.kills, &mut random, &mut report)?;
    }
    Ok(report.problems.verdict())
}

/// Everything on a directory of its own.
fn storm(options: &Options, kills: u32, random: &mut fastrand::Rng, report: &mut Report) -> Fallible<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("crds-fs-storm-");
    let scratch = match &options.dir {
        Some(directory) => builder.tempdir_in(directory)?,
        None => builder.tempdir()?,
    };
    let content = library::content(options.files);
    let (origin, beside) = (Origin::start(content.clone()), Origin::start(content));
    if kills > 0 {
        for number in (0..options.files).filter(|number| library::is_slow(*number)) {
            origin.set(&library::name(number), library::SLOWLY);
        }
    }
    let mut shared = Shared::new(scratch.path(), options.instrument, options.files)?;
    let binary = program::install(scratch.path())?;
    let setup = |name: String, seed: u64| Setup {
        shared: shared.path().to_owned(),
        scratch: scratch.path().join(&name),
        name,
        double: (!options.without_double).then(|| doubled(options)),
        binary: binary.clone(),
        server: origin.url(),
        files: options.files,
        readers: options.readers,
        seed,
        apart: options.apart,
        instrument: options.instrument,
        state_beside: options.state_beside,
    };
    let mut nodes = Vec::new();
    for number in 0..options.mounts {
        nodes.push(Node::mount(&setup(format!("node-{number}"), random.u64(..)))?);
    }
    nodes.iter_mut().try_for_each(Node::ready)?;
    // Clients find the layout that the mounts have noted.
    for (number, python) in options.client.iter().enumerate() {
        let setup = setup(format!("client-{number}"), random.u64(..));
        nodes.push(Node::client(&setup, python, &beside.url())?);
    }
    let mounts = options.mounts as usize;
    nodes[mounts..].iter_mut().try_for_each(Node::ready)?;
    let begun = Instant::now();
    if kills == 0 {
        nodes.iter_mut().try_for_each(|node| node.tell("pass"))?;
    } else {
        nodes.iter_mut().try_for_each(|node| node.tell("loop"))?;
        kill(options, kills, random, &mut nodes[..mounts], &mut shared)?;
        nodes.iter_mut().try_for_each(|node| node.tell("stop"))?;
    }
    nodes.iter_mut().try_for_each(Node::done)?;
    for client in nodes.drain(mounts..) {
        client.end()?;
    }
    println!("   {:.1} s", begun.elapsed().as_secs_f64());
    finish(
        options,
        kills,
        report,
        &mut nodes,
        &mut shared,
        (&origin, &beside),
    )
}

/// Kills mounts at random, one after the other, while files disappear.
fn kill(
    options: &Options,
    kills: u32,
    random: &mut fastrand::Rng,
    nodes: &mut [Node],
    shared: &mut Shared,
) -> Fallible<()> {
    for _ in 0..kills {
        let next = Instant::now() + Duration::from_secs_f64(options.pace * (0.5 + random.f64()));
        while Instant::now() < next {
            program::go_on()?;
            shared.remove_some(random, options.files)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        let unlucky = random.usize(..nodes.len());
        nodes[unlucky].tell("kill")?;
    }
    Ok(())
}

/// The end: everything is read once more, and the shared directory is looked through.
fn finish(
    options: &Options,
    kills: u32,
    report: &mut Report,
    nodes: &mut Vec<Node>,
    shared: &mut Shared,
    origins: (&Origin, &Origin),
) -> Fallible<()> {
    report.requests(origins.0, origins.1, shared.removed(), kills == 0);
    if kills > 0 {
        // Those who died hold nothing back, whatever they have left behind.
        for number in 0..options.files {
            origins.0.set(&library::name(number), Behaviour::Well);
        }
        shared.remove_all(options.files)?;
        nodes.iter_mut().try_for_each(|node| node.tell("pass"))?;
        nodes.iter_mut().try_for_each(Node::done)?;
    }
    nodes.iter_mut().for_each(Node::leave);
    let logs: Vec<_> = nodes
        .iter()
        .filter_map(|node| node.log().map(Path::to_owned))
        .collect();
    for node in nodes.drain(..) {
        report.node(node.end()?);
    }
    report.waits(Duration::from_secs(options.patience), &logs);
    if !options.apart {
        report
            .problems
            .check("the shared directory", || shared.check(options.files));
    }
    Ok(())
}

fn doubled(options: &Options) -> double::Options {
    double::Options {
        locks: match options.locks.as_str() {
            "refused" => Locks::Refused,
            "unknown" => Locks::Unknown,
            _ => Locks::Granted,
        },
        links: !options.no_links,
        stubborn: options.stubborn,
        lost: options.lost,
        clock: options.clock,
        delay: options.delay / 1000.0,
        ..double::Options::default()
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> Fallible<&str> {
    path.to_str()
        .ok_or_else(|| format!("{} is no text", path.display()).into())
}
