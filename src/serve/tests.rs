//! The server over a small cache, asked as any client asks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::crds::{FileKey, Sha1Sum, literal};

const DARK: &[u8] = b"0123456789";

const FILES: &[(&str, &[u8])] = &[
    ("mappings/hst/hst.pmap", b"bare"),
    ("mappings/hst/hst_0002.pmap", b"two"),
    ("mappings/hst/hst_0010.pmap", b"ten"),
    ("mappings/hst/hst_acs_0001.imap", b"imap"),
    ("mappings/hst/hst_acs_darkfile_0001.rmap", b"rmap"),
    ("mappings/hst/stray.fits", b"not a mapping"),
    ("references/hst/acs/x_drk.fits", DARK),
    ("references/hst/y_drk.r0h", b"header"),
    ("references/hst/.tmp_x_drk.fits_1", b"partial"),
    ("references/hst/x_drk.fits.lock", b""),
    ("references/hst/a%b.fits", b"bad name"),
    ("mappings/roman/roman_0001.pmap", b"roman"),
    ("config/hst/server_config", b"{'latest_context': 'hst_0002.pmap', 'edit_context': 'hst_0010.pmap',\
      'context_history': [('2020-01-02 00:00:00', 'hst_0002.pmap', 'two'), ['2019-01-02 00:00:00', 'hst.pmap', 'one']],\
      'bad_files_list': ['x_drk.fits']}"),
];

fn dark() -> FileKey {
    FileKey {
        observatory: Observatory::Hst,
        name: "x_drk.fits".parse().unwrap(),
    }
}

struct Rig {
    server: Handle,
    cache: TempDir,
}

async fn rig() -> Rig {
    let cache = TempDir::new().unwrap();
    for (path, bytes) in FILES {
        let path = cache.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    std::os::unix::fs::symlink("acs", cache.path().join("references/hst/jref")).unwrap();
    let datasets = cache.path().join("datasets.json");
    let answers = json!({
        "jaaa01010:JAAA01ABQ": {
            "header": {"INSTRUME": "ACS", "DETECTOR": "WFC"},
            "bestrefs": {"hst_0002.pmap": {"darkfile": "x_drk.fits", "biasfile": "NOT FOUND n/a"}},
        },
        "R1_01.WFI16": {"header": {"ROMAN.META.INSTRUMENT.NAME": "WFI"}, "bestrefs": {"roman_0001.pmap": {}}},
    });
    fs::write(&datasets, answers.to_string()).unwrap();
    let server = Server::bind(
        cache.path(),
        Options {
            datasets: Some(datasets),
            ..Options::default()
        },
    )
    .await
    .unwrap();
    Rig { server, cache }
}

/// Status, headers in lower case, body.
struct Reply {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Rig {
    async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: crds.example:99\r\nConnection: close\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        let end = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(reply[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Reply {
            status,
            headers,
            body: reply[end + 4..].to_vec(),
        }
    }

    async fn file(&self, headers: &[(&str, &str)]) -> Reply {
        self.request("GET", "/hst/unchecked_get/references/hst/x_drk.fits", headers, "")
            .await
    }

    /// The whole reply of a call.
    async fn reply(&self, observatory: &str, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "1.0", "method": method, "params": params, "id": "me-1"}).to_string();
        let reply = self
            .request("POST", &format!("/{observatory}/json/{method}/me-1/"), &[], &body)
            .await;
        assert_eq!(reply.status, 200);
        let reply: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply["id"], "me-1");
        reply
    }

    /// The result of a call that is answered.
    async fn call(&self, method: &str, params: Value) -> Value {
        let reply = self.reply("hst", method, params).await;
        assert!(reply["error"].is_null(), "{reply}");
        reply["result"].clone()
    }

    /// The text of a call that is refused.
    async fn fault(&self, method: &str, params: Value) -> String {
        let reply = self.reply("hst", method, params).await;
        assert!(reply["result"].is_null(), "{reply}");
        reply["error"]["message"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_description_tells_what_is_there() {
    let rig = rig().await;
    assert_eq!(
        rig.server.observatories().collect::<Vec<_>>(),
        [Observatory::Hst, Observatory::Roman]
    );
    assert_eq!(rig.server.files(Observatory::Hst), 7);
    let info = rig.call("get_server_info", json!([])).await;
    let names = [
        "hst.pmap",
        "hst_0002.pmap",
        "hst_0010.pmap",
        "hst_acs_0001.imap",
        "hst_acs_darkfile_0001.rmap",
    ];
    assert_eq!(info["mappings"], json!(names));
    assert_eq!(info["latest_context"], "hst_0002.pmap");
    assert_eq!(info["edit_context"], "hst_0010.pmap");
    assert_eq!(info["bad_files_list"], json!(["x_drk.fits"]));
    assert_eq!(
        info["reference_url"]["hst"],
        "http://crds.example:99/hst/unchecked_get/references/hst/"
    );
    let catalog = crate::crds::encoded::decode(info["download_metadata"].clone()).unwrap();
    let sha1 = Sha1Sum::from_bytes(Sha1::digest(DARK).into()).to_string();
    assert_eq!(catalog["x_drk.fits"], json!({"size": "10", "sha1sum": sha1}));
    assert_eq!(catalog.as_object().unwrap().len(), 7);

    let roman = rig.reply("roman", "get_server_info", json!([])).await;
    assert_eq!(
        roman["result"]["latest_context"], "roman_0001.pmap",
        "made up where nothing is recorded"
    );
}

#[tokio::test]
async fn names_and_contexts_are_answered() {
    let rig = rig().await;
    assert_eq!(
        rig.call(
            "get_file_info_map",
            json!(["hst", ["x_drk.fits", "nope"], ["size"]])
        )
        .await,
        json!({"x_drk.fits": {"size": "10"}, "nope": "NOT FOUND"})
    );
    assert_eq!(
        rig.call("get_file_info_map", json!(["hst", null, ["size"]]))
            .await
            .as_object()
            .unwrap()
            .len(),
        7
    );
    let info = rig.call("get_file_info", json!(["hst", "x_drk.fits"])).await;
    assert_eq!(
        (&info["type"], &info["rejected"]),
        (&json!("reference"), &json!("true"))
    );
    assert_eq!(
        rig.call("get_file_info", json!(["hst", "hst_acs_0001.imap"]))
            .await["instrument"],
        "acs"
    );
    assert!(
        rig.fault("get_file_info", json!(["hst", "nope"]))
            .await
            .starts_with("UnknownFile: ")
    );
    assert_eq!(
        rig.call("list_mappings", json!(["hst", "hst_00*.pmap"])).await,
        json!(["hst_0002.pmap", "hst_0010.pmap"])
    );
    assert_eq!(
        rig.call("list_references", json!([null, "*"])).await,
        json!(["x_drk.fits", "y_drk.r0h"])
    );
    for (params, context) in [
        (json!(["hst"]), "hst_0002.pmap"),
        (json!(["hst", null]), "hst_0002.pmap"),
        (json!(["hst", "edit"]), "hst_0010.pmap"),
    ] {
        assert_eq!(rig.call("get_default_context", params).await, context);
    }
    for (text, context) in [
        ("hst.pmap", "hst.pmap"),
        ("hst-latest", "hst_0002.pmap"),
        ("hst-edit", "hst_0010.pmap"),
        ("2019-06-01", "hst.pmap"),
        ("hst-2021-01-01T00:00:00", "hst_0002.pmap"),
    ] {
        assert_eq!(
            rig.call("get_context_by_date", json!([text, "hst"])).await,
            context
        );
    }
    for params in [
        json!(["hst_9999.pmap", "hst"]),
        json!(["2001-01-01", "hst"]),
        json!(["hst-latest", "jwst"]),
    ] {
        rig.fault("get_context_by_date", params).await;
    }
    assert_eq!(
        rig.call("get_context_history", json!(["hst"])).await[1][1],
        "hst.pmap"
    );
    rig.fault("get_build_context", json!(["hst", "1.0"])).await;
    rig.fault("get_default_context", json!(["jwst", null])).await;
    assert!(
        rig.fault("explode", json!([]))
            .await
            .starts_with("MethodNotFoundError: ")
    );
    assert_eq!(rig.server.counters().calls("get_default_context"), 4);
    assert_eq!(rig.server.counters().calls("explode"), 0);
}

#[tokio::test]
async fn datasets_are_answered() {
    let rig = rig().await;
    let best = |ids: Value, types: Value, headers: bool| json!(["hst_0002.pmap", ids, types, headers]);
    let full = "JAAA01010:JAAA01ABQ";
    for id in ["jaaa01010:jaaa01abq", "JAAA01ABQ", "jaaa01010"] {
        let answer = rig
            .call(
                "get_best_references_by_ids",
                best(json!([id]), json!(null), false),
            )
            .await;
        assert_eq!(
            answer,
            json!({full: [true, {"darkfile": "x_drk.fits", "biasfile": "NOT FOUND n/a"}]}),
            "{id}"
        );
    }
    let answer = rig
        .call(
            "get_best_references_by_ids",
            best(
                json!([full, "nope", "a b", "R1_01_WFI16"]),
                json!(["darkfile"]),
                true,
            ),
        )
        .await;
    assert_eq!(answer[full], json!([true, {"darkfile": "x_drk.fits"}]));
    assert_eq!(
        answer["NOPE"],
        json!([false, "NOT FOUND dataset ID does not exist 'NOPE'"])
    );
    assert_eq!(answer["A B"], json!([false, "NOT FOUND bad ID format for 'a b'"]));
    assert_eq!(answer["R1_01_WFI16"][0], false, "of another observatory");
    assert_eq!(answer["headers"][full]["DETECTOR"], "WFC");

    let roman = rig
        .reply(
            "roman",
            "get_best_references_by_ids",
            json!(["roman-latest", ["r1_01_wfi16"], [], false]),
        )
        .await;
    assert_eq!(roman["result"], json!({"R1_01.WFI16:R1_01.WFI16": [true, {}]}));

    assert_eq!(
        rig.call("get_dataset_ids", json!(["hst-latest", "acs", null]))
            .await,
        json!([full])
    );
    assert_eq!(
        rig.call("get_dataset_ids", json!(["hst-latest", "cos", null]))
            .await,
        json!([])
    );
    let headers = rig
        .call(
            "get_dataset_headers_by_id",
            json!(["hst-latest", [full, "x"], null]),
        )
        .await;
    assert_eq!(
        (&headers[full]["INSTRUME"], &headers[full]["PARAMS_CTX"]),
        (&json!("ACS"), &json!("hst_0002.pmap"))
    );
    assert!(headers["X"].as_str().unwrap().starts_with("NOT FOUND"));

    let other = json!(["hst_0010.pmap", [full], null, false]);
    assert_eq!(
        rig.call("get_best_references_by_ids", other).await[full][0],
        false,
        "not recorded"
    );
    for params in [
        json!(["hst_9999.pmap", [full], null, false]),
        json!(["hst_0002.pmap", [full], ["nonsense"], false]),
        json!(["hst_0002.pmap", vec!["x"; 1001], null, false]),
        json!(["hst_0002.pmap", "x", null, false]),
    ] {
        rig.fault("get_best_references_by_ids", params).await;
    }
}

#[tokio::test]
async fn files_come_whole_or_in_parts() {
    let rig = rig().await;
    let whole = rig.file(&[]).await;
    assert_eq!((whole.status, whole.body.as_slice()), (200, DARK));
    assert_eq!(whole.headers["content-length"], "10");
    assert_eq!(whole.headers["accept-ranges"], "bytes");
    let (etag, modified) = (
        whole.headers["etag"].as_str(),
        whole.headers["last-modified"].as_str(),
    );

    for if_range in [None, Some(etag), Some(modified)] {
        let mut headers = vec![("Range", "bytes=3-5")];
        headers.extend(if_range.map(|value| ("If-Range", value)));
        let part = rig.file(&headers).await;
        assert_eq!(
            (part.status, part.body.as_slice()),
            (206, &DARK[3..=5]),
            "{if_range:?}"
        );
        assert_eq!(part.headers["content-range"], "bytes 3-5/10");
        assert_eq!(part.headers["content-length"], "3");
    }
    let changed = rig
        .file(&[("Range", "bytes=3-5"), ("If-Range", "\"other\"")])
        .await;
    assert_eq!((changed.status, changed.body.as_slice()), (200, DARK));
    let beyond = rig.file(&[("Range", "bytes=10-")]).await;
    assert_eq!(
        (beyond.status, beyond.headers["content-range"].as_str()),
        (416, "bytes */10")
    );

    let head = rig
        .request("HEAD", "/hst/unchecked_get/references/hst/x_drk.fits", &[], "")
        .await;
    assert_eq!(
        (
            head.status,
            head.headers["content-length"].as_str(),
            head.body.len()
        ),
        (200, "10", 0)
    );
    let counted = FileCount {
        gets: 6,
        heads: 1,
        bytes: 10 + 9 + 10,
    };
    assert_eq!(rig.server.counters().file(&dark()), counted);
    let shown: Value = serde_json::from_slice(&rig.request("GET", "/.counters", &[], "").await.body).unwrap();
    assert_eq!(
        shown["files"]["hst/x_drk.fits"],
        json!({"gets": 6, "heads": 1, "bytes": 29})
    );
}

#[tokio::test]
async fn nothing_else_is_reachable() {
    let rig = rig().await;
    fs::write(rig.cache.path().join("secret.fits"), "secret").unwrap();
    for path in [
        "/",
        "/hst",
        "/hst/unchecked_get/mappings/hst/stray.fits",
        "/hst/unchecked_get/references/hst/hst.pmap",
        "/hst/unchecked_get/references/hst/x_drk.fits.lock",
        "/hst/unchecked_get/references/hst/.tmp_x_drk.fits_1",
        "/hst/unchecked_get/references/hst/..%2f..%2fsecret.fits",
        "/hst/unchecked_get/references/hst/../../secret.fits",
        "/hst/unchecked_get/references/roman/x_drk.fits",
        "/HST/unchecked_get/references/HST/x_drk.fits",
        "/jwst/unchecked_get/references/jwst/x_drk.fits",
        "/hst/unchecked_get/config/hst/passwords",
    ] {
        assert_eq!(rig.request("GET", path, &[], "").await.status, 404, "{path}");
    }
    assert_eq!(rig.server.counters().downloads(), 0);
}

#[tokio::test]
async fn the_configuration_is_a_python_literal() {
    let rig = rig().await;
    let get = |name: &'static str| {
        let rig = &rig;
        async move {
            rig.request("GET", &format!("/hst/unchecked_get/config/hst/{name}"), &[], "")
                .await
                .body
        }
    };
    let config = String::from_utf8(get("server_config").await).unwrap();
    let config = literal::parse(&config).unwrap();
    assert_eq!(
        config.get("latest_context").unwrap().as_str(),
        Some("hst_0002.pmap")
    );
    assert_eq!(get("bad_files.txt").await, b"x_drk.fits");
    assert_eq!(get("ref_cache_subdir_mode").await, b"flat");
}

#[tokio::test]
async fn a_file_that_changed_is_not_served() {
    let rig = rig().await;
    fs::write(
        rig.cache.path().join("references/hst/acs/x_drk.fits"),
        "0123456789 and more",
    )
    .unwrap();
    assert_eq!(rig.file(&[]).await.status, 500);
}

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

/// A rule with its right checksum.
fn rule(header: &str, selector: &str) -> String {
    let text = |sum: &str| {
        format!(
            "header = {{\n{header}\n'observatory' : 'ROMAN',\n'derived_from' : 'nothing',\n{sum}}}\nselector = {selector}\n"
        )
    };
    let sum = Sha1Sum::from_bytes(Sha1::digest(text("")).into());
    text(&format!("'sha1sum' : '{sum}',\n"))
}

#[tokio::test]
async fn rules_are_evaluated() {
    let rig = rig().await;
    let directory = rig.cache.path().join("mappings/roman");
    for (name, header, selector) in [
        (
            "roman_0002.pmap",
            "'name' : 'roman_0002.pmap', 'mapping' : 'PIPELINE', 'parkey' : ('ROMAN.META.INSTRUMENT.NAME',),",
            "{'WFI' : 'roman_wfi_0001.imap'}",
        ),
        (
            "roman_wfi_0001.imap",
            "'name' : 'roman_wfi_0001.imap', 'mapping' : 'INSTRUMENT', 'instrument' : 'WFI', 'parkey' : ('REFTYPE',),",
            "{'DARK' : 'roman_wfi_dark_0001.rmap'}",
        ),
        (
            "roman_wfi_dark_0001.rmap",
            "'name' : 'roman_wfi_dark_0001.rmap', 'mapping' : 'REFERENCE', 'instrument' : 'WFI', 'filekind' : 'DARK',\n\
             'parkey' : (('ROMAN.META.INSTRUMENT.DETECTOR',), ('ROMAN.META.EXPOSURE.START_TIME',)),",
            "Match({('WFI01',) : UseAfter({'2020-01-01 00:00:00' : 'roman_wfi_dark_0001.asdf'})})",
        ),
    ] {
        fs::write(directory.join(name), rule(header, selector)).unwrap();
    }
    let datasets = rig.cache.path().join("headers.json");
    let header = |detector: &str| {
        json!({"ROMAN.META.INSTRUMENT.NAME": "WFI", "ROMAN.META.INSTRUMENT.DETECTOR": detector,
               "ROMAN.META.EXPOSURE.START_TIME": "2021-01-01 00:00:00"})
    };
    fs::write(
        &datasets,
        json!({"R1.WFI01": {"header": header("WFI01")}}).to_string(),
    )
    .unwrap();
    let options = Options {
        datasets: Some(datasets),
        ..Options::default()
    };
    let server = Server::bind(rig.cache.path(), options).await.unwrap();
    let rig = Rig {
        server,
        cache: rig.cache,
    };
    let call = async |method: &str, params: Value| {
        let reply = rig.reply("roman", method, params).await;
        assert!(reply["error"].is_null(), "{reply}");
        reply["result"].clone()
    };

    let names = json!([
        "roman_0002.pmap",
        "roman_wfi_0001.imap",
        "roman_wfi_dark_0001.rmap"
    ]);
    assert_eq!(call("get_mapping_names", json!(["roman-latest"])).await, names);
    assert_eq!(
        call("get_reference_names", json!(["roman_0002.pmap"])).await,
        json!(["roman_wfi_dark_0001.asdf"])
    );
    let keys = call("get_required_parkeys", json!(["roman_0002.pmap"])).await;
    assert!(
        keys["wfi"].to_string().contains("ROMAN.META.INSTRUMENT.DETECTOR"),
        "{keys}"
    );
    assert!(
        call("get_required_parkeys", json!(["roman_wfi_dark_0001.rmap"]))
            .await
            .is_array()
    );
    let found = json!({"dark": "roman_wfi_dark_0001.asdf"});
    let params = |detector: &str| json!(["roman_0002.pmap", header(detector), ["dark"]]);
    assert_eq!(call("get_best_references", params("WFI01")).await, found);
    assert_eq!(
        call("get_best_references", params("WFI02")).await,
        json!({"dark": "NOT FOUND  parameter='ROMAN.META.INSTRUMENT.DETECTOR' value='WFI02' is not in ['WFI01']"})
    );
    assert_eq!(
        call(
            "get_best_references_by_header_map",
            json!(["roman_0002.pmap", {"a": header("WFI01"), "b": {}}, null])
        )
        .await["a"],
        json!([true, found])
    );
    assert_eq!(
        call(
            "get_best_references_by_ids",
            json!(["roman_0002.pmap", ["r1.wfi01"], null, false])
        )
        .await,
        json!({"R1.WFI01:R1.WFI01": [true, found]})
    );
    let broken = rig
        .reply("roman", "get_mapping_names", json!(["roman_0001.pmap"]))
        .await;
    assert!(
        broken["error"]["message"]
            .as_str()
            .unwrap()
            .contains("roman_0001.pmap"),
        "{broken}"
    );
}
