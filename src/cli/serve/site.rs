//! A site server: its cache, its life, its end.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::Args;
use crate::cache::Cache;
use crate::cli::flags::{CacheFlags, MountFlags};
use crate::cli::settings::{self, Settings};
use crate::cli::{Failure, directories, logging, output, wiring};
use crate::crds::Observatory;
use crate::mount::limits;
use crate::remote::ServerSetting;
use crate::serve::{Handle, Listen, Options, Server};

/// The pause between two saves of the cache's state for the next start.
const NOTE_INTERVAL: Duration = Duration::from_secs(60);
/// The time that threads for blocking work get to end.
const BLOCKING_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves what the upstream servers know until the process is told to stop.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = settings(args)?;
    let log = settings.log_file.as_deref().map(logging::open).transpose()?;
    logging::start(settings.log_level, log);
    directories::make(&args.cache)?;
    limits::raise_descriptors();
    let runtime = Builder::new_multi_thread()
        .thread_name("crds-fs")
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let cache = wiring::cache(&settings, &args.cache, runtime.handle())?;
        let options = Options {
            listen: Listen::Address(args.listen),
            ..Options::default()
        };
        let server = Server::bind_cache(&cache, options).await?;
        let outcome = serve(&server, &settings, &cache).await;
        server.shutdown().await;
        cache.close().await;
        outcome
    });
    runtime.shutdown_timeout(BLOCKING_TIMEOUT);
    outcome
}

/// The settings as those of a mount, with the upstream servers in place of those of the environment.
fn settings(args: &Args) -> Result<Settings, Failure> {
    let observatory = match &args.common.observatory {
        Some(named) => Some(named.clone()),
        None => named(&args.upstream)?,
    };
    let flags = MountFlags {
        server: args.upstream.clone(),
        common: CacheFlags {
            observatory,
            ..args.common.clone()
        },
        ..MountFlags::default()
    };
    let mountpoint = args.cache.to_string_lossy();
    Settings::new(Some(&mountpoint), &flags, &settings::environment())
}

/// The observatories of the servers, as far as they or their URLs name them.
fn named(servers: &[String]) -> Result<Option<String>, Failure> {
    let mut found: BTreeSet<Observatory> = BTreeSet::new();
    for server in servers {
        let setting = server.parse::<ServerSetting>();
        let setting = setting.map_err(|error| Failure::usage(format!("--upstream: {error}")))?;
        found.extend(setting.named());
    }
    let names: Vec<&str> = found.iter().map(|observatory| observatory.as_str()).collect();
    Ok((!names.is_empty()).then(|| names.join(",")))
}

/// Tells where the server is, and waits until it is told to stop.
async fn serve(server: &Handle, settings: &Settings, cache: &Cache) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for observatory in server.observatories() {
        // So that the first client need not wait for it.
        let catalog = cache.fetcher().catalogs().load(observatory);
        tokio::spawn(async move { drop(catalog.wait().await) });
        let from = if settings.offline {
            "offline"
        } else {
            "fetching what is missing"
        };
        output::line(format!("{}  {from}", server.url(observatory)))?;
    }
    output::line("ready")?;
    let mut saving = tokio::time::interval(NOTE_INTERVAL);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = saving.tick() => {
                server.save().await;
                cache.note_order_of_use().await;
            }
        }
    }
}
