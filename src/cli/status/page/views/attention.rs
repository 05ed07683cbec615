//! The troubles, and what to do about them: the state of things, and the last failures.

use std::time::SystemTime;

use maud::{Markup, html};

use super::text::{ago, count};
use crate::cli::output;
use crate::cli::status::page::watch::{Snapshot, Trouble, TroubleKind};
use crate::fetch::FetchErrorKind;
use crate::tree::report::{CatalogState, FailureReport, ObservatoryReport, StatusReport, TierReport};

/// Own files in the place of catalogued ones that are named; of others there is the number.
const MAX_OVERRIDES: usize = 20;

/// A thing that is wrong.
struct Item {
    /// Whether something does not work; else it should be known.
    bad: bool,
    what: String,
    why: String,
    remedy: Option<String>,
}

/// Whether something of a mount that answers does not work.
pub(super) fn is_failing(report: &StatusReport) -> bool {
    let mut items = report.observatories.iter().flat_map(of_observatory);
    items.any(|item| item.bad)
}

/// The things that are wrong now, the worst first; nothing where all is well.
pub(super) fn section(snapshot: &Snapshot) -> Markup {
    let mut items = Vec::new();
    items.extend(
        snapshot
            .trouble
            .as_ref()
            .map(|trouble| of_mount(snapshot, trouble)),
    );
    let report = &snapshot.status;
    items.extend(report.observatories.iter().flat_map(of_observatory));
    items.extend(of_store(report));
    items.extend(report.tier.iter().flat_map(of_tier));
    items.sort_by_key(|item| !item.bad);
    html! {
        section #attention data-live aria-labelledby="attention-title" hidden[items.is_empty()] {
            h2 #attention-title { "Needs attention" }
            ul.items {
                @for item in &items {
                    li.(if item.bad { "bad" } else { "warn" }) {
                        p.what { (item.what) }
                        p { (item.why) }
                        @if let Some(remedy) = &item.remedy {
                            p.remedy { span.label { "What to do" } " " (remedy) }
                        }
                    }
                }
            }
        }
    }
}

/// The state of a mount that cannot be asked, in a word.
pub(super) fn word(kind: TroubleKind) -> &'static str {
    match kind {
        TroubleKind::NotMounted => "not mounted",
        TroubleKind::Dead => "its process has died",
        TroubleKind::Silent => "does not answer",
        TroubleKind::Unreadable => "cannot be asked",
    }
}

fn of_mount(snapshot: &Snapshot, trouble: &Trouble) -> Item {
    let (what, mends) = match trouble.kind {
        TroubleKind::NotMounted => ("Nothing is mounted here", true),
        TroubleKind::Dead => ("The process of the mount has died", true),
        TroubleKind::Silent => ("The mount does not answer", false),
        TroubleKind::Unreadable => ("The mount cannot be asked", false),
    };
    let known = if snapshot.read.is_some() {
        " What is below was so when it answered last."
    } else {
        ""
    };
    Item {
        bad: true,
        what: what.to_owned(),
        why: format!("{}.{known}", trouble.message),
        remedy: mends.then(|| format!("crds-fs mount {}", snapshot.mountpoint.display())),
    }
}

fn of_observatory(observatory: &ObservatoryReport) -> Vec<Item> {
    let mut items = Vec::new();
    let name = &observatory.name;
    if let Some(error) = &observatory.error
        && error.kind != FetchErrorKind::Offline.as_str()
    {
        let failed = observatory.state == CatalogState::Failed;
        let url = error.url.as_deref();
        items.push(Item {
            bad: failed,
            what: if failed {
                format!("There is no catalog of {name}")
            } else {
                format!("There is no newer catalog of {name}")
            },
            why: format!(
                "{}{}",
                error.message,
                url.map_or_else(String::new, |url| format!(" ({url})"))
            ),
            remedy: error.remedy.clone(),
        });
    }
    if let Some(problem) = &observatory.context_error {
        items.push(Item {
            bad: true,
            what: format!("The default context of {name} means nothing"),
            why: problem.clone(),
            remedy: None,
        });
    }
    items
}

fn warning(what: &str, why: String, remedy: Option<&str>) -> Item {
    Item {
        bad: false,
        what: what.to_owned(),
        why,
        remedy: remedy.map(str::to_owned),
    }
}

fn of_store(report: &StatusReport) -> Vec<Item> {
    let mut items = Vec::new();
    let mut warn = |what: String, why: String, remedy: Option<&str>| items.push(warning(&what, why, remedy));
    let is_known = !report.store.is_empty();
    if is_known && !report.store_writable && !report.read_only {
        warn(
            "The store cannot be written".to_owned(),
            format!(
                "What is in {} can be read; nothing is fetched into it.",
                report.store
            ),
            None,
        );
    }
    if is_known && report.space.available == 0 {
        warn(
            "There is no room left".to_owned(),
            format!("{} are used.", output::size(report.space.used)),
            Some("crds-fs evict, or a larger --cache-size"),
        );
    }
    let (open, limit) = (report.open_files, report.descriptors.open_files_limit);
    if limit > 0 && open.saturating_mul(10) >= limit.saturating_mul(9) {
        warn(
            "Many files are open".to_owned(),
            format!("{open} of {limit} that can be open at a time."),
            Some("mount with a higher 'ulimit -n'"),
        );
    }
    if report.space.quarantined_files > 0 {
        warn(
            format!("{} in quarantine", output::files(report.space.quarantined_files)),
            format!(
                "{} that did not match the catalog, in .crds-fs/quarantine in {}.",
                output::size(report.space.quarantined_bytes),
                report.store
            ),
            Some("look through them, move your own to where they belong, and delete the rest"),
        );
    }
    for source in &report.wrong_sources {
        warn(
            format!("A source gave a wrong file: {}", source.file),
            format!("{} is asked after others for a while.", source.url),
            None,
        );
    }
    if let Some(panic) = &report.last_panic {
        warn(
            format!("{} mistakes in crds-fs itself", count(report.counters.panics)),
            format!("The last, at {}: {}", panic.when, panic.message),
            Some("please report it, with the log"),
        );
    }
    items
}

fn of_tier(tier: &TierReport) -> Vec<Item> {
    let mut items = Vec::new();
    if let Some(error) = &tier.error {
        let (what, remedy) = match tier.state.as_str() {
            "read-only" => (
                "The tier cannot be written to",
                Some("give this user the right to write there, if it is to be filled"),
            ),
            "full" => ("The tier is full", Some("make room there")),
            _ => ("The tier fails", None),
        };
        items.push(warning(what, error.clone(), remedy));
    }
    if tier.counts.wrong_files > 0 {
        let files = output::files(tier.counts.wrong_files);
        items.push(warning(
            "The tier has wrong files",
            format!("{files} in {} are not what the catalog says.", tier.tier),
            Some("remove them; the log names them"),
        ));
    }
    items
}

/// The last failures, newest first, and the user's own files in the place of catalogued ones.
pub(super) fn failures(snapshot: &Snapshot) -> Markup {
    let report = &snapshot.status;
    let failed = report.counters.transfers.failures;
    html! {
        section #failures data-live aria-labelledby="failures-title" {
            h2 #failures-title { "Last failures" }
            @if report.failures.is_empty() {
                p.none { "Nothing has failed since it was mounted." }
            } @else {
                div.scroll #failures-scroll tabindex="0" role="region" aria-label="Table of failures" {
                    table {
                        caption {
                            "Files and best references that could not be had, newest first. "
                            (count(failed)) " transfers have failed since it was mounted."
                        }
                        thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Why" } } }
                        tbody { @for failure in report.failures.iter().rev() { (row(failure)) } }
                    }
                }
            }
            (overrides(report))
        }
    }
}

fn row(failure: &FailureReport) -> Markup {
    html! {
        tr {
            td.when { (ago(&failure.when, SystemTime::now()).unwrap_or_else(|| html! { (failure.when) })) }
            th scope="row" { code { (failure.file) } }
            td {
                p { (failure.message) }
                @if let Some(url) = &failure.url { p.url { (url) } }
                @if let Some(remedy) = &failure.remedy {
                    p.remedy { span.label { "What to do" } " " (remedy) }
                }
            }
        }
    }
}

fn overrides(report: &StatusReport) -> Markup {
    let names = &report.local_overrides;
    let more = names.len().saturating_sub(MAX_OVERRIDES);
    html! {
        @if !names.is_empty() {
            h3 { "Your own files in place of catalogued ones" }
            ul.names {
                @for name in names.iter().take(MAX_OVERRIDES) { li { code { (name) } } }
                @if more > 0 { li { "and " (count(more as u64)) " more" } }
            }
        }
    }
}
