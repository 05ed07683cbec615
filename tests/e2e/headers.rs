//! Headers of datasets: what a server tells under one context, and which other contexts are computed from it.

use serde_json::{Value, json};

use crate::origin::{Content, Origin};
use crate::rig::{Rig, eventually};

const ID: &str = "JW01234001001_02101_00001.MIRIMAGE";
const DETECTOR: &str = "META.INSTRUMENT.DETECTOR";
const FILTER: &str = "META.INSTRUMENT.FILTER";
const PATTERN: &str = "META.EXPOSURE.READPATT";

/// The parameters that all rules of Webb require.
const ALWAYS: [&str; 3] = [
    "META.INSTRUMENT.NAME",
    "META.VISIT.TSOVISIT",
    "META.INSTRUMENT.LAMP_STATE",
];

/// The dark that holds where a parameter has no value, and that of the dataset.
const WRONG: &str = "jwst_miri_dark_0001.fits";
const RIGHT: &str = "jwst_miri_dark_0002.fits";

/// Contexts by number, with the parameters by which their darks are chosen.
const CONTEXTS: [&[&str]; 7] = [
    &[DETECTOR],
    &[DETECTOR, FILTER],
    &[FILTER, DETECTOR],
    &[DETECTOR, PATTERN],
    &[DETECTOR, FILTER, PATTERN],
    &[PATTERN, FILTER],
    &[DETECTOR, FILTER, PATTERN, "META.EXPOSURE.TYPE"],
];

fn context(number: usize) -> String {
    format!("jwst_{number:04}.pmap")
}

fn link(number: usize) -> String {
    format!("bestrefs/{}/{ID}/dark", context(number))
}

/// The rules of one context.
fn rules(observatory: &str, number: usize, parameters: &[&str], parkey: &str) -> [(String, String); 3] {
    let upper = observatory.to_uppercase();
    let head = |kind: &str, parkey: &str, more: &str| {
        format!(
            "header = {{'mapping': '{kind}', 'parkey': {parkey}, 'name': 'x', 'derived_from': 'y', 'observatory': \
             '{upper}'{more}}}\n"
        )
    };
    let names = [
        format!("{observatory}_{number:04}.pmap"),
        format!("{observatory}_miri_{number:04}.imap"),
        format!("{observatory}_miri_dark_{number:04}.rmap"),
    ];
    let tuple = |values: &mut dyn Iterator<Item = &str>| {
        let quoted: Vec<_> = values.map(|value| format!("'{value}',")).collect();
        format!("({})", quoted.concat())
    };
    let known = tuple(&mut parameters.iter().map(|name| value(name)));
    let other = tuple(&mut parameters.iter().map(|_| "N/A"));
    let wanted = tuple(&mut parameters.iter().copied());
    let texts = [
        head("PIPELINE", &format!("('{parkey}',)"), "") + &format!("selector = {{'MIRI': '{}'}}\n", names[1]),
        head("INSTRUMENT", "('REFTYPE',)", ", 'instrument': 'MIRI'")
            + &format!("selector = {{'DARK': '{}'}}\n", names[2]),
        head(
            "REFERENCE",
            &format!("({wanted},)"),
            ", 'instrument': 'MIRI', 'filekind': 'DARK'",
        ) + &format!("selector = Match({{{known}: '{RIGHT}', {other}: '{WRONG}'}})\n"),
    ];
    let mut texts = texts.into_iter();
    names.map(|name| (name, texts.next().unwrap()))
}

/// The dataset's value of a parameter.
fn value(name: &str) -> &'static str {
    match name {
        DETECTOR => "MIRIMAGE",
        FILTER => "F770W",
        PATTERN => "FASTR1",
        "META.EXPOSURE.TYPE" => "MIR_IMAGE",
        "META.INSTRUMENT.NAME" => "MIRI",
        _ => "UNDEFINED",
    }
}

/// A server that tells under each context only what that one's rules ask for.
fn archive() -> Origin {
    let all = ALWAYS
        .into_iter()
        .chain([DETECTOR, FILTER, PATTERN, "META.EXPOSURE.TYPE"]);
    let header: serde_json::Map<_, _> = all.map(|name| (name.to_owned(), json!(value(name)))).collect();
    let numbers = 1..=CONTEXTS.len();
    let answers = numbers
        .clone()
        .map(|number| (context(number), json!({"dark": RIGHT})));
    let mut content = Content {
        observatory: "jwst",
        context: context(1),
        datasets: [(ID.to_owned(), (Value::Object(header), answers.collect()))].into(),
        ..Content::default()
    }
    .file(RIGHT, 3000)
    .file(WRONG, 3000);
    for (number, parameters) in numbers.zip(CONTEXTS) {
        let files = rules("jwst", number, parameters, "META.INSTRUMENT.NAME");
        content
            .files
            .extend(files.map(|(name, text)| (name, text.into_bytes().into())));
        let told = ALWAYS.iter().chain(parameters);
        let told = told.map(|name| (*name).to_owned()).collect();
        content.parameters.insert(context(number), told);
    }
    Origin::start(content)
}

fn calls(origin: &Origin) -> usize {
    origin.called("get_best_references_by_ids").len()
}

#[test]
fn a_context_is_computed_only_if_the_header_has_what_it_asks_for() {
    let origin = archive();
    let mut rig = Rig::new(&[&format!("jwst={}", origin.url())], &[]);
    rig.set("CRDS_IGNORE_MAPPING_CHECKSUM", "1");
    rig.mount();
    let dark = |rig: &Rig, number: usize| {
        let target = std::fs::read_link(rig.path(link(number))).unwrap();
        target.file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(dark(&rig, 1), RIGHT);
    assert_eq!(calls(&origin), 1);
    // The second one asks for a parameter that was not told under the first, the third for no more than the second.
    assert_eq!(dark(&rig, 2), RIGHT, "from a header without the filter");
    assert_eq!(calls(&origin), 2);
    assert_eq!(dark(&rig, 3), RIGHT);
    assert_eq!(calls(&origin), 2, "the header was complete for it");
    rig.umount();
    rig.mount();
    // After a restart too; and what was told under two contexts counts together.
    assert_eq!(dark(&rig, 4), RIGHT);
    assert_eq!(calls(&origin), 3);
    assert_eq!(dark(&rig, 5), RIGHT);
    assert_eq!(calls(&origin), 3, "two headers have all of it together");
    // Nobody can be asked: what is complete is computed, what is not is an error, and not a wrong answer.
    for number in [6, 7] {
        for name in [
            context(number),
            format!("jwst_miri_{number:04}.imap"),
            format!("jwst_miri_dark_{number:04}.rmap"),
        ] {
            rig.read(format!("mappings/jwst/{name}")).unwrap();
        }
    }
    origin.refuse();
    assert_eq!(dark(&rig, 6), RIGHT);
    let error = std::fs::read_link(rig.path(link(7))).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH));
}

/// Rules are not supposed to change under their name; where a server does it, answers follow its catalog.
#[test]
fn rules_that_change_with_the_catalog_are_read_anew() {
    let origin = archive();
    let mut rig = Rig::new(&[&format!("jwst={}", origin.url())], &["--catalog-ttl", "100ms"]);
    rig.set("CRDS_IGNORE_MAPPING_CHECKSUM", "1");
    rig.mount();
    let dark = |number| std::fs::read_link(rig.path(link(number))).unwrap();
    assert!(dark(2).ends_with(RIGHT));
    assert!(dark(3).ends_with(RIGHT));
    assert_eq!(calls(&origin), 1, "the third one is computed");
    origin.change(|content| {
        let rule = content.files.get_mut("jwst_miri_dark_0003.rmap").unwrap();
        let text = String::from_utf8(rule.to_vec()).unwrap();
        *rule = text.replace(RIGHT, WRONG).into_bytes().into();
    });
    eventually("the new rules hold", || dark(3).ends_with(WRONG));
    assert!(dark(2).ends_with(RIGHT));
}

/// Rules that the user writes under a name of their own are a context at once, as they are at the moment.
#[test]
fn the_users_own_rules_are_a_context_as_soon_as_they_are_written() {
    let origin = archive();
    let mut rig = Rig::new(&[&format!("jwst={}", origin.url())], &[]);
    rig.set("CRDS_IGNORE_MAPPING_CHECKSUM", "1");
    rig.mount();
    let link = rig.path(format!("bestrefs/jwst_9001.pmap/{ID}/dark"));
    let target = || std::fs::read_link(&link).map_err(|error| error.raw_os_error().unwrap());
    assert_eq!(target(), Err(libc::ENOENT));
    let write = |parameters: &[&str], change: &dyn Fn(String) -> String| {
        for (name, text) in rules("jwst", 9001, parameters, "META.INSTRUMENT.NAME") {
            std::fs::write(rig.path(format!("mappings/jwst/{name}")), change(text)).unwrap();
        }
    };
    write(&[DETECTOR], &|text| text);
    assert!(target().unwrap().ends_with(RIGHT));
    write(&[DETECTOR], &|text| text.replace(RIGHT, WRONG));
    assert!(target().unwrap().ends_with(WRONG), "the rules as they are now");
    // The server tells no more than the default context asks for.
    write(&[DETECTOR, FILTER], &|text| text);
    assert_eq!(target(), Err(libc::ENOENT));
    assert!(
        rig.log()
            .contains(&format!("what is known of the dataset lacks {FILTER}")),
        "{}",
        rig.log()
    );
    for name in rig.stored() {
        assert!(!name.to_string_lossy().contains("quarantine"), "{name:?}");
    }
}

/// Older servers take an id that they do not know for another one of the same call that contains it.
#[test]
fn ids_that_contain_one_another_are_asked_for_separately() {
    let name = |number: usize| format!("SET{number}.WFI01");
    let known = |number: &usize| number.is_multiple_of(2);
    let answers = |number| {
        [(
            "jwst_0001.pmap".to_owned(),
            json!({"dark": format!("dark_{number}.fits")}),
        )]
        .into()
    };
    let numbers: Vec<usize> = (1..=30).flat_map(|number| [number, number * 1001]).collect();
    let datasets = numbers.iter().copied().filter(known);
    let origin = Origin::start(
        Content {
            observatory: "jwst",
            context: context(1),
            datasets: datasets
                .map(|number| (format!("Q{}Q", name(number)), (json!({}), answers(number))))
                .collect(),
            ..Content::default()
        }
        .file("jwst_0001.pmap", 100),
    );
    let rig = Rig::mounted(&[&format!("jwst={}", origin.url())], &[]);
    std::thread::scope(|scope| {
        for number in &numbers {
            // Half of them are asked for as they are, half by a part of the name, which is no dataset.
            for (id, exists) in [
                (format!("Q{}Q", name(*number)), known(number)),
                (name(*number), false),
            ] {
                let rig = &rig;
                scope.spawn(move || {
                    let found = std::fs::read_link(rig.path(format!("bestrefs/jwst_0001.pmap/{id}/dark")));
                    match (found, exists) {
                        (Ok(target), true) => {
                            assert!(target.ends_with(format!("dark_{number}.fits")), "{id}");
                        }
                        (Err(error), false) => assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{id}"),
                        (found, _) => panic!("{id}: {found:?}"),
                    }
                });
            }
        }
    });
    for call in origin.called("get_best_references_by_ids") {
        let ids: Vec<&str> = call[1]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        for (place, id) in ids.iter().enumerate() {
            let others = ids.iter().enumerate().filter(|(other, _)| *other != place);
            assert!(
                !others.into_iter().any(|(_, other)| other.contains(id)),
                "{ids:?}"
            );
        }
    }
}
