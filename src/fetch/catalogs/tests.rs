use serde_json::Value;

use super::state::Answer;
use super::*;
use crate::crds::{ContextSpec, FileName};
use crate::fetch::tests::world::{Archive, description, literal};
use crate::remote::RemoteErrorKind;
use crate::store::{MemoryStore, State as _, Store};

const HST: Observatory = Observatory::Hst;

struct Setting {
    store: Arc<MemoryStore>,
    archive: Arc<Archive>,
    catalogs: Catalogs,
}

fn one() -> Value {
    description(&[("hst_0001.pmap", Some(b"one"))])
}

fn two() -> Value {
    description(&[("hst_0001.pmap", Some(b"one")), ("hst_0002.pmap", Some(b"two"))])
}

fn setting(settings: CatalogSettings) -> Setting {
    let store = Arc::new(MemoryStore::default());
    let archive = Arc::new(Archive::new(&[]));
    archive.say(Ok(one()));
    let server: Arc<dyn CrdsServer> = Arc::<Archive>::clone(&archive);
    let source = CatalogSource {
        observatory: HST,
        server: Some(server),
    };
    let kept: Arc<dyn Store> = Arc::<MemoryStore>::clone(&store);
    let catalogs = Catalogs::new(Handle::current(), kept, vec![source], settings);
    Setting {
        store,
        archive,
        catalogs,
    }
}

impl Setting {
    fn keep(&self, literal: &str) {
        self.store.save_snapshot(HST, literal, "").unwrap();
    }

    async fn load(&self) -> Answer {
        self.catalogs.load(HST).wait().await
    }
}

fn names(info: &ServerInfo) -> usize {
    info.catalog().len()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_before_the_first_load_and_then_once() {
    let world = setting(CatalogSettings::default());
    assert!(world.catalogs.current(HST).is_none());
    assert_eq!(world.archive.count(), 0);
    let loads: Vec<_> = (0..10).map(|_| world.catalogs.load(HST)).collect();
    for load in loads {
        assert_eq!(names(&load.wait().await.unwrap()), 1);
    }
    assert_eq!(world.archive.count(), 1);
    assert!(matches!(world.catalogs.load(HST), Outcome::Ready(Ok(_))));
    assert!(
        world
            .store
            .snapshot(HST)
            .unwrap()
            .unwrap()
            .text
            .contains("hst_0001.pmap")
    );
    assert!(world.catalogs.load(Observatory::Jwst).wait().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_kept_catalog_serves_at_once_without_a_server() {
    let world = setting(CatalogSettings::default());
    world.archive.say(Err(RemoteErrorKind::Unreachable));
    world.keep(&literal(&[("hst_0001.pmap", Some(b"one"))]));
    assert_eq!(names(&world.load().await.unwrap()), 1);
    assert_eq!(world.archive.count(), 0);
    assert!(world.catalogs.offline_since(HST).is_none());
    // Later it is found that the server does not answer; the catalog stays.
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert!(world.archive.count() > 0);
    assert!(world.catalogs.offline_since(HST).is_some());
    assert_eq!(names(&world.load().await.unwrap()), 1);
    // And when it is back, that is found too.
    world.archive.say(Ok(two()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.catalogs.offline_since(HST).is_none());
    assert_eq!(names(&world.load().await.unwrap()), 2);
}

#[tokio::test(start_paused = true)]
async fn listeners_hear_of_new_catalogs_only() {
    let world = setting(CatalogSettings::default());
    let mut changes = world.catalogs.subscribe();
    world.load().await.unwrap();
    assert_eq!(changes.try_recv().unwrap().observatory, HST);
    let current = || names(&world.catalogs.current(HST).unwrap());
    assert_eq!(current(), 1);
    let mut same = one();
    same["last_synced"] = "2027-01-01 00:00:00".into();
    world.archive.say(Ok(same));
    tokio::time::sleep(Duration::from_secs(650)).await;
    assert_eq!(world.archive.count(), 2);
    assert!(changes.try_recv().is_err());
    world.archive.say(Ok(two()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(changes.try_recv().unwrap().observatory, HST);
    assert_eq!(current(), 2);
    assert!(
        world
            .store
            .snapshot(HST)
            .unwrap()
            .unwrap()
            .text
            .contains("hst_0002.pmap")
    );
    world.catalogs.shutdown();
    let before = world.archive.count();
    tokio::time::sleep(Duration::from_secs(6000)).await;
    assert_eq!(world.archive.count(), before);
}

#[tokio::test(start_paused = true)]
async fn a_broken_kept_catalog_is_set_aside() {
    for broken in ["{'observatory': 'hst', ", "", "{'observatory': 'jwst'}"] {
        let world = setting(CatalogSettings::default());
        world.keep(broken);
        assert_eq!(names(&world.load().await.unwrap()), 1);
        assert_eq!(world.archive.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_not_asked_by_everybody_and_tried_again() {
    let world = setting(CatalogSettings::default());
    for (said, kind) in [
        (RemoteErrorKind::Unreachable, FetchErrorKind::Unreachable),
        (RemoteErrorKind::Server, FetchErrorKind::ServerTrouble),
    ] {
        world.archive.say(Err(said));
        let before = world.archive.count();
        assert_eq!(world.load().await.unwrap_err().kind, kind);
        assert!(matches!(world.catalogs.load(HST), Outcome::Ready(Err(_))));
        assert_eq!(world.archive.count(), before + 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(world.catalogs.offline_since(HST).is_some());
    world.archive.say(Ok(one()));
    assert_eq!(names(&world.load().await.unwrap()), 1);
    assert!(world.catalogs.offline_since(HST).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_server_of_another_observatory_is_refused() {
    let world = setting(CatalogSettings::default());
    let mut other = one();
    other["observatory"] = "jwst".into();
    world.archive.say(Ok(other));
    assert_eq!(
        world.load().await.unwrap_err().kind,
        FetchErrorKind::ServerTrouble
    );
}

#[tokio::test(start_paused = true)]
async fn offline_asks_nobody() {
    let offline = CatalogSettings {
        offline: true,
        ..CatalogSettings::default()
    };
    let world = setting(offline.clone());
    assert_eq!(world.load().await.unwrap_err().kind, FetchErrorKind::Offline);
    assert!(world.catalogs.is_offline(HST));
    let world = setting(offline);
    world.keep(&literal(&[("hst_0001.pmap", Some(b"one"))]));
    assert_eq!(names(&world.load().await.unwrap()), 1);
    tokio::time::sleep(Duration::from_secs(6000)).await;
    assert_eq!(world.archive.count(), 0);
    assert!(world.catalogs.missing(HST, "hst_0002.pmap").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_missing_plausible_name_asks_the_server_but_not_often() {
    let world = setting(CatalogSettings::default());
    assert!(
        world.catalogs.missing(HST, "hst_0002.pmap").is_none(),
        "not loaded yet"
    );
    world.load().await.unwrap();
    world.archive.say(Ok(two()));
    assert!(
        world.catalogs.missing(HST, "hst_0002.pmap").is_none(),
        "asked just now"
    );
    tokio::time::sleep(Duration::from_secs(31)).await;
    for name in [
        "hst_0002.pmap.lock",
        ".tmp_hst_0002.pmap_12",
        "jwst_0002.pmap",
        "x",
    ] {
        assert!(world.catalogs.missing(HST, name).is_none(), "{name}");
    }
    let asks: Vec<_> = ["hst_0002.pmap", "hst_0003.pmap", "hst_0002.pmap"]
        .iter()
        .map(|name| world.catalogs.missing(HST, name).unwrap())
        .collect();
    let answers = futures_util::future::join_all(asks).await;
    assert_eq!(answers, [Some(true), Some(false), Some(true)]);
    assert_eq!(world.archive.count(), 2);
    assert!(world.catalogs.missing(HST, "hst_0003.pmap").is_none());
}

#[tokio::test(start_paused = true)]
async fn who_looks_for_a_missing_name_does_not_wait_for_a_silent_server() {
    let settings = CatalogSettings::default();
    let (look, every) = (settings.look_timeout, settings.missing_interval);
    let world = setting(settings);
    world.load().await.unwrap();
    tokio::time::sleep(every).await;
    world
        .archive
        .silent
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let ask = || world.catalogs.missing(HST, "hst_0002.pmap").unwrap();
    let begun = Instant::now();
    assert_eq!(futures_util::future::join_all([ask(), ask()]).await, [None, None]);
    assert_eq!(begun.elapsed(), look);
    // A later look-up does not begin to wait anew, and the server is not asked a second time meanwhile.
    assert_eq!(ask().await, None);
    assert_eq!(begun.elapsed(), look);
    tokio::time::sleep(Duration::from_secs(250)).await;
    assert_eq!(ask().await, None);
    assert_eq!(world.archive.count(), 2);
    // The question ends, and the next one is answered.
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(ask().await, None, "not asked again at once, and not known");
    world
        .archive
        .silent
        .store(false, std::sync::atomic::Ordering::Relaxed);
    world.archive.say(Ok(two()));
    tokio::time::sleep(every).await;
    assert_eq!(ask().await, Some(true));
}

#[tokio::test(start_paused = true)]
async fn another_default_context_is_shown_and_the_servers_is_kept() {
    let world = setting(CatalogSettings {
        context: Some("hst_0002.pmap".parse().unwrap()),
        ..CatalogSettings::default()
    });
    world.archive.say(Ok(two()));
    let info = world.load().await.unwrap();
    assert_eq!(info.default_context().unwrap().as_str(), "hst_0002.pmap");
    let kept = world.store.snapshot(HST).unwrap().unwrap().text;
    let kept = ServerInfo::from_literal(&kept).unwrap();
    assert_eq!(kept.default_context().unwrap().as_str(), "hst_0001.pmap");
}

#[tokio::test(start_paused = true)]
async fn a_default_context_that_means_nothing_is_not_the_servers() {
    for (context, shown, problem) in [
        ("jwst_0001.pmap", Some("hst_0001.pmap"), None),
        ("hst_0009.pmap", Some("hst_0009.pmap"), Some("hst_0009.pmap")),
        ("hst-versions", None, Some("names no context for 'hst-versions'")),
        ("hst-acs-latest", None, Some("of an instrument")),
        ("1990-01-01", None, Some("1990-01-01")),
    ] {
        let world = setting(CatalogSettings {
            context: Some(context.parse().unwrap()),
            ..CatalogSettings::default()
        });
        let info = world.load().await.unwrap();
        assert_eq!(info.default_context().map(FileName::as_str), shown, "{context}");
        let found = world.catalogs.context_problem(HST);
        assert_eq!(found.is_some(), problem.is_some(), "{context}: {found:?}");
        assert!(found.unwrap_or_default().contains(problem.unwrap_or_default()));
        // The stored description stays the server's.
        let kept = world.store.snapshot(HST).unwrap().unwrap().text;
        assert!(kept.contains("'hst_0001.pmap'") && !kept.contains("hst_0009"));
        let wanted = if problem.is_some() {
            context
        } else {
            "hst_0001.pmap"
        };
        assert!(
            info.to_literal()
                .contains(&format!("'latest_context': '{wanted}'")),
            "{context}"
        );
        let latest = "hst-latest".parse::<ContextSpec>().unwrap().resolve(&info);
        assert_eq!(latest.is_err(), shown.is_none(), "{context}: {latest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_default_context_that_comes_with_a_later_catalog_is_used_from_then_on() {
    let world = setting(CatalogSettings {
        context: Some("hst_0002.pmap".parse().unwrap()),
        ..CatalogSettings::default()
    });
    world.load().await.unwrap();
    assert!(world.catalogs.context_problem(HST).is_some());
    world.archive.say(Ok(two()));
    world.catalogs.refresh(HST).wait().await.unwrap();
    assert_eq!(world.catalogs.context_problem(HST), None);
}
