//! TLS: a certificate and its key from files, which can be read anew.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The files of a certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that vouch for it, in this order.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("cannot use {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The key is not that of the certificate, or of a kind that is not known.
    #[error("the certificate in {} and the key in {} cannot be used together: {why}", files.certificate.display(), files.key.display())]
    Pair {
        /// The files.
        files: TlsFiles,
        /// The reason.
        why: String,
    },
}

/// The side of a server in TLS.
pub(super) struct Tls {
    files: TlsFiles,
    config: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    pub(super) fn new(files: TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            config: Mutex::new(files.read()?),
            files,
        })
    }

    /// Reads the files anew, for the connections from now on; after a failure the old ones stay in use.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        let config = self.files.read()?;
        *self.config.lock() = config;
        Ok(())
    }

    pub(super) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.config.lock());
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl TlsFiles {
    fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let wrong = |path: &PathBuf, why: &dyn ToString| TlsError::File {
            path: path.clone(),
            why: why.to_string(),
        };
        let certificates = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(&self.certificate, &error))?;
        if certificates.is_empty() {
            return Err(wrong(&self.certificate, &"there is no certificate in it (PEM)"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, &error))?;
        let mismatch = |error: rustls::Error| TlsError::Pair {
            files: self.clone(),
            why: error.to_string(),
        };
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(mismatch)?
                .with_no_client_auth()
                .with_single_cert(certificates, key)
                .map_err(mismatch)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
