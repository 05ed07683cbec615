//! Tests of the settings.

use super::*;

const ALL: [Observatory; 3] = [Observatory::Hst, Observatory::Jwst, Observatory::Roman];

fn settings(servers: &[&str]) -> Settings {
    Settings {
        servers: servers.iter().map(|text| text.parse().unwrap()).collect(),
        ..Settings::default()
    }
}

fn info() -> ServerInfo {
    ServerInfo::from_json(
        r#"{"observatory": "roman", "mapping_url": {"roman": "https://r/mappings/roman/"},
        "reference_url": {"roman": "https://r/references/roman"}}"#,
    )
    .unwrap()
}

fn url(settings: &Settings, name: &str) -> Url {
    let endpoints = Endpoints::new(settings, &ALL).unwrap();
    endpoints.file_url(&info(), &name.parse().unwrap()).unwrap()
}

#[test]
fn every_observatory_has_a_server() {
    let endpoints = Endpoints::new(&Settings::default(), &ALL).unwrap();
    assert_eq!(
        endpoints.server_url(Observatory::Jwst),
        "https://jwst-crds.stsci.edu"
    );
    assert!(!endpoints.is_offline(Observatory::Jwst));
    assert!(endpoints.is_offline(Observatory::Tobs));
}

#[test]
fn a_flag_goes_before_a_variable() {
    let mut settings = settings(&["hst=http://localhost:1/x", "http://localhost:2/jwst/"]);
    settings.server_url = Some("https://hst-crds-test.stsci.edu".into());
    let endpoints = Endpoints::new(&settings, &ALL).unwrap();
    assert_eq!(endpoints.server_url(Observatory::Hst), "http://localhost:1/x");
    assert_eq!(
        endpoints.server_url(Observatory::Jwst),
        "http://localhost:2/jwst/"
    );
    settings.servers.clear();
    let endpoints = Endpoints::new(&settings, &ALL).unwrap();
    assert_eq!(
        endpoints.server_url(Observatory::Hst),
        "https://hst-crds-test.stsci.edu"
    );
    assert_eq!(
        endpoints.server_url(Observatory::Roman),
        "https://roman-crds.stsci.edu"
    );
}

#[test]
fn a_nameless_server_needs_a_single_observatory() {
    let nameless = settings(&["http://127.0.0.1:8080"]);
    assert!(matches!(
        Endpoints::new(&nameless, &ALL),
        Err(EndpointError::WhoseServer(_))
    ));
    let endpoints = Endpoints::new(&nameless, &[Observatory::Roman]).unwrap();
    assert_eq!(endpoints.server_url(Observatory::Roman), "http://127.0.0.1:8080");
    let serverless = Settings {
        server_url: Some("https://crds-serverless-mode.stsci.edu".into()),
        ..Settings::default()
    };
    let endpoints = Endpoints::new(&serverless, &ALL).unwrap();
    assert!(
        ALL.into_iter()
            .all(|observatory| endpoints.is_offline(observatory))
    );
}

#[test]
fn what_python_writes_for_nothing_is_nothing() {
    for nothing in ["", " ", "None", "none", "NONE"] {
        let settings = Settings {
            server_url: Some(nothing.into()),
            mapping_uri: Some(nothing.into()),
            reference_uri: Some(nothing.into()),
            config_uri: Some(nothing.into()),
            ..Settings::default()
        };
        assert_eq!(
            url(&settings, "roman_0001.pmap"),
            "https://r/mappings/roman/roman_0001.pmap"
        );
    }
}

#[test]
fn files_have_urls() {
    let plain = Settings::default();
    assert_eq!(
        url(&plain, "roman_wfi_dark_0001.asdf"),
        "https://r/references/roman/roman_wfi_dark_0001.asdf"
    );
    assert_eq!(url(&plain, "a b.fits"), "https://r/references/roman/a%20b.fits");
    let override_all = Settings {
        reference_uri: Some("https://Mirror/CRDS".into()),
        mapping_uri: Some("file:///data/crds/mappings/hst".into()),
        ..Settings::default()
    };
    assert_eq!(url(&override_all, "x.asdf"), "https://Mirror/CRDS/x.asdf");
    // That place is of another observatory.
    assert_eq!(
        url(&override_all, "roman_0001.pmap"),
        "https://r/mappings/roman/roman_0001.pmap"
    );
    let endpoints = Endpoints::new(&plain, &ALL).unwrap();
    let error = endpoints
        .file_url(&ServerInfo::empty(Observatory::Hst), &"hst.pmap".parse().unwrap())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the hst server does not say where its mappings are downloaded from"
    );
}

#[test]
fn wrong_settings_are_named() {
    for text in [
        "localhost:8080",
        "mars=http://x",
        "hst=ftp://x",
        "hst=",
        "https://",
        "file:///x",
    ] {
        assert!(text.parse::<ServerSetting>().is_err(), "{text}");
    }
    assert_eq!(
        "HST=http://x".parse::<ServerSetting>().unwrap().observatory,
        Some(Observatory::Hst)
    );
    let with_query: ServerSetting = "http://localhost/hst?a=b".parse().unwrap();
    assert_eq!(
        (with_query.observatory, with_query.url.as_str()),
        (None, "http://localhost/hst?a=***")
    );
    for value in ["/data/crds", "ftp://x/", "file://x/y", "s3:///roman"] {
        let settings = Settings {
            reference_uri: Some(value.into()),
            ..Settings::default()
        };
        let error = Endpoints::new(&settings, &ALL).unwrap_err().to_string();
        assert!(
            error.starts_with("CRDS_REFERENCE_URI: ") && error.contains(value),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_description_can_come_from_a_place() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("server_config"), info().to_literal()).unwrap();
    let base = Url::new(url::Url::from_file_path(directory.path()).unwrap().as_str());
    let settings = Settings {
        config_uri: Some(base),
        ..settings(&["http://localhost:9/roman"])
    };
    let endpoints = Endpoints::new(&settings, &[Observatory::Roman]).unwrap();
    let client = HttpClient::new(super::super::http::HttpSettings::default());
    let origin: Arc<dyn Origin> = Arc::new(super::super::file::FileOrigin::new());
    let server = endpoints.server(Observatory::Roman, &client, &origin);
    let described = server.server_info().await.unwrap();
    assert!(described.says_the_same(&info()));
    assert_eq!(server.url(), "http://localhost:9/roman");
    let other = endpoints.server(Observatory::Hst, &client, &origin);
    assert!(
        other
            .server_info()
            .await
            .unwrap_err()
            .message
            .contains("roman, not of hst")
    );
}
