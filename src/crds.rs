//! The words of CRDS: names, digests, catalogs, server descriptions. Pure: no I/O, no clock, no threads.
//!
//! All that comes from outside is parsed into one of these types or refused, so that no text is used as a path unseen:
//!
//! ```
//! use crds_fs::crds::{ContextSpec, DatasetName, FileKind, FileName, Observatory};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let name: FileName = "hst_0729.pmap".parse()?;
//! assert_eq!(name.kind(), FileKind::Pmap);
//! assert_eq!(Observatory::of_name(name.as_str()), Some(Observatory::Hst));
//! assert!("../hst_0729.pmap".parse::<FileName>().is_err());
//!
//! // Contexts by name, by what they are today, and by date.
//! for text in ["jwst_1322.pmap", "jwst-latest", "jwst-2026-01-01"] {
//!     let spec: ContextSpec = text.parse()?;
//!     assert_eq!(spec.observatory(), Some(Observatory::Jwst));
//! }
//!
//! // Datasets by their id, in any case, and by their parameters.
//! let dataset: DatasetName = "j8ba0hrpq".parse()?;
//! assert_eq!(dataset, "J8BA0HRPQ".parse()?);
//! assert_ne!(dataset, "INSTRUME=ACS,DETECTOR=WFC".parse()?);
//! # Ok(())
//! # }
//! ```

mod build_version;
pub(crate) mod catalog;
pub(crate) mod context;
pub(crate) mod dataset_name;
pub(crate) mod digest;
pub(crate) mod encoded;
pub(crate) mod grammar;
mod instrument;
pub(crate) mod json;
mod layout;
pub mod literal;
pub(crate) mod lock_file;
pub(crate) mod name;
mod product;
pub(crate) mod server_info;
pub(crate) mod times;
pub(crate) mod url;

pub use build_version::BuildVersion;
pub use context::{ContextError, ContextPart, ContextSpec, ContextVersion, SymbolicContext};
pub use dataset_name::{DatasetId, DatasetName, Parameters};
pub use name::{FileKey, FileKind, FileName, NameError, Observatory, Reftype};

pub(crate) use catalog::{Catalog, CatalogEntry};
pub(crate) use digest::Sha1Sum;
pub(crate) use layout::ReferenceLayout;
pub(crate) use lock_file::LockFile;
pub(crate) use server_info::ServerInfo;
pub(crate) use url::{Teller, Url};
