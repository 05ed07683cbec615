//! `crds-fs serve`: the CRDS protocol over a cache directory, which another server may fill.

mod connections;
mod site;

use std::io::{IsTerminal, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::connections::ConnectionFlags;
use super::flags::CacheFlags;
use super::settings::{default_state, environment};
use super::suggestions::SERVERS;
use super::{Failure, logging, output};
use crate::cache::Cache;
use crate::mount::ServiceManager;
use crate::serve::{Handle, HashProgress, Options, Server};

/// The pause between two saves of a cache's state for the next start.
const NOTE_INTERVAL: Duration = Duration::from_secs(60);

/// The pause between two lines of progress where there is no terminal.
const PERIOD: Duration = Duration::from_secs(10);

/// Serve a CRDS cache to any CRDS client.
///
/// Every file is hashed first: the catalog says what is really there. Digests are remembered in the cache, or in your own
/// cache directory where that cannot be written, so that the next start is fast. Then one base URL per observatory is
/// printed; give it to clients as `CRDS_SERVER_URL`, or to `crds-fs mount --server`.
///
/// With --upstream the catalog is that of another CRDS server. What is not in the cache is fetched from there when a client
/// asks for it, once however many ask, verified and kept; calls are answered here where rules and memory allow.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The cache directory, with `mappings` and `references` in it; with --upstream it may be new.
    cache: PathBuf,
    /// The address to listen on; port 0 takes any free port. There is no access control: mind who can reach the address.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "CRDS_FS_LISTEN",
        default_value = "127.0.0.1:8383",
        value_parser = address
    )]
    listen: SocketAddr,
    /// Answers for best references: JSON, {id: {"header": {...}, "bestrefs": {context: {type: file}}}}.
    #[arg(
        long,
        value_name = "FILE",
        env = "CRDS_FS_DATASETS",
        conflicts_with = "upstream"
    )]
    datasets: Option<PathBuf>,
    /// Be a site server: fetch what is missing from this CRDS server, and serve all that it knows. May be given once per
    /// observatory. The options below are for that.
    #[arg(long, value_name = "[OBS=]URL", env = "CRDS_FS_UPSTREAM", value_delimiter = ',', value_parser = SERVERS, hide_possible_values = true)]
    upstream: Vec<String>,
    #[command(flatten)]
    connections: ConnectionFlags,
    #[command(flatten)]
    common: CacheFlags,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    if args.upstream.is_empty() {
        return run_directory(args);
    }
    site::run(&args)
}

/// Serves a directory as it lies there.
fn run_directory(args: Args) -> Result<(), Failure> {
    let unused = CacheFlags {
        state: args.common.state.clone(),
        ..CacheFlags::default()
    };
    if args.common != unused {
        return Err(Failure::usage(
            "these options are for a server that fetches: name the CRDS server to fetch from with --upstream",
        ));
    }
    logging::to_standard_error("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let options = Options {
            datasets: args.datasets,
            state: args
                .common
                .state
                .map(PathBuf::from)
                .or_else(|| default_state(&environment())),
            progress: Some(Box::new(progress())),
            ..args.connections.options(args.listen)?
        };
        let starting = Server::bind(&args.cache, options);
        let server = tokio::select! {
            server = starting => server?,
            _ = interrupt.recv() => return Err(Failure::new("interrupted")),
            _ = terminate.recv() => return Err(Failure::new("terminated")),
        };
        let manager = ServiceManager::of_environment();
        announce(&server)?;
        manager.ready("serving");
        until_told_to_stop(&server, &mut terminate, &mut interrupt, None).await?;
        manager.stopping("finishing what is being sent");
        tokio::select! {
            () = server.shutdown() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    });
    // Hashing that was interrupted need not come to its end.
    runtime.shutdown_background();
    outcome
}

/// Waits for a signal to stop; SIGHUP reads the certificate anew and continues logs in the files that have their names now.
/// The state of a cache is saved now and then.
async fn until_told_to_stop(
    server: &Handle,
    terminate: &mut Signal,
    interrupt: &mut Signal,
    cache: Option<&Cache>,
) -> Result<(), Failure> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let reopen = logging::reopener();
    let mut saving = tokio::time::interval(NOTE_INTERVAL);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => {
                if let Some(reopen) = &reopen {
                    reopen();
                }
                match server.reload() {
                    Ok(()) => log::info!("SIGHUP: logs and certificate are read anew"),
                    Err(error) => log::error!("the old certificate stays in use: {error}"),
                }
            }
            _ = saving.tick(), if cache.is_some() => {
                server.save().await;
                if let Some(cache) = cache {
                    cache.note_order_of_use().await;
                }
            }
        }
    }
}

/// One line per observatory: its base URL, and what is there.
fn announce(server: &Handle) -> Result<(), output::OutputError> {
    for observatory in server.observatories() {
        output::line(format!(
            "{}  {} files",
            server.url(observatory),
            server.files(observatory)
        ))?;
    }
    output::line("ready")
}

/// The address that `HOST:PORT` means; the host may be a name.
fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| {
            format!("{error}: write HOST:PORT, as in 127.0.0.1:8383, localhost:8383, or 0.0.0.0:8383 for all networks")
        })?
        .collect();
    // Clients that are given a name try both families; those that are given an address mostly know the older one.
    found.sort_by_key(SocketAddr::is_ipv6);
    found
        .first()
        .copied()
        .ok_or_else(|| "the name has no address".to_owned())
}

/// A progress bar on a terminal, a line now and then and at the end elsewhere.
fn progress() -> impl Fn(HashProgress) {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("hashing {bar:30} {pos}/{len} files  {msg}") {
        bar.set_style(style);
    }
    let told = Mutex::new(Instant::now());
    // Standard error may be closed; the server works without it.
    let tell = |text: String| {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    };
    move |done: HashProgress| {
        bar.set_length(done.of as u64);
        bar.set_position(done.files as u64);
        bar.set_message(output::size(done.bytes));
        let hashed = done.files - done.known - done.unreadable;
        let size = output::size(done.bytes);
        if done.files == done.of {
            bar.finish_and_clear();
            let known = match done.known {
                0 => String::new(),
                known => format!("; the digests of {known} were remembered"),
            };
            let unreadable = match done.unreadable {
                0 => String::new(),
                files => format!("; {files} cannot be read and are not served"),
            };
            tell(format!("hashed {hashed} files, {size}{known}{unreadable}"));
        } else if bar.is_hidden() {
            let mut told = told.lock();
            if told.elapsed() > PERIOD {
                *told = Instant::now();
                tell(format!("{} of {} files; hashed {size}", done.files, done.of));
            }
        }
    }
}
