//! Tests of contexts.

use proptest::prelude::*;

use super::*;

fn info() -> ServerInfo {
    ServerInfo::from_json(
        r#"{"observatory": "roman", "latest_context": "roman_0055.pmap", "operational_context": "roman_0054.pmap",
        "edit_context": "roman_0056.pmap", "versions_context": "", "context_history": [
        ["2026-06-17 18:42:21.675150+00:00", "roman_0055.pmap", "newest"],
        ["2020-11-06 16:42:44.900518", "roman_0004.pmap", "middle"],
        ["never", "roman_0003.pmap", "unreadable"],
        ["2019-01-01 00:00:00", "roman_0001.pmap", "first"]]}"#,
    )
    .unwrap()
}

fn spec(text: &str) -> ContextSpec {
    text.parse().unwrap()
}

fn mapping(text: &str) -> Result<String, ContextError> {
    spec(text)
        .resolve(&info())
        .map(|resolved| resolved.mapping.to_string())
}

#[test]
fn whole_contexts_are_found() {
    for (text, expected) in [
        ("roman_0001.pmap", "roman_0001.pmap"),
        ("roman_wfi_0001.imap", "roman_wfi_0001.imap"),
        ("roman_wfi_dark_0001.rmap", "roman_wfi_dark_0001.rmap"),
        ("latest", "roman_0055.pmap"),
        ("roman-latest", "roman_0055.pmap"),
        ("roman-operational", "roman_0055.pmap"),
        ("roman-edit", "roman_0056.pmap"),
        ("2019-01-01", "roman_0001.pmap"),
        ("roman-2020-11-06", "roman_0001.pmap"),
        ("roman-2020-11-06T16:42:44", "roman_0001.pmap"),
        ("roman-2020-11-06T16:42:44.900518", "roman_0004.pmap"),
        ("2026-06-17T18:42", "roman_0004.pmap"),
        ("roman-2030-01-01T00:00:00", "roman_0055.pmap"),
    ] {
        assert_eq!(mapping(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn contexts_are_read_as_people_write_them() {
    for (text, expected) in [
        ("roman_0055", "roman_0055.pmap"),
        ("ROMAN_0055", "roman_0055.pmap"),
        ("Roman_0055.PMAP", "roman_0055.pmap"),
        ("ROMAN_0055.pmap", "roman_0055.pmap"),
        ("roman_0055.PMAP", "roman_0055.pmap"),
        (" roman_0055.pmap ", "roman_0055.pmap"),
        ("roman_wfi_0001", "roman_wfi_0001.imap"),
        ("roman_wfi_dark_0001", "roman_wfi_dark_0001.rmap"),
        ("ROMAN-Latest", "roman_0055.pmap"),
        ("LATEST", "roman_0055.pmap"),
        ("ROMAN-2020-11-06T16:42:44", "roman_0001.pmap"),
        // A name that begins with an observatory may be that of the user's own file.
        ("roman_Mine.pmap", "roman_Mine.pmap"),
    ] {
        assert_eq!(mapping(text).as_deref(), Ok(expected), "{text}");
    }
    assert_eq!(spec("roman-WFI-latest"), spec("roman-wfi-latest"));
    assert_eq!(spec("Other.pmap").to_string(), "Other.pmap");
    let error = "nonsense".parse::<ContextSpec>().unwrap_err().to_string();
    assert!(
        error.starts_with("'nonsense' is not a context: give a mapping"),
        "{error}"
    );
}

#[test]
fn parts_are_told_apart() {
    for (text, instrument, reftype) in [
        ("roman-wfi-edit", "wfi", None),
        ("roman-wfi-dark-latest", "wfi", Some("dark")),
        ("roman-wfi-dark-2026-01-01T00:00:00", "wfi", Some("dark")),
        ("roman-wfi-pars-tweakreg-latest", "wfi", Some("pars-tweakreg")),
        ("roman-wfi-2026-01-01", "wfi", None),
    ] {
        let part = spec(text).resolve(&info()).unwrap().part.unwrap();
        assert_eq!(
            (
                part.instrument.as_str(),
                part.reftype.as_ref().map(Reftype::as_str)
            ),
            (instrument, reftype)
        );
        assert_eq!(spec(text).to_string().parse::<ContextSpec>().unwrap(), spec(text));
    }
}

#[test]
fn what_the_server_does_not_say_is_an_error() {
    assert!(matches!(
        mapping("roman-versions"),
        Err(ContextError::NotSet { .. })
    ));
    assert!(matches!(mapping("roman-build"), Err(ContextError::Build(_))));
    assert!(matches!(mapping("build"), Err(ContextError::Build(_))));
    assert!(matches!(
        mapping("roman-build-0.17.0"),
        Err(ContextError::Build(_))
    ));
    assert!(matches!(
        mapping("2018-12-31T23:59:59"),
        Err(ContextError::BeforeHistory { .. })
    ));
    assert!(matches!(
        mapping("jwst-latest"),
        Err(ContextError::OtherObservatory { .. })
    ));
    assert!(matches!(
        mapping("jwst_0001.pmap"),
        Err(ContextError::OtherObservatory { .. })
    ));
    let empty = ServerInfo::empty(Observatory::Hst);
    assert_eq!(
        spec("latest").resolve(&empty).unwrap_err().to_string(),
        "the hst server names no context for 'latest'"
    );
    assert!(spec("2020-01-01").resolve(&empty).is_err());
}

#[test]
fn refuses_everything_else() {
    for text in [
        "",
        "edit",
        "operational",
        "versions",
        "roman",
        "roman-",
        "-latest",
        "roman-nonsense",
        "mars-latest",
        "roman-2020-13-01",
        "roman-2020-01-32",
        "20200101",
        "2020-01-01 00:00:00",
        "2020-01-01T",
        "2020-01-01T00:00:00Z",
        "2020-01-01T00:00:00+00:00",
        "2020-01-01T00:00:00-05",
        "roman_wfi_dark_0001.asdf",
        "../roman_0001.pmap",
        "roman--latest",
        "roman-wfi--latest",
        "roman_wfi",
        "roman_1",
        "mars_0001",
        "roman_wfi_dark_sub_0001",
        "roman-wfi-dark",
    ] {
        assert!(text.parse::<ContextSpec>().is_err(), "{text}");
    }
}

#[test]
fn forms_that_mean_something_are_listed() {
    let forms: Vec<_> = symbolic_forms(&info())
        .into_iter()
        .map(|(form, mapping)| format!("{form} {mapping}"))
        .collect();
    assert_eq!(
        forms,
        [
            "roman-latest roman_0055.pmap",
            "roman-operational roman_0055.pmap",
            "roman-edit roman_0056.pmap"
        ]
    );
}

proptest! {
    #[test]
    fn what_is_read_is_written_and_read_again(text in "((hst|jwst|roman)-)?([a-z0-9]{1,5}-){0,2}(latest|edit|build|20[0-9]{2}-[01][0-9]-[0-3][0-9](T[0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,6})?)?)?)") {
        if let Ok(spec) = text.parse::<ContextSpec>() {
            prop_assert_eq!(spec.to_string().parse::<ContextSpec>().unwrap(), spec);
        }
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,40}") {
        let _ = text.parse::<ContextSpec>();
    }
}
