//! Messages to the service manager that started this process, as `sd_notify(3)` has them: systemd with `Type=notify`, and
//! others that set `NOTIFY_SOCKET`.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

const SOCKET: &str = "NOTIFY_SOCKET";

/// The service manager; nobody, where there is none, or where this process is not the one that it waits for.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager(Option<UnixDatagram>);

impl ServiceManager {
    /// The one that the environment names.
    pub(crate) fn of_environment() -> Self {
        let Some(name) = env::var_os(SOCKET).filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        match connect(&name) {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                log::warn!(
                    "the service manager is told nothing: {SOCKET}={}: {error}",
                    name.display()
                );
                Self(None)
            }
        }
    }

    /// Nobody.
    pub(crate) fn nobody() -> Self {
        Self(None)
    }

    /// Tells that the file system answers.
    pub(crate) fn ready(&self, status: &str) {
        self.tell("READY=1\n", status);
    }

    /// Tells that the file system is going away.
    pub(crate) fn stopping(&self, status: &str) {
        self.tell("STOPPING=1\n", status);
    }

    /// Tells what is being done, or why it failed.
    pub(crate) fn status(&self, status: &str) {
        self.tell("", status);
    }

    fn tell(&self, state: &str, status: &str) {
        let Some(socket) = &self.0 else {
            return;
        };
        // A message is a line for each variable.
        let message = format!("{state}STATUS={}\n", status.trim().replace('\n', "; "));
        if let Err(error) = socket.send(message.as_bytes()) {
            log::warn!("the service manager is not told '{}': {error}", message.trim());
        }
    }
}

/// A socket to a name as `NOTIFY_SOCKET` has it: a path, or `@` before the name of an abstract socket.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("it is neither a path nor @ and a name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn messages_come_at_sockets_with_a_path_and_at_abstract_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let abstract_name = format!("crds-fs-test-{}-notify", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let cases = [
            (UnixDatagram::bind(&path).unwrap(), path.display().to_string()),
            (
                UnixDatagram::bind_addr(&address).unwrap(),
                format!("@{abstract_name}"),
            ),
        ];
        for (manager, name) in cases {
            let told = ServiceManager(Some(connect(OsStr::new(&name)).unwrap()));
            told.ready("mounted");
            assert_eq!(received(&manager), "READY=1\nSTATUS=mounted\n");
            told.stopping("two\nlines\n");
            assert_eq!(received(&manager), "STOPPING=1\nSTATUS=two; lines\n");
            told.status("why");
            assert_eq!(received(&manager), "STATUS=why\n");
        }
        assert!(connect(OsStr::new("relative")).is_err());
    }

    #[test]
    fn a_service_manager_that_has_gone_disturbs_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let told = ServiceManager(Some(connect(path.as_os_str()).unwrap()));
        drop(manager);
        told.ready("mounted");
        ServiceManager::nobody().ready("mounted");
    }
}
