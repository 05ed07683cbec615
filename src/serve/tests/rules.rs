//! Rules that the server evaluates for its clients.

use super::*;

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
