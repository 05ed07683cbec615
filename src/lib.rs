//! The CRDS cache as a file system.
//!
//! The modules, highest layer first. A layer knows nothing of those above it (`tests/layering.rs` holds that):
//!
//! | module | its job |
//! | --- | --- |
//! | [`cli`] | one file per subcommand; argument parsing and output only |
//! | [`mount`] | fuser adapter, sessions, passthrough, daemon, namespaces |
//! | [`serve`] | the embedded CRDS server |
//! | [`tree`] | the file system without FUSE: inodes, lookup, listing, attributes, open files, writes |
//! | [`cache`] | a directory as a cache: the layers below put together |
//! | [`resolve`] | (context, dataset, type) to file: server, rules, memory of answers |
//! | [`fetch`] | brings names into the store: catalogs, one transfer per file, ranges, priorities, retries |
//! | [`store`] | the cache on disk: layout, partial files, verification, eviction |
//! | [`remote`] | JSON-RPC and file origins (HTTP(S), file) |
//! | [`dataset`] | dataset file to header, header to dataset file (FITS, ASDF, GEIS) |
//! | [`rules`] | mappings and their evaluation (pure) |
//! | [`crds`] | names, contexts, catalog, `server_config`, Python literals (pure) |
//!
//! `docs/architecture.md` tells the states and locks, `README.md` what users are promised.

pub mod cache;
pub mod cli;
pub mod crds;
pub mod dataset;
pub mod fetch;
pub mod mount;
pub mod remote;
pub mod resolve;
pub mod rules;
pub mod serve;
pub mod store;
pub mod tree;
