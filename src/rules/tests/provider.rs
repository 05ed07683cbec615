//! The provider: each mapping is compiled once, and anew when its text has changed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::*;

/// Texts in memory that count how often they are read. Each has a version, which goes up when it is replaced.
#[derive(Default)]
struct VersionedTexts {
    by_name: Mutex<BTreeMap<String, (u32, String)>>,
    reads: AtomicUsize,
}

impl VersionedTexts {
    fn put(&self, name: &str, text: String) {
        let mut texts = self.by_name.lock();
        let version = texts.get(name).map_or(0, |(version, _)| version + 1);
        texts.insert(name.to_owned(), (version, text));
    }

    /// A pmap with one imap and one rmap, which names `dark`.
    fn with_dark(dark: &str) -> Self {
        let texts = Self::default();
        let mapping = |kind: &str, extra: &str, selector: &str| {
            format!(
                "header = {{'mapping': '{kind}', 'name': 'x', 'derived_from': 'y', 'observatory': 'HST', {extra}}}\n\
                 selector = {selector}\n"
            )
        };
        let pmap = mapping("PIPELINE", "'parkey': ('INSTRUME',)", "{'ACS': 'hst_acs.imap'}");
        texts.put("hst.pmap", pmap);
        let imap = mapping(
            "INSTRUMENT",
            "'parkey': ('REFTYPE',), 'instrument': 'ACS'",
            "{'DARKFILE': 'hst_acs_darkfile.rmap', 'BIASFILE': 'N/A'}",
        );
        texts.put("hst_acs.imap", imap);
        texts.put_dark(dark);
        texts
    }

    fn put_dark(&self, dark: &str) {
        let selector = format!("Match({{('WFC',): '{dark}'}})");
        let rmap = rmap_text("(('DETECTOR',),)", "", &selector);
        self.put("hst_acs_darkfile.rmap", rmap);
    }
}

impl Texts for VersionedTexts {
    type Version = u32;

    fn text(&self, name: &str) -> Result<String, LoadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let texts = self.by_name.lock();
        let (_, text) = texts.get(name).ok_or_else(|| LoadError::absent(name))?;
        Ok(text.clone())
    }

    fn version(&self, name: &str) -> Option<u32> {
        self.by_name.lock().get(name).map(|(version, _)| *version)
    }
}

fn header() -> Header {
    [("INSTRUME", "ACS"), ("DETECTOR", "WFC")].into_iter().collect()
}

fn dark(provider: &Provider<VersionedTexts>) -> String {
    let context = provider.context(Observatory::Hst, "hst.pmap").unwrap();
    let answers = context.best_references(&mut Memory::none(), &header(), Some(&["darkfile"]));
    answers.unwrap().get("darkfile").unwrap().to_string()
}

#[test]
fn each_mapping_is_compiled_once() {
    let provider = Provider::new(VersionedTexts::with_dark("a.fits"), LENIENT);
    for _ in 0..3 {
        assert_eq!(dark(&provider), "a.fits");
    }
    assert_eq!(provider.texts().reads.load(Ordering::Relaxed), 3);
    let closure = provider.closure("hst.pmap").unwrap();
    assert_eq!(
        closure.mappings.into_iter().collect::<Vec<_>>(),
        ["hst.pmap", "hst_acs.imap", "hst_acs_darkfile.rmap"]
    );
    assert_eq!(closure.references.into_iter().collect::<Vec<_>>(), ["a.fits"]);
    assert_eq!(
        provider.reftypes("hst.pmap").unwrap(),
        ["biasfile", "darkfile"].map(str::to_owned).into()
    );
    assert_eq!(
        provider.mappings_of_instrument("hst.pmap", Some("acs")).unwrap(),
        ["hst_acs.imap", "hst_acs_darkfile.rmap"]
    );
    assert_eq!(
        provider.mappings_of_instrument("hst.pmap", Some("cos")).unwrap(),
        ["hst.pmap", "hst_acs.imap"]
    );
    assert_eq!(provider.texts().reads.load(Ordering::Relaxed), 3);
}

#[test]
fn a_context_follows_the_versions_of_its_mappings() {
    let provider = Provider::new(VersionedTexts::with_dark("a.fits"), LENIENT);
    assert_eq!(dark(&provider), "a.fits");
    let open = provider.context(Observatory::Hst, "hst.pmap").unwrap();
    provider.texts().put_dark("b.fits");
    // A lookup that has begun goes on with the rules it has.
    let answers = open.best_references(&mut Memory::none(), &header(), Some(&["darkfile"]));
    assert_eq!(answers.unwrap().get("darkfile").unwrap().to_string(), "a.fits");
    assert_eq!(dark(&provider), "b.fits");
    // Another context that names the same rmap has the new one too.
    let same = provider.mapping("hst_acs_darkfile.rmap").unwrap();
    assert_eq!(same.references(), ["b.fits"]);
    let open = provider.context(Observatory::Hst, "hst.pmap").unwrap();
    assert!(open.has_used(|version| *version == 1));
}

#[test]
fn what_is_not_there_is_asked_for_and_may_be_pinned() {
    let full = Provider::new(VersionedTexts::with_dark("a.fits"), LENIENT);
    let empty = Provider::new(VersionedTexts::default(), LENIENT);
    let mut pinned = Pinned::new();
    let mut asked = Vec::new();
    let answers = loop {
        let missing = match empty.context_with(Observatory::Hst, "hst.pmap", &pinned) {
            Err(error) if error.is_absent_mapping() => vec!["hst.pmap".to_owned()],
            Err(error) => panic!("{error}"),
            Ok(open) => match open.missing(&header()) {
                missing if missing.is_empty() => {
                    let answers = open.best_references(&mut Memory::none(), &header(), Some(&["darkfile"]));
                    break answers.unwrap().get("darkfile").unwrap().to_string();
                }
                missing => missing,
            },
        };
        for name in missing {
            full.mapping(&name).unwrap();
            pinned.insert(name.clone(), full.compiled(&name).unwrap());
            asked.push(name);
        }
    };
    assert_eq!(answers, "a.fits");
    assert_eq!(asked, ["hst.pmap", "hst_acs.imap", "hst_acs_darkfile.rmap"]);
    assert!(
        empty
            .mapping("hst.pmap")
            .is_err_and(|error| error.kind() == LoadErrorKind::Absent)
    );
}
