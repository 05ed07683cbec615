//! The world outside: the JSON-RPC service of a CRDS server, and the places that files come from.
//!
//! Nothing here retries or waits: an error says by itself whether trying again is sensible ([`Retry`]), and the module
//! above decides.

mod config;
pub mod endpoints;
mod error;
mod file;
mod http;
#[cfg(test)]
pub(crate) mod loopback;
pub mod memory;
mod origin;
mod rpc;
pub mod service;
mod url;

pub use config::ConfigUriServer;
pub use endpoints::{EndpointError, Endpoints, NoUrl, ServerSetting, Settings};
pub use error::{Hint, RemoteError, RemoteErrorKind, Retry};
pub use file::FileOrigin;
pub use http::{HttpClient, HttpOrigin, HttpSettings};
pub use origin::{ByteRange, Download, Origin};
pub use rpc::JsonRpcServer;
pub use service::{BestReferences, ByDataset, CrdsServer, Header, TypeValues};
pub use url::UrlOrigin;
