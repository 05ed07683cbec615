//! `crds-fs status --serve`: the page about a mount, as a browser asks for it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::library::Library;
use crate::origin::{Behaviour, Origin};
use crate::rig::{PATIENCE, Rig, eventually, program, wait};
use crate::{DARK, content, server_flag};

const ID: &str = "R0000101001001001001_0001.WFI01";

/// A page that is served. It ends with this.
struct Page {
    process: Option<Child>,
    address: SocketAddr,
}

/// A reply.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Page {
    fn of(rig: &Rig) -> Self {
        let mut process = program()
            .arg("status")
            .arg(rig.mountpoint())
            .args(["--serve", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let told = line
            .strip_prefix("http://")
            .and_then(|rest| rest.split('/').next());
        let address = told.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        Self {
            process: Some(process),
            address,
        }
    }

    /// Sends the head of a request as it is.
    fn send(&self, head: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
        Reply {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, "")
    }

    fn ask(&self, method: &str, target: &str, more: &str) -> Reply {
        let address = self.address;
        self.send(&format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n"
        ))
    }

    /// The page about the mount, once it has this text.
    #[track_caller]
    fn once_it_has(&self, text: &str) -> String {
        eventually(&format!("the page has '{text}'"), || {
            let body = self.get("/").body;
            if body.contains(text) { Ok(body) } else { Err(body) }
        })
    }

    /// Sends a signal and waits for the end.
    fn end(mut self, signal: Signal) {
        let process = self.process.take().unwrap();
        kill_process(Pid::from_child(&process), signal).unwrap();
        let status = wait(process);
        assert!(status.success(), "{status}");
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A text as it stands in a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn question(context: &str, dataset: &str) -> String {
    format!(
        "/bestrefs?context={}&dataset={}",
        encoded(context),
        encoded(dataset)
    )
}

#[test]
fn the_page_tells_how_the_mount_is_and_needs_nothing_from_elsewhere() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    rig.read(format!("references/roman/{DARK}")).unwrap();
    let page = Page::of(&rig);
    page.once_it_has("in 1 file");
    let reply = page.get("/");
    assert_eq!(reply.status, 200, "{reply:?}");
    for told in [
        &rig.mountpoint().canonicalize().unwrap().display().to_string(),
        &rig.store().display().to_string(),
        "roman_0001.pmap",
        "roman wfi: 293.0 KiB in 1 file",
        "Nothing has failed",
        &origin.url(),
    ] {
        assert!(reply.body.contains(told), "{told}: {}", reply.body);
    }
    for line in [
        "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self';",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "content-type: text/html; charset=utf-8",
    ] {
        assert!(reply.head.contains(line), "{line}: {}", reply.head);
    }
    // The policy would forbid them.
    for inline in [" style=", " onclick=", "<style", "javascript:"] {
        assert!(!reply.body.contains(inline), "{inline}: {}", reply.body);
    }
    for attribute in [" src=\"", " href=\"", " action=\""] {
        for target in reply.body.split(attribute).skip(1) {
            assert!(target.starts_with('/') || target.starts_with('#'), "{target}");
        }
    }
    for (path, kind) in [
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
        ("/bestrefs", "text/html"),
    ] {
        let reply = page.get(path);
        assert_eq!(reply.status, 200, "{path}");
        assert!(
            reply.head.contains(kind) && reply.head.contains("nosniff"),
            "{}",
            reply.head
        );
    }
    let head = page.ask("HEAD", "/", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(page.ask("POST", "/", "Content-Length: 0\r\n").status, 405);
    assert_eq!(page.ask("DELETE", "/bestrefs", "").status, 405);
    assert_eq!(page.get("/../etc/passwd").status, 404);
    // A head without an end is not read to its end.
    let mut endless = TcpStream::connect(page.address).unwrap();
    endless.set_read_timeout(Some(PATIENCE)).unwrap();
    let begin = format!("GET /?{}", "x".repeat(100_000));
    let refused = endless.write_all(begin.as_bytes()).and_then(|()| {
        let mut status = [0; 12];
        endless.read_exact(&mut status).map(|()| status)
    });
    if let Ok(status) = refused {
        assert!(status.starts_with(b"HTTP/1.1 4"), "{status:?}");
    }
    assert_eq!(page.get("/").status, 200);
    page.end(Signal::TERM);
}

#[test]
fn a_transfer_is_shown_while_it_runs() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let page = Page::of(&rig);
    page.once_it_has("Nothing. A file is fetched when");
    origin.set(DARK, Behaviour::StallAfter(150_000));
    thread::scope(|scope| {
        let reading = scope.spawn(|| rig.read(format!("references/roman/{DARK}")));
        origin.wait_for_stalled(1);
        let body = page.once_it_has("max=\"300000\"");
        let row = body.split("<tbody>").nth(1).unwrap();
        for told in [DARK, "receiving", "293.0 KiB"] {
            assert!(row.contains(told), "{told}: {row}");
        }
        origin.release();
        reading.join().unwrap().unwrap();
    });
    page.once_it_has("Nothing. A file is fetched when");
}

#[test]
fn best_references_are_looked_up_and_explained() {
    let library = Library::demo();
    let rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let page = Page::of(&rig);
    let calls = || library.counters().calls("get_best_references_by_ids");
    let form = page.get("/bestrefs").body;
    assert!(form.contains("value=\"roman-latest\""), "{form}");
    // Another site makes the browser send it: the form is filled in, and nothing is asked.
    let prepared = page.ask(
        "GET",
        &question("roman-latest", ID),
        "Sec-Fetch-Site: cross-site\r\n",
    );
    assert_eq!((prepared.status, calls()), (200, 0));
    assert!(prepared.body.contains(ID) && !prepared.body.contains("wfi_dark"));
    let found = page.get(&question("roman-latest", &ID.to_lowercase()));
    assert_eq!(found.status, 200, "{found:?}");
    for told in [
        "roman_0002.pmap",
        ">roman_wfi_dark_0001.asdf<",
        "id=\"why-dark\"",
        "is the latest not after ROMAN.META.EXPOSURE.START_TIME",
        "16.0 MiB",
        "at the server",
    ] {
        assert!(found.body.contains(told), "{told}: {}", found.body);
    }
    let unknown = page.get(&question("roman-latest", "NOSUCH"));
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.body.contains("there is no dataset &#39;NOSUCH&#39;")
            || unknown.body.contains("there is no dataset 'NOSUCH'"),
        "{}",
        unknown.body
    );
    let unknown = page.get(&question("roman_9999.pmap", ID));
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    // Markup in a request is shown as text.
    let hostile = "\"><script>alert('x')</script>&amp;";
    for (context, dataset) in [(hostile, ID), ("roman-latest", hostile), ("../..", "../../etc")] {
        let wrong = page.get(&question(context, dataset));
        assert_eq!(wrong.status, 400, "{wrong:?}");
        assert!(!wrong.body.contains("<script>alert"), "{}", wrong.body);
        assert!(wrong.body.contains("aria-invalid=\"true\""));
    }
    let long = page.get(&question("roman-latest", &"x".repeat(2001)));
    assert_eq!(long.status, 400);
    assert!(long.body.contains("more than 2000 bytes"));
}

#[test]
fn requests_to_other_names_are_refused() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let page = Page::of(&rig);
    let to = |hosts: &str| page.send(&format!("GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"));
    assert_eq!(to("Host: localhost:9000\r\n").status, 200, "as of a tunnel");
    for hosts in [
        "Host: evil.example\r\n",
        "Host: evil.example:80\r\nHost: localhost\r\n",
        "",
    ] {
        let refused = to(hosts);
        assert!([400, 403].contains(&refused.status), "{refused:?}");
        assert!(!refused.body.contains("roman"), "{refused:?}");
    }
    let refused =
        page.send("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(refused.status, 403);
    if !rustix::process::geteuid().is_root() {
        writeln!(
            io::stderr().lock(),
            "not run: a request of another user can be made by root only"
        )
        .unwrap();
        return;
    }
    let request = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{} && printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && cat <&3",
        page.address.port()
    );
    let asked = |uid: u32| {
        let output = Command::new("bash")
            .args(["-c", &request])
            .uid(uid)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(asked(0).starts_with("HTTP/1.1 200"));
    let refused = asked(65_534);
    assert!(
        refused.starts_with("HTTP/1.1 403") && !refused.contains("roman"),
        "{refused}"
    );
}

#[test]
fn a_dead_mount_is_told_and_a_new_one_is_found() {
    let origin = Origin::start(content());
    let mut rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let page = Page::of(&rig);
    page.once_it_has(">well<");
    rig.kill_shared();
    rig.reap();
    let body = page.once_it_has(">its process has died<");
    assert!(body.contains("The process of the mount has died"), "{body}");
    assert!(
        body.contains("crds-fs mount ") && body.contains("has died;"),
        "{body}"
    );
    let refused = page.get(&question("roman-latest", "X"));
    assert_eq!(refused.status, 503, "{}", refused.body);
    rig.mount();
    page.once_it_has("mounted anew");
    rig.umount();
    page.once_it_has(">not mounted<");
    rig.mount();
    page.once_it_has(">well<");
    page.end(Signal::INT);
}

#[test]
fn a_mount_that_does_not_answer_holds_nothing_up() {
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let page = Page::of(&rig);
    page.once_it_has(">well<");
    rig.signal(Signal::STOP);
    // The last known facts are shown meanwhile.
    let body = page.once_it_has(">does not answer<");
    assert!(
        body.contains("--lazy") && body.contains(&rig.store().display().to_string()),
        "{body}"
    );
    let other = Page::of(&rig);
    other.once_it_has("does not answer");
    other.end(Signal::TERM);
    rig.signal(Signal::CONT);
    page.once_it_has(">well<");
}

#[test]
fn only_loopback_addresses_are_served() {
    let run = |arguments: &[&str]| -> Output { program().arg("status").args(arguments).output().unwrap() };
    let refused = run(&["/", "--serve", "0.0.0.0:7480"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("ssh -L 7480:127.0.0.1:7480"), "{said}");
    let swallowed = run(&["--serve", "/crds"]);
    let said = String::from_utf8(swallowed.stderr).unwrap();
    assert_eq!(swallowed.status.code(), Some(2), "{said}");
    assert!(said.contains("crds-fs status /crds --serve"), "{said}");
    // A port that is taken is named, with the remedy.
    let origin = Origin::start(content());
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let place = rig.mountpoint().display().to_string();
    let taken = run(&[&place, "--serve", &origin.address().to_string()]);
    let said = String::from_utf8(taken.stderr).unwrap();
    assert_eq!(taken.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot listen on") && said.contains("127.0.0.1:0"),
        "{said}"
    );
}
