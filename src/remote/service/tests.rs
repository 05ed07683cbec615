//! Tests of the methods, with a server that answers from a table.

use super::*;

use crate::crds::encoded;
use parking_lot::Mutex;

/// Answers each call with the next reply and notes the calls.
struct Table {
    replies: Mutex<Vec<Result<Value, RemoteError>>>,
    calls: Mutex<Vec<(String, Value)>>,
}

impl Table {
    fn new(replies: impl IntoIterator<Item = Result<Value, RemoteError>>) -> Self {
        let mut replies: Vec<_> = replies.into_iter().collect();
        replies.reverse();
        Self {
            replies: Mutex::new(replies),
            calls: Mutex::default(),
        }
    }

    fn one(reply: Value) -> Self {
        Self::new([Ok(reply)])
    }

    fn calls(&self) -> Vec<(String, Value)> {
        self.calls.lock().clone()
    }
}

impl CrdsServer for Table {
    fn observatory(&self) -> Observatory {
        Observatory::Roman
    }

    fn url(&self) -> &'static str {
        "http://table/"
    }

    fn call<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Result<Value, RemoteError>> {
        self.calls.lock().push((method.to_owned(), params));
        let reply = self.replies.lock().pop().unwrap();
        Box::pin(std::future::ready(reply))
    }
}

fn name(text: &str) -> FileName {
    text.parse().unwrap()
}

fn id(text: &str) -> DatasetId {
    text.parse().unwrap()
}

#[tokio::test]
async fn old_servers_are_asked_for_their_catalog() {
    let described = json!({"observatory": "roman", "mappings": ["roman_0001.pmap"]});
    let files = json!({"roman_0001.pmap": {"size": "3", "sha1sum": ""}});
    let table = Table::new([Ok(described.clone()), Ok(files.clone())]);
    let info = table.server_info().await.unwrap();
    assert_eq!(info.catalog().get("roman_0001.pmap").unwrap().size, Some(3));
    assert_eq!(info.server(), Some("http://table/"));
    assert_eq!(
        table.calls()[1],
        (
            "get_file_info_map".to_owned(),
            json!(["roman", null, ["sha1sum", "size"]])
        )
    );
    let mut modern = described;
    modern["download_metadata"] = encoded::encode(files.to_string().as_bytes()).unwrap();
    let table = Table::one(modern);
    assert_eq!(table.server_info().await.unwrap().catalog(), info.catalog());
    assert_eq!(table.calls().len(), 1);
}

#[tokio::test]
async fn the_server_of_another_observatory_is_refused() {
    let error = Table::one(json!({"observatory": "hst"}))
        .server_info()
        .await
        .unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::Protocol);
    assert!(
        error.message.contains("the server of hst, not of roman"),
        "{error}"
    );
}

#[tokio::test]
async fn contexts_by_date() {
    let ask = async |reply| Table::one(reply).context_by_date("roman-2026-01-01").await;
    assert_eq!(
        ask(json!("roman_0042.pmap")).await,
        Ok(Some(name("roman_0042.pmap")))
    );
    assert_eq!(ask(json!("N/A")).await, Ok(None));
    assert!(ask(json!("../x")).await.is_err());
    assert!(ask(json!(null)).await.is_err());
}

#[tokio::test]
async fn best_references_of_datasets() {
    let table = Table::one(json!({
        "R1.WFI16:R1.WFI16": [true, {"area": "NOT FOUND No match found.", "DARK": "roman_wfi_dark_0469.asdf",
            "../x": "y", "pair": ["a", "b"]}],
        "R2.WFI01": [false, "NOT FOUND dataset ID does not exist 'R2.WFI01'"],
        "R3.WFI01": {"dark": "d.asdf"},
        "R4.WFI01": "NOT FOUND nothing",
        "headers": {"r1.wfi16:r1.wfi16": {"META.X": "A", "META.N": 2.5, "META.B": true}, "R2.WFI01": "NOT FOUND"},
    }));
    let context = name("roman_0042.pmap");
    let ids = [id("r1.wfi16"), id("R2.WFI01")];
    let found = table
        .best_references_by_ids(&context, &ids, None, true)
        .await
        .unwrap();
    let values = found.answer(&ids[0]).unwrap().as_ref().unwrap();
    assert_eq!(values.keys().collect::<Vec<_>>(), ["area", "dark", "pair"]);
    assert_eq!(values["dark"], "roman_wfi_dark_0469.asdf");
    assert!(
        found
            .answer(&ids[1])
            .unwrap()
            .as_ref()
            .unwrap_err()
            .contains("does not exist")
    );
    assert!(found.answer(&id("R3.WFI01")).unwrap().is_ok());
    assert!(found.answer(&id("R4.WFI01")).unwrap().is_err());
    assert_eq!(found.answer(&id("R5.WFI01")), None);
    let header = found.header(&ids[0]).unwrap();
    assert_eq!(
        (&*header["META.X"], &*header["META.N"], &*header["META.B"]),
        ("A", "2.5", "true")
    );
    assert_eq!(found.header(&ids[1]), None);
    assert_eq!(
        table.calls()[0].1,
        json!(["roman_0042.pmap", ["R1.WFI16", "R2.WFI01"], null, true])
    );
}

#[tokio::test]
async fn answers_that_make_no_sense_are_errors() {
    let types: serde_json::Map<_, _> = (0..20_000)
        .map(|number| (format!("type{number}"), json!("x.fits")))
        .collect();
    for reply in [
        json!({"X": [true, types]}),
        json!([]),
        json!({"X": [true]}),
        json!({"X": ["yes", {}]}),
        json!({"X": 5}),
        json!({"headers": 5}),
    ] {
        let context = name("roman_0042.pmap");
        let result = Table::one(reply.clone())
            .best_references_by_ids(&context, &[], None, true)
            .await;
        assert_eq!(result.unwrap_err().kind, RemoteErrorKind::Protocol, "{reply}");
    }
}

#[test]
fn ids_are_found_in_every_form() {
    let results = |keys: &[&str]| {
        keys.iter()
            .map(|key| ((*key).to_owned(), 0))
            .collect::<BTreeMap<_, _>>()
    };
    let keys = results(&["A", "A:A", "A:B", "C:D", "B:C", "JW1_2_3.NRCB2:JW1_2_3.NRCB2"]);
    for (asked, found) in [
        ("A", Some("A")),
        ("A:B", Some("A:B")),
        ("B", Some("A:B")),
        ("C", Some("B:C")),
        ("D", Some("C:D")),
        ("JW1_2_3_NRCB2", Some("JW1_2_3.NRCB2:JW1_2_3.NRCB2")),
        ("E", None),
        ("A:C", None),
        ("", None),
    ] {
        assert_eq!(find_id(&keys, asked), found, "{asked}");
    }
    assert_eq!(find_id(&results(&["A:A", "A:0"]), "A"), Some("A:A"));
    assert_eq!(find_id(&results(&["A.X"]), "A_X"), Some("A.X"));
}

#[test]
fn what_servers_say_moves_no_cursor() {
    let said = json!({
        "A": [true, {"dark": "NOT FOUND \u{1b}[2J\nx", "flat": "x.fits"}],
        "B": [false, "\u{1b}]0;title\u{7}"],
        "C": "no\rsuch dataset",
    });
    let found = super::results::best_references(said, str::to_owned).unwrap();
    let answers = found.answers["A"].as_ref().unwrap();
    assert_eq!(answers["dark"], r"NOT FOUND \u{1b}[2J\nx");
    assert_eq!(answers["flat"], "x.fits");
    assert_eq!(found.answers["B"], Err(r"\u{1b}]0;title\u{7}".to_owned()));
    assert_eq!(found.answers["C"], Err(r"no\rsuch dataset".to_owned()));
}
