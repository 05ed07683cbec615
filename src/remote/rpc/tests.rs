//! Tests of calls over HTTP.

use std::time::Duration;

use super::*;
use crate::remote::error::Retry;
use crate::remote::http::HttpSettings;
use crate::remote::loopback::{Loopback, Reply, reply};

fn server_at(url: &str) -> JsonRpcServer {
    server_within(url, HttpSettings::default().call_timeout)
}

fn server_within(url: &str, call_timeout: Duration) -> JsonRpcServer {
    let settings = HttpSettings {
        call_timeout,
        ..HttpSettings::default()
    };
    JsonRpcServer::new(Observatory::Roman, &url.into(), HttpClient::new(settings))
}

async fn call(bytes: Vec<u8>) -> Result<Value, RemoteError> {
    let server = Loopback::start(move |_| Reply::Close(bytes.clone())).await;
    server_at(&server.url).call("get_thing", json!(["a"])).await
}

fn success(result: &Value) -> Vec<u8> {
    let body = json!({"error": null, "jsonrpc": "1.0", "id": 1, "result": result}).to_string();
    reply("200 OK", &["Content-Type: application/json-rpc"], body)
}

#[tokio::test]
async fn calls_as_the_python_client_does() {
    let loopback = Loopback::start(|_| Reply::Keep(success(&json!(["x"])))).await;
    let server = server_at(&format!("{}/", loopback.url));
    assert_eq!(server.url(), loopback.url);
    for _ in 0..2 {
        assert_eq!(
            server.call("get_thing", json!(["a", null])).await,
            Ok(json!(["x"]))
        );
    }
    let requests: Vec<Value> = loopback
        .seen()
        .iter()
        .map(|seen| serde_json::from_str(&seen.body).unwrap())
        .collect();
    assert_eq!(requests[0]["jsonrpc"], "1.0");
    assert_eq!(requests[0]["method"], "get_thing");
    assert_eq!(requests[0]["params"], json!(["a", null]));
    let ids: Vec<&str> = requests
        .iter()
        .map(|request| request["id"].as_str().unwrap())
        .collect();
    let form = regex::Regex::new(
        r"^crds-fs-[0-9.]+-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}-0000000[01]$",
    )
    .unwrap();
    assert!(ids.iter().all(|id| form.is_match(id)), "{ids:?}");
    assert_ne!(ids[0], ids[1]);
    let seen = &loopback.seen()[0];
    assert_eq!(seen.path(), format!("/json/get_thing/{}/", ids[0]));
    assert_eq!(seen.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(loopback.connections(), 1);
}

#[tokio::test]
async fn encoded_results_are_decoded() {
    let encoded = encoded::encode(br#"{"a": 1}"#).unwrap();
    assert_eq!(call(success(&encoded)).await, Ok(json!({"a": 1})));
    let broken = json!({"crds_encoded": "1.0", "crds_payload": "!"});
    assert_eq!(
        call(success(&broken)).await.unwrap_err().kind,
        RemoteErrorKind::Protocol
    );
}

#[tokio::test]
async fn chunked_replies_are_read() {
    let body = json!({"error": null, "result": 5}).to_string();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let reply = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert_eq!(call(reply.into_bytes()).await, Ok(json!(5)));
}

#[tokio::test]
async fn error_objects_count_under_any_status() {
    let error =
        json!({"name": "OtherError", "code": 500, "message": "UnknownFile: can&#39;t find &lt;x&gt;"});
    let body = json!({"error": error, "jsonrpc": "1.0", "id": 1, "result": null}).to_string();
    for status in [
        "200 OK",
        "500 Internal Server Error",
        "404 Not Found",
        "503 Service Unavailable",
    ] {
        let error = call(reply(status, &[], &body)).await.unwrap_err();
        assert_eq!(
            (error.kind, error.retry),
            (RemoteErrorKind::Rpc, Retry::No),
            "{status}"
        );
        assert_eq!(error.message, "UnknownFile: can't find <x>");
    }
    let text = json!({"error": "just words", "result": null}).to_string();
    assert_eq!(
        call(reply("200 OK", &[], text)).await.unwrap_err().message,
        "just words"
    );
}

#[tokio::test]
async fn other_replies_are_told_by_their_status() {
    for (status, body, kind) in [
        ("500 Internal Server Error", "<html>", RemoteErrorKind::Server),
        ("503 Service Unavailable", "", RemoteErrorKind::Busy),
        ("404 Not Found", "{}", RemoteErrorKind::NotFound),
        ("403 Forbidden", r#"{"result": 1}"#, RemoteErrorKind::Denied),
        ("200 OK", "<html>login</html>", RemoteErrorKind::Protocol),
        ("200 OK", "", RemoteErrorKind::Protocol),
        ("200 OK", "[1]", RemoteErrorKind::Protocol),
        ("200 OK", "{}", RemoteErrorKind::Protocol),
    ] {
        let error = call(reply(status, &[], body)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status} {body}: {error}");
    }
    let error = call(reply("200 OK", &[], "<html>login</html>"))
        .await
        .unwrap_err();
    assert!(error.message.contains("<html>login"), "{error}");
    let patience = call(reply("429 Too Many Requests", &["Retry-After: 3"], ""))
        .await
        .unwrap_err();
    assert_eq!(patience.retry, Retry::After(Duration::from_secs(3)));
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"error\"".to_vec();
    assert_eq!(call(short).await.unwrap_err().kind, RemoteErrorKind::Interrupted);
    let huge = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{".to_vec();
    let error = call(huge).await.unwrap_err();
    assert!(error.message.contains("larger than"), "{error}");
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    let loopback = Loopback::start(|_| Reply::Stall(Vec::new())).await;
    let server = server_within(&loopback.url, Duration::from_millis(500));
    let error = server.call("x", json!([])).await.unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::TimedOut);
}

#[tokio::test]
async fn serverless_urls_are_never_asked() {
    for url in [
        "https://roman-crds-serverless.stsci.edu",
        "https://crds-server-less.example",
    ] {
        let error = server_at(url).call("x", json!([])).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (RemoteErrorKind::Offline, Retry::No));
    }
}
