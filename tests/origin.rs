//! The misbehaving server does what it is told: a test of the tool that other tests rely on.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[path = "common/origin.rs"]
mod origin;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use origin::{Behaviour, Content, Origin};

fn origin() -> Origin {
    let content = Content {
        observatory: "roman",
        context: "roman_0001.pmap".to_owned(),
        ..Content::default()
    };
    Origin::start(
        content
            .file("roman_0001.pmap", 100)
            .file("roman_wfi_dark_0001.asdf", 10_000),
    )
}

const DARK: &str = "roman_wfi_dark_0001.asdf";

fn connect(origin: &Origin) -> std::io::Result<TcpStream> {
    let url = origin.url();
    TcpStream::connect(url.strip_prefix("http://").unwrap().split('/').next().unwrap())
}

/// Sends a request for the dark and reads all that comes until the connection closes or nothing comes for a while.
fn get(origin: &Origin, headers: &str) -> (String, Vec<u8>) {
    let mut stream = connect(origin).unwrap();
    write!(
        stream,
        "GET /roman/unchecked_get/references/roman/{DARK} HTTP/1.1\r\n{headers}\r\n"
    )
    .unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    match reply.windows(4).position(|window| window == b"\r\n\r\n") {
        Some(end) => (
            String::from_utf8_lossy(&reply[..end]).into_owned(),
            reply[end + 4..].to_vec(),
        ),
        None => (String::new(), reply),
    }
}

#[test]
fn it_behaves_well_unless_told() {
    let origin = origin();
    let right = origin.contents(DARK);
    assert_eq!(get(&origin, "").1, right);
    let (head, body) = get(&origin, "Range: bytes=10-19\r\n");
    assert!(
        head.contains("206") && head.contains("bytes 10-19/10000"),
        "{head}"
    );
    assert_eq!(body, right[10..20]);
    assert_eq!(
        get(&origin, "Range: bytes=10-19\r\nIf-Range: \"other\"\r\n").1,
        right
    );
    assert_eq!(origin.asked(DARK).len(), 3);
    assert_eq!(origin.asked(DARK)[1].range.as_deref(), Some("bytes=10-19"));
}

#[test]
fn it_misbehaves_when_told() {
    let origin = origin();
    let right = origin.contents(DARK);
    let got = |behaviour: Behaviour, headers: &str| {
        origin.set(DARK, behaviour);
        get(&origin, headers)
    };
    assert!(got(Behaviour::Status(403), "").0.contains("403"));
    assert_eq!(got(Behaviour::DropAfter(50), "").1, right[..50]);
    assert!(
        got(Behaviour::DropAfter(50), "")
            .0
            .contains("Content-Length: 10000")
    );
    assert!(got(Behaviour::Truncate(50), "").0.contains("Content-Length: 50"));
    assert_eq!(got(Behaviour::Extend(5), "").1.len(), 10_005);
    assert_eq!(got(Behaviour::Flip(7), "").1[7], right[7] ^ 1);
    assert!(got(Behaviour::Html, "").1.starts_with(b"<html>"));
    assert_eq!(got(Behaviour::IgnoreRange, "Range: bytes=1-2\r\n").1, right);
    let etags = [
        got(Behaviour::ChangingEtag, "Range: bytes=1-2\r\n").0,
        got(Behaviour::ChangingEtag, "").0,
    ];
    assert_ne!(
        etags[0].lines().find(|line| line.contains("ETag")),
        etags[1].lines().find(|line| line.contains("ETag"))
    );
    assert_eq!(got(Behaviour::Hang, ""), (String::new(), Vec::new()));
    let times = Behaviour::StatusTimes {
        status: 503,
        times: 1,
        retry_after: Some(2),
    };
    let head = got(times, "").0;
    assert!(head.contains("503") && head.contains("Retry-After: 2"), "{head}");
    assert_eq!(get(&origin, "").1, right, "well after one time");
    origin.mend();
    assert_eq!(get(&origin, "").1, right);
}

#[test]
fn it_stalls_until_released_and_refuses() {
    let origin = origin();
    origin.set(DARK, Behaviour::StallAfter(100));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut stream = connect(&origin).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            write!(stream, "GET /x/{DARK} HTTP/1.1\r\n\r\n").unwrap();
            let mut reply = vec![0; 10_000];
            stream.read_exact(&mut reply).unwrap();
        });
        origin.wait_for_stalled(1);
        assert!(!reader.is_finished());
        origin.release();
        reader.join().unwrap();
    });
    origin.refuse();
    assert!(connect(&origin).is_err());
    origin.accept();
    assert!(connect(&origin).is_ok());
}
