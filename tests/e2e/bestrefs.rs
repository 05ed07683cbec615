//! `/bestrefs`: what the datasets file says is what the links lead to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::library::Library;
use crate::origin::{Content, Origin};
use crate::rig::waiting::await_look;
use crate::rig::{Rig, equal};
use crate::{DARK, PMAP, content, server_flag};

#[test]
fn every_answer_leads_to_its_reference() {
    let library = Library::demo();
    let rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let datasets: Value =
        serde_json::from_slice(&fs::read(library.cache.join("datasets.json")).unwrap()).unwrap();
    let mut files = 0;
    for (id, dataset) in datasets.as_object().unwrap() {
        for (context, types) in dataset["bestrefs"].as_object().unwrap() {
            let mut listed = Vec::new();
            for (reftype, answer) in types.as_object().unwrap() {
                let answer = answer.as_str().unwrap();
                for id in [id.clone(), id.to_lowercase()] {
                    let read = rig.read(format!("bestrefs/{context}/{id}/{reftype}"));
                    if answer.starts_with("NOT FOUND") {
                        assert_eq!(read, Err(libc::ENOENT), "{id} {reftype}");
                    } else {
                        let original = fs::read(library.cache.join("references/roman").join(answer)).unwrap();
                        assert!(read.unwrap() == original, "{id} {reftype}");
                        files += 1;
                    }
                }
                if !answer.starts_with("NOT FOUND") {
                    let link = fs::read_link(rig.path(format!("bestrefs/{context}/{id}/{reftype}"))).unwrap();
                    assert!(
                        link.is_relative() && link.ends_with(format!("references/roman/{answer}")),
                        "{link:?}"
                    );
                    listed.push(reftype.clone());
                }
            }
            let entries = fs::read_dir(rig.path(format!("bestrefs/{context}/{id}"))).unwrap();
            let names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            for reftype in listed {
                assert!(names.contains(&reftype), "{reftype} is listed: {names:?}");
            }
        }
    }
    assert!(files > 20, "{files}");
    let latest = fs::read_link(rig.path("bestrefs/roman-latest")).unwrap();
    assert_eq!(latest.to_str(), Some("roman_0002.pmap"));
    // One call for each context and dataset at most: answers are remembered, in upper and lower case.
    assert!(library.counters().calls("get_best_references_by_ids") <= 6);
}

#[test]
fn what_is_unknown_is_absent() {
    let library = Library::demo();
    let rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let id = "R0000101001001001001_0001.WFI01";
    for path in [
        format!("bestrefs/roman_9999.pmap/{id}/dark"),
        format!("bestrefs/no-such-context/{id}/dark"),
        "bestrefs/roman_0002.pmap/NO_SUCH_DATASET/dark".to_owned(),
        format!("bestrefs/roman_0002.pmap/{id}/nonsense"),
    ] {
        assert_eq!(rig.read(&path), Err(libc::ENOENT), "{path}");
    }
}

#[test]
fn links_can_be_files_and_carry_extensions() {
    let library = Library::demo();
    let rig = Rig::mounted(&[&library.flags()[0]], &["--bestrefs-as", "file"]);
    let dataset = rig.path("bestrefs/roman_0002.pmap/R0000101001001001001_0001.WFI01");
    let reference = fs::metadata(rig.path("references/roman/roman_wfi_dark_0001.asdf")).unwrap();
    for name in ["dark", "dark.asdf"] {
        let file = fs::symlink_metadata(dataset.join(name)).unwrap();
        assert!(file.is_file(), "{name}");
        assert_eq!(file.ino(), reference.ino(), "{name}");
    }
    let answer: Value = serde_json::from_slice(&fs::read(dataset.join("bestrefs.json")).unwrap()).unwrap();
    assert!(
        answer.to_string().contains("roman_wfi_dark_0001.asdf"),
        "{answer}"
    );
    let header: Value = serde_json::from_slice(&fs::read(dataset.join("header.json")).unwrap()).unwrap();
    assert!(header.to_string().contains("WFI01"), "{header}");
    let half = fs::read(dataset.join("readnoise.r4d"));
    assert!(
        half.is_ok(),
        "the data half of a GEIS image is beside its header: {half:?}"
    );
}

/// A hundred datasets asked for at the same time share calls.
#[test]
fn a_hundred_datasets_cost_a_few_calls() {
    let answers = || [(PMAP.to_owned(), json!({"dark": DARK}))].into();
    let datasets = (0..100)
        .map(|number| (format!("SET{number:03}.WFI01"), (json!({}), answers())))
        .collect();
    let origin = Origin::start(Content {
        datasets,
        ..content()
    });
    let rig = Rig::mounted(&[&server_flag(&origin)], &[]);
    let context = rig.path("bestrefs").join(PMAP);
    fs::metadata(&context).unwrap();
    // The process hears of all of them at the same time, however long this one takes to ask.
    let asking = AtomicUsize::new(0);
    rig.signal(Signal::STOP);
    std::thread::scope(|scope| {
        for number in 0..100 {
            let (link, asking) = (context.join(format!("set{number:03}.wfi01/dark")), &asking);
            scope.spawn(move || {
                asking.fetch_add(1, Ordering::Relaxed);
                assert!(fs::read_link(link).unwrap().ends_with(DARK));
            });
        }
        let asked = await_look(|| equal(asking.load(Ordering::Relaxed), 100));
        rig.signal(Signal::CONT);
        asked.expect("all ask");
    });
    let calls = origin.called("get_best_references_by_ids");
    assert!(calls.len() <= 10, "{} calls", calls.len());
    let asked: usize = calls.iter().map(|call| call[1].as_array().unwrap().len()).sum();
    assert_eq!(asked, 100, "each once");
    assert_eq!(origin.all_asked(), 0, "no file");
}

#[test]
fn answers_are_explained() {
    let mut library = Library::demo();
    let rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let id = "R0000202001001001001_0002.WFI01";
    let place = format!("bestrefs/roman-latest/{id}");
    let listed = fs::read_dir(rig.path(&place)).unwrap();
    let listed: Vec<_> = listed.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!listed.iter().any(|name| name == "explain.txt"), "{listed:?}");
    assert_eq!(rig.stored().len(), 0, "a listing brings no rules");
    let path = format!("{place}/explain.txt");
    let text = String::from_utf8(rig.read(&path).unwrap()).unwrap();
    assert!(text.starts_with(&format!("{id}  roman_0002.pmap\n")), "{text}");
    for line in [
        "dark  roman_wfi_dark_0001.asdf\n    by roman_wfi_dark_0001.rmap\n    Match of 4 keys by\n",
        "        ROMAN.META.EXPOSURE.TYPE       = WFI_SPECTRAL\n",
        "    1. matches with weight 2: ('WFI01', 'WFI_SPECTRAL') -> UseAfter of 1 entry\n",
        "    USEAFTER 2020-01-01 00:00:00 is the latest not after ROMAN.META.EXPOSURE.START_TIME=2027-01-01 00:00:00 -> \
         roman_wfi_dark_0001.asdf\n",
        "flat  NOT FOUND n/a\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("but the server said"), "{text}");
    let size = fs::metadata(rig.path(&path)).unwrap().len();
    assert_eq!(size, text.len() as u64);
    // Once the rules are here no server is needed.
    library.stop();
    let parameters = "ROMAN.META.INSTRUMENT.NAME=WFI,ROMAN.META.INSTRUMENT.DETECTOR=WFI02,ROMAN.META.EXPOSURE.TYPE=WFI_IMAGE,\
                      ROMAN.META.EXPOSURE.START_TIME=2027-01-01 00%3A00%3A00";
    let text = rig
        .read(format!("bestrefs/roman_0002.pmap/{parameters}/explain.txt"))
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("would match if ROMAN.META.INSTRUMENT.DETECTOR were WFI01 instead of WFI02"),
        "{text}"
    );
    let unknown = rig.read("bestrefs/roman_0002.pmap/R0000999001001001001_0001.WFI01/explain.txt");
    assert!(unknown.is_err());
}
