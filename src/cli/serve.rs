//! `crds-fs serve`: the CRDS protocol over an existing cache directory.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, output};
use crate::serve::{Handle, Hashed, Listen, Options, Server};

/// Serve an existing CRDS cache to any CRDS client.
///
/// Every file is hashed first: the catalog says what is really there. Then one base URL per observatory is printed;
/// give it to clients as `CRDS_SERVER_URL`, or to `crds-fs mount --server`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The cache directory, with `mappings` and `references` in it.
    cache: PathBuf,
    /// Where to listen; port 0 takes any free port. There is no access control: mind who can reach the address.
    #[arg(
        long,
        value_name = "ADDR",
        env = "CRDS_FS_LISTEN",
        default_value = "127.0.0.1:8383"
    )]
    listen: SocketAddr,
    /// Answers for best references: JSON, {id: {"header": {...}, "bestrefs": {context: {type: file}}}}.
    #[arg(long, value_name = "FILE", env = "CRDS_FS_DATASETS")]
    datasets: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let options = Options {
            listen: Listen::Address(args.listen),
            datasets: args.datasets,
            progress: Some(Box::new(progress())),
        };
        let starting = Server::bind(&args.cache, options);
        let server = tokio::select! {
            server = starting => server?,
            _ = interrupt.recv() => return Err(Failure::new("interrupted")),
            _ = terminate.recv() => return Err(Failure::new("terminated")),
        };
        announce(&server)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        server.shutdown().await;
        Ok(())
    });
    // Hashing that was interrupted need not come to its end.
    runtime.shutdown_background();
    outcome
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

/// A progress bar on a terminal, a line at the end elsewhere.
fn progress() -> impl Fn(Hashed) {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("hashing {bar:30} {pos}/{len} files  {msg}") {
        bar.set_style(style);
    }
    move |done: Hashed| {
        bar.set_length(done.of as u64);
        bar.set_position(done.files as u64);
        bar.set_message(output::size(done.bytes));
        if done.files == done.of {
            bar.finish_and_clear();
            // Standard error may be closed; the server works without it.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("hashed {} files, {}\n", done.files, output::size(done.bytes)),
            );
        }
    }
}
