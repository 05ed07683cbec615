use std::time::Duration;

use super::*;
use crate::cli::doctor::check::State;
use crate::cli::flags::MountFlags;
use crate::cli::settings::Settings;
use crate::crds::Url;
use crate::mount::health::Health;
use crate::remote::measure::Measure;
use crate::tree::report::{ObservatoryReport, StatusReport};

/// The facts of one test, changed at will.
#[derive(Default)]
struct World {
    environment: Environment,
    places: BTreeMap<String, Place>,
    servers: Vec<ServerFacts>,
    mounts: Vec<MountFacts>,
    packages: Packages,
    has_central_store: bool,
}

impl World {
    fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    fn at(mut self, name: &str, place: Place) -> Self {
        self.places.insert(name.into(), place);
        self
    }

    /// `CRDS_PATH` leads to a mount with these observatories.
    fn mounted(mut self, observatories: &[&str]) -> Self {
        let report = StatusReport {
            layout: "flat".into(),
            observatories: observatories
                .iter()
                .map(|name| ObservatoryReport {
                    name: (*name).into(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        self.mounts.push(MountFacts {
            mountpoint: "/crds".into(),
            health: Health::Answers,
            report: Some(report),
            other_owner: None,
        });
        self.set("CRDS_PATH", "/crds")
            .at("CRDS_PATH", Place::Mount("/crds".into()))
    }

    /// A server that knows two contexts, of which the second is the default.
    fn answering(mut self, observatory: Observatory, build: Option<&str>) -> Self {
        let measure = Measure {
            date: None,
            head: Duration::ZERO,
            whole: Duration::ZERO,
            bytes: 0,
        };
        let (one, two) = (
            format!("{observatory}_0001.pmap"),
            format!("{observatory}_0002.pmap"),
        );
        let json = serde_json::json!({
            "observatory": observatory.as_str(),
            "operational_context": two,
            "edit_context": two,
            "context_history": [],
            "mappings": [one, two],
        });
        let info = ServerInfo::from_json(&json.to_string()).unwrap();
        self.servers.push(ServerFacts {
            observatory,
            url: Url::new("https://crds.example"),
            address: None,
            answer: Some(Ok((info, measure))),
            build: build.map(|name| Ok(name.parse().unwrap())),
            is_needed: true,
        });
        self
    }

    fn checks(&self) -> Vec<Check> {
        let (_, wrong) = Settings::tolerant("/x", &MountFlags::default(), &self.environment).unwrap();
        checks(&Variables {
            environment: &self.environment,
            wrong: &wrong,
            places: &self.places,
            servers: &self.servers,
            mounts: &self.mounts,
            packages: &self.packages,
            has_central_store: self.has_central_store,
            has_own_context: false,
        })
    }

    /// The check of this name has this state, and a remedy with these words.
    #[track_caller]
    fn finds(&self, name: &str, state: State, remedy: &str) {
        let all = self.checks();
        let found: Vec<_> = all.iter().filter(|check| check.name == name).collect();
        let [found] = found[..] else {
            panic!("{} checks of {name}: {all:?}", found.len());
        };
        assert_eq!(found.state, state, "{found:?}");
        let given = found.remedy.clone().unwrap_or_default();
        assert!(given.contains(remedy), "{found:?}");
        assert_eq!(given.is_empty(), state == State::Ok, "{found:?}");
    }
}

fn plain(described: &[Observatory]) -> Place {
    Place::Directory(CacheDirectory {
        described: described.to_vec(),
        tags: Vec::new(),
    })
}

#[test]
fn the_example_of_a_manual_is_no_path() {
    let world = World::default().set("CRDS_PATH", "/path/to/crds_cache");
    world.finds("CRDS_PATH", State::Wrong, "export CRDS_PATH=\"$HOME/crds_cache\"");
}

#[test]
fn paths_that_no_shell_has_expanded() {
    for (value, remedy) in [
        ("$HOME/crds_cache", "export CRDS_PATH=\"$HOME/crds_cache\""),
        ("${HOME}/crds", "export CRDS_PATH=\"${HOME}/crds\""),
        ("~/crds_cache", "export CRDS_PATH=\"$HOME/crds_cache\""),
        ("'/data/crds'", "export CRDS_PATH=/data/crds"),
        (" /data/crds", "export CRDS_PATH=/data/crds"),
        ("crds_cache", "export CRDS_PATH=\"$PWD/crds_cache\""),
    ] {
        World::default()
            .set("CRDS_PATH", value)
            .finds("CRDS_PATH", State::Wrong, remedy);
    }
    World::default()
        .set("CRDS_FS_CACHE", "~/x")
        .finds("CRDS_FS_CACHE", State::Wrong, "$HOME/x");
}

#[test]
fn the_central_store_is_the_default() {
    let world = World::default();
    world.finds("CRDS_PATH", State::Note, "crds-fs mount");
    let there = World {
        has_central_store: true,
        ..World::default()
    };
    there.finds("CRDS_PATH", State::Ok, "");
    let named = World::default()
        .set("CRDS_PATH", "/grp/crds/cache")
        .at("CRDS_PATH", Place::Nothing { above: false });
    named.finds("CRDS_PATH", State::Wrong, "export CRDS_PATH=");
    // There is a mount, which nobody is told of.
    let mut mounted = World::default().mounted(&["jwst"]);
    mounted.environment.clear();
    mounted.places.clear();
    mounted.finds("CRDS_PATH", State::Wrong, "eval \"$(crds-fs env /crds)\"");
}

#[test]
fn paths_that_lead_nowhere() {
    let world = |place| World::default().set("CRDS_PATH", "/crds").at("CRDS_PATH", place);
    world(Place::Nothing { above: true }).finds("CRDS_PATH", State::Wrong, "crds-fs mount /crds");
    world(Place::Nothing { above: false }).finds("CRDS_PATH", State::Wrong, "mkdir -p /crds");
    world(Place::NoDirectory).finds("CRDS_PATH", State::Wrong, "export CRDS_PATH=");
    world(Place::Silence).finds("CRDS_PATH", State::Wrong, "umount --lazy /crds");
    let mut dead = World::default()
        .mounted(&["jwst"])
        .at("CRDS_PATH", Place::Silence);
    dead.mounts[0].health = Health::Dead;
    dead.finds("CRDS_PATH", State::Wrong, "crds-fs mount /crds");
    let other = World::default()
        .set("CRDS_REFPATH", "/refs")
        .at("CRDS_REFPATH", Place::Nothing { above: true });
    other.finds("CRDS_REFPATH", State::Wrong, "unset CRDS_REFPATH");
}

#[test]
fn without_a_description_clients_need_a_server() {
    let world = |described: &[Observatory]| {
        World::default()
            .set("CRDS_PATH", "/crds")
            .at("CRDS_PATH", plain(described))
    };
    world(&[]).finds("CRDS_PATH", State::Wrong, "crds-fs mount /crds");
    world(&[Observatory::Jwst]).finds("CRDS_PATH", State::Ok, "");
    let other = world(&[Observatory::Jwst]).set("CRDS_OBSERVATORY", "roman");
    other.finds("CRDS_PATH", State::Wrong, "crds-fs mount /crds");
    let asking = world(&[]).set("CRDS_SERVER_URL", "https://jwst-crds.stsci.edu");
    asking.finds("CRDS_PATH", State::Ok, "");
}

#[test]
fn an_environment_that_was_set_too_late() {
    let world = World::default()
        .set("CRDS_OBSERVATORY", "None")
        .set("CRDS_MODE", "auto");
    world.finds("CRDS_OBSERVATORY", State::Note, "unset CRDS_OBSERVATORY");
    let world = World::default()
        .mounted(&["jwst"])
        .set("CRDS_OBSERVATORY", "None");
    world.finds("CRDS_OBSERVATORY", State::Note, "crds-fs env /crds");
}

#[test]
fn the_observatory_is_jwst_without_a_word() {
    World::default().mounted(&["hst", "jwst", "roman"]).finds(
        "CRDS_OBSERVATORY",
        State::Note,
        "export CRDS_OBSERVATORY=jwst",
    );
    let by_mount = World::default().mounted(&["roman"]);
    by_mount.finds("CRDS_OBSERVATORY", State::Wrong, "export CRDS_OBSERVATORY=roman");
    let by_context = World::default().set("CRDS_CONTEXT", "hst_0002.pmap");
    by_context.finds("CRDS_OBSERVATORY", State::Wrong, "export CRDS_OBSERVATORY=hst");
    let mut by_package = World::default();
    by_package.packages.romancal = Some("0.17.0".into());
    by_package.finds("CRDS_OBSERVATORY", State::Wrong, "export CRDS_OBSERVATORY=roman");
    let by_server = World::default().set("CRDS_SERVER_URL", "https://jwst-crds.stsci.edu");
    by_server.finds("CRDS_OBSERVATORY", State::Ok, "");
    let several = World::default().set("CRDS_OBSERVATORY", "hst,jwst");
    several.finds("CRDS_OBSERVATORY", State::Wrong, "CRDS_FS_OBSERVATORY=hst,jwst");
}

#[test]
fn a_server_beside_a_mount_is_asked_past_it() {
    let world = World::default()
        .mounted(&["jwst"])
        .set("CRDS_SERVER_URL", "https://me:secret@jwst-crds.stsci.edu");
    world.finds("CRDS_SERVER_URL", State::Note, "eval \"$(crds-fs env /crds)\"");
    assert!(!format!("{:?}", world.checks()).contains("secret"));
    let ours = World::default()
        .mounted(&["jwst"])
        .set("CRDS_SERVER_URL", NO_SERVER);
    ours.finds("CRDS_SERVER_URL", State::Ok, "");
}

#[test]
fn a_server_url_that_means_none() {
    let world = World::default().set("CRDS_SERVER_URL", "crds_serverless_mode");
    // A new mount would ask nobody.
    world.finds("CRDS_SERVER_URL", State::Wrong, "unset CRDS_SERVER_URL");
    assert!(
        crate::remote::Endpoints::new(
            &Settings::tolerant("/x", &MountFlags::default(), &world.environment)
                .unwrap()
                .0
                .remote,
            &[Observatory::Jwst]
        )
        .is_ok()
    );
    let kept = World::default()
        .set("CRDS_SERVER_URL", "https://crds-serverless-mode.stsci.edu")
        .set("CRDS_PATH", "/crds")
        .at("CRDS_PATH", plain(&[Observatory::Jwst]));
    kept.finds("CRDS_SERVER_URL", State::Note, "unset CRDS_SERVER_URL");
    let mounted = World::default()
        .mounted(&["jwst"])
        .set("CRDS_SERVER_URL", "https://crds-serverless-mode.stsci.edu");
    mounted.finds("CRDS_SERVER_URL", State::Ok, "");
}

#[test]
fn the_server_of_another_observatory() {
    let world = World::default()
        .set("CRDS_OBSERVATORY", "jwst")
        .set("CRDS_SERVER_URL", "https://hst-crds.stsci.edu");
    world.finds(
        "CRDS_SERVER_URL",
        State::Wrong,
        "export CRDS_SERVER_URL=https://jwst-crds.stsci.edu",
    );
}

#[test]
fn contexts_that_cannot_be_used() {
    let world = |context: &str| {
        World::default()
            .answering(Observatory::Jwst, None)
            .set("CRDS_OBSERVATORY", "jwst")
            .set("CRDS_CONTEXT", context)
    };
    world("jwst_0001.pmap").finds("CRDS_CONTEXT", State::Ok, "");
    world("jwst-latest").finds("CRDS_CONTEXT", State::Ok, "");
    world("jwst-build-1.18.0").finds("CRDS_CONTEXT", State::Ok, "");
    // Of no catalog, of no form, of another observatory, of a part.
    world("jwst_7777.pmap").finds("CRDS_CONTEXT", State::Wrong, "export CRDS_CONTEXT=jwst_0002.pmap");
    world("jwst-1999-01-01").finds("CRDS_CONTEXT", State::Wrong, "export CRDS_CONTEXT=jwst_0002.pmap");
    world("a context").finds("CRDS_CONTEXT", State::Wrong, "unset CRDS_CONTEXT");
    world("hst_0002.pmap").finds("CRDS_CONTEXT", State::Wrong, "unset CRDS_CONTEXT");
    world("jwst_miri_0001.imap").finds("CRDS_CONTEXT", State::Wrong, "unset CRDS_CONTEXT");
    // Nobody has told.
    let unknown = World::default()
        .set("CRDS_OBSERVATORY", "jwst")
        .set("CRDS_CONTEXT", "jwst_7777.pmap");
    unknown.finds("CRDS_CONTEXT", State::Ok, "");
}

#[test]
fn a_context_that_does_not_fit_the_package() {
    let world = |build: &str, context: Option<&str>| {
        let mut world = World::default()
            .answering(Observatory::Jwst, Some(build))
            .set("CRDS_SERVER_URL", "https://jwst-crds.stsci.edu");
        world.packages.jwst = Some("1.18.0".into());
        match context {
            Some(context) => world.set("CRDS_CONTEXT", context),
            None => world,
        }
    };
    world("jwst_0001.pmap", None).finds("jwst", State::Ok, "");
    world("jwst_0002.pmap", Some("jwst-latest")).finds("jwst", State::Ok, "");
    world("jwst_0001.pmap", Some("jwst-latest")).finds(
        "jwst",
        State::Note,
        "export CRDS_CONTEXT=jwst_0001.pmap",
    );
    let newer = world("jwst_0001.pmap", Some("jwst_0002.pmap")).checks();
    assert!(format!("{newer:?}").contains("Unknown reference type"));
    // On a mount nobody can be asked for it.
    let mut offline = World::default()
        .mounted(&["jwst"])
        .answering(Observatory::Jwst, None);
    offline.packages.jwst = Some("1.18.0".into());
    offline.finds("jwst", State::Note, "crds-fs env /crds");
}

#[test]
fn modes_that_make_no_sense() {
    World::default()
        .set("CRDS_MODE", "lokal")
        .finds("CRDS_MODE", State::Wrong, "unset CRDS_MODE");
    World::default()
        .set("CRDS_MODE", "remote")
        .finds("CRDS_MODE", State::Wrong, "export CRDS_MODE=auto");
    World::default()
        .set("CRDS_MODE", "local")
        .finds("CRDS_MODE", State::Ok, "");
}

#[test]
fn a_cache_that_is_not_to_be_written() {
    let world = |value: &str| World::default().set("CRDS_READONLY_CACHE", value);
    world("yes").finds("CRDS_READONLY_CACHE", State::Wrong, "unset CRDS_READONLY_CACHE");
    world("1").finds("CRDS_READONLY_CACHE", State::Note, "unset CRDS_READONLY_CACHE");
    let directory = world("1")
        .set("CRDS_PATH", "/crds")
        .at("CRDS_PATH", plain(&[Observatory::Jwst]));
    directory.finds("CRDS_READONLY_CACHE", State::Note, "unset CRDS_READONLY_CACHE");
    world("true")
        .mounted(&["jwst"])
        .finds("CRDS_READONLY_CACHE", State::Ok, "");
}

#[test]
fn subdirectories_against_the_tag() {
    let world = |mode: &str| {
        World::default()
            .set("CRDS_REF_SUBDIR_MODE", mode)
            .set("CRDS_PATH", "/crds")
            .at(
                "CRDS_PATH",
                Place::Directory(CacheDirectory {
                    described: vec![Observatory::Hst],
                    tags: vec![(Observatory::Hst, "instrument".into())],
                }),
            )
    };
    world("instrument").finds("CRDS_REF_SUBDIR_MODE", State::Ok, "");
    world("flat").finds("CRDS_REF_SUBDIR_MODE", State::Wrong, "unset CRDS_REF_SUBDIR_MODE");
    world("both").finds("CRDS_REF_SUBDIR_MODE", State::Wrong, "unset CRDS_REF_SUBDIR_MODE");
    let mounted = World::default()
        .set("CRDS_REF_SUBDIR_MODE", "instrument")
        .mounted(&["hst"]);
    mounted.finds("CRDS_REF_SUBDIR_MODE", State::Wrong, "unset CRDS_REF_SUBDIR_MODE");
}

#[test]
fn variables_that_lead_past_a_mount() {
    for (name, value) in [
        ("CRDS_REFERENCE_URI", "https://refs.example"),
        ("CRDS_CONFIG_URI", "file:///etc/crds"),
        ("CRDS_S3_ENABLED", "1"),
    ] {
        let remedy = format!("unset {name}");
        World::default()
            .mounted(&["jwst"])
            .set(name, value)
            .finds(name, State::Wrong, &remedy);
    }
    let elsewhere = World::default()
        .mounted(&["jwst"])
        .set("CRDS_MAPPATH", "/other")
        .at("CRDS_MAPPATH", plain(&[]));
    elsewhere.finds("CRDS_MAPPATH", State::Wrong, "unset CRDS_MAPPATH");
    // Settings that switch something off lead clients nowhere else.
    let nothing = World::default()
        .mounted(&["jwst"])
        .set("CRDS_OBSERVATORY", "jwst")
        .set("CRDS_S3_ENABLED", "0")
        .set("CRDS_CONFIG_URI", "None");
    assert!(
        nothing.checks().iter().all(|check| check.state == State::Ok),
        "{:?}",
        nothing.checks()
    );
}

#[test]
fn values_that_clients_cannot_read() {
    World::default().set("CRDS_S3_ENABLED", "yes").finds(
        "CRDS_S3_ENABLED",
        State::Wrong,
        "unset CRDS_S3_ENABLED",
    );
    World::default().set("CRDS_CLIENT_RETRY_COUNT", "many").finds(
        "CRDS_CLIENT_RETRY_COUNT",
        State::Wrong,
        "unset CRDS_CLIENT_RETRY_COUNT",
    );
    World::default().set("CRDS_DOWNLOAD_CHECKSUMS", "0").finds(
        "CRDS_DOWNLOAD_CHECKSUMS",
        State::Note,
        "unset CRDS_DOWNLOAD_CHECKSUMS",
    );
}
