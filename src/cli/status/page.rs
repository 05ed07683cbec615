//! `crds-fs status --serve`: a page about one mount, for a browser on the same machine.
//!
//! Whoever can open a connection to the address can read the page, and have best references looked up: so it is a loopback
//! address, and only processes of the same user, or of root, are answered. Nothing can be changed by a request.

mod history;
mod lookup;
mod peer;
mod router;
mod server;
mod treemap;
mod views;
mod watch;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Failure, output};
use router::Page;

/// The address without one on the command line.
pub(super) const DEFAULT: &str = "127.0.0.1:7480";

/// The longest wait, at the end, for files that are being read.
const GRACE: Duration = Duration::from_millis(100);

/// The address that `HOST:PORT`, `HOST` or `PORT` means: a loopback address.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let port = DEFAULT.rsplit_once(':').map_or("0", |(_, port)| port);
    let candidates = [
        text.to_owned(),
        format!("{text}:{port}"),
        format!("[{text}]:{port}"),
    ];
    let is_port = text.parse::<u16>().is_ok();
    let by_port = is_port.then(|| format!("127.0.0.1:{text}"));
    let mut found: Vec<SocketAddr> = by_port
        .iter()
        .chain(if is_port { &[] } else { candidates.as_slice() })
        .find_map(|candidate| candidate.to_socket_addrs().ok())
        .ok_or_else(|| {
            let remedy = format!("write HOST:PORT, as in {DEFAULT}, localhost:8000 or [::1]:8000");
            if text.contains('/') {
                return format!("{remedy}; a mount point comes before it: crds-fs status {text} --serve");
            }
            remedy
        })?
        .collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let first = found.first().copied().ok_or("the name has no address")?;
    if found.iter().all(|address| address.ip().is_loopback()) {
        return Ok(first);
    }
    let port = first.port();
    Err(format!(
        "there is no access control, so only a loopback address is served, such as 127.0.0.1:{port}; to see the page from another \
         machine, run there 'ssh -L {port}:127.0.0.1:{port} THIS-HOST' and open http://127.0.0.1:{port}/"
    ))
}

/// Serves the page about the mount at `mountpoint` until a signal comes.
pub(super) fn serve(mountpoint: &Path, address: SocketAddr) -> Result<(), Failure> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let served = async {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| Failure::because(cannot_listen(address), error))?;
            let address = listener.local_addr()?;
            let page = Arc::new(Page::new(mountpoint).await);
            announce(mountpoint, address)?;
            server::run(&listener, router::router(page), router::refusal()).await;
            Ok(())
        };
        tokio::select! {
            outcome = served => outcome,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            _ = hangup.recv() => Ok(()),
        }
    });
    // A file that is being read may come never.
    runtime.shutdown_timeout(GRACE);
    outcome
}

fn announce(mountpoint: &Path, address: SocketAddr) -> Result<(), output::OutputError> {
    let (place, port) = (mountpoint.display(), address.port());
    let text = format!(
        "http://{address}/ is about {place}\nfrom another machine: ssh -L {port}:{address} THIS-HOST, and the same address there; \
         Ctrl-C ends it\n"
    );
    // At once: who reads the first line may not wait for another.
    output::write(text.as_bytes())
}

fn cannot_listen(address: SocketAddr) -> String {
    format!("cannot listen on {address}; 'crds-fs status --serve 127.0.0.1:0' takes any free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_served() {
        for (text, meant) in [
            (DEFAULT, DEFAULT),
            ("127.0.0.2:80", "127.0.0.2:80"),
            ("127.0.0.1", DEFAULT),
            ("8000", "127.0.0.1:8000"),
            ("0", "127.0.0.1:0"),
            ("[::1]:9", "[::1]:9"),
            ("::1", "[::1]:7480"),
            ("localhost:9", "127.0.0.1:9"),
        ] {
            assert_eq!(
                address(text).map(|address| address.to_string()).as_deref(),
                Ok(meant),
                "{text}"
            );
        }
    }

    #[test]
    fn others_are_refused_with_a_remedy() {
        for text in ["0.0.0.0:80", "192.0.2.1", "[::]:8000", "[2001:db8::1]:80"] {
            let refused = address(text).unwrap_err();
            assert!(refused.contains("ssh -L"), "{text}: {refused}");
        }
        for text in ["", "127.0.0.1:99999", "http://127.0.0.1:80/", "/crds"] {
            let refused = address(text).unwrap_err();
            assert!(refused.contains("HOST:PORT"), "{text}: {refused}");
        }
        assert!(address("/crds").unwrap_err().contains("status /crds --serve"));
    }
}
