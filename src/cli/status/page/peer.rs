//! The user at the other end of a loopback connection, as the kernel's table of sockets tells (proc_pid_net(5)).

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::process::geteuid;

/// The state of a connection that both ends use.
const ESTABLISHED: &str = "01";

/// The tries to find a connection: a table that changes while it is read may lack an entry.
const TRIES: usize = 3;

/// Whether the other end of a connection is a process of this user, or of root. Reads a table of all connections.
pub(super) fn is_own(local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
    let table = match remote {
        SocketAddr::V4(_) => "/proc/self/net/tcp",
        SocketAddr::V6(_) => "/proc/self/net/tcp6",
    };
    for _ in 0..TRIES {
        if let Some(owner) = owner(&fs::read_to_string(table)?, remote, local) {
            return Ok(owner == 0 || owner == geteuid().as_raw());
        }
    }
    Ok(false)
}

/// The user of the socket that is bound to `local` and connected to `remote`; none when it is closed.
fn owner(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let (local, remote) = (written(local), written(remote));
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        // sl, local_address, rem_address, st, tx_queue:rx_queue, tr:tm->when, retrnsmt, uid
        let is_it = fields.nth(1)? == local && fields.next()? == remote && fields.next()? == ESTABLISHED;
        is_it.then(|| fields.nth(3)?.parse().ok()).flatten()
    })
}

/// An address as the table has it: words of 32 bits in the machine's order, and the port.
fn written(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut text = String::new();
    for word in ip.as_chunks::<4>().0 {
        // Writing to a String cannot fail.
        let _ = write!(text, "{:08X}", u32::from_ne_bytes(*word));
    }
    let _ = write!(text, ":{:04X}", address.port());
    text
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_user_of_a_connection_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(listener) = TcpListener::bind(address) else {
                assert!(address.starts_with('['), "{address}");
                continue;
            };
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, remote) = listener.accept().unwrap();
            let local = accepted.local_addr().unwrap();
            assert!(is_own(local, remote).unwrap());
            let elsewhere = SocketAddr::new(local.ip(), 1);
            assert!(!is_own(elsewhere, remote).unwrap(), "there is no such connection");
            drop(stream);
        }
    }

    #[test]
    fn a_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1D38 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1\n   \
                     1: 0100007F:C350 0100007F:1D38 06 00000000:00000000 00:00000000 00000000     0        0 0 1\n   \
                     2: 0100007F:C351 0100007F:1D38 01 00000000:00000000 00:00000000 00000000  1234        0 7 1\n";
        let server: SocketAddr = "127.0.0.1:7480".parse().unwrap();
        let client = |port| SocketAddr::new(server.ip(), port);
        if cfg!(target_endian = "little") {
            assert_eq!(owner(table, client(50001), server), Some(1234));
            assert_eq!(owner(table, client(50000), server), None, "closed: nobody's");
            assert_eq!(owner(table, client(50002), server), None);
        }
    }
}
