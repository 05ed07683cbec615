//! A CRDS server inside a program: serves an existing cache directory on loopback until Ctrl-C.
//!
//!     cargo run -- demo --write /tmp/observatory
//!     cargo run --example embedded_server /tmp/observatory/cache

use std::error::Error;
use std::path::PathBuf;

use crds_fs::serve::{Options, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("usage: embedded_server CACHE")?
        .into();
    let server = Server::bind(&cache, Options::default()).await?;
    for observatory in server.observatories() {
        println!(
            "{} ({} files)",
            server.url(observatory),
            server.files(observatory)
        );
    }
    println!("Ctrl-C ends it");
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
