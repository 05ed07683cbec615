//! Connections: how many there are, how long they may be silent, and whose they are.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::peer;

/// Connections at a time; others wait until one of them ends.
const CONNECTIONS: usize = 64;

/// The longest wait for the head of a request, also for that of the next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// The most bytes of a head.
const MAX_HEAD: usize = 16 << 10;

/// Answers connections as long as it is polled, those of other users by `refusal`.
pub(super) async fn run(listener: &TcpListener, router: Router, refusal: Router) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (router, refusal) = (router.clone(), refusal.clone());
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, router, refusal).await {
                        log::debug!("a connection ended early: {error}");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: the connections that are open will give some back.
                log::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers the requests of one connection until it closes.
async fn converse(stream: TcpStream, router: Router, refusal: Router) -> io::Result<()> {
    let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
    let is_own = tokio::task::spawn_blocking(move || peer::is_own(local, remote)).await??;
    let router = if is_own { router } else { refusal };
    stream.set_nodelay(true)?;
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
        .map_err(io::Error::other)
}
