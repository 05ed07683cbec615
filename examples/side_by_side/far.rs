//! A far link: a proxy that delays every byte and limits each connection, as users away from the archive see it.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Fallible;

/// The way in one direction.
pub(crate) const ONE_WAY: Duration = Duration::from_millis(15);
/// The rate at which one connection receives, in bytes per second.
pub(crate) const BYTES_PER_SECOND: f64 = 20e6;

const PIECE: usize = 64 << 10;
/// Pieces on their way at a time.
const IN_FLIGHT: usize = 256;
/// A link that owes its receiver so much time reads nothing more.
const AHEAD: Duration = Duration::from_millis(20);

/// Leads to `target`, until the process ends.
pub(crate) fn link(target: SocketAddr) -> Fallible<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // Either side may leave at any moment.
            std::thread::spawn(move || drop(connect(&near, target)));
        }
    });
    Ok(address)
}

fn connect(near: &TcpStream, target: SocketAddr) -> io::Result<()> {
    std::thread::sleep(2 * ONE_WAY);
    let far = TcpStream::connect(target)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (from, to) = (near.try_clone()?, far.try_clone()?);
    std::thread::spawn(move || pump(from, to, f64::INFINITY));
    pump(far, near.try_clone()?, BYTES_PER_SECOND);
    Ok(())
}

/// Carries what comes from one side to the other, each byte late and not more than `rate` bytes per second.
fn pump(mut from: TcpStream, mut to: TcpStream, rate: f64) {
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let writer = std::thread::spawn(move || {
        for (due, piece) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                return;
            }
        }
        // Whoever has gone already needs no end.
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut free = Instant::now();
    let mut buffer = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        #[expect(clippy::cast_precision_loss, reason = "64 KiB at most")]
        let taken = Duration::from_secs_f64(count as f64 / rate);
        let now = Instant::now();
        free = free.max(now) + taken;
        if sender.send((free + ONE_WAY, buffer[..count].to_vec())).is_err() {
            break;
        }
        let owed = free.saturating_duration_since(now);
        if owed > AHEAD {
            std::thread::sleep(owed);
        }
    }
    drop(sender);
    // A panic there has been printed.
    let _ = writer.join();
    let _ = from.shutdown(Shutdown::Read);
}
