//! A site server: its cache, its life, its end.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::{Args, until_told_to_stop};
use crate::cache::Cache;
use crate::cli::flags::{CacheFlags, MountFlags};
use crate::cli::settings::{self, Settings};
use crate::cli::{Failure, directories, logging, output, wiring};
use crate::crds::Observatory;
use crate::mount::{ServiceManager, limits};
use crate::remote::ServerSetting;
use crate::serve::{Handle, LogFormat, Server};

/// The time that threads for blocking work get to end.
const BLOCKING_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves what the upstream servers know until the process is told to stop.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = settings(args)?;
    let log = settings.log_file.as_deref().map(logging::open).transpose()?;
    logging::start(settings.log_level, LogFormat::Text, log);
    directories::make(&args.cache)?;
    directories::must_not_be_another(&args.cache)?;
    limits::raise_descriptors();
    let runtime = Builder::new_multi_thread()
        .thread_name("crds-fs")
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let manager = ServiceManager::of_environment();
        let cache = wiring::site_cache(&settings, &args.cache, runtime.handle())?;
        let options = args.connections.options(args.listen)?;
        let server = Server::bind_cache(&cache, options).await?;
        announce(&server, &cache)?;
        manager.ready("serving");
        let outcome = until_told_to_stop(&server, &mut terminate, &mut interrupt, Some(&cache)).await;
        manager.stopping("finishing what is being sent");
        tokio::select! {
            () = server.shutdown() => {}
            _ = interrupt.recv() => log::warn!("told to stop once more: connections are cut"),
            _ = terminate.recv() => log::warn!("told to stop once more: connections are cut"),
        }
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

/// Tells where the server is, one line per observatory, and begins to load the catalogs, so that the first client need not
/// wait for them.
fn announce(server: &Handle, cache: &Cache) -> Result<(), output::OutputError> {
    for observatory in server.observatories() {
        let catalogs = cache.fetcher().catalogs();
        let catalog = catalogs.load(observatory);
        tokio::spawn(async move { drop(catalog.wait().await) });
        let from = match catalogs.server(observatory) {
            Some(server) => format!("from {}", server.url()),
            None => "offline".to_owned(),
        };
        output::line(format!("{}  {from}", server.url(observatory)))?;
    }
    output::line("ready")
}
