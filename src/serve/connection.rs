//! Connections: accepted up to a limit, answered one request after the other, watched, and closed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::sending::Sending;
use super::slots::{Slot, Slots};
use super::tls::Tls;
use super::traffic::Traffic;
use super::watched::{Watched, Watching};

/// Limits of connections and of what comes over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. For a further client the one that has been idle for longest is closed; where none is, it waits.
    pub connections: usize,
    /// The time in which a request's head must have come; after it an idle connection is closed, too.
    pub head: Duration,
    /// The time in which a request's body must have come.
    pub body: Duration,
    /// The time without a byte taken by the client after which its connection is closed.
    pub stalled: Duration,
    /// The time in which connections may finish what they are sending when the server goes away.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head: Duration::from_secs(30),
            body: Duration::from_secs(60),
            stalled: Duration::from_secs(300),
            grace: Duration::from_secs(1),
        }
    }
}

/// The state that all connections share.
pub(super) struct Shared {
    pub(super) router: axum::Router,
    pub(super) limits: Limits,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) stop: CancellationToken,
}

/// Accepts connections until the server stops, each a task of its own.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>, connections: TaskTracker) {
    let limit = shared.limits.connections;
    let slots = Slots::new(NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN));
    let mut told = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: the connections that are open will give some back.
                log::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if slots.are_taken() && !std::mem::replace(&mut told, true) {
            log::warn!(
                "all {limit} connections are in use (--max-connections): idle ones are closed for further clients, \
                 which wait where none is idle"
            );
        }
        let slot = tokio::select! {
            Some(slot) = slots.claim() => slot,
            () = shared.stop.cancelled() => return,
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _open = shared.traffic.opened();
            converse(stream, peer, slot, &shared).await;
        });
    }
}

/// Answers the requests of one connection.
async fn converse(stream: TcpStream, peer: SocketAddr, slot: Arc<Slot>, shared: &Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("cannot switch off Nagle's algorithm: {error}");
    }
    let stream = Sending::new(stream, shared.limits.stalled, Arc::clone(&slot));
    let Some(tls) = &shared.tls else {
        return answer(stream, peer, slot, shared).await;
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(shared.limits.head, tls.accept(stream)) => shaken,
        () = slot.closed() => return,
        () = shared.stop.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => answer(stream, peer, slot, shared).await,
        Ok(Err(error)) => log::debug!("{}: no TLS connection: {error}", peer.ip()),
        Err(_) => log::debug!("{}: no TLS connection in time", peer.ip()),
    }
}

/// Answers requests until the connection closes or is closed for another one, or until the server stops and the time of
/// grace is over.
async fn answer<S>(stream: S, peer: SocketAddr, slot: Arc<Slot>, shared: &Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(shared.router.clone());
    let (traffic, asked) = (Arc::clone(&shared.traffic), Arc::clone(&slot));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let watched = Watched::begin(&traffic, peer.ip(), &request, asked.begin());
        let answering = router.call(request);
        async move {
            let Ok(response) = answering.await;
            Ok::<_, Infallible>(Watching::over(response, watched).map(Body::new))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut gives_way = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break Some(ended),
            () = slot.closed(), if !gives_way => {
                if slot.is_idle() {
                    return;
                }
                gives_way = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shared.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                break tokio::time::timeout(shared.limits.grace, connection).await.ok();
            }
        }
    };
    if let Some(Err(error)) = ended {
        log::debug!("a connection ended early: {error}");
    }
}

/// The largest head of a request; also what of a body is read ahead.
const MAX_HEAD: usize = 64 << 10;
