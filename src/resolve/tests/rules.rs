//! Rules evaluated here: modes, contexts of all levels, the user's own rules, and life without a server.

use serde_json::json;

use super::world::{ID, World, ask, dataset, spec};
use crate::crds::{FileKey, FileName, Observatory};
use crate::remote::RemoteErrorKind;
use crate::resolve::{Answer, ComputedBy, Mode, ResolveError, Resolver};

const OTHER: &str = "roman_0041.pmap";
const PARAMETERS: &str = "ROMAN.META.INSTRUMENT.NAME=WFI,ROMAN.META.INSTRUMENT.DETECTOR=WFI01";

async fn under(
    resolver: &Resolver,
    context: &str,
    name: &str,
) -> Result<std::sync::Arc<Answer>, ResolveError> {
    resolver
        .answer(&context.parse().unwrap(), &dataset(name))
        .wait()
        .await
}

/// The texts of an answer, `type=text`.
fn shown(answer: &Answer) -> Vec<String> {
    answer
        .types
        .iter()
        .map(|(reftype, answer)| format!("{reftype}={}", answer.to_json()))
        .collect()
}

const HERE: [&str; 3] = [
    "dark=\"dark_a.asdf\"",
    "flat=\"flat.asdf\"",
    "gain=\"NOT FOUND n/a\"",
];

fn fetched(world: &World) -> Vec<String> {
    let name = |url: String| url.rsplit('/').next().unwrap().to_owned();
    world
        .origin
        .requests()
        .into_iter()
        .map(|request| name(request.url))
        .collect()
}

#[tokio::test]
async fn auto_asks_once_and_computes_further_contexts() {
    let world = World::new();
    let resolver = world.start();
    assert_eq!(ask(&resolver, ID).await.unwrap().computed_by, ComputedBy::Server);
    let answer = under(&resolver, OTHER, ID).await.unwrap();
    assert_eq!(answer.computed_by, ComputedBy::Here);
    assert_eq!(shown(&answer), HERE);
    assert_eq!(world.archive.requests().len(), 1);
    let mut names = fetched(&world);
    names.sort();
    assert_eq!(
        names,
        [
            "roman_0041.pmap",
            "roman_wfi_0007.imap",
            "roman_wfi_dark_0001.rmap",
            "roman_wfi_flat_0001.rmap"
        ]
    );
    // The next context costs what differs.
    let parameters = under(&resolver, "roman_0042.pmap", PARAMETERS).await.unwrap();
    assert_eq!(shown(&parameters)[0], "dark=\"dark_b.asdf\"");
    assert_eq!(fetched(&world).len(), 7);
}

#[tokio::test]
async fn many_at_once_read_each_rule_once() {
    let world = World::new();
    let resolver = world.start();
    let names: Vec<String> = (0..50).map(|number| format!("{PARAMETERS},N={number}")).collect();
    let answers =
        futures_util::future::join_all(names.iter().map(|name| under(&resolver, OTHER, name))).await;
    assert!(
        answers
            .iter()
            .all(|answer| shown(answer.as_ref().unwrap()) == HERE)
    );
    assert_eq!(fetched(&world).len(), 4);
    assert_eq!(world.archive.requests().len(), 0);
}

#[tokio::test]
async fn local_takes_only_the_header() {
    let mut world = World::new();
    world.options.mode = Mode::Local;
    let resolver = world.start();
    let answer = ask(&resolver, ID).await.unwrap();
    assert_eq!(answer.computed_by, ComputedBy::Here);
    assert_eq!(shown(&answer)[0], "dark=\"dark_b.asdf\"");
    under(&resolver, OTHER, ID).await.unwrap();
    assert_eq!(world.archive.requests().len(), 1);
}

#[tokio::test]
async fn remote_asks_always() {
    let mut world = World::new();
    world.options.mode = Mode::Remote;
    let resolver = world.start();
    ask(&resolver, ID).await.unwrap();
    assert_eq!(
        under(&resolver, OTHER, ID).await.unwrap().computed_by,
        ComputedBy::Server
    );
    assert_eq!(world.archive.requests().len(), 2);
    assert_eq!(fetched(&world).len(), 0);
}

/// An answer that an earlier run found in another mode is found anew, and serves where the server cannot be reached.
#[tokio::test]
async fn another_mode_finds_anew_what_is_remembered() {
    let mut world = World::new();
    for (before, after, by, asked) in [
        (Mode::Auto, Mode::Remote, [ComputedBy::Server; 2], 2),
        (Mode::Auto, Mode::Local, [ComputedBy::Here; 2], 1),
        (Mode::Local, Mode::Remote, [ComputedBy::Server; 2], 3),
        (Mode::Remote, Mode::Auto, [ComputedBy::Server; 2], 2),
    ] {
        world.store = std::sync::Arc::default();
        let asked_before = world.archive.requests().len();
        world.options.mode = before;
        let resolver = world.start();
        ask(&resolver, ID).await.unwrap();
        under(&resolver, OTHER, ID).await.unwrap();
        resolver.save().await;
        world.options.mode = after;
        let resolver = world.start();
        for _ in 0..2 {
            let found = [
                ask(&resolver, ID).await.unwrap().computed_by,
                under(&resolver, OTHER, ID).await.unwrap().computed_by,
            ];
            assert_eq!(found, by, "{before:?} {after:?}");
        }
        let requests = world.archive.requests().len() - asked_before;
        assert_eq!(requests, asked, "{before:?} {after:?}");
    }
    world.options.mode = Mode::Auto;
    let resolver = world.start();
    under(&resolver, OTHER, ID).await.unwrap();
    ask(&resolver, ID).await.unwrap();
    resolver.save().await;
    world.archive.go_down(RemoteErrorKind::Unreachable);
    world.options.mode = Mode::Remote;
    let resolver = world.start();
    assert!(under(&resolver, OTHER, ID).await.is_ok());
    world.options.mode = Mode::Local;
    world.pass(1_000_000);
    let resolver = world.start();
    assert_eq!(ask(&resolver, ID).await.unwrap().computed_by, ComputedBy::Here);
}

#[tokio::test]
async fn without_the_server_what_has_a_header_resolves() {
    let world = World::new();
    let before = world.start();
    ask(&before, ID).await.unwrap();
    under(&before, OTHER, PARAMETERS).await.unwrap();
    before.save().await;
    world.archive.go_down(RemoteErrorKind::Unreachable);
    world.pass(1_000_000);
    for resolver in [world.start(), world.start_with(true)] {
        assert_eq!(shown(&under(&resolver, OTHER, ID).await.unwrap()), HERE);
        let fresh = format!("{PARAMETERS},EXTRA=1");
        assert_eq!(shown(&under(&resolver, OTHER, &fresh).await.unwrap()), HERE);
        // The old answer of the server is still there for the context that it was for.
        assert_eq!(ask(&resolver, ID).await.unwrap().computed_by, ComputedBy::Server);
        assert!(under(&resolver, OTHER, "NEVER-SEEN").await.is_err());
    }
}

#[tokio::test]
async fn contexts_of_every_level() {
    let world = World::new();
    let resolver = world.start();
    assert_eq!(
        shown(&under(&resolver, "roman_wfi_0007.imap", PARAMETERS).await.unwrap()),
        HERE
    );
    let rmap = under(&resolver, "roman_wfi_dark_0001.rmap", PARAMETERS)
        .await
        .unwrap();
    assert_eq!(shown(&rmap), HERE[..1]);
    assert_eq!(
        spec(&resolver, "roman-wfi-2026-01-01").await.unwrap(),
        "roman_wfi_0007.imap"
    );
    assert_eq!(
        spec(&resolver, "roman-wfi-dark-latest").await.unwrap(),
        "roman_wfi_dark_0002.rmap"
    );
    let error = spec(&resolver, "roman-wfi-nosuch-latest").await.unwrap_err();
    assert!(matches!(error, ResolveError::UnknownContext { .. }), "{error}");
}

#[tokio::test]
async fn what_the_rules_cannot_say_is_said_in_words() {
    let world = World::new();
    let resolver = world.start();
    let error = under(&resolver, OTHER, "DETECTOR=WFI01").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Missing 'ROMAN.META.INSTRUMENT.NAME' keyword"),
        "{error}"
    );
    let error = under(&resolver, OTHER, "ROMAN.META.INSTRUMENT.NAME=NOSUCH")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("Unknown instrument 'nosuch'"),
        "{error}"
    );
    let error = under(&resolver, "roman_0043.pmap", PARAMETERS).await.unwrap_err();
    assert!(matches!(error, ResolveError::Fetch(_)), "{error}");
}

#[tokio::test]
async fn broken_rules_are_the_servers_to_answer() {
    let world = World::new();
    let resolver = world.start();
    ask(&resolver, ID).await.unwrap();
    let answer = under(&resolver, "roman_0043.pmap", ID).await.unwrap();
    assert_eq!(answer.computed_by, ComputedBy::Server);
    assert_eq!(world.archive.requests().len(), 2);
}

#[tokio::test]
async fn the_users_own_rules_are_evaluated_as_they_are_now() {
    let world = World::new();
    world.archive.put("D1", json!([true, {"dark": "never.asdf"}]));
    world.archive.put_header(
        "D1",
        json!({"ROMAN.META.INSTRUMENT.NAME": "WFI", "ROMAN.META.INSTRUMENT.DETECTOR": "WFI02"}),
    );
    let own = |name: &str, text: &str| {
        let name: FileName = name.parse().unwrap();
        world
            .store
            .put_local(
                &FileKey {
                    observatory: Observatory::Roman,
                    name,
                },
                text.as_bytes(),
            )
            .unwrap();
    };
    let rmap = |file: &str| {
        format!(
            "header = {{'mapping': 'REFERENCE', 'parkey': (('ROMAN.META.INSTRUMENT.DETECTOR',),), 'name': 'x', \
             'derived_from': 'y', 'observatory': 'ROMAN', 'instrument': 'WFI', 'filekind': 'DARK'}}\n\
             selector = Match({{('WFI02',): '{file}'}})\n"
        )
    };
    own("roman_wfi_dark_9999.rmap", &rmap("mine.asdf"));
    let resolver = world.start();
    let context = "roman_wfi_dark_9999.rmap";
    let answer = under(&resolver, context, "D1").await.unwrap();
    assert_eq!(
        (answer.computed_by, shown(&answer)[0].as_str()),
        (ComputedBy::Here, "dark=\"mine.asdf\"")
    );
    own("roman_wfi_dark_9999.rmap", &rmap("changed.asdf"));
    assert_eq!(
        shown(&under(&resolver, context, "D1").await.unwrap()),
        ["dark=\"changed.asdf\""]
    );
    // The server does not know these rules: it was asked for the header under a context of its own.
    assert_eq!(world.archive.contexts(), ["roman_0042.pmap"]);
    // An override of a catalogued rule counts as well, also in a context that was used before.
    assert_eq!(shown(&under(&resolver, OTHER, PARAMETERS).await.unwrap()), HERE);
    own("roman_wfi_dark_0001.rmap", &rmap("override.asdf"));
    let answer = under(&resolver, OTHER, "D1").await.unwrap();
    assert_eq!(shown(&answer)[0], "dark=\"override.asdf\"");
}
