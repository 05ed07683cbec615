//! The methods that describe the files and the datasets of the server.

use super::super::description::MAX_PER_CALL;
use super::*;

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
        rig.rpc_error("get_file_info", json!(["hst", "nope"]))
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
        rig.rpc_error("get_context_by_date", params).await;
    }
    assert_eq!(
        rig.call("get_context_history", json!(["hst"])).await[1][1],
        "hst.pmap"
    );
    rig.rpc_error("get_build_context", json!(["hst", "1.0"])).await;
    rig.rpc_error("get_default_context", json!(["jwst", null])).await;
    assert!(
        rig.rpc_error("explode", json!([]))
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
    let listed = rig
        .reply("roman", "get_dataset_ids", json!(["roman-latest", "wfi", null]))
        .await["result"]
        .clone();
    let roman = rig
        .reply(
            "roman",
            "get_best_references_by_ids",
            json!(["roman-latest", listed, [], false]),
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
        rig.rpc_error("get_best_references_by_ids", params).await;
    }
}

#[tokio::test]
async fn a_map_of_headers_has_its_limit() {
    let rig = rig().await;
    let headers = |count: usize| {
        let headers: serde_json::Map<_, _> = (0..count).map(|id| (id.to_string(), json!({}))).collect();
        json!(["hst_0002.pmap", headers, null])
    };
    let answers = rig
        .call("get_best_references_by_header_map", headers(MAX_PER_CALL))
        .await;
    assert_eq!(answers.as_object().unwrap().len(), MAX_PER_CALL);
    let refused = rig
        .rpc_error("get_best_references_by_header_map", headers(MAX_PER_CALL + 1))
        .await;
    assert!(refused.contains(&MAX_PER_CALL.to_string()), "{refused}");
}

/// They are hashed on all processors, and the small ones are done first.
#[tokio::test]
async fn each_file_has_its_own_digest() {
    let cache = TempDir::new().unwrap();
    let references = cache.path().join("references/hst");
    fs::create_dir_all(&references).unwrap();
    let content = |number: usize| vec![u8::try_from(number).unwrap(); 4_000_000 / (number * number + 1)];
    let name = |number: usize| format!("a{number}_drk.fits");
    for number in 0..20 {
        fs::write(references.join(name(number)), content(number)).unwrap();
    }
    let server = Server::bind(cache.path(), Options::default()).await.unwrap();
    let rig = Rig { server, cache };
    let answer = rig
        .call("get_file_info_map", json!(["hst", null, ["sha1sum", "size"]]))
        .await;
    for number in 0..20 {
        let content = content(number);
        let sum = Sha1Sum::from_bytes(Sha1::digest(&content).into()).to_string();
        let expected = json!({"size": content.len().to_string(), "sha1sum": sum});
        assert_eq!(answer[name(number)], expected, "{number}");
    }
}

#[tokio::test]
async fn calls_for_many_fields_of_many_files_come_to_an_end() {
    let rig = rig().await;
    let fields: Vec<_> = (0..100_000).map(|number| format!("field{number}")).collect();
    let params = json!(["hst", vec!["x_drk.fits"; 5_000], fields]);
    assert_eq!(
        rig.call("get_file_info_map", params).await,
        json!({"x_drk.fits": {}})
    );
}

/// Few bytes of text make many bytes of values.
#[tokio::test]
async fn a_call_that_takes_much_memory_is_refused() {
    let rig = rig().await;
    let params = "[],".repeat(2_000_000);
    let body = format!(r#"{{"method": "get_server_info", "id": 1, "params": [{params}0]}}"#);
    let reply = rig.request("POST", "/hst/json/", &[], &body).await;
    let reply: Value = serde_json::from_slice(&reply.body).unwrap();
    let error = reply["error"]["message"].as_str().unwrap();
    assert!(error.contains("bytes of memory"), "{error}");
}

/// Clients that begin large requests and go no further: no more of them are read than there is room for.
#[tokio::test]
async fn large_requests_have_limited_room() {
    let rig = rig().await;
    let begin = async || {
        let mut stream = TcpStream::connect(rig.server.address()).await.unwrap();
        let head =
            "POST /hst/json/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 16000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let mut asked = Vec::new();
    for _ in 0..4 {
        let mut stream = begin().await;
        let mut told = [0; 12];
        stream.read_exact(&mut told).await.unwrap();
        assert_eq!(&told, b"HTTP/1.1 100");
        asked.push(stream);
    }
    let mut waits = begin().await;
    // Small ones are answered meanwhile.
    assert!(rig.call("get_server_info", json!([])).await.is_object());
    assert!(
        waits.try_read(&mut [0; 12]).is_err(),
        "there is no room for a fifth"
    );
    asked.pop();
    let mut told = [0; 12];
    waits.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100");
}

#[tokio::test]
async fn calls_about_another_observatory_are_refused() {
    let rig = rig().await;
    for (method, params) in [
        ("get_file_info_map", json!(["jwst"])),
        ("list_mappings", json!(["jwst", "*"])),
        ("list_references", json!(["jwst", "*"])),
        ("get_default_context", json!(["jwst"])),
        ("get_build_context", json!(["jwst", "1.0"])),
        ("get_context_history", json!(["jwst"])),
    ] {
        let told = rig.rpc_error(method, params).await;
        assert!(told.contains("this server serves"), "{method}: {told}");
    }
    for version in ["", "1.0 or so", "1.0'"] {
        let told = rig.rpc_error("get_build_context", json!(["hst", version])).await;
        assert!(told.contains("invalid calibration software version"), "{told}");
    }
}
