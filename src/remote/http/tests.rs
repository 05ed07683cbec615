//! Tests of files over HTTP: how each thing that a server can do is told.

use futures_util::TryStreamExt as _;

use super::*;
use crate::crds::Teller;
use crate::remote::error::{Hint, Retry};
use crate::remote::loopback::{Loopback, Reply, reply};

fn object() -> crate::remote::ObjectOrigin {
    crate::remote::ObjectOrigin::new(
        HttpClient::new(HttpSettings::default()),
        crate::remote::object::CloudSettings::default(),
    )
}

fn origin() -> HttpOrigin {
    HttpOrigin::new(HttpClient::new(HttpSettings::default()))
}

/// The timeout of a server that says nothing.
async fn silence(answer: &'static [u8]) -> RemoteError {
    let server = Loopback::start(move |_| Reply::Stall(answer.to_vec())).await;
    let impatient = HttpOrigin::new(HttpClient::new(HttpSettings {
        stall_timeout: Duration::from_millis(300),
        ..HttpSettings::default()
    }));
    match impatient.get(&Url::new(&server.url), None, None).await {
        Ok(download) => download.body.try_collect::<Vec<Bytes>>().await.unwrap_err(),
        Err(error) => error,
    }
}

async fn read(url: &str, range: Option<ByteRange>) -> Result<(u64, Vec<u8>), RemoteError> {
    let download = origin().get(&Url::new(url), range, None).await?;
    let parts: Vec<Bytes> = download.body.try_collect().await?;
    Ok((download.offset, parts.concat()))
}

async fn failure(answer: impl Fn() -> Reply + Send + Sync + 'static) -> RemoteError {
    let server = Loopback::start(move |_| answer()).await;
    let url = format!("{}/x.fits", server.url);
    read(&url, None).await.unwrap_err()
}

const PART: Option<ByteRange> = Some(ByteRange {
    start: 2,
    end: Some(6),
});

#[tokio::test]
async fn gets_whole_files_over_one_connection() {
    let server = Loopback::start(|_| Reply::Keep(reply("200 OK", &["ETag: \"v1\""], "0123456789"))).await;
    let origin = origin();
    let url = format!("{}/a%20b.fits", server.url);
    for _ in 0..3 {
        let download = origin.get(&Url::new(&url), None, None).await.unwrap();
        assert_eq!(
            (download.offset, download.total, download.length),
            (0, Some(10), Some(10))
        );
        assert_eq!(
            (download.validator.as_deref(), download.url.as_str()),
            (Some("\"v1\""), url.as_str())
        );
        let parts: Vec<Bytes> = download.body.try_collect().await.unwrap();
        assert_eq!(parts.concat(), b"0123456789");
    }
    assert_eq!(server.connections(), 1);
    let seen = &server.seen()[0];
    assert_eq!(seen.path(), "/a%20b.fits");
    assert_eq!(seen.header("accept-encoding").as_deref(), Some("identity"));
    assert_eq!(seen.header("range"), None);
    assert_eq!(
        seen.header("user-agent").as_deref(),
        Some(concat!("crds-fs/", env!("CARGO_PKG_VERSION")))
    );
}

#[tokio::test]
async fn gets_parts() {
    let server = Loopback::start(|_| {
        let headers = [
            "Content-Range: bytes 2-5/10",
            "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT",
            "ETag: W/\"weak\"",
        ];
        Reply::Close(reply("206 Partial Content", &headers, "2345"))
    })
    .await;
    let download = origin()
        .get(&Url::new(&server.url), PART, Some("\"v1\""))
        .await
        .unwrap();
    assert_eq!(
        (download.offset, download.total, download.length),
        (2, Some(10), Some(4))
    );
    assert_eq!(
        download.validator.as_deref(),
        Some("Thu, 01 Jan 2026 00:00:00 GMT")
    );
    let seen = &server.seen()[0];
    assert_eq!(seen.header("range").as_deref(), Some("bytes=2-5"));
    assert_eq!(seen.header("if-range").as_deref(), Some("\"v1\""));
}

#[tokio::test]
async fn a_server_may_ignore_ranges_and_lengths() {
    let whole = Loopback::start(|_| Reply::Close(reply("200 OK", &[], "0123456789"))).await;
    assert_eq!(read(&whole.url, PART).await.unwrap(), (0, b"0123456789".to_vec()));
    let chunked = Loopback::start(|_| {
        Reply::Close(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n012\r\n2\r\n34\r\n0\r\n\r\n".to_vec(),
        )
    })
    .await;
    let download = origin().get(&Url::new(&chunked.url), None, None).await.unwrap();
    assert_eq!((download.total, download.length), (None, None));
    assert_eq!(read(&chunked.url, None).await.unwrap(), (0, b"01234".to_vec()));
}

#[tokio::test]
async fn parts_that_were_not_asked_for_are_refused() {
    for (range, content_range, body) in [
        (PART, "bytes 3-6/10", "3456"),
        (PART, "bytes 2-6/10", "23456"),
        (PART, "bytes 2-5/4", "2345"),
        (PART, "bytes 5-2/10", "2345"),
        (PART, "bytes 2-4/10", "2345"),
        (PART, "bytes 1-5/10", "12345"),
        (PART, "bytes 3-5/10", "345"),
        (PART, "bytes 2-18446744073709551615/*", "2345"),
        (PART, "nonsense", "2345"),
        (None, "bytes 2-5/10", "2345"),
    ] {
        let header = format!("Content-Range: {content_range}");
        let server =
            Loopback::start(move |_| Reply::Close(reply("206 Partial Content", &[&header], body))).await;
        let error = read(&server.url, range).await.unwrap_err();
        assert_eq!(error.kind, RemoteErrorKind::Protocol, "{content_range}: {error}");
    }
    let server = Loopback::start(|_| {
        let headers = ["Content-Type: multipart/byteranges; boundary=x"];
        Reply::Close(reply("206 Partial Content", &headers, "--x"))
    })
    .await;
    assert_eq!(
        read(&server.url, PART).await.unwrap_err().kind,
        RemoteErrorKind::Protocol
    );
}

#[tokio::test]
async fn every_status_has_its_kind() {
    for (status, kind, retry) in [
        ("401 Unauthorized", RemoteErrorKind::Denied, Retry::No),
        ("403 Forbidden", RemoteErrorKind::Denied, Retry::No),
        ("404 Not Found", RemoteErrorKind::NotFound, Retry::No),
        ("410 Gone", RemoteErrorKind::NotFound, Retry::No),
        (
            "416 Range Not Satisfiable",
            RemoteErrorKind::NoSuchRange,
            Retry::No,
        ),
        ("429 Too Many Requests", RemoteErrorKind::Busy, Retry::Soon),
        ("503 Service Unavailable", RemoteErrorKind::Busy, Retry::Soon),
        ("500 Internal Server Error", RemoteErrorKind::Server, Retry::Soon),
        ("502 Bad Gateway", RemoteErrorKind::Server, Retry::Soon),
        ("204 No Content", RemoteErrorKind::Protocol, Retry::No),
        ("418 I'm a teapot", RemoteErrorKind::Protocol, Retry::No),
    ] {
        let error = failure(move || Reply::Close(reply(status, &[], ""))).await;
        assert_eq!((error.kind, error.retry), (kind, retry), "{status}");
        assert!(error.message.contains(&status[..3]), "{error}");
        assert!(error.url.as_str().ends_with("/x.fits"));
    }
}

#[tokio::test]
async fn busy_servers_say_when_to_come_back() {
    for (header, at_least, at_most) in [
        ("Retry-After: 7", 7, 7),
        ("Retry-After: 99999999", 3600, 3600),
        ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Retry-After: Wed, 21 Oct 2815 07:28:00 GMT", 3600, 3600),
    ] {
        let error = failure(move || Reply::Close(reply("429 Too Many Requests", &[header], ""))).await;
        let Retry::After(pause) = error.retry else {
            panic!("{header}: {error:?}");
        };
        assert!(
            (at_least..=at_most).contains(&pause.as_secs()),
            "{header}: {pause:?}"
        );
    }
    let error = failure(|| Reply::Close(reply("503 Busy", &["Retry-After: soon"], ""))).await;
    assert_eq!(error.retry, Retry::Soon);
    let error = failure(|| Reply::Close(reply("404 Not Found", &["Retry-After: 7"], ""))).await;
    assert_eq!(error.retry, Retry::No);
}

#[tokio::test]
async fn web_pages_and_compressed_bytes_are_no_files() {
    for header in [
        "Content-Type: text/html; charset=utf-8",
        "Content-Type: Text/HTML",
        "Content-Encoding: gzip",
    ] {
        let error = failure(move || Reply::Close(reply("200 OK", &[header], "<html>"))).await;
        assert_eq!(
            (error.kind, error.retry),
            (RemoteErrorKind::Protocol, Retry::No),
            "{error}"
        );
    }
}

#[tokio::test]
async fn bodies_that_end_early_are_interrupted() {
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n012345".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n012\r\n9\r\n3".to_vec();
    for bytes in [
        short.clone(),
        chunked,
        b"HTTP/1.1 200 OK\r\nConte".to_vec(),
        Vec::new(),
    ] {
        let error = failure(move || Reply::Close(bytes.clone())).await;
        assert_eq!(
            (error.kind, error.retry),
            (RemoteErrorKind::Interrupted, Retry::Soon),
            "{error}"
        );
    }
    let server = Loopback::start(|_| {
        let head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-5/10\r\nTransfer-Encoding: chunked\r\n\r\n";
        Reply::Close(format!("{head}2\r\n23\r\n0\r\n\r\n").into_bytes())
    })
    .await;
    assert_eq!(
        read(&server.url, PART).await.unwrap_err().kind,
        RemoteErrorKind::Interrupted
    );
    let server = Loopback::start(|_| {
        let head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-5/10\r\nTransfer-Encoding: chunked\r\n\r\n";
        Reply::Close(format!("{head}6\r\n234567\r\n0\r\n\r\n").into_bytes())
    })
    .await;
    assert_eq!(
        read(&server.url, PART).await.unwrap_err().kind,
        RemoteErrorKind::Protocol
    );
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    let error = silence(b"").await;
    assert_eq!(
        (error.kind, error.retry),
        (RemoteErrorKind::TimedOut, Retry::Soon)
    );
    assert_eq!(error.message, "no reply for 300ms");
    let error = silence(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n012").await;
    assert_eq!(error.message, "no more bytes for 300ms");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    drop(listener);
    let error = read(&url, None).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retry),
        (RemoteErrorKind::Unreachable, Retry::Soon)
    );
    assert!(error.message.contains("refused"), "{error}");
    let error = read("http://nowhere.invalid/x", None).await.unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::Unreachable, "{error}");
    let error = read("not a url", None).await.unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn plain_bytes_on_a_tls_port_are_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/x", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    });
    let error = read(&url, None).await.unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::Unreachable, "{error}");
    assert_eq!(error.hint, Some(Hint::NotHttps), "{error}");
    task.await.unwrap();
}

#[tokio::test]
async fn a_port_that_hangs_up_on_tls_is_hinted_at() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/x", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await;
    });
    let error = read(&url, None).await.unwrap_err();
    assert_eq!(error.hint, Some(Hint::NotHttps), "{error}");
    task.await.unwrap();
}

#[tokio::test]
async fn redirects_are_followed_a_few_times() {
    let server = Loopback::start(|seen| match seen.path() {
        "/0" => Reply::Close(reply("200 OK", &[], "end")),
        path => {
            let next = path[1..].parse::<u32>().unwrap() - 1;
            let location = format!("Location: /{next}");
            Reply::Close(reply("302 Found", &[&location], ""))
        }
    })
    .await;
    let url = format!("{}/5", server.url);
    let download = origin().get(&Url::new(&url), None, None).await.unwrap();
    assert_eq!(download.url.as_str(), format!("{}/0", server.url));
    let error = read(&format!("{}/6", server.url), None).await.unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::Protocol, "{error}");
    assert!(error.message.contains("more than 5 redirects"), "{error}");
}

/// An origin that trusts exactly these roots.
fn trusting(roots: &rustls::RootCertStore) -> HttpOrigin {
    let settings = HttpSettings::default();
    let client = HttpClient::new(settings);
    for (allowed, slot) in [Reach::Public, Reach::Private, Reach::LinkLocal, Reach::Loopback]
        .into_iter()
        .zip(&client.shared.clients)
    {
        let built = client::build(settings.connect_timeout, roots.clone(), allowed);
        assert!(slot.set(built).is_ok());
    }
    HttpOrigin::new(client)
}

#[tokio::test]
async fn encrypted_files_are_read_from_trusted_servers_only() {
    let (server, roots) = Loopback::start_tls(|_| Reply::Keep(reply("200 OK", &[], "secret"))).await;
    let download = trusting(&roots)
        .get(&Url::new(&server.url), None, None)
        .await
        .unwrap();
    let parts: Vec<Bytes> = download.body.try_collect().await.unwrap();
    assert_eq!(parts.concat(), b"secret");

    let (_, others) = Loopback::start_tls(|_| Reply::Stall(Vec::new())).await;
    let error = trusting(&others)
        .get(&Url::new(&server.url), None, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::Unreachable);
    assert!(
        error.message.contains("certificate") && !error.message.contains("SSL_CERT_FILE"),
        "{error}"
    );
    let none = rustls::RootCertStore::empty();
    let error = trusting(&none)
        .get(&Url::new(&server.url), None, None)
        .await
        .unwrap_err();
    assert!(error.message.contains("SSL_CERT_FILE"), "{error}");
}

#[tokio::test]
async fn no_redirect_leads_out_of_encryption() {
    let plain = Loopback::start(|_| Reply::Keep(reply("200 OK", &[], "anybody's"))).await;
    let location = format!("Location: {}/x", plain.url);
    let (server, roots) =
        Loopback::start_tls(move |_| Reply::Keep(reply("302 Found", &[&location], ""))).await;
    let error = trusting(&roots)
        .get(&Url::new(&server.url), None, None)
        .await
        .unwrap_err();
    assert_eq!((error.kind, error.retry), (RemoteErrorKind::Protocol, Retry::No));
    assert!(error.message.contains("not encrypted"), "{error}");
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn no_told_url_leads_out_of_encryption() {
    let plain = Loopback::start(|_| Reply::Keep(reply("200 OK", &[], "anybody's"))).await;
    let told = Url::new(&plain.url).told_by(Teller {
        server: Url::new("https://127.0.0.1/roman"),
        own_host_only: false,
    });
    let error = origin().get(&told, None, None).await.unwrap_err();
    assert_eq!((error.kind, error.retry), (RemoteErrorKind::Protocol, Retry::No));
    assert!(error.message.contains("not encrypted"), "{error}");
    assert!(error.to_string().contains(&plain.url), "{error}");
    assert!(plain.seen().is_empty());
}

/// A redirect of a call would be answered with something else: the user is told where the server wants to be asked.
#[tokio::test]
async fn calls_are_redirected_only_as_calls() {
    use crate::crds::Observatory;
    use crate::remote::{CrdsServer as _, JsonRpcServer};
    let moved = |status: &'static str| {
        Loopback::start(move |seen| {
            if seen.path().starts_with("/new") {
                Reply::Close(reply("200 OK", &[], r#"{"result": "called", "error": null}"#))
            } else {
                Reply::Close(reply(status, &["Location: /new/"], ""))
            }
        })
    };
    for (status, followed) in [("301 Moved", false), ("302 Found", false), ("308 Moved", true)] {
        let server = moved(status).await;
        let client = HttpClient::new(HttpSettings::default());
        let url = Url::new(&server.url);
        let result = JsonRpcServer::new(Observatory::Roman, &url, client)
            .call("x", serde_json::json!([]))
            .await;
        match result {
            Ok(value) => assert!(followed && value == "called", "{status}: {value}"),
            Err(error) => {
                assert!(!followed, "{status}: {error}");
                assert!(
                    error.message.contains("/new/") && error.message.contains("--server"),
                    "{error}"
                );
            }
        }
    }
}

#[tokio::test]
async fn urls_choose_the_origin() {
    let server = Loopback::start(|_| Reply::Keep(reply("200 OK", &[], "over http"))).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from disk").unwrap();
    let file_url = url::Url::from_file_path(file.path()).unwrap().to_string();
    let both = crate::remote::UrlOrigin::new(origin(), object());
    for (url, expected) in [(&server.url, "over http"), (&file_url, "from disk")] {
        let download = both.get(&url.into(), None, None).await.unwrap();
        let parts: Vec<Bytes> = download.body.try_collect().await.unwrap();
        assert_eq!(parts.concat(), expected.as_bytes());
    }
    for url in ["ftp://x/y", "x", ""] {
        let error = both.get(&url.into(), None, None).await.unwrap_err();
        assert_eq!(error.kind, RemoteErrorKind::Protocol);
    }
}

#[test]
fn content_ranges() {
    assert_eq!(content_range("bytes 0-0/1"), Some((0, 0, Some(1))));
    assert_eq!(content_range("bytes 5-9/*"), Some((5, 9, None)));
    for text in [
        "",
        "bytes */10",
        "bytes 0-9",
        "items 0-1/2",
        "bytes 9-5/10",
        "bytes 0-10/10",
        "bytes -1-2/3",
    ] {
        assert_eq!(content_range(text), None, "{text}");
    }
}
