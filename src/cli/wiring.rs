//! Puts the layers together as the settings say: store, catalogs, fetcher, resolver, tree.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::Failure;
use super::settings::Settings;
use crate::fetch::{CatalogSettings, CatalogSource, Catalogs, FetchSettings, Fetcher};
use crate::mount::Owner;
use crate::remote::{Endpoints, HttpClient, HttpOrigin, HttpSettings, Origin, UrlOrigin};
use crate::resolve::{BadFilePolicy, ResolveOptions, Resolver};
use crate::store::{DiskStore, Store, StoreOptions};
use crate::tree::{CrdsTree, TreeOptions};

/// The layers below the tree, ready to use.
pub(super) struct Services {
    pub(super) fetcher: Fetcher,
    pub(super) resolver: Resolver,
}

/// Opens the store in `directory`, from now on used through its handle, and everything that stands on it. Tasks run on
/// `runtime`. Nothing is asked of the network.
pub(super) fn services(settings: &Settings, directory: &Path, runtime: &Handle) -> Result<Services, Failure> {
    let endpoints = Endpoints::new(&settings.remote, &settings.observatories)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let store: Arc<dyn Store> = Arc::new(DiskStore::open(
        directory,
        StoreOptions {
            cache_size: settings.cache_size,
            keep_free: settings.keep_free,
            checksums: settings.checksums,
            lengths: settings.lengths,
            state: settings.state.clone(),
        },
    )?);
    let http = HttpClient::new(HttpSettings {
        stall_timeout: settings.stall_timeout,
        call_timeout: settings.timeout,
        ..HttpSettings::default()
    });
    let origin: Arc<dyn Origin> = Arc::new(UrlOrigin::new(HttpOrigin::new(http.clone())));
    let source = |&observatory| CatalogSource {
        observatory,
        server: (!endpoints.is_offline(observatory)).then(|| endpoints.server(observatory, &http, &origin)),
    };
    let catalogs = Catalogs::new(
        runtime.clone(),
        store,
        settings.observatories.iter().map(source).collect(),
        CatalogSettings {
            ttl: settings.catalog_ttl,
            timeout: settings.timeout,
            offline: settings.offline,
            context: settings.context.clone(),
            ..CatalogSettings::default()
        },
    );
    let fetcher = Fetcher::new(
        runtime.clone(),
        origin,
        endpoints,
        catalogs,
        FetchSettings {
            jobs: settings.jobs,
            stall_timeout: settings.stall_timeout,
            timeout: settings.timeout,
            checksums: settings.checksums,
            lengths: settings.lengths,
            offline: settings.offline,
            ..FetchSettings::default()
        },
    );
    let options = ResolveOptions {
        mode: settings.mode,
        ttl: settings.bestrefs_ttl,
        timeout: settings.timeout,
        bad_files: BadFilePolicy {
            allow_references: settings.allow_bad_references,
            allow_rules: settings.allow_bad_rules,
        },
        ignore_mapping_checksum: settings.ignore_mapping_checksum,
        ..ResolveOptions::default()
    };
    let resolver = Resolver::new(fetcher.clone(), options, runtime.clone());
    Ok(Services { fetcher, resolver })
}

/// The file system over the services, as it is to be mounted on `mountpoint`.
pub(super) fn tree(
    settings: &Settings,
    services: Services,
    mountpoint: &Path,
    store: &Path,
    descriptors: usize,
) -> Result<CrdsTree, Failure> {
    let owner = Owner::current();
    let options = TreeOptions {
        mountpoint: mountpoint.to_owned(),
        store: store.to_owned(),
        uid: settings.uid.unwrap_or(owner.uid),
        gid: settings.gid.unwrap_or(owner.gid),
        umask: settings.umask.unwrap_or(owner.umask),
        read_only: settings.read_only,
        offline: settings.offline,
        xattrs: settings.xattr,
        bestrefs_as: settings.bestrefs_as,
        descriptors,
    };
    let tree = CrdsTree::new(services.fetcher, services.resolver, options)?;
    if settings.cache_size.is_some() {
        // What is left of the limit is known only then.
        tree.count_store();
    }
    Ok(tree)
}
