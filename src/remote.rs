//! The world outside: the JSON-RPC service of a CRDS server, and the places that files come from.
//!
//! Nothing here retries or waits: an error says by itself whether trying again is sensible ([`Retry`]), and the module
//! above decides.

mod behind;
mod config;
#[cfg(test)]
mod conformance;
mod destination;
pub(crate) mod endpoints;
mod error;
mod file;
mod http;
#[cfg(test)]
pub(crate) mod loopback;
pub(crate) mod measure;
#[cfg(test)]
pub(crate) mod memory;
mod object;
mod origin;
pub(crate) mod probe;
mod rpc;
pub(crate) mod service;
mod sources;
mod tier;
mod url;

pub(crate) use behind::{Behind, PROXY_STATUS};
pub(crate) use destination::{Destination, Put, PutError, Upload};
pub(crate) use endpoints::{EndpointError, Endpoints, ServerSetting, Settings};
pub(crate) use error::{Hint, RemoteError, RemoteErrorKind, Retry};
pub(crate) use http::{Certificates, HttpClient, HttpOrigin, HttpSettings, Proxy, proxies};
pub(crate) use object::{CloudSettings, ObjectOrigin};
pub(crate) use origin::{ByteRange, Download, Origin};
pub(crate) use rpc::JsonRpcServer;
pub(crate) use service::{BestReferences, CrdsServer};
pub(crate) use sources::{SourceError, SourcePlace, SourceSetting};
pub(crate) use tier::{TierError, TierSetting};
pub(crate) use url::UrlOrigin;
