//! The memory of answers: its contents, their age, and what survives a restart.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::crds::{DatasetName, FileName, Observatory};
use crate::resolve::memory::{Lifetimes, Memory, Question, Recall};
use crate::resolve::{Answer, ComputedBy, Header, ResolveError, TypeAnswer};

const START: SystemTime = UNIX_EPOCH;

fn at(seconds: u64) -> SystemTime {
    START + Duration::from_secs(seconds)
}

fn memory(capacity: usize) -> Memory {
    let lifetimes = Lifetimes {
        answers: Duration::from_secs(3600),
        failures: Duration::from_secs(30),
    };
    Memory::new(lifetimes, NonZeroUsize::new(capacity).unwrap())
}

fn question(dataset: &str) -> Question {
    let context: FileName = "roman_0042.pmap".parse().unwrap();
    Question {
        observatory: Observatory::Roman,
        context,
        dataset: dataset.parse().unwrap(),
    }
}

fn answer(question: &Question, when: SystemTime) -> Arc<Answer> {
    let header: Header = [("ROMAN.META.INSTRUMENT.NAME".to_owned(), "WFI".to_owned())].into();
    let several = TypeAnswer::Several(vec!["a.asdf".parse().unwrap(), "b.asdf".parse().unwrap()]);
    Arc::new(Answer {
        observatory: question.observatory,
        context: question.context.clone(),
        dataset: question.dataset.clone(),
        types: [
            (
                "dark".parse().unwrap(),
                TypeAnswer::File("dark_1.asdf".parse().unwrap()),
            ),
            (
                "flat".parse().unwrap(),
                TypeAnswer::NotFound("NOT FOUND No match found.".to_owned()),
            ),
            (
                "ipc".parse().unwrap(),
                TypeAnswer::NotApplicable("NOT FOUND n/a".to_owned()),
            ),
            ("many".parse().unwrap(), several),
        ]
        .into(),
        header: Some(Arc::new(header)),
        computed_by: ComputedBy::Server,
        when,
    })
}

#[test]
fn an_answer_ages_but_is_not_lost() {
    let mut memory = memory(10);
    let question = question("D1");
    assert!(matches!(memory.recall(&question, at(0)), Recall::Nothing));
    memory.keep(question.clone(), &answer(&question, at(1000)));
    assert!(matches!(memory.recall(&question, at(1000)), Recall::Fresh(_)));
    assert!(matches!(memory.recall(&question, at(4599)), Recall::Fresh(_)));
    assert!(matches!(memory.recall(&question, at(4600)), Recall::Stale(_)));
    // A clock that was set back: do not trust it.
    assert!(matches!(memory.recall(&question, at(999)), Recall::Stale(_)));
}

#[test]
fn a_failure_holds_for_a_short_while() {
    let mut memory = memory(10);
    let question = question("D1");
    memory.keep_failure(question.clone(), &ResolveError::ShuttingDown, at(100));
    assert!(matches!(memory.recall(&question, at(129)), Recall::Failed(_)));
    assert!(matches!(memory.recall(&question, at(130)), Recall::Nothing));
    memory.keep_failure(question.clone(), &ResolveError::ShuttingDown, at(200));
    memory.keep(question.clone(), &answer(&question, at(201)));
    assert!(matches!(memory.recall(&question, at(202)), Recall::Fresh(_)));
}

#[test]
fn the_least_recently_used_goes_first() {
    let mut memory = memory(2);
    for name in ["D1", "D2"] {
        memory.keep(question(name), &answer(&question(name), at(0)));
    }
    memory.recall(&question("D1"), at(1));
    memory.keep(question("D3"), &answer(&question("D3"), at(0)));
    let context = question("D1").context;
    let names: Vec<String> = memory
        .datasets(&context)
        .iter()
        .map(DatasetName::to_string)
        .collect();
    assert_eq!(names, ["D1", "D3"]);
    assert_eq!(memory.contexts(), [context].into());
}

#[test]
fn a_restart_loses_nothing() {
    let mut before = memory(10);
    for name in ["r1.wfi16", "R2.WFI16", "A=1,B=x%2Cy"] {
        before.keep(question(name), &answer(&question(name), at(5000)));
    }
    let text = before.snapshot().to_json().unwrap();
    let mut after = memory(10);
    after.restore(&text).unwrap();
    assert!(after.snapshot().to_json().unwrap() == text);
    for name in ["R1.WFI16", "R2.WFI16", "A=1,B=x%2Cy"] {
        match after.recall(&question(name), at(5001)) {
            Recall::Fresh(found) => assert_eq!(found, answer(&question(name), at(5000))),
            other => panic!("{name}: {other:?}"),
        }
    }
    let known = after.header(&question("r1.wfi16"), at(5001)).fresh.unwrap();
    assert_eq!(known.header["ROMAN.META.INSTRUMENT.NAME"], "WFI");
    assert!(known.is_whole);
    let other = Question {
        context: "roman_0043.pmap".parse().unwrap(),
        ..question("r1.wfi16")
    };
    assert!(!after.header(&other, at(5001)).fresh.unwrap().is_whole);
    let old = after.header(&question("r1.wfi16"), at(9000));
    assert!(old.fresh.is_none() && old.at_all.is_some());
    // As it was typed, for the listing.
    assert_eq!(after.datasets(&question("R1").context)[0].display(), "r1.wfi16");
}

#[test]
fn the_order_of_use_survives_a_restart() {
    let mut before = memory(10);
    for name in ["D1", "D2", "D3"] {
        before.keep(question(name), &answer(&question(name), at(0)));
    }
    before.recall(&question("D1"), at(1));
    let mut after = memory(2);
    after.restore(&before.snapshot().to_json().unwrap()).unwrap();
    let names: Vec<String> = after
        .datasets(&question("D1").context)
        .iter()
        .map(DatasetName::to_string)
        .collect();
    assert_eq!(names, ["D1", "D3"]);
}

#[test]
fn headers_of_several_answers_are_written_once() {
    let mut memory = memory(200);
    let first = answer(&question("D1"), at(0));
    for number in 0..100 {
        let mut again = Answer::clone(&first);
        again.context = format!("roman_{number:04}.pmap").parse().unwrap();
        let question = Question {
            context: again.context.clone(),
            ..question("D1")
        };
        memory.keep(question, &Arc::new(again));
    }
    let text = String::from_utf8(memory.snapshot().to_json().unwrap()).unwrap();
    assert_eq!(text.matches("ROMAN.META.INSTRUMENT.NAME").count(), 1);
}

#[test]
fn damage_is_no_panic() {
    let mut memory = memory(10);
    memory.keep(question("D1"), &answer(&question("D1"), at(0)));
    let text = memory.snapshot().to_json().unwrap();
    for end in 0..text.len() {
        assert!(self::memory(10).restore(&text[..end]).is_err());
    }
    let wrong = String::from_utf8(text).unwrap();
    for (from, to) in [
        ("\"header\":0", "\"header\":9"),
        ("roman_0042.pmap", "../../etc/passwd"),
        ("\"when\":0", "\"when\":18446744073709551615"),
        ("\"roman\"", "\"mars\""),
        ("\"D1\"", "\"a/b\""),
        ("\"format\":1", "\"format\":2"),
    ] {
        assert!(wrong.contains(from), "{from}");
        let mut after = self::memory(10);
        after.restore(wrong.replace(from, to).as_bytes()).unwrap();
        assert!(matches!(
            after.recall(&question("D1"), at(0)),
            Recall::Nothing | Recall::Fresh(_) | Recall::Stale(_)
        ));
    }
}

#[test]
fn what_another_server_told_is_old() {
    let (asked, now) = (question("SET1.WFI01"), at(100_000));
    let server = |url: &str| [(Observatory::Roman, url.to_owned())].into();
    let mut before = memory(10);
    before.ask_from_now_on(server("https://one"));
    before.keep(asked.clone(), &answer(&asked, now));
    let text = before.snapshot().to_json().unwrap();
    for (url, fresh) in [("https://one", true), ("https://two", false)] {
        let mut after = memory(10);
        after.restore(&text).unwrap();
        after.ask_from_now_on(server(url));
        assert_eq!(
            matches!(after.recall(&asked, now), Recall::Fresh(_)),
            fresh,
            "{url}"
        );
        assert!(
            after.answer(&asked).is_some(),
            "it is still there for who can ask nobody"
        );
        assert_eq!(after.header(&asked, now).fresh.is_some(), fresh, "{url}");
    }
}

#[test]
fn large_answers_failures_and_headers_are_kept_as_far_as_there_is_room() {
    const WORDS: usize = 1 << 20;
    let mut memory = memory(1000);
    for number in 0..200 {
        let asked = question(&format!("D{number}"));
        let mut large = Answer::clone(&answer(&asked, at(0)));
        let wordy = TypeAnswer::NotFound(format!("NOT FOUND {}", "x".repeat(WORDS)));
        large.types.insert("dark".parse().unwrap(), wordy);
        let header: Header = [("WORDS".to_owned(), "x".repeat(WORDS))].into();
        large.header = Some(Arc::new(header));
        memory.keep(asked, &Arc::new(large));
        let failed = ResolveError::UnknownDataset {
            dataset: String::new(),
            text: "x".repeat(WORDS),
        };
        memory.keep_failure(question(&format!("F{number}")), &failed, at(0));
    }
    let mut known = [0; 3];
    for number in 0..200 {
        let asked = question(&format!("D{number}"));
        known[0] += usize::from(memory.answer(&asked).is_some());
        known[1] += usize::from(memory.header(&asked, at(0)).at_all.is_some());
        let failed = memory.recall(&question(&format!("F{number}")), at(0));
        known[2] += usize::from(matches!(failed, Recall::Failed(_)));
    }
    assert_eq!(known, [31, 63, 63], "64 MiB of each");
    assert!(
        memory.answer(&question("D199")).is_some(),
        "what came last is there"
    );
}
