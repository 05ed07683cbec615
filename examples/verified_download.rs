//! A verified download without a mount: a file that is printed is one whose SHA-1 matched the catalog's.
//!
//!     cargo run --example verified_download STORE SERVER_URL NAME
//!
//! STORE becomes an ordinary CRDS cache; a second run finds the file there and asks for nothing but the catalog.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use crds_fs::crds::{FileKey, FileName, Observatory};
use crds_fs::fetch::{CatalogSettings, CatalogSource, Catalogs, FetchSettings, Fetcher};
use crds_fs::remote::{
    Endpoints, HttpClient, HttpOrigin, HttpSettings, Origin, ServerSetting, Settings, UrlOrigin,
};
use crds_fs::store::{DiskStore, Store, StoreOptions};
use tokio::runtime::Handle;

const USAGE: &str = "usage: verified_download STORE SERVER_URL NAME";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let store = words.next().ok_or(USAGE)?;
    let server = words.next().ok_or(USAGE)?;
    let name: FileName = words.next().ok_or(USAGE)?.parse()?;
    let observatory = Observatory::ALL
        .into_iter()
        .find(|observatory| server.contains(observatory.as_str()))
        .ok_or("the server's URL names no observatory")?;

    let fetcher = fetcher(Path::new(&store), observatory, &server)?;
    let info = fetcher.catalogs().load(observatory).wait().await?;
    println!(
        "{observatory}: {} files, default context {:?}",
        info.catalog().len(),
        info.default_context()
    );

    let file = fetcher
        .open(&FileKey {
            observatory,
            name: name.clone(),
        })
        .wait()
        .await?;
    println!("{name}: {} bytes, verified", file.metadata()?.len());

    fetcher.shutdown();
    fetcher.finished().await;
    Ok(())
}

/// The rooms below the tree, put together by hand.
fn fetcher(directory: &Path, observatory: Observatory, url: &str) -> Result<Fetcher, Box<dyn Error>> {
    let servers = vec![ServerSetting {
        observatory: Some(observatory),
        url: url.into(),
    }];
    let endpoints = Endpoints::new(
        &Settings {
            servers,
            ..Settings::default()
        },
        &[observatory],
    )?;
    let store: Arc<dyn Store> = Arc::new(DiskStore::open(directory, StoreOptions::default())?);
    let http = HttpClient::new(HttpSettings::default());
    let origin: Arc<dyn Origin> = Arc::new(UrlOrigin::new(HttpOrigin::new(http.clone())));
    let source = CatalogSource {
        observatory,
        server: Some(endpoints.server(observatory, &http, &origin)),
    };
    let catalogs = Catalogs::new(Handle::current(), store, vec![source], CatalogSettings::default());
    Ok(Fetcher::new(
        Handle::current(),
        origin,
        endpoints,
        catalogs,
        FetchSettings::default(),
    ))
}
