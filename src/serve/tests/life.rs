//! How a server begins and ends.

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
