//! Through an HTTP proxy, as many institutes have one.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::origin::{Content, Origin};
use crate::rig::Rig;
use crate::{FLAT, content};

const PATH: &str = "references/roman/roman_wfi_flat_0001.asdf";
/// No name server knows it: who reads from it reads through the proxy.
const SERVER: &str = "roman=http://crds.invalid/roman";

/// An origin that calls itself by that name.
fn origin() -> Origin {
    Origin::start(Content {
        told: Some("http://crds.invalid/roman".to_owned()),
        ..content()
    })
}

/// The first request line of a connection, and what it says in `Proxy-Authorization`.
type Head = (String, Option<String>);

/// A proxy that leads everything to one origin.
pub(crate) struct Proxy {
    pub(crate) url: String,
    /// One for each connection.
    heads: Arc<Mutex<Vec<Head>>>,
}

impl Proxy {
    pub(crate) fn to(origin: &Origin) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (theirs, target) = (Arc::clone(&heads), origin.address());
        // It ends with the process, as the connections do.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (heads, server) = (Arc::clone(&theirs), TcpStream::connect(target).unwrap());
                std::thread::spawn(move || pass(client, server, &heads));
            }
        });
        Self { url, heads }
    }

    fn heads(&self) -> Vec<Head> {
        self.heads.lock().unwrap().clone()
    }
}

/// Passes bytes both ways, and notes the first head. Whoever closes first ends the conversation.
fn pass(client: TcpStream, server: TcpStream, heads: &Mutex<Vec<Head>>) {
    let (mut back, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let (mut reader, mut server) = (BufReader::new(client), server);
    let mut lines = Vec::new();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        lines.push(std::mem::take(&mut line));
    }
    if let Some(first) = lines.first() {
        let secret = |line: &String| {
            let (name, value) = line.split_once(':')?;
            let is_it = name.eq_ignore_ascii_case("proxy-authorization");
            is_it.then(|| value.trim().to_owned())
        };
        let secret = lines.iter().find_map(secret);
        heads.lock().unwrap().push((first.trim().to_owned(), secret));
    }
    let _ = server.write_all((lines.concat() + &line).as_bytes());
    let _ = std::io::copy(&mut reader, &mut server);
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn everything_goes_through_the_proxy() {
    let origin = origin();
    let proxy = Proxy::to(&origin);
    let mut rig = Rig::new(&[SERVER], &[]);
    rig.set("http_proxy", &format!("http://{}", proxy.url));
    rig.mount();
    assert!(rig.read(PATH).unwrap() == origin.contents(FLAT));
    let heads = proxy.heads();
    let (first, _) = heads.first().unwrap();
    assert!(
        first.starts_with("POST http://crds.invalid/roman/json/get_server_info/"),
        "{first}"
    );
    rig.umount();
}

#[test]
fn a_proxy_that_wants_a_password_gets_it_and_nobody_else_sees_it() {
    let origin = origin();
    let proxy = Proxy::to(&origin);
    let mut rig = Rig::new(&[SERVER], &["-v"]);
    rig.set("HTTP_PROXY", &format!("http://someone:s3cret@{}", proxy.url));
    rig.mount();
    assert!(rig.read(PATH).unwrap() == origin.contents(FLAT));
    for (line, secret) in proxy.heads() {
        assert_eq!(secret.as_deref(), Some("Basic c29tZW9uZTpzM2NyZXQ="), "{line}");
    }
    assert!(!rig.log().contains("s3cret"), "{}", rig.log());
    rig.umount();
}

#[test]
fn a_proxy_is_passed_by_where_it_should_be_and_told_of_where_it_is_not_there() {
    let origin = Origin::start(content());
    let proxy = Proxy::to(&origin);
    let mut rig = Rig::new(&[&crate::server_flag(&origin)], &[]);
    rig.set("http_proxy", &format!("http://{}", proxy.url));
    rig.set("no_proxy", "localhost,127.0.0.1");
    rig.mount();
    assert!(rig.read(PATH).unwrap() == origin.contents(FLAT));
    assert!(proxy.heads().is_empty(), "{:?}", proxy.heads());
    rig.umount();

    // Nobody listens on port 9 (discard).
    let mut rig = Rig::new(&[SERVER], &[]);
    rig.set("http_proxy", "http://127.0.0.1:9");
    rig.mount();
    assert_eq!(rig.read(PATH), Err(libc::EHOSTUNREACH));
}
