//! HTTP/1.1 and JSON-RPC by hand, with every mistake that a test asks for.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Asked, Behaviour, Blob, State, lock};

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

type Io<T> = std::io::Result<T>;

/// Answers one request after the other, until the client leaves or an answer wants the connection closed.
pub(super) async fn converse(stream: TcpStream, state: &State, base: &str) -> Io<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let wanted = lock(&state.content).authorization.clone();
        let keep = if wanted.is_some() && request.headers.get("authorization") != wanted.as_ref() {
            page(&mut stream, 401, &[], "<html>Who are you?</html>").await?
        } else if request.path.contains("/json/") {
            answer_call(&mut stream, state, base, &request).await?
        } else {
            answer_file(&mut stream, state, base, &request).await?
        };
        if !keep {
            break;
        }
    }
    stream.shutdown().await
}

async fn read(stream: &mut BufReader<TcpStream>) -> Io<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(Request {
        method,
        path,
        headers,
        body,
    }))
}

/// A head with a length, for a body that follows.
fn head(status: u16, length: usize, headers: &[(&str, String)]) -> String {
    let mut head = format!("HTTP/1.1 {status} Told\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        head.push_str(&[name, ": ", value, "\r\n"].concat());
    }
    head + "\r\n"
}

async fn page(
    stream: &mut BufReader<TcpStream>,
    status: u16,
    headers: &[(&str, String)],
    text: &str,
) -> Io<bool> {
    let headers = [&[("Content-Type", "text/html".to_owned())], headers].concat();
    stream
        .write_all((head(status, text.len(), &headers) + text).as_bytes())
        .await?;
    Ok(true)
}

async fn answer_file(
    stream: &mut BufReader<TcpStream>,
    state: &State,
    base: &str,
    request: &Request,
) -> Io<bool> {
    let path = request.path.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    lock(&state.asked).entry(name.clone()).or_default().push(Asked {
        method: request.method.clone(),
        range: request.headers.get("range").cloned(),
        if_range: request.headers.get("if-range").cloned(),
    });
    let behaviour = if path.contains("/plain/") {
        Behaviour::Well
    } else if path == "/login" {
        Behaviour::Html
    } else {
        state.next_for(&name)
    };
    match behaviour {
        Behaviour::Hang => return Ok(false),
        Behaviour::EndlessHead => return endless_head(stream).await,
        Behaviour::StallBeforeHead => state.stall().await,
        Behaviour::Status(status) => return page(stream, status, &[], "<html>no</html>").await,
        Behaviour::StatusTimes {
            status, retry_after, ..
        } => {
            let headers: Vec<_> = retry_after
                .iter()
                .map(|seconds| ("Retry-After", seconds.to_string()))
                .collect();
            return page(stream, status, &headers, "<html>not now</html>").await;
        }
        Behaviour::Html => return page(stream, 200, &[], "<html>Welcome to the archive</html>").await,
        Behaviour::Redirect(to) => {
            let port = base.split(['/', ':']).nth(4).unwrap_or_default();
            let to = to.replace("{name}", &name).replace("{port}", port);
            return page(stream, 302, &[("Location", to)], "elsewhere").await;
        }
        Behaviour::Bomb => return bomb(stream).await,
        Behaviour::Flood(count) => return flood(stream, count).await,
        _ => {}
    }
    let Some(bytes) = lock(&state.content).files.get(&name).cloned() else {
        return page(stream, 404, &[], "<html>no such file</html>").await;
    };
    match behaviour {
        Behaviour::Chunked => return send_without_length(stream, &bytes, true, None).await,
        Behaviour::ChunkedDrop(count) => return send_without_length(stream, &bytes, true, Some(count)).await,
        Behaviour::CloseAfter(count) => return send_without_length(stream, &bytes, false, Some(count)).await,
        _ => {}
    }
    send(stream, state, request, behaviour, &bytes).await
}

/// Headers until the client has had enough.
async fn endless_head(stream: &mut BufReader<TcpStream>) -> Io<bool> {
    stream.write_all(b"HTTP/1.1 200 Told\r\n").await?;
    let more = b"X-More: and more and more and more\r\n".repeat(100);
    loop {
        stream.write_all(&more).await?;
    }
}

/// A reply that says it is compressed, and is a thousand times as long as it looks.
async fn bomb(stream: &mut BufReader<TcpStream>) -> Io<bool> {
    let body = &*BOMB;
    let headers = [
        ("Content-Type", "application/octet-stream".to_owned()),
        ("Content-Encoding", "gzip".to_owned()),
    ];
    stream
        .write_all(head(200, body.len(), &headers).as_bytes())
        .await?;
    stream.write_all(body).await?;
    Ok(true)
}

/// 100 MB of blanks, compressed.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut deflate = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..100 {
        std::io::Write::write_all(&mut deflate, &[b' '; 1 << 20]).unwrap();
    }
    deflate.finish().unwrap()
});

/// So many bytes of JSON: one long text.
async fn flood(stream: &mut BufReader<TcpStream>, count: usize) -> Io<bool> {
    let headers = [("Content-Type", "application/json-rpc".to_owned())];
    let start = br#"{"error": null, "jsonrpc": "1.0", "id": "x", "result": ""#;
    stream
        .write_all(head(200, start.len() + count + 2, &headers).as_bytes())
        .await?;
    stream.write_all(start).await?;
    let piece = vec![b'x'; 1 << 16];
    let mut left = count;
    while left > 0 {
        let part = &piece[..left.min(piece.len())];
        stream.write_all(part).await?;
        left -= part.len();
    }
    stream.write_all(b"\"}").await?;
    Ok(true)
}

/// Sends a file without its length: in chunks, or as long as the connection lasts. Ends early where `limit` says so.
async fn send_without_length(
    stream: &mut BufReader<TcpStream>,
    bytes: &[u8],
    chunked: bool,
    limit: Option<usize>,
) -> Io<bool> {
    let kind = if chunked {
        "Transfer-Encoding: chunked"
    } else {
        "Connection: close"
    };
    stream
        .write_all(format!("HTTP/1.1 200 Told\r\n{kind}\r\n\r\n").as_bytes())
        .await?;
    for piece in bytes[..limit.unwrap_or(bytes.len()).min(bytes.len())].chunks(10_000) {
        if chunked {
            stream
                .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
                .await?;
        }
        stream.write_all(piece).await?;
        if chunked {
            stream.write_all(b"\r\n").await?;
        }
    }
    if chunked && limit.is_none() {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    Ok(chunked && limit.is_none())
}

/// The bytes that a behaviour makes of a file's, and their validator.
fn altered(state: &State, behaviour: Behaviour, blob: &Blob) -> (Blob, String) {
    let sha1 = blob.sha1();
    let change = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = blob.to_vec();
        change(&mut bytes);
        Blob::from(bytes)
    };
    match behaviour {
        Behaviour::Truncate(size) => (
            change(&|bytes| bytes.truncate(size)),
            format!("\"{sha1}-to-{size}\""),
        ),
        Behaviour::Extend(more) => (
            change(&|bytes| bytes.resize(bytes.len() + more, b'!')),
            format!("\"{sha1}-and-{more}\""),
        ),
        Behaviour::Flip(at) | Behaviour::FlipTimes { at, .. } => {
            (change(&|bytes| flip(bytes, at)), format!("\"{sha1}-not-{at}\""))
        }
        Behaviour::FlipUnseen(at) => (change(&|bytes| flip(bytes, at)), format!("\"{sha1}\"")),
        Behaviour::ChangingEtag | Behaviour::ChangingEtagDrop(_) => {
            let mut answers = lock(&state.answers);
            *answers += 1;
            (blob.clone(), format!("\"answer-{answers}\""))
        }
        _ => (blob.clone(), format!("\"{sha1}\"")),
    }
}

/// Changes the byte at `at`, or the last one of a shorter file.
fn flip(bytes: &mut [u8], at: usize) {
    let last = bytes.len().saturating_sub(1);
    if let Some(byte) = bytes.get_mut(at.min(last)) {
        *byte ^= 1;
    }
}

/// Sends a file, in the way of `behaviour`.
async fn send(
    stream: &mut BufReader<TcpStream>,
    state: &State,
    request: &Request,
    behaviour: Behaviour,
    blob: &Blob,
) -> Io<bool> {
    let (bytes, etag) = altered(state, behaviour, blob);
    let range = match behaviour {
        Behaviour::IgnoreRange | Behaviour::IgnoreRangeDrop(_) | Behaviour::NoValidators => None,
        _ => request
            .headers
            .get("range")
            .and_then(|range| parse_range(range, bytes.len())),
    };
    let same = request.headers.get("if-range").is_none_or(|given| *given == etag);
    let careless = matches!(
        behaviour,
        Behaviour::ChangingEtag | Behaviour::ChangingEtagDrop(_)
    );
    let range = range.filter(|_| same || careless);
    let mut headers = vec![("Content-Type", "application/octet-stream".to_owned())];
    if behaviour != Behaviour::NoValidators {
        headers.push(("ETag", etag));
    }
    let (status, offset, body) = match range {
        Some((start, end)) => {
            let told = start + usize::from(behaviour == Behaviour::WrongContentRange);
            if behaviour != Behaviour::NoContentRange {
                headers.push((
                    "Content-Range",
                    format!("bytes {told}-{}/{}", end - 1, bytes.len()),
                ));
            }
            let shift = usize::from(behaviour == Behaviour::ShiftedRange && start > 0);
            (206, start, &bytes[start - shift..end - shift])
        }
        None => (200, 0, &bytes[..]),
    };
    stream
        .write_all(head(status, body.len(), &headers).as_bytes())
        .await?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    send_body(stream, state, behaviour, offset, body).await
}

/// Sends the body of a reply, which is the file's bytes from `offset` on.
async fn send_body(
    stream: &mut BufReader<TcpStream>,
    state: &State,
    behaviour: Behaviour,
    offset: usize,
    body: &[u8],
) -> Io<bool> {
    let until = |at: usize| at.saturating_sub(offset).min(body.len());
    match behaviour {
        Behaviour::StallAfter(_) | Behaviour::StallAt(_) => {
            let count = match behaviour {
                Behaviour::StallAt(at) => until(at),
                Behaviour::StallAfter(count) => count.min(body.len()),
                _ => body.len(),
            };
            let (first, rest) = body.split_at(count);
            stream.write_all(first).await?;
            if !rest.is_empty() || matches!(behaviour, Behaviour::StallAfter(_)) {
                state.stall().await;
            }
            stream.write_all(rest).await?;
        }
        Behaviour::ResetAt(at) if until(at) < body.len() => {
            stream.write_all(&body[..until(at)]).await?;
            stream.get_ref().set_zero_linger()?;
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        Behaviour::CloseAt(at) if until(at) < body.len() => {
            stream.write_all(&body[..until(at)]).await?;
            return Ok(false);
        }
        Behaviour::DropAfter(count)
        | Behaviour::DropTimes { after: count, .. }
        | Behaviour::IgnoreRangeDrop(count)
        | Behaviour::ChangingEtagDrop(count)
            if count < body.len() =>
        {
            stream.write_all(&body[..count]).await?;
            return Ok(false);
        }
        Behaviour::Drip { bytes, every } => {
            for piece in body.chunks(bytes) {
                stream.write_all(piece).await?;
                tokio::time::sleep(every).await;
            }
        }
        _ => stream.write_all(body).await?,
    }
    Ok(true)
}

/// One satisfiable range, as a half-open interval.
fn parse_range(header: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = first.parse().ok()?;
    let end = if last.is_empty() {
        size
    } else {
        last.parse::<usize>().ok()?.saturating_add(1).min(size)
    };
    (start < end).then_some((start, end))
}

async fn answer_call(
    stream: &mut BufReader<TcpStream>,
    state: &State,
    base: &str,
    request: &Request,
) -> Io<bool> {
    let call: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let method = call["method"].as_str().unwrap_or_default().to_owned();
    lock(&state.called).push((method.clone(), call["params"].clone()));
    let behaviour = State::next(&mut lock(&state.calls));
    match behaviour {
        Behaviour::Hang => return Ok(false),
        Behaviour::EndlessHead => return endless_head(stream).await,
        Behaviour::StallBeforeHead => state.stall().await,
        Behaviour::Status(status) | Behaviour::StatusTimes { status, .. } => {
            return page(stream, status, &[], "<html>no</html>").await;
        }
        Behaviour::Redirect(path) => {
            return page(stream, 302, &[("Location", path.to_owned())], "elsewhere").await;
        }
        Behaviour::Html => return page(stream, 200, &[], "<html>Down for maintenance</html>").await,
        Behaviour::Bomb => return bomb(stream).await,
        Behaviour::Flood(count) => return flood(stream, count).await,
        _ => {}
    }
    let answer = lock(&state.content).answer(base, &method, &call["params"]);
    let reply = match answer {
        Ok(result) => json!({"error": null, "jsonrpc": "1.0", "id": call["id"], "result": result}),
        Err(text) => json!({"error": {"name": "OtherError", "code": 500, "message": text, "data": null},
                            "jsonrpc": "1.0", "id": call["id"], "result": null}),
    };
    let text = match lock(&state.content).results.get(method.as_str()) {
        Some(result) => format!(r#"{{"error": null, "jsonrpc": "1.0", "id": "x", "result": {result}}}"#),
        None => reply.to_string(),
    };
    let body = &text.as_bytes()[..match behaviour {
        Behaviour::DropAfter(count) | Behaviour::DropTimes { after: count, .. } => count.min(text.len()),
        _ => text.len(),
    }];
    let kind = [("Content-Type", "application/json-rpc".to_owned())];
    stream.write_all(head(200, text.len(), &kind).as_bytes()).await?;
    if let Behaviour::Drip { bytes, every } = behaviour {
        for piece in body.chunks(bytes) {
            stream.write_all(piece).await?;
            tokio::time::sleep(every).await;
        }
    } else {
        stream.write_all(body).await?;
    }
    Ok(body.len() == text.len())
}
