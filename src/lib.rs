//! The CRDS cache as a file system, and as a library.
//!
//! The program `crds-fs` mounts it; README.md tells users how. A Rust program can use the same layers without a mount:
//!
//! | to | use |
//! | --- | --- |
//! | open a verified file, fetched if need be | [`cache::Cache::open`] |
//! | find the best references of a dataset | [`cache::Cache::bestrefs`] |
//! | evaluate a header against a context, without a server | [`rules::Provider`] |
//! | read the header of a dataset's file, or write references into it | [`dataset::read`], [`dataset::update`] |
//! | serve a cache to CRDS clients | [`serve::Server`] |
//! | name observatories, files, contexts, datasets | [`crds`] |
//!
//! These five modules are the whole public surface, with [`main`] for the program; their pages begin with an example. All
//! else is internal and changes without notice.
//!
//! # Modules
//!
//! The highest layer first. A layer knows nothing of those above it (`tests/layering.rs` holds that), and
//! `docs/architecture.md` tells their states and locks.
//!
//! | module | its job |
//! | --- | --- |
//! | `cli` | one file per subcommand; argument parsing and output only |
//! | `mount` | fuser adapter, sessions, passthrough, daemon, namespaces |
//! | [`serve`] | the embedded CRDS server |
//! | `tree` | the file system without FUSE: inodes, lookup, listing, attributes, open files, writes |
//! | [`cache`] | a directory as a cache: the layers below put together |
//! | `resolve` | (context, dataset, type) to file: server, rules, memory of answers |
//! | `fetch` | brings names into the store: catalogs, one transfer per file, ranges, priorities, retries |
//! | `store` | the cache on disk: layout, partial files, verification, eviction |
//! | `remote` | JSON-RPC and file origins (HTTP(S), file) |
//! | [`dataset`] | dataset file to header, header to dataset file (FITS, ASDF, GEIS) |
//! | [`rules`] | mappings and their evaluation (pure) |
//! | `metrics` | the writer of Prometheus' text format |
//! | `machine` | advice that depends on this machine: packages, rights, shells |
//! | [`crds`] | names, contexts, catalog, `server_config`, Python literals (pure) |

pub mod cache;
pub mod crds;
pub mod dataset;
pub mod rules;
pub mod serve;

mod cli;
mod fetch;
mod machine;
mod metrics;
mod mount;
mod remote;
mod resolve;
mod store;
mod tree;

pub use cli::main;
