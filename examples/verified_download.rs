//! A verified download without a mount: a file that is printed is one whose SHA-1 matched the catalog's.
//!
//!     cargo run --example verified_download STORE SERVER_URL NAME
//!
//! STORE becomes an ordinary CRDS cache; a second run finds the file there and asks for nothing but the catalog.

use std::error::Error;

use crds_fs::cache::Cache;
use crds_fs::crds::{FileName, Observatory};

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

    let cache = Cache::builder(store)
        .observatories([observatory])
        .server(observatory, &server)
        .open()?;
    let latest = format!("{observatory}-latest").parse()?;
    println!(
        "{observatory}: the default context is {}",
        cache.context(&latest).await?
    );

    let file = cache.open(observatory, &name).await?;
    println!("{name}: {} bytes, verified", file.metadata()?.len());
    cache.close().await;
    Ok(())
}
