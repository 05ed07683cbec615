//! The resolver as a whole: contexts, sharing, ages, restarts, and life without a server.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;

use super::world::{ID, World, ask, context, dataset, spec};
use crate::crds::FileName;
use crate::fetch::Outcome;
use crate::remote::RemoteErrorKind;
use crate::resolve::{BadFilePolicy, ComputedBy, Permit, ResolveError, Resolver, TypeAnswer};
use crate::store::State as _;

#[tokio::test]
async fn an_answer_is_asked_for_once() {
    let world = World::new();
    let resolver = world.start();
    assert!(resolver.remembered(&context(), &dataset(ID)).is_none());
    let answer = ask(&resolver, ID).await.unwrap();
    assert_eq!(
        answer.get("dark"),
        Some(&TypeAnswer::File("dark_1.asdf".parse().unwrap()))
    );
    assert_eq!(
        answer.get("flat").unwrap().reason(),
        Some("NOT FOUND No match found.")
    );
    assert_eq!(answer.get("gain"), None);
    assert_eq!(answer.computed_by, ComputedBy::Server);
    assert_eq!(answer.when, world.now());
    assert_eq!(
        answer.header.as_ref().unwrap()["ROMAN.META.INSTRUMENT.NAME"],
        "WFI"
    );
    assert_eq!(answer.to_json()["bestrefs"]["ipc"], "NOT FOUND n/a");
    // The same dataset by another spelling.
    let lower = dataset(&ID.to_lowercase());
    assert!(resolver.remembered(&context(), &lower).is_some());
    assert!(matches!(
        resolver.answer(&context(), &lower),
        Outcome::Ready(Ok(_))
    ));
    assert_eq!(world.archive.requests(), [[ID]]);
    assert_eq!(resolver.datasets(&context()), [lower]);
}

#[tokio::test]
async fn a_thousand_callers_share_one_request() {
    let world = World::new();
    let resolver = world.start();
    let answers = join_all((0..1000).map(|_| ask(&resolver, ID))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(world.archive.requests().len(), 1);
}

#[tokio::test]
async fn who_leaves_does_not_spoil_it_for_others() {
    let world = World::new();
    let resolver = world.start();
    drop(resolver.answer(&context(), &dataset(ID)));
    let outcome = resolver.answer(&context(), &dataset(ID));
    assert!(matches!(outcome, Outcome::Later(_)));
    assert!(outcome.wait().await.is_ok());
    assert_eq!(world.archive.requests().len(), 1);
}

#[tokio::test]
async fn a_hundred_datasets_at_once_are_few_requests() {
    let world = World::new();
    for number in 100..200 {
        world
            .archive
            .put(&format!("D{number}"), json!([true, {"dark": "dark_1.asdf"}]));
    }
    let resolver = world.start();
    let names: Vec<String> = (100..200).map(|number| format!("d{number}")).collect();
    let answers = join_all(names.iter().map(|name| ask(&resolver, name))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(world.archive.requests().len(), 2);
}

#[tokio::test]
async fn answers_age_and_failures_age_faster() {
    let world = World::new();
    let resolver = world.start();
    ask(&resolver, ID).await.unwrap();
    let unknown = ask(&resolver, "NOBODY").await.unwrap_err();
    assert!(
        matches!(unknown, ResolveError::UnknownDataset { .. }),
        "{unknown}"
    );
    assert_eq!(world.archive.requests().len(), 2);
    world.pass(29);
    assert!(matches!(
        resolver.answer(&context(), &dataset("NOBODY")),
        Outcome::Ready(Err(_))
    ));
    world.pass(1);
    world
        .archive
        .put("NOBODY", json!([true, {"dark": "dark_1.asdf"}]));
    ask(&resolver, "NOBODY").await.unwrap();
    assert_eq!(world.archive.requests().len(), 3);
    world.pass(3569);
    assert!(resolver.remembered(&context(), &dataset(ID)).is_some());
    world.pass(1);
    assert!(resolver.remembered(&context(), &dataset(ID)).is_none());
    ask(&resolver, ID).await.unwrap();
    assert_eq!(world.archive.requests().len(), 4);
}

#[tokio::test]
async fn an_old_answer_is_better_than_none() {
    let world = World::new();
    let resolver = world.start();
    let first = ask(&resolver, ID).await.unwrap();
    world.pass(100_000);
    for kind in [
        RemoteErrorKind::Unreachable,
        RemoteErrorKind::TimedOut,
        RemoteErrorKind::Protocol,
    ] {
        world.archive.go_down(kind);
        assert_eq!(ask(&resolver, ID).await.unwrap(), first);
        let error = ask(&resolver, &format!("{kind:?}")).await.unwrap_err();
        assert!(matches!(error, ResolveError::Remote(error) if error.kind == kind));
    }
    world.archive.come_back();
    assert_eq!(ask(&resolver, ID).await.unwrap().when, world.now());
}

#[tokio::test]
async fn answers_survive_a_restart_and_the_loss_of_the_server() {
    let world = World::new();
    let before = world.start();
    let first = ask(&before, ID).await.unwrap();
    before.save().await;
    drop(before);
    world.pass(100_000);
    let offline = world.start_with(true);
    assert_eq!(
        offline.remembered(&context(), &dataset(ID)),
        Some(Arc::clone(&first))
    );
    assert!(matches!(
        offline.answer(&context(), &dataset(ID)),
        Outcome::Ready(Ok(_))
    ));
    let error = ask(&offline, "OTHER").await.unwrap_err();
    assert!(matches!(error, ResolveError::Offline { .. }), "{error}");
    assert_eq!(offline.datasets(&context()), [dataset(ID)]);
    assert_eq!(spec(&offline, "roman-latest").await.unwrap(), "roman_0042.pmap");
    world.archive.go_down(RemoteErrorKind::Unreachable);
    let cut_off = world.start();
    assert_eq!(ask(&cut_off, ID).await.unwrap(), first);
    assert_eq!(world.archive.requests().len(), 1);
}

#[tokio::test]
async fn a_damaged_note_is_no_reason_to_fail() {
    let world = World::new();
    world.store.save_note("bestrefs", b"{\"format\":1,").unwrap();
    let resolver = world.start();
    ask(&resolver, ID).await.unwrap();
    resolver.save().await;
    assert_eq!(world.start().remembered_count(), 1);
}

#[tokio::test]
async fn contexts_by_every_name() {
    let world = World::new();
    let resolver = world.start();
    for (text, name) in [
        ("roman_0041.pmap", "roman_0041.pmap"),
        ("roman_wfi_0007.imap", "roman_wfi_0007.imap"),
        ("roman-latest", "roman_0042.pmap"),
        ("roman-operational", "roman_0042.pmap"),
        ("latest", "roman_0042.pmap"),
        ("roman-edit", "roman_0043.pmap"),
        ("roman-2026-01-01", "roman_0041.pmap"),
        ("2026-12-31", "roman_0042.pmap"),
    ] {
        assert_eq!(spec(&resolver, text).await.unwrap(), name, "{text}");
        // From memory, once the catalog is there.
        assert!(
            matches!(resolver.context(&text.parse().unwrap()), Outcome::Ready(Ok(_))),
            "{text}"
        );
    }
    for text in [
        "roman_9999.pmap",
        "roman-versions",
        "roman-2020-01-01",
        "roman-2024-06-01",
        "roman-build",
        "hst_0001.pmap",
        "jwst-latest",
        "mars_0001.pmap",
        "roman-nosuch-2026-01-01",
    ] {
        let error = spec(&resolver, text).await.unwrap_err();
        assert!(
            matches!(
                error,
                ResolveError::UnknownContext { .. } | ResolveError::Remote(_)
            ),
            "{text}: {error}"
        );
        assert!(
            error.to_string().contains(text) || matches!(error, ResolveError::Remote(_)),
            "{error}"
        );
    }
    let listed: Vec<String> = resolver.contexts().iter().map(FileName::to_string).collect();
    assert_eq!(
        listed,
        [
            "roman_0041.pmap",
            "roman_0042.pmap",
            "roman_0043.pmap",
            "roman_wfi_0007.imap"
        ]
    );
    let symbolic: Vec<String> = resolver
        .symbolic_contexts()
        .into_iter()
        .map(|(form, _)| form)
        .collect();
    assert_eq!(
        symbolic,
        ["roman-latest", "roman-operational", "roman-edit", "latest"]
    );
}

#[tokio::test]
async fn a_qualified_context_is_the_servers_to_tell_where_the_rules_are_not_to_be_had() {
    let world = World::new();
    world
        .origin
        .remove("https://archive.example/mappings/roman_0043.pmap");
    world
        .archive
        .set_context_by_date("roman-wfi-edit", "roman_wfi_0007.imap");
    assert_eq!(
        spec(&world.start(), "roman-wfi-edit").await.unwrap(),
        "roman_wfi_0007.imap"
    );
}

#[tokio::test]
async fn an_unknown_context_is_not_asked_about() {
    let world = World::new();
    let resolver = world.start();
    let context = "roman_9999.pmap".parse().unwrap();
    let error = resolver.answer(&context, &dataset(ID)).wait().await.unwrap_err();
    assert!(matches!(error, ResolveError::UnknownContext { .. }), "{error}");
    assert_eq!(world.archive.requests().len(), 0);
}

#[tokio::test]
async fn bad_files_are_refused_unless_allowed() {
    let mut world = World::new();
    let resolver = world.start();
    let answer = ask(&resolver, ID).await.unwrap();
    let (good, bad) = ("dark_1.asdf".parse().unwrap(), "dark_bad.asdf".parse().unwrap());
    let permit = async |resolver: &Resolver, file| resolver.permit(&answer, file).wait().await.unwrap();
    assert_eq!(permit(&resolver, &good).await, Permit::Fine);
    assert!(matches!(permit(&resolver, &bad).await, Permit::Refuse(text) if text.contains("dark_bad.asdf")));
    world.options.bad_files = BadFilePolicy {
        allow_references: true,
        allow_rules: false,
    };
    let resolver = world.start();
    ask(&resolver, ID).await.unwrap();
    assert!(matches!(permit(&resolver, &bad).await, Permit::Warn(_)));
}

/// A bad rmap anywhere in the rules of the instrument makes all its answers bad; one of another context does not.
#[tokio::test]
async fn bad_rules_in_a_context_are_noticed() {
    let mut world = World::new();
    let mut info = world.archive.info();
    info["bad_files_list"] = json!(["roman_wfi_flat_0001.rmap", "roman_wfi_dark_0001.rmap"]);
    world.archive.set_info(info.clone());
    let resolver = world.start();
    let answer = ask(&resolver, ID).await.unwrap();
    let dark = "dark_1.asdf".parse().unwrap();
    let permit = async |resolver: &Resolver| resolver.permit(&answer, &dark).wait().await.unwrap();
    let refused = permit(&resolver).await;
    assert!(
        matches!(&refused, Permit::Refuse(text) if text.contains("roman_wfi_flat_0001.rmap") && !text.contains("dark_0001.rmap")),
        "{refused:?}"
    );
    let again = resolver.permit(&answer, &dark);
    assert!(
        matches!(again, Outcome::Ready(Ok(Permit::Refuse(_)))),
        "from memory now"
    );
    world.options.bad_files.allow_rules = true;
    let resolver = world.start();
    ask(&resolver, ID).await.unwrap();
    assert!(matches!(permit(&resolver).await, Permit::Warn(text) if text.contains("flat_0001")));
    info["bad_files_list"] = json!(["roman_wfi_dark_0001.rmap", "roman_0042.pmap"]);
    let world = World::new();
    world.archive.set_info(info);
    let resolver = world.start();
    ask(&resolver, ID).await.unwrap();
    assert_eq!(
        permit(&resolver).await,
        Permit::Fine,
        "of another context, and the pmap itself does not count"
    );
}

#[tokio::test]
async fn what_bad_rules_chose_is_refused_unless_allowed() {
    let mut world = World::new();
    world.archive.declare_bad("roman_wfi_0008.imap");
    let good = "dark_1.asdf".parse().unwrap();
    for allowed in [false, true] {
        world.options.bad_files = BadFilePolicy {
            allow_references: false,
            allow_rules: allowed,
        };
        let resolver = world.start();
        let answer = ask(&resolver, ID).await.unwrap();
        match resolver.permit(&answer, &good).wait().await.unwrap() {
            Permit::Refuse(text) if !allowed => {
                assert!(
                    text.contains("roman_wfi_0008.imap") && text.contains("CRDS_ALLOW_BAD_RULES"),
                    "{text}"
                );
            }
            Permit::Warn(_) if allowed => {}
            other => panic!("allowed: {allowed}, and yet {other:?}"),
        }
    }
}

/// A question that was answered is not taken for one that is still worked on.
#[tokio::test]
async fn an_answer_that_has_aged_is_asked_for_anew_and_is_new() {
    let world = World::new();
    let resolver = world.start();
    ask(&resolver, ID).await.unwrap();
    world.pass(100_000);
    assert_eq!(ask(&resolver, ID).await.unwrap().when, world.now());
    assert_eq!(world.archive.requests().len(), 2);
    let failed = ask(&resolver, "NOBODY").await.unwrap_err();
    assert!(matches!(failed, ResolveError::UnknownDataset { .. }), "{failed}");
    world.pass(100_000);
    world
        .archive
        .put("NOBODY", json!([true, {"dark": "dark_1.asdf"}]));
    ask(&resolver, "NOBODY").await.unwrap();
}

/// Answers are saved without a call, as before a power failure.
#[tokio::test(start_paused = true)]
async fn answers_are_kept_without_being_told_to() {
    let world = World::new();
    let resolver = world.start();
    ask(&resolver, ID).await.unwrap();
    let kept = async {
        while world.store.note("bestrefs").unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, kept).await.expect("kept");
    assert_eq!(world.start().remembered_count(), 1);
}
