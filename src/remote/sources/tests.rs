//! Tests of the syntax of sources.

use proptest::prelude::*;

use super::*;

fn key(observatory: Observatory, name: &str) -> FileKey {
    FileKey {
        observatory,
        name: name.parse().unwrap(),
    }
}

fn place(text: &str) -> SourcePlace {
    text.parse().unwrap()
}

fn urls(place: &SourcePlace, key: &FileKey, layout: Option<ReferenceLayout>) -> Vec<String> {
    let urls = place.file_urls(key, layout).into_iter();
    urls.map(|(_, url)| url.with_credentials().to_owned()).collect()
}

#[test]
fn a_root_has_the_places_of_a_cache() {
    let (dark, rule) = (
        key(Observatory::Jwst, "jwst_miri_dark_0001.fits"),
        key(Observatory::Jwst, "jwst_1322.pmap"),
    );
    for root in [
        "https://me:pw@mirror/crds",
        "https://me:pw@mirror/crds/",
        "https://me:pw@mirror/crds//",
        "file:///grp/crds",
        "s3://bucket/crds",
    ] {
        let place = place(root);
        let root = root.trim_end_matches('/');
        let flat = format!("{root}/references/jwst/jwst_miri_dark_0001.fits");
        let by_instrument = format!("{root}/references/jwst/miri/jwst_miri_dark_0001.fits");
        assert_eq!(urls(&place, &dark, None), [flat.clone(), by_instrument.clone()]);
        assert_eq!(urls(&place, &dark, Some(ReferenceLayout::Flat)), [flat]);
        assert_eq!(
            urls(&place, &dark, Some(ReferenceLayout::Instrument)),
            [by_instrument]
        );
        for layout in [None, Some(ReferenceLayout::Instrument)] {
            assert_eq!(
                urls(&place, &rule, layout),
                [format!("{root}/mappings/jwst/jwst_1322.pmap")]
            );
        }
        let config = place.config_url(Observatory::Hst).unwrap();
        assert_eq!(
            config.with_credentials(),
            format!("{root}/config/hst/server_config")
        );
    }
    // A name that tells no instrument lies directly below its observatory.
    let other = key(Observatory::Hst, "hst_other.fits");
    let place = place("http://x/");
    assert_eq!(
        urls(&place, &other, Some(ReferenceLayout::Instrument)),
        ["http://x/references/hst/hst_other.fits"]
    );
}

#[test]
fn a_template_says_exactly_where() {
    let place = place("https://x/{obs}-{kind}/{name}?sig=1");
    assert_eq!(
        urls(&place, &key(Observatory::Hst, "a b.fits"), None),
        ["https://x/hst-references/a%20b.fits?sig=1"]
    );
    let config = place.config_url(Observatory::Roman).unwrap();
    assert_eq!(
        config.with_credentials(),
        "https://x/roman-config/server_config?sig=1"
    );
    assert_eq!(place.to_string(), "https://x/{obs}-{kind}/{name}?sig=***");
    assert!(
        "http://x/{name}"
            .parse::<SourcePlace>()
            .unwrap()
            .config_url(Observatory::Hst)
            .is_none()
    );
    assert_eq!(
        urls(
            &"https://{obs}.example/{name}".parse().unwrap(),
            &key(Observatory::Hst, "hst.pmap"),
            None
        ),
        ["https://hst.example/hst.pmap"]
    );
}

#[test]
fn the_server_is_named_by_a_word() {
    let setting: SourceSetting = "roman=crds".parse().unwrap();
    assert_eq!(
        (setting.observatory, &setting.place),
        (Some(Observatory::Roman), &SourcePlace::Server)
    );
    assert!(setting.is_for(Observatory::Roman) && !setting.is_for(Observatory::Hst));
    assert!(urls(&setting.place, &key(Observatory::Roman, "roman.pmap"), None).is_empty());
    assert_eq!(setting.place.to_string(), "crds");
}

#[test]
fn errors_name_the_remedy() {
    for (text, told) in [
        (
            "mars=https://x",
            "'mars' is not an observatory (hst, jwst, roman)",
        ),
        (
            "/grp/crds",
            "'/grp/crds' is a path, not a URL: write file:///grp/crds",
        ),
        ("jwst=/grp/crds", "write file:///grp/crds"),
        (
            "mirror/crds",
            "'mirror/crds' is not the URL of a source: it must begin with https://",
        ),
        ("ftp://x/y", "must begin with https://"),
        ("", "'' is not the URL of a source"),
        ("https://", "is not the URL of a source"),
        ("file://host/x", "with three slashes"),
        ("s3://", "name one, as in s3://bucket/prefix"),
        ("s3:///prefix", "name one"),
        (
            "s3://KEY:secret@bucket/x",
            "'s3://***@bucket/x' is not the URL of a bucket: keys do not belong there",
        ),
        ("gs://bucket/x?region=eu", "AWS_ENDPOINT_URL and AWS_REGION"),
        (
            "https://x/{file}",
            "has {file} in it, but only {obs}, {kind} and {name}",
        ),
        ("https://x/{obs}", "put {name} in it"),
        ("ftp://me:secret@x/", "'ftp://***@x/' is not"),
    ] {
        let error = text.parse::<SourceSetting>().unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

proptest! {
    /// Whatever is given: it is refused, or every file has a URL of the same scheme that ends in its name.
    #[test]
    fn any_text_is_a_source_or_an_error(text in "(hst=|jwst=|x=)?(https?|file|s3|gs|az|ftp|crds)?(://|:|/)?[a-z{}/@:?=&#. ]{0,30}(\\{name\\})?") {
        let Ok(setting) = text.parse::<SourceSetting>() else { return Ok(()) };
        let key = key(Observatory::Hst, "hst_acs_dark_0001.fits");
        for (_, url) in setting.place.file_urls(&key, None) {
            let parsed = url.parsed();
            prop_assert!(parsed.is_some(), "{text}: {url}");
            prop_assert!(["https", "http", "file", "s3", "gs", "az"].contains(&parsed.unwrap().scheme()));
            prop_assert!(url.with_credentials().contains("hst_acs_dark_0001.fits"));
        }
        // The text that is shown parses to the same place, unless it has secrets.
        let shown = setting.place.to_string();
        if !shown.contains("***") {
            prop_assert_eq!(shown.parse::<SourcePlace>(), Ok(setting.place));
        }
    }
}
