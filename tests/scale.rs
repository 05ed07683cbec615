//! The simulation of `examples/scale` beside what can be told without one, and beside docs/scale.md.

#![expect(clippy::unwrap_used, reason = "a test: what goes wrong is its failure")]

#[path = "../examples/scale/arguments.rs"]
mod arguments;
#[path = "../examples/scale/fluid.rs"]
mod fluid;
#[path = "../examples/scale/job.rs"]
mod job;
#[path = "../examples/scale/play.rs"]
mod play;
#[path = "../examples/scale/rate.rs"]
mod rate;
#[path = "../examples/scale/site.rs"]
mod site;
#[path = "../examples/scale/tables.rs"]
mod tables;

use arguments::Arguments;
use clap::Parser as _;
use job::Job;
use play::play;
use site::{Setup, Site};

fn site(arguments: &[&str]) -> Site {
    let words = std::iter::once(&"scale").chain(arguments);
    Arguments::try_parse_from(words).unwrap().site()
}

/// The bytes of a job.
fn bytes(job: &Job) -> f64 {
    job.large.iter().sum::<f64>() + job.small.1
}

fn is_near(found: f64, wanted: f64, share: f64) {
    assert!(
        (found - wanted).abs() <= share * wanted,
        "{found} is not near {wanted}"
    );
}

#[test]
fn without_a_cache_the_narrowest_link_carries_everything_for_each_node() {
    let job = Job::real(1.0);
    for (uplink, rate) in [("100M", 12.5e6), ("1G", 125e6)] {
        let site = site(&["--nodes", "100", "--uplink", uplink, "--spread", "0"]);
        let outcome = play(&site, Setup::Crds, &job);
        let wanted = 100.0 * (bytes(&job) + site.description);
        is_near(outcome.institute, wanted, 1e-6);
        is_near(outcome.time, 100.0 * bytes(&job) / rate, 0.01);
        assert_eq!(outcome.narrowest, ["uplink"]);
    }
}

#[test]
fn one_node_is_limited_by_its_connections() {
    let job = Job {
        large: vec![1e9],
        small: (1.0, 1.0),
    };
    let outcome = play(&site(&["--nodes", "1", "--spread", "0"]), Setup::Crds, &job);
    // Eight connections of 20 MB/s, after two round trips.
    is_near(outcome.time, 1e9 / 160e6 + 0.06, 1e-6);
    // squid has one.
    let outcome = play(&site(&["--nodes", "1", "--spread", "0"]), Setup::Squid, &job);
    is_near(outcome.time, 1e9 / 20e6 + 0.06, 1e-6);
    assert!(outcome.narrowest.is_empty());
}

#[test]
fn what_stands_in_the_middle_fetches_once() {
    let job = Job::real(1.0);
    for setup in [Setup::Nginx, Setup::Squid, Setup::Shared, Setup::SiteServer] {
        for spread in ["0", "30"] {
            let site = site(&["--nodes", "100", "--uplink", "1G", "--spread", spread]);
            let outcome = play(&site, setup, &job);
            let descriptions = site.description * if setup == Setup::SiteServer { 1.0 } else { 100.0 };
            is_near(outcome.institute, bytes(&job) + descriptions, 1e-6);
            // It is no faster than its network, and than the uplink.
            let out = if setup == Setup::Squid { 0.2e9 } else { 1.25e9 };
            assert!(outcome.time >= (100.0 * bytes(&job) / out).max(bytes(&job) / 125e6));
        }
    }
}

#[test]
fn who_passes_on_at_once_is_as_fast_as_the_narrower_side() {
    let job = Job {
        large: vec![10e9],
        small: (1.0, 1.0),
    };
    // A slow uplink: the last byte is on all nodes when it is in the cache.
    let slow = site(&["--nodes", "10", "--uplink", "100M", "--spread", "0"]);
    is_near(play(&slow, Setup::Nginx, &job).time, 10e9 / 12.5e6, 0.001);
    // A server that verifies a file first sends all of it afterwards.
    let wanted = 10e9 / 12.5e6 + 10.0 * 10e9 / 1.25e9;
    is_near(play(&slow, Setup::SiteServer, &job).time, wanted, 0.001);
    // A slow network of the cache: its own side decides.
    let many = site(&["--nodes", "1000", "--spread", "0"]);
    is_near(
        play(&many, Setup::Nginx, &job).time,
        1000.0 * 10e9 / 1.25e9,
        0.001,
    );
}

#[test]
fn an_empty_tier_costs_as_much_as_starts_together() {
    let job = Job::real(1.0);
    let together = play(
        &site(&["--nodes", "100", "--spread", "0"]),
        Setup::Tier { filled: false },
        &job,
    );
    is_near(together.institute, 100.0 * (bytes(&job) + 404e3), 0.01);
    // Those that start after the first ones have everything find it there.
    let apart = play(
        &site(&["--nodes", "100", "--spread", "100000"]),
        Setup::Tier { filled: false },
        &job,
    );
    is_near(apart.institute, 10.0 * bytes(&job) + 100.0 * 404e3, 0.01);
    let filled = play(&site(&["--nodes", "100"]), Setup::Tier { filled: true }, &job);
    is_near(filled.institute, 100.0 * 404e3, 1e-6);
}

#[test]
fn a_table_for_a_terminal_has_columns() {
    let shown = tables::aligned("| one | two |\n| --- | ---: |\n| a | bcdef |\n");
    assert_eq!(shown, "one  two\na    bcdef\n");
}

#[test]
fn the_page_has_the_tables_that_are_printed() {
    let page = include_str!("../docs/scale.md");
    let printed = tables::page(&site(&[]), &Job::real(1.0));
    for table in printed.split("\n\n") {
        assert!(
            page.contains(table.trim_end()),
            "docs/scale.md has not this table: print it with --tables\n{table}"
        );
    }
}
