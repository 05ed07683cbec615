//! `crds-fs serve --upstream`: a site server, as clients ask it over HTTP.

mod answers;
mod large;
mod rig;
mod trouble;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::caches::rules;
use crate::origin::{Behaviour, Content, Origin};
use crate::rig::{PATIENCE, Rig, equal, eventually, program, wait};
use crate::{DARK, FLAT, PMAP, content};

use rig::{Reply, Site, path, why};

#[test]
fn however_many_ask_a_file_is_fetched_once() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &[]);
    origin.set(DARK, Behaviour::StallBeforeHead);
    let expected = origin.contents(DARK);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let reply = site.get(DARK);
                assert_eq!(reply.status, 200);
                assert!(reply.body == expected);
            });
        }
        site.until("all have asked", |counters| {
            counters["files"][format!("roman/{DARK}")]["gets"] == 64
        });
        origin.wait_for_stalled(1);
        origin.release();
    });
    assert_eq!(origin.asked(DARK).len(), 1);
    assert!(site.get(DARK).body == expected);
    assert_eq!(origin.asked(DARK).len(), 1, "it is kept");
    assert_eq!(origin.called("get_server_info").len(), 1);
}

#[test]
fn wrong_bytes_are_never_given_out() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &[]);
    for behaviour in [
        Behaviour::Flip(1000),
        Behaviour::FlipUnseen(1000),
        Behaviour::Truncate(1000),
        Behaviour::Html,
    ] {
        origin.set(DARK, behaviour);
        let reply = site.get(DARK);
        assert_eq!(reply.status, 502, "{behaviour:?}: {reply:?}");
        assert!(why(&reply).contains(DARK), "{behaviour:?}: {reply:?}");
    }
    origin.mend();
    // A failure is remembered for a moment.
    eventually("the file comes", || equal(site.get(DARK).status, 200));
    assert!(site.get(DARK).body == origin.contents(DARK));
}

#[test]
fn what_is_here_is_served_without_upstream_and_over_restarts() {
    let dataset = "SET1.WFI01";
    let answers = BTreeMap::from([(PMAP.to_owned(), json!({"dark": DARK}))]);
    let header = json!({"ROMAN.META.INSTRUMENT.NAME": "WFI", "ROMAN.META.INSTRUMENT.DETECTOR": "WFI01"});
    let told = json!({"SET1.WFI01:SET1.WFI01": header});
    let origin = Origin::start(Content {
        datasets: [(dataset.to_owned(), (header.clone(), answers))].into(),
        results: [
            ("get_dataset_headers_by_id", told.to_string()),
            ("get_build_context", json!(PMAP).to_string()),
        ]
        .into(),
        ..rules()
    });
    let mut site = Site::of(&origin, &[]);
    let questions = [
        ("get_best_references_by_ids", json!([PMAP, [dataset], null, true])),
        ("get_aui_best_references", json!([PMAP, [dataset]])),
        ("get_dataset_headers_by_id", json!([PMAP, [dataset], null])),
        ("get_build_context", json!(["roman", "1.2.3"])),
        ("get_best_references", json!([PMAP, header, ["dark"]])),
        ("get_mapping_names", json!(["roman-latest"])),
        ("get_required_parkeys", json!([PMAP])),
        ("get_file_info_map", json!(["roman", [DARK], ["sha1sum", "size"]])),
        ("get_url", json!([PMAP, DARK])),
    ];
    let ask_all = |site: &Site| {
        questions
            .each_ref()
            .map(|(method, params)| site.result(method, params))
    };
    let first = ask_all(&site);
    assert_eq!(first[0]["SET1.WFI01:SET1.WFI01"], json!([true, {"dark": DARK}]));
    assert_eq!(first[1][dataset], json!([true, [DARK]]));
    assert_eq!(first[2], told);
    assert_eq!(first[4], json!({"dark": DARK}));
    assert!(site.get(DARK).status == 200);
    let (called, asked) = (origin.all_called(), origin.all_asked());
    assert_eq!(ask_all(&site), first, "remembered");
    assert_eq!((origin.all_called(), origin.all_asked()), (called, asked));

    origin.refuse();
    site.end();
    for more in [None, Some("--offline")] {
        site.arguments.extend(more.map(str::to_owned));
        site.start();
        let mut again = ask_all(&site);
        again[8] = first[8].clone();
        assert_eq!(again, first, "{more:?}");
        assert!(site.get(DARK).body == origin.contents(DARK));
        let missing = site.get(FLAT);
        assert_eq!(missing.status, 503, "{missing:?}");
        assert_eq!(missing.headers["retry-after"], "5");
        assert!(why(&missing).contains(FLAT));
        assert_eq!(site.ask("HEAD", &path(FLAT), "", "").status, 200);
        assert_eq!(site.get("roman_wfi_dark_9999.asdf").status, 404);
        let unknown = site.error(
            "get_best_references_by_ids",
            &json!([PMAP, ["OTHER"], null, false]),
        );
        assert!(
            unknown.contains("OTHER") || unknown.contains("cannot be asked"),
            "{unknown}"
        );
        let unknown = site.error("get_affected_datasets", &json!(["roman", "a", "b"]));
        assert!(unknown.starts_with("UpstreamError: "), "{unknown}");
        site.end();
    }
}

#[test]
fn parts_and_conditions_are_those_of_http() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &[]);
    let head = site.ask("HEAD", &path(DARK), "", "");
    assert_eq!(
        (head.status, head.headers["content-length"].as_str()),
        (200, "300000")
    );
    assert_eq!(origin.asked(DARK).len(), 0, "a HEAD fetches nothing");
    let etag = &head.headers["etag"];
    assert_eq!(
        head.headers["cache-control"],
        "public, max-age=31536000, immutable"
    );
    let known = site.ask("GET", &path(DARK), &format!("If-None-Match: {etag}\r\n"), "");
    assert_eq!((known.status, origin.asked(DARK).len()), (304, 0));
    let bytes = origin.contents(DARK);
    let part = site.ask(
        "GET",
        &path(DARK),
        &format!("Range: bytes=100000-199999\r\nIf-Range: {etag}\r\n"),
        "",
    );
    assert_eq!(part.status, 206);
    assert_eq!(part.headers["content-range"], "bytes 100000-199999/300000");
    assert!(part.body == bytes[100_000..200_000]);
    assert_eq!(origin.asked(DARK).len(), 1, "it came whole");
    let beyond = site.ask("GET", &path(DARK), "Range: bytes=300000-\r\n", "");
    assert_eq!(
        (beyond.status, beyond.headers["content-range"].as_str()),
        (416, "bytes */300000")
    );
}

#[test]
fn calls_that_change_something_are_refused() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &[]);
    for method in ["push_remote_context", "jpoll_abort", "jpoll_pull_messages"] {
        let refused = site.error(method, &json!(["roman", "latest", "key", PMAP]));
        assert!(refused.contains("not passed on by this site server"), "{refused}");
    }
    let unknown = site.error("submit_rules", &json!([]));
    assert!(unknown.starts_with("MethodNotFoundError"), "{unknown}");
    // Upstream's own error is told as it is.
    let told = site.error("get_remote_context", &json!(["roman", "pipeline"]));
    assert!(told.starts_with("OtherError: no method"), "{told}");
    assert_eq!(origin.called("push_remote_context").len(), 0);
    assert_eq!(origin.called("get_remote_context").len(), 1);
}

#[test]
fn a_mount_shows_all_of_a_site_whose_upstream_is_dead() {
    let origin = Origin::start(rules());
    let site = Site::of(&origin, &[]);
    assert_eq!(site.get(DARK).status, 200);
    origin.refuse();
    let server = format!("roman=http://{}/roman", site.address);
    let rig = Rig::mounted(&[&server], &[]);
    let listed = fs::read_dir(rig.path("references/roman")).unwrap().count();
    assert_eq!(listed, 2);
    assert!(rig.read(format!("references/roman/{DARK}")).unwrap() == origin.contents(DARK));
    // The site has tried, and says so: the mount tells it at once, as of a server that is dead itself.
    let flat = format!("references/roman/{FLAT}");
    assert_eq!(rig.read(&flat), Err(libc::EHOSTUNREACH));
    site.until("it was asked once", |counters| {
        counters["files"][format!("roman/{FLAT}")]["gets"] == 1
    });
    let log = rig.log();
    assert!(log.contains("the server cannot reach the one behind it"), "{log}");
    origin.accept();
    eventually("upstream is found again", || {
        rig.read(&flat).is_ok_and(|bytes| bytes == origin.contents(FLAT))
    });
}

/// A new certificate for localhost and its key, as files.
fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let pem = |kind: &str, bytes: &[u8]| {
        let text = STANDARD.encode(bytes);
        format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
    };
    fs::write(&certificate, pem("CERTIFICATE", made.cert.der())).unwrap();
    fs::write(&key, pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
    (certificate, key)
}

#[test]
fn https_is_spoken_with_a_certificate_that_can_be_replaced() {
    let origin = Origin::start(content());
    let files = TempDir::new().unwrap();
    let (certificate_file, key) = certificate(files.path());
    let [cert_flag, key_flag] = [&certificate_file, &key].map(|path| path.to_str().unwrap());
    let site = Site::of(&origin, &["--tls-cert", cert_flag, "--tls-key", key_flag]);
    let port = site.address.port();
    let fetched = |name: &str| {
        let cache = TempDir::new().unwrap();
        let output = program()
            .args([
                "fetch",
                "--server",
                &format!("roman=https://localhost:{port}/roman"),
                "--cache",
            ])
            .arg(cache.path())
            .arg(name)
            .env("SSL_CERT_FILE", &certificate_file)
            .output()
            .unwrap();
        let bytes = fs::read(cache.path().join("references/roman").join(name)).unwrap_or_default();
        (output, bytes)
    };
    let (output, bytes) = fetched(DARK);
    assert!(bytes == origin.contents(DARK), "{output:?}");
    // The same for clients that trust another certificate from now on, once the server has read it.
    certificate(files.path());
    let (output, _) = fetched(DARK);
    assert!(!output.status.success(), "the old one is not trusted: {output:?}");
    site.signal(Signal::HUP);
    eventually("the certificate is read anew", || site.log().contains("SIGHUP"));
    let (output, bytes) = fetched(FLAT);
    assert!(bytes == origin.contents(FLAT), "{output:?}");
    // A certificate that makes no sense changes nothing.
    fs::write(&key, "nonsense").unwrap();
    site.signal(Signal::HUP);
    eventually("the failure is told", || {
        site.log().contains("the old certificate stays in use")
    });
    assert!(fetched(DARK).0.status.success());
}

#[test]
fn clients_that_send_nothing_are_closed() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &["--idle-timeout", "1s"]);
    let mut slow = TcpStream::connect(site.address).unwrap();
    slow.write_all(b"GET /.counters HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .unwrap();
    let mut silent = TcpStream::connect(site.address).unwrap();
    assert_eq!(site.get(DARK).status, 200);
    for stream in [&mut slow, &mut silent] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // A reset is an end as well.
        if stream.read_to_end(&mut rest).is_ok() {
            assert!(
                !rest.starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(&rest)
            );
        }
    }
    let mut endless = TcpStream::connect(site.address).unwrap();
    endless.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    // The server may close before it has read all.
    let _ = endless.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = endless.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    let large = site.send(
        b"POST /roman/json/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 99999999999\r\n\r\n",
    );
    assert!((400..500).contains(&large.status), "{large:?}");
}

#[test]
fn requests_are_logged_and_counted() {
    let origin = Origin::start(content());
    let logs = TempDir::new().unwrap();
    let path_of = |name: &str| logs.path().join(name);
    let log = path_of("access.log");
    let site = Site::of(&origin, &["--access-log", log.to_str().unwrap()]);
    assert_eq!(site.get(DARK).status, 200);
    assert_eq!(site.get(DARK).status, 200);
    assert_eq!(site.get("roman_wfi_none_0001.asdf").status, 404);
    site.result("get_default_context", &json!(["roman", null]));
    let secret = format!("{}?password=secret", path(FLAT));
    assert_eq!(site.ask("HEAD", &secret, "", "").status, 200);
    let read = || fs::read_to_string(&log).unwrap_or_default();
    eventually("all requests are logged", || read().lines().count() == 5);
    let lines = read();
    let dark = path(DARK);
    for part in [
        format!("\"GET {dark} HTTP/1.1\" 200 300000 "),
        " fetched\n".to_owned(),
        " hit\n".to_owned(),
        "roman_wfi_none_0001.asdf HTTP/1.1\" 404 ".to_owned(),
        "\"POST /roman/json/get_default_context/it/ HTTP/1.1\" 200 ".to_owned(),
        format!("\"HEAD {} HTTP/1.1\" 200 0 ", path(FLAT)),
        "127.0.0.1 - - [".to_owned(),
    ] {
        assert!(lines.contains(&part), "{part}: {lines}");
    }
    assert!(!lines.contains("secret"), "{lines}");
    fs::rename(&log, path_of("old")).unwrap();
    site.signal(Signal::HUP);
    eventually("the log is begun anew", || site.log().contains("SIGHUP"));
    assert_eq!(site.get(FLAT).status, 200);
    eventually("the log goes on", || read().contains(FLAT));

    site.until_metrics(&[
        "crds_fs_serve_requests_total{kind=\"file\",status=\"200\"} 4",
        "crds_fs_serve_requests_total{kind=\"file\",status=\"404\"} 1",
        "crds_fs_serve_files_total{from=\"hit\"} 1",
        "crds_fs_serve_files_total{from=\"fetched\"} 2",
        "crds_fs_serve_calls_total{method=\"get_default_context\"} 1",
        "crds_fs_serve_downloads_total 2",
        "crds_fs_serve_catalog_files{observatory=\"roman\"} 3",
        "crds_fs_serve_upstream_offline{observatory=\"roman\"} 0",
        "crds_fs_serve_open_connections 1",
    ]);
    let metrics = site.metrics();
    let sent = metrics
        .lines()
        .find_map(|line| line.strip_prefix("crds_fs_serve_sent_bytes_total "));
    let sent: u64 = sent.unwrap().parse().unwrap();
    assert!(sent > 620_000, "three files: {sent}");
}

#[test]
fn no_more_connections_are_open_than_allowed() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &["--max-connections", "2"]);
    thread::scope(|scope| {
        let (origin, site) = (&origin, &site);
        let both = [DARK, FLAT].map(|name| {
            origin.set(name, Behaviour::StallBeforeHead);
            scope.spawn(move || site.get(name))
        });
        origin.wait_for_stalled(2);
        let third = scope.spawn(|| site.metrics());
        eventually("both are in use", || {
            site.log().contains("all 2 connections are in use")
        });
        origin.release();
        let metrics = third.join().unwrap();
        let open = metrics
            .lines()
            .find_map(|line| line.strip_prefix("crds_fs_serve_open_connections "));
        assert!(matches!(open, Some("1" | "2")), "{metrics}");
        for busy in both {
            assert_eq!(busy.join().unwrap().status, 200);
        }
    });
}

#[test]
fn connections_without_a_request_give_way_to_further_clients() {
    let origin = Origin::start(content());
    let site = Site::of(&origin, &["--max-connections", "4", "--idle-timeout", "1h"]);
    origin.set(DARK, Behaviour::StallBeforeHead);
    thread::scope(|scope| {
        let busy = scope.spawn(|| site.get(DARK));
        origin.wait_for_stalled(1);
        let idle: Vec<_> = (0..12)
            .map(|number| {
                let mut stream = TcpStream::connect(site.address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
                match number % 3 {
                    0 => {}
                    1 => stream.write_all(&request[..30]).unwrap(),
                    _ => {
                        stream.write_all(request).unwrap();
                        stream.read_exact(&mut [0; 10]).unwrap();
                    }
                }
                stream
            })
            .collect();
        for _ in 0..4 {
            assert_eq!(site.get(FLAT).status, 200);
        }
        origin.release();
        assert_eq!(busy.join().unwrap().status, 200, "a request is no idleness");
        drop(idle);
    });
}

#[test]
fn what_is_being_sent_is_finished_at_the_end() {
    let name = "roman_wfi_dark_0002.asdf";
    let origin = Origin::start(content().file(name, 64 << 20));
    let mut site = Site::of(&origin, &[]);
    let mut stream = TcpStream::connect(site.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        path(name)
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![0; 1000];
    stream.read_exact(&mut answer).unwrap();
    site.signal(Signal::TERM);
    eventually("nobody is let in any more", || {
        TcpStream::connect(site.address).is_err()
    });
    stream.read_to_end(&mut answer).unwrap();
    let reply = Reply::read(&answer);
    assert!(reply.body == origin.contents(name), "{} bytes", reply.body.len());
    let status = wait(site.process.take().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn wrong_usage_is_told() {
    let root = TempDir::new().unwrap();
    let cases: [(&[&str], &str); 4] = [
        (&["--upstream", "nonsense"], "is not the URL of a server"),
        (&["--offline"], "with --upstream"),
        (
            &["--upstream", "roman=http://127.0.0.1:1", "--tls-cert", "x"],
            "--tls-key",
        ),
        (&["--upstream", "http://127.0.0.1:1"], "whose server"),
    ];
    for (arguments, words) in cases {
        let mut command = program();
        let output = command
            .arg("serve")
            .arg(root.path())
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
