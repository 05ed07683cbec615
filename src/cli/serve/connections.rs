//! The flags about connections: certificate, log of requests, limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint::FilePath;

use crate::cli::{Failure, settings};
use crate::serve::{AccessLog, Limits, Listen, LogFormat, Options, TlsFiles};

/// The time in which connections may finish what they are sending when the server is told to stop.
const GRACE: Duration = Duration::from_secs(30);

/// The flags about connections.
#[derive(Debug, clap::Args)]
pub(super) struct ConnectionFlags {
    /// Speak HTTPS with this certificate (PEM), which may be followed by those that vouch for it; SIGHUP reads it anew.
    #[arg(long, value_name = "FILE", env = "CRDS_FS_TLS_CERT", requires = "tls_key", value_hint = FilePath)]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM).
    #[arg(long, value_name = "FILE", env = "CRDS_FS_TLS_KEY", requires = "tls_cert", value_hint = FilePath)]
    tls_key: Option<PathBuf>,
    /// Log each request to FILE, or to standard output (-).
    #[arg(long, value_name = "FILE|-", env = "CRDS_FS_ACCESS_LOG", value_hint = FilePath)]
    access_log: Option<PathBuf>,
    /// The form of the log of requests: the common log format, or a JSON object a line.
    #[arg(long, value_name = "text|json", env = "CRDS_FS_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"], hide_possible_values = true)]
    log_format: String,
    /// Open so many connections at a time. For a further client the one that has been idle for longest is closed; where none
    /// is, it waits.
    #[arg(long, value_name = "N", env = "CRDS_FS_MAX_CONNECTIONS", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// Close a connection over which no request comes for so long.
    #[arg(long, value_name = "DUR", env = "CRDS_FS_IDLE_TIMEOUT", default_value = "30s", value_parser = settings::duration)]
    idle_timeout: Duration,
}

impl ConnectionFlags {
    /// The options of a server on this address.
    pub(super) fn options(&self, address: SocketAddr) -> Result<Options, Failure> {
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        if files.is_none() && !address.ip().is_loopback() {
            log::warn!(
                "whoever can reach {address} can use this server, and reads and writes are not encrypted: \
                 mind the firewall, and give a certificate with --tls-cert and --tls-key"
            );
        }
        Ok(Options {
            listen: Listen::Address(address),
            limits: Limits {
                connections: usize::try_from(self.max_connections).unwrap_or(usize::MAX),
                head: self.idle_timeout,
                grace: GRACE,
                ..Limits::default()
            },
            tls: files.map(|(certificate, key)| TlsFiles { certificate, key }),
            access_log: self.access_log()?,
            ..Options::default()
        })
    }

    fn access_log(&self) -> Result<Option<AccessLog>, Failure> {
        let Some(path) = &self.access_log else {
            return Ok(None);
        };
        let format = match self.log_format.as_str() {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        };
        let log = if path.as_os_str() == "-" {
            AccessLog::to_standard_output(format)
        } else {
            AccessLog::to_file(path, format)
        };
        log.map(Some)
            .map_err(|error| Failure::because(format!("cannot log requests to '{}'", path.display()), error))
    }
}
