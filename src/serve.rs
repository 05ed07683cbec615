//! An embedded CRDS server over a cache directory: the service that the demo, the tests and a site without a
//! network use, and that any CRDS client can talk to.
//!
//! One base URL per observatory, `http://HOST:PORT/<obs>`. The catalog is made at start from the bytes that are there
//! (digests are remembered for as long as a file's identity stays), never from a catalog that came with them (a copied
//! cache often differs from its `server_config`). Nothing in a request is ever used as a path: names are looked up in
//! that catalog.
//!
//! | path | answer |
//! | --- | --- |
//! | `/<obs>/json/...` | JSON-RPC (spec/crds-service 1) |
//! | `/<obs>/unchecked_get/{mappings,references,config}/<obs>/<name>` | files: GET, HEAD, ranges, validators |
//! | `/.counters` | the counts of requests so far, as JSON |
//!
//! With [`Server::bind_cache`] the catalog is that of another server, the cache's own, and files that are not in the cache
//! are fetched from there when they are asked for.
//!
//! ```
//! use crds_fs::crds::Observatory;
//! use crds_fs::serve::{Options, Server};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let cache = tempfile::tempdir()?;
//! # std::fs::create_dir_all(cache.path().join("mappings/roman"))?;
//! # std::fs::write(cache.path().join("mappings/roman/roman_0001.pmap"), "header = {}\nselector = {}\n")?;
//! let server = Server::bind(cache.path(), Options::default()).await?;
//! // For the environment of a client: CRDS_SERVER_URL.
//! assert!(server.url(Observatory::Roman).starts_with("http://127.0.0.1:"));
//! assert_eq!(server.files(Observatory::Roman), 1);
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod access_log;
mod archive;
mod arguments;
mod calls;
mod connection;
mod counters;
mod datasets;
mod description;
mod description_text;
mod download;
mod envelope;
mod failure;
mod file_info;
mod methods;
mod metrics;
mod range;
mod reply;
mod router;
mod rules;
mod sending;
mod services;
mod slots;
mod tls;
mod traffic;
mod upstream;
mod watched;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use access_log::{AccessLog, LogFormat};
pub use archive::HashProgress;
pub use connection::Limits;
pub use counters::{Counters, FileCount};
pub use datasets::DatasetsError;
pub use tls::{TlsError, TlsFiles};

use crate::cache::Cache;
use crate::crds::Observatory;
use connection::{Shared, accept};
use services::{Service, Services};
use tls::Tls;
use traffic::Traffic;

/// Settings of a server.
#[derive(Default)]
pub struct Options {
    /// The address to listen on.
    pub listen: Listen,
    /// A JSON file of datasets: `{id: {"header": {...}, "bestrefs": {context: {reftype: value}}}}`.
    pub datasets: Option<PathBuf>,
    /// The directory below which digests of caches that cannot be written are remembered.
    pub state: Option<PathBuf>,
    /// Called with the progress of the catalog, while the files are hashed.
    pub progress: Option<Box<dyn Fn(HashProgress) + Send + Sync>>,
    /// The limits of connections.
    pub limits: Limits,
    /// The certificate with which HTTPS is spoken; without one it is HTTP.
    pub tls: Option<TlsFiles>,
    /// The log of requests.
    pub access_log: Option<AccessLog>,
}

/// The address that a server listens on.
#[derive(Debug, Default)]
pub enum Listen {
    /// On a free port of the loopback address.
    #[default]
    Loopback,
    /// On this address.
    Address(SocketAddr),
    /// On a socket that listens already.
    Socket(std::net::TcpListener),
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directory holds nothing to serve.
    #[error(
        "{} holds no CRDS cache: there is no rule or reference below mappings/<observatory> or references/<observatory>; \
         name a directory that a mount or 'crds sync' has filled",
        .0.display()
    )]
    NoCache(PathBuf),
    /// Nothing of what the cache holds can be read.
    #[error("no file of the cache {} can be read: the log says why; mind its owner and its modes", .0.display())]
    Unreadable(PathBuf),
    /// The cache cannot be read.
    #[error("cannot read the cache {}: name a directory with 'mappings' and 'references' in it", path.display())]
    Read {
        /// The directory that cannot be read.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("{}", cannot_listen(*address, source))]
    Listen {
        /// The address; `None` for a socket that was handed over.
        address: Option<SocketAddr>,
        /// The reason.
        source: io::Error,
    },
    /// The datasets file is not usable.
    #[error(transparent)]
    Datasets(#[from] DatasetsError),
    /// The certificate is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Hashing the cache was cut short.
    #[error("the catalog was not finished: {0}")]
    Interrupted(String),
}

/// The embedded server; see [`Server::bind`].
pub struct Server;

/// A running server. It stops when this is dropped, at once; [`Handle::shutdown`] lets it finish what it sends.
pub struct Handle {
    address: SocketAddr,
    services: Arc<Services>,
    shared: Arc<Shared>,
    connections: TaskTracker,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Listens, then hashes every file of the cache whose digest is not known; on return requests are answered. Those
    /// that come before wait a while, and are then told to come again.
    pub async fn bind(cache: &Path, options: Options) -> Result<Handle, ServeError> {
        let Options {
            datasets,
            state,
            progress,
            ..
        } = options;
        let (listening, loaded) =
            Listening::start(options.listen, options.limits, options.tls, options.access_log).await?;
        let root = cache.to_owned();
        let services = tokio::task::spawn_blocking(move || {
            let progress = progress.unwrap_or_else(|| Box::new(|_| ()));
            Services::of_directory(&root, datasets.as_deref(), state.as_deref(), &*progress)
        })
        .await
        .map_err(|error| ServeError::Interrupted(error.to_string()))??;
        Ok(listening.serve(services, &loaded))
    }

    /// Listens, and serves what the servers of `cache` know: a file that is not there is fetched when it is asked for, once
    /// however many ask, verified and kept. Nothing is asked of the network at the start. Whoever has opened the cache
    /// closes it, after the server was shut down.
    pub async fn bind_cache(cache: &Cache, options: Options) -> Result<Handle, ServeError> {
        let Options {
            listen,
            limits,
            tls,
            access_log,
            ..
        } = options;
        let (listening, loaded) = Listening::start(listen, limits, tls, access_log).await?;
        Ok(listening.serve(Services::of_cache(cache), &loaded))
    }
}

/// A server that listens, and has no services yet. It stops when this is dropped.
struct Listening {
    address: SocketAddr,
    shared: Arc<Shared>,
    connections: TaskTracker,
    accepting: JoinHandle<()>,
    abandoned: DropGuard,
}

impl Listening {
    async fn start(
        listen: Listen,
        limits: Limits,
        tls: Option<TlsFiles>,
        access_log: Option<AccessLog>,
    ) -> Result<(Self, watch::Sender<Option<Arc<Services>>>), ServeError> {
        let tls = tls.map(Tls::new).transpose()?.map(Arc::new);
        let listener = listen.open().await?;
        let address = listener.local_addr().map_err(|source| ServeError::Listen {
            address: None,
            source,
        })?;
        let (loaded, services) = watch::channel(None);
        let traffic = Arc::new(Traffic::new(access_log));
        let connections = TaskTracker::new();
        let shared = Arc::new(Shared {
            router: router::router(router::Context {
                services,
                address,
                is_https: tls.is_some(),
                body_time: limits.body,
                traffic: Arc::clone(&traffic),
                room: Arc::default(),
            }),
            limits,
            tls,
            traffic,
            stop: CancellationToken::new(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), connections.clone()));
        let listening = Self {
            address,
            // A caller that drops this stops the server.
            abandoned: shared.stop.clone().drop_guard(),
            shared,
            connections,
            accepting,
        };
        Ok((listening, loaded))
    }

    fn serve(self, services: Services, loaded: &watch::Sender<Option<Arc<Services>>>) -> Handle {
        let services = Arc::new(services);
        loaded.send_replace(Some(Arc::clone(&services)));
        self.abandoned.disarm();
        Handle {
            address: self.address,
            services,
            shared: self.shared,
            connections: self.connections,
            accepting: self.accepting,
        }
    }
}

impl Listen {
    async fn open(self) -> Result<TcpListener, ServeError> {
        let address = match self {
            Self::Loopback => SocketAddr::from(([127, 0, 0, 1], 0)),
            Self::Address(address) => address,
            Self::Socket(socket) => {
                return socket
                    .set_nonblocking(true)
                    .and_then(|()| TcpListener::from_std(socket))
                    .map_err(|source| ServeError::Listen {
                        address: None,
                        source,
                    });
            }
        };
        TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen {
                address: Some(address),
                source,
            })
    }
}

/// The message that an address cannot be listened on, why, and what to do.
fn cannot_listen(address: Option<SocketAddr>, source: &io::Error) -> String {
    let Some(address) = address else {
        return "cannot listen on the socket that was handed over".to_owned();
    };
    let (ip, port) = (address.ip(), address.port());
    let host = if ip.is_ipv6() {
        format!("[{ip}]")
    } else {
        ip.to_string()
    };
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "cannot listen on {address}: port {port} is taken by another process, perhaps another 'crds-fs serve'; choose \
             another one with --listen {host}:PORT (0 takes any free port)"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "cannot listen on {address}: this machine has no address {ip}; choose one that it has with --listen HOST:{port}"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "cannot listen on {address}: port {port} is reserved; choose one from 1024 on with --listen {host}:PORT"
        ),
        _ => format!("cannot listen on {address}; choose another address with --listen HOST:PORT"),
    }
}

impl Handle {
    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The observatories that are served.
    pub fn observatories(&self) -> impl Iterator<Item = Observatory> + '_ {
        self.services.iter().map(|service| service.observatory)
    }

    /// The base URL of an observatory, as `CRDS_SERVER_URL` wants it.
    pub fn url(&self, observatory: Observatory) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}/{observatory}", self.address)
    }

    /// The number of files of an observatory in the catalog.
    pub fn files(&self, observatory: Observatory) -> usize {
        self.services.get(observatory).map_or(0, Service::file_count)
    }

    /// The counts of requests so far.
    pub fn counters(&self) -> &Counters {
        &self.services.counters
    }

    /// Reads the certificate anew, and continues the log of requests in the file that has its name now.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.shared.traffic.reopen_log();
        self.shared.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Keeps what was learnt from upstream for the next start; to be called at intervals, since a process may be killed.
    pub(crate) async fn save(&self) {
        for service in self.services.iter() {
            service.save().await;
        }
    }

    /// Stops listening and closes every connection; answers that are being sent have a second to finish.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        // A panic of the accepting task has been reported by the runtime; there is nothing left to stop.
        let _ = (&mut self.accepting).await;
        self.connections.close();
        self.connections.wait().await;
        self.save().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
