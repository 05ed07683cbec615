//! Connections: accepted, answered one request after the other, and closed.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The time in which connections may finish what they are sending when the server goes away.
const GRACE: Duration = Duration::from_secs(1);

/// Accepts connections until `stop`, each a task of its own.
pub(super) async fn accept(
    listener: TcpListener,
    router: axum::Router,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, router.clone(), stop.clone()));
            }
            Err(error) => {
                // Out of descriptors, most likely: the connections that are open will give some back.
                log::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers the requests of one connection until it closes, or until `stop` and the time of grace.
async fn converse(stream: TcpStream, router: axum::Router, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("cannot switch off Nagle's algorithm: {error}");
    }
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.ok()
        }
    };
    if let Some(Err(error)) = ended {
        log::debug!("a connection ended early: {error}");
    }
}
