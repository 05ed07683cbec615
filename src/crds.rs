//! The words of CRDS: names, digests, catalogs, server descriptions. Pure: no I/O, no clock, no threads.

pub mod catalog;
pub mod context;
pub mod dataset_name;
pub mod digest;
pub mod encoded;
pub mod grammar;
mod instrument;
pub mod json;
pub mod literal;
pub mod name;
mod product;
pub mod server_info;
pub(crate) mod times;
pub mod url;

pub use catalog::{Catalog, CatalogEntry, CatalogItem, Difference, Dropped};
pub use context::{ContextError, ContextPart, ContextSpec, ContextVersion, Resolved, SymbolicContext};
pub use dataset_name::{DatasetId, DatasetName, Parameters};
pub use digest::Sha1Sum;
pub use name::{FileKey, FileKind, FileName, NameError, Observatory, Reftype};
pub use server_info::{BaseUrls, HistoryEntry, Limits, ServerInfo, ServerInfoError};
pub use url::{Teller, Url};
