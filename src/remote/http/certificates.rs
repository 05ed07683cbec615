//! The certificates that this machine trusts.

use std::path::PathBuf;

use rustls::RootCertStore;

use crate::machine::{self, Advice};

/// The variables that name certificates in the place of those of the system.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The certificates that this machine trusts, for [`RootCertStore`] and for people.
#[derive(Debug, Clone, Default)]
pub(crate) struct Certificates {
    /// The number of those that servers can be checked with.
    pub count: usize,
    /// The variables in force that name a path which is not there.
    pub leading_nowhere: Vec<(&'static str, PathBuf)>,
}

impl Certificates {
    /// Those of this machine.
    pub(crate) fn find() -> Self {
        let named = VARIABLES
            .into_iter()
            .filter_map(|name| Some((name, PathBuf::from(std::env::var_os(name)?))));
        Self {
            count: roots().len(),
            leading_nowhere: named
                .filter(|(name, path)| match *name {
                    "SSL_CERT_FILE" => !path.is_file(),
                    _ => !std::env::split_paths(path).any(|directory| directory.is_dir()),
                })
                .collect(),
        }
    }

    /// The advice where there are none.
    pub(crate) fn missing() -> Advice {
        machine::install(
            "this machine has no certificates to check servers with (set SSL_CERT_FILE if they are elsewhere)",
            "ca-certificates",
        )
    }
}

/// The roots of trust. There may be none: plain HTTP works without.
pub(super) fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::debug!("certificates of this machine: {error}");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}
