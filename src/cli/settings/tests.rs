use clap::Parser;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    mountpoint: Option<String>,
    #[command(flatten)]
    flags: MountFlags,
}

fn settings(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Settings, String> {
    let line = Line::try_parse_from(std::iter::once("crds-fs").chain(arguments.iter().copied())).unwrap();
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings::new(line.mountpoint.as_deref(), &line.flags, &environment).map_err(|failure| {
        assert_eq!(failure.status(), crate::cli::failure::USAGE);
        failure.to_string()
    })
}

#[test]
fn defaults() {
    let plain = settings(&["/crds"], &[]).unwrap();
    assert_eq!(plain.mountpoint, PathBuf::from("/crds"));
    assert_eq!(
        plain.observatories,
        [Observatory::Hst, Observatory::Jwst, Observatory::Roman]
    );
    assert_eq!(
        (plain.cache_size, plain.keep_free, plain.jobs),
        (None, 1 << 30, 8)
    );
    assert_eq!(plain.catalog_ttl, Duration::from_secs(600));
    assert_eq!(plain.timeout, Duration::from_secs(300));
    assert!(!plain.xattr && plain.checksums && plain.lengths);
    assert!(!plain.offline && !plain.read_only && !plain.allow_other && !plain.allow_bad_rules);
    assert_eq!((plain.mode, plain.bestrefs_as), (Mode::Auto, BestrefsAs::Link));
    assert_eq!(plain.log_level, LevelFilter::Info);
    assert!(plain.cache.is_none() && plain.umask.is_none());
}

#[test]
fn flags_outweigh_options_outweigh_variables() {
    let variables = [("CRDS_FS_CACHE_SIZE", "3G"), ("CRDS_PATH", "/from/variable")];
    let size = |arguments: &[&str]| settings(arguments, &variables).unwrap().cache_size;
    assert_eq!(size(&[]), Some(3 << 30));
    assert_eq!(size(&["-o", "cache_size=2G"]), Some(2 << 30));
    assert_eq!(
        size(&["-o", "cache_size=2G", "--cache-size", "1G"]),
        Some(1 << 30)
    );
    assert_eq!(
        settings(&[], &variables).unwrap().mountpoint,
        PathBuf::from("/from/variable")
    );
    assert_eq!(
        settings(&["/named"], &variables).unwrap().mountpoint,
        PathBuf::from("/named")
    );
}

#[test]
fn the_variables_of_the_client() {
    let said = settings(
        &["/crds"],
        &[
            ("CRDS_OBSERVATORY", "JWST"),
            ("CRDS_SERVER_URL", "https://jwst-crds.stsci.edu"),
            ("CRDS_CONTEXT", "jwst_0500.pmap"),
            ("CRDS_READONLY_CACHE", "1"),
            ("CRDS_DOWNLOAD_CHECKSUMS", "0"),
            ("CRDS_ALLOW_BAD_REFERENCES", "True"),
            ("CRDS_MODE", "remote"),
            ("CRDS_MAPPING_URI", "https://mirror.example/mappings"),
            ("CRDS_VERBOSITY", "60"),
        ],
    )
    .unwrap();
    assert_eq!(said.observatories, [Observatory::Jwst]);
    assert_eq!(
        said.remote.server_url.as_ref().map(Url::as_str),
        Some("https://jwst-crds.stsci.edu")
    );
    assert_eq!(
        said.remote.mapping_uri.as_ref().map(Url::as_str),
        Some("https://mirror.example/mappings")
    );
    assert!(said.read_only && !said.checksums && said.allow_bad_references);
    assert_eq!(said.mode, Mode::Remote);
    assert_eq!(said.log_level, LevelFilter::Debug);
}

/// The variables that crds-fs inherits from a Python process that has imported crds.
#[test]
fn none_says_nothing() {
    let variables = [
        ("CRDS_OBSERVATORY", "None"),
        ("CRDS_CONTEXT", "none"),
        ("CRDS_CONFIG_URI", "NONE"),
        ("CRDS_SERVER_URL", ""),
        ("CRDS_READONLY_CACHE", "None"),
        ("CRDS_MODE", "auto"),
        ("CRDS_FS_CACHE_SIZE", ""),
    ];
    let said = settings(&["/crds"], &variables).unwrap();
    assert_eq!(said.observatories.len(), 3);
    assert!(said.remote.config_uri.is_none() && said.remote.server_url.is_none());
    assert!(!said.read_only && said.cache_size.is_none());
    assert!(
        settings(&[], &[("CRDS_PATH", "None")])
            .unwrap_err()
            .contains("CRDS_PATH")
    );
}

#[test]
fn what_clients_on_a_mount_are_told_says_nothing_to_us() {
    let inherited = settings(&["/crds"], &[("CRDS_SERVER_URL", NO_SERVER)]).unwrap();
    assert!(!inherited.offline && inherited.remote.server_url.is_none());
    assert!(parse::is_serverless(NO_SERVER), "to clients it means no server");
}

#[test]
fn serverless_is_offline_unless_we_are_told_a_server() {
    let variables = [("CRDS_SERVER_URL", "https://crds-serverless-mode.stsci.edu")];
    assert!(settings(&["/crds"], &variables).unwrap().offline);
    let told = settings(
        &["/crds", "--server", "roman=http://localhost:1/roman"],
        &variables,
    )
    .unwrap();
    assert!(!told.offline && told.remote.server_url.is_none());
    assert_eq!(told.remote.servers[0].observatory, Some(Observatory::Roman));
    assert!(
        !settings(&["/crds", "-o", "offline=false"], &variables)
            .unwrap()
            .offline
    );
}

#[test]
fn options_of_fstab() {
    let options = "rw,_netdev,nofail,x-systemd.automount,comment=mine,allow_other,offline,uid=1000,umask=027,server=https://a.b/c";
    let said = settings(&["/crds", "-o", options, "-o", "ro,cache=/var/cache/crds"], &[]).unwrap();
    assert!(
        said.allow_other && said.offline && said.read_only,
        "the last of ro and rw counts"
    );
    assert_eq!((said.uid, said.umask), (Some(1000), Some(0o27)));
    assert_eq!(said.cache, Some(PathBuf::from("/var/cache/crds")));
    assert_eq!(said.remote.servers[0].url, "https://a.b/c");
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (arguments, variables, expected) in [
        (vec!["/x", "--cache-size", "many"], vec![], "--cache-size: 'many'"),
        (
            vec!["/x", "-o", "catalog_ttl=soon"],
            vec![],
            "-o catalog-ttl: 'soon'",
        ),
        (
            vec!["/x", "-o", "frobnicate"],
            vec![],
            "-o frobnicate: there is no such option",
        ),
        (vec!["/x", "-o", "cache"], vec![], "-o cache: it needs a value"),
        (
            vec!["/x", "--observatory", "hubble"],
            vec![],
            "--observatory: 'hubble'",
        ),
        (vec!["/x", "--server", "ftp://x"], vec![], "--server: 'ftp://x'"),
        (vec!["/x", "--umask", "999"], vec![], "--umask: '999'"),
        (vec!["/x", "--jobs", "0"], vec![], "--jobs: '0'"),
        (vec!["/x", "--streams", "65"], vec![], "--streams: '65'"),
        (vec!["/x", "-o", "prefetch=all"], vec![], "-o prefetch: 'all'"),
        (
            vec!["/x"],
            vec![("CRDS_READONLY_CACHE", "yes")],
            "CRDS_READONLY_CACHE: 'yes'",
        ),
        (
            vec!["/x"],
            vec![("CRDS_FS_TIMEOUT", "-1")],
            "CRDS_FS_TIMEOUT: '-1'",
        ),
        (vec!["/x"], vec![("CRDS_MODE", "Local")], "CRDS_MODE"),
        (vec!["/x"], vec![("CRDS_CONTEXT", "no context")], "CRDS_CONTEXT: "),
        (vec![], vec![], "where to mount?"),
    ] {
        let error = settings(&arguments, &variables).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn sizes_and_time_spans() {
    for (text, bytes) in [
        ("0", 0),
        ("4096", 4096),
        ("100G", 100 << 30),
        ("1.5T", 3 << 39),
        ("10 MiB", 10 << 20),
        ("2kb", 2048),
        ("7B", 7),
    ] {
        assert_eq!(parse::size(text), Ok(bytes), "{text}");
    }
    for text in [
        "",
        "G",
        "1.",
        "1.5",
        "-1",
        "1X",
        "1e9",
        "99999999P",
        "1.2.3G",
        "G1",
    ] {
        assert!(parse::size(text).is_err(), "{text}");
    }
    for (text, seconds) in [
        ("45s", 45),
        ("0", 0),
        ("10min", 600),
        ("1h 30s", 3630),
        ("1h30m", 5400),
        ("2 hours", 7200),
        ("1day", 86_400),
        ("2weeks 1d", 15 * 86_400),
        ("6 months", 181 * 86_400),
        ("1y", 365 * 86_400),
    ] {
        assert_eq!(parse::duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    assert_eq!(parse::duration("250ms"), Ok(Duration::from_millis(250)));
    for text in ["", "10 parsecs", "-1h", "1h ago", "99999999999999 years", "-5"] {
        let error = parse::duration(text).unwrap_err();
        assert_eq!(
            error,
            format!("'{text}' is not a time span such as 30s, 10min or 2h")
        );
    }
    let unclear = settings(&["/crds", "--timeout", "45"], &[]).unwrap_err();
    assert_eq!(unclear, "--timeout: '45' has no unit: write 45s, 45min or 45h");
}

#[test]
fn a_default_context_is_whole() {
    for text in ["jwst_1322.pmap", "hst-edit", "2026-01-01"] {
        assert_eq!(parse::context(text).unwrap().to_string(), text);
    }
    for text in ["jwst_miri_0001.imap", "hst-acs-edit", "a file"] {
        assert!(parse::context(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,20}") {
        let _ = parse::size(&text);
        let _ = parse::duration(&text);
        let _ = parse::truth(&text);
        let _ = parse::umask(&text);
        let _ = settings(&["/x", "-o", &format!("cache={text}")], &[("CRDS_FS_JOBS", &text)]);
    }

    #[test]
    fn sizes_are_read_as_written(number in 0_u64..1 << 40) {
        prop_assert_eq!(parse::size(&number.to_string()), Ok(number));
        prop_assert_eq!(parse::size(&format!("{}K", number >> 10)), Ok(number >> 10 << 10));
    }
}

#[test]
fn owners_by_name_or_number() {
    let owner = |flags: &[&str]| {
        let arguments = [&["/crds"], flags].concat();
        settings(&arguments, &[]).map(|set| (set.uid, set.gid))
    };
    assert_eq!(owner(&["--uid", "root", "--gid", "7"]), Ok((Some(0), Some(7))));
    assert_eq!(owner(&["--gid", "root"]), Ok((None, Some(0))));
    let unknown = owner(&["--uid", "nobody-of-that-name"]).unwrap_err();
    assert_eq!(
        unknown,
        "--uid: there is no user 'nobody-of-that-name' on this machine"
    );
    let unknown = settings(&["/crds"], &[("CRDS_FS_GID", "no-such-group")]).unwrap_err();
    assert!(unknown.starts_with("CRDS_FS_GID: there is no group"), "{unknown}");
}

#[test]
fn a_cache_without_room_is_refused() {
    for text in ["0", "0G"] {
        let refused = settings(&["/crds", "--cache-size", text], &[]).unwrap_err();
        assert!(
            refused.starts_with("--cache-size: ") && refused.contains("100G"),
            "{refused}"
        );
    }
    assert_eq!(
        settings(&["/crds", "--keep-free", "0"], &[]).unwrap().keep_free,
        0
    );
}
