//! The start and the end of a server.

use super::*;

#[tokio::test]
async fn shutdown_closes_connections_and_the_port() {
    let rig = rig().await;
    let address = rig.server.address();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /.counters HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(
        idle.read_u8().await.unwrap(),
        b'H',
        "the connection is open and kept"
    );
    rig.server.shutdown().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_at_start() {
    let empty = TempDir::new().unwrap();
    let bind = |datasets: Option<PathBuf>, cache: PathBuf| async move {
        Server::bind(
            &cache,
            Options {
                datasets,
                ..Options::default()
            },
        )
        .await
        .err()
        .map(|error| error.to_string())
    };
    let nothing = bind(None, empty.path().to_owned()).await.unwrap();
    assert!(nothing.contains("holds no CRDS cache"), "{nothing}");

    let rig = rig().await;
    let file = empty.path().join("datasets.json");
    for text in ["[]", r#"{"a/b": {}}"#, r#"{"a": {"bestref": {}}}"#] {
        fs::write(&file, text).unwrap();
        let refused = bind(Some(file.clone()), rig.cache.path().to_owned())
            .await
            .unwrap();
        assert!(refused.contains("datasets.json"), "{refused}");
    }
    let taken = Options {
        listen: Listen::Address(rig.server.address()),
        ..Options::default()
    };
    assert!(matches!(
        Server::bind(rig.cache.path(), taken).await,
        Err(ServeError::Listen { .. })
    ));
}

/// A cache whose catalog is finished when the test lets it.
struct Slow {
    cache: TempDir,
    address: SocketAddr,
    options: Options,
    finish: std::sync::mpsc::Sender<()>,
}

fn slow() -> Slow {
    let cache = TempDir::new().unwrap();
    fs::create_dir_all(cache.path().join("mappings/hst")).unwrap();
    fs::write(cache.path().join("mappings/hst/hst_0001.pmap"), "x").unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (finish, finished) = std::sync::mpsc::channel();
    let finished = parking_lot::Mutex::new(finished);
    let progress = move |done: HashProgress| {
        if done.files < done.of {
            finished.lock().recv().unwrap();
        }
    };
    Slow {
        cache,
        address: socket.local_addr().unwrap(),
        options: Options {
            listen: Listen::Socket(socket),
            progress: Some(Box::new(progress)),
            ..Options::default()
        },
        finish,
    }
}

async fn get(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /.counters HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_request_waits_for_the_catalog() {
    let slow = slow();
    let binding = tokio::spawn(async move { Server::bind(slow.cache.path(), slow.options).await.unwrap() });
    let stream = get(slow.address).await;
    slow.finish.send(()).unwrap();
    let text = answer(stream).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    binding.await.unwrap().shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_long_is_told_to_come_again() {
    let slow = slow();
    let binding = tokio::spawn(async move { Server::bind(slow.cache.path(), slow.options).await.unwrap() });
    let answered = tokio::spawn(answer(get(slow.address).await));
    while !answered.is_finished() {
        tokio::time::advance(Duration::from_secs(1)).await;
        std::thread::sleep(Duration::from_millis(1));
    }
    let text = answered.await.unwrap().to_ascii_lowercase();
    assert!(
        text.starts_with("http/1.1 503") && text.contains("retry-after: 10") && text.contains("come again"),
        "{text}"
    );
    slow.finish.send(()).unwrap();
    assert_eq!(binding.await.unwrap().files(Observatory::Hst), 1);
}
