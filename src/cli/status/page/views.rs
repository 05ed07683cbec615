//! The pages in HTML. Every text from outside goes through the templates, which escape it.

mod attention;
mod bestrefs;
mod catalogs;
mod hour;
mod store;
mod text;
mod transfers;

use std::time::SystemTime;

use maud::{DOCTYPE, Markup, html};

use super::watch::Snapshot;
use crate::cli::output;
use crate::cli::status::describe::shown;
pub(super) use bestrefs::{Form, Outcome, default_context};
use text::{ago, count, moment, percent, span};

/// The time after which a page without scripts loads anew, in seconds.
const RELOAD: &str = "10";

/// A page.
struct Frame<'a> {
    snapshot: &'a Snapshot,
    title: &'a str,
    /// The path of its entry in the navigation.
    path: &'a str,
    /// Whether it shows what changes.
    live: Live,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Live {
    /// It changes: a script brings what is new, or the page loads anew.
    Reloading,
    /// As that, but without a script it stays as it is.
    Still,
    /// It does not change.
    No,
}

/// The page about the mount as a whole.
pub(super) fn overview(snapshot: &Snapshot, still: bool) -> Markup {
    let frame = Frame {
        snapshot,
        title: "Overview",
        path: "/",
        live: if still { Live::Still } else { Live::Reloading },
    };
    frame.around(&html! {
        (attention::section(snapshot))
        (figures(snapshot))
        (transfers::section(&snapshot.status))
        (hour::section(snapshot))
        (store::section(&snapshot.status))
        (catalogs::section(&snapshot.status))
        (attention::failures(snapshot))
    })
}

/// The form for best references, and what came of it.
pub(super) fn bestrefs(snapshot: &Snapshot, form: &Form) -> Markup {
    let frame = Frame {
        snapshot,
        title: "Best references",
        path: "/bestrefs",
        live: Live::No,
    };
    frame.around(&bestrefs::content(&snapshot.status, form))
}

/// The page for every other path.
pub(super) fn nothing_here(snapshot: &Snapshot) -> Markup {
    let frame = Frame {
        snapshot,
        title: "Nothing here",
        path: "",
        live: Live::No,
    };
    frame.around(&html! {
        section {
            h2 { "There is no such page" }
            p { a href="/" { "The overview" } " tells how the mount is, " a href="/bestrefs" { "best references" } " what belongs to a dataset." }
        }
    })
}

impl Frame<'_> {
    fn around(&self, content: &Markup) -> Markup {
        let mountpoint = self.snapshot.mountpoint.display().to_string();
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · " (mountpoint) " · crds-fs" }
                    link rel="icon" type="image/svg+xml" href="/icon.svg";
                    link rel="stylesheet" href="/page.css";
                    @if self.live != Live::No {
                        script src="/page.js" defer {}
                    }
                    @if self.live == Live::Reloading {
                        noscript { meta http-equiv="refresh" content=(RELOAD); }
                    }
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header.top {
                        p.brand { "crds-fs" }
                        h1 { (mountpoint) }
                        (state(self.snapshot))
                        nav aria-label="Pages" {
                            @for (path, name) in [("/", "Overview"), ("/bestrefs", "Best references")] {
                                a href=(path) aria-current=[(path == self.path).then_some("page")] { (name) }
                            }
                        }
                    }
                    main #content tabindex="-1" { (content) }
                    footer {
                        p {
                            "Seen from this machine only; it ends with the command "
                            code { "crds-fs status --serve" } "."
                        }
                        (self.freshness())
                    }
                }
            }
        }
    }

    /// The line that tells how old the page is, and how it is kept fresh.
    fn freshness(&self) -> Markup {
        html! {
            p {
                span #read data-live {
                    @match self.snapshot.read {
                        Some(time) => { "As of " (moment(time)) "." }
                        None => { "The mount has not answered yet." }
                    }
                }
                @if self.live == Live::Reloading {
                    noscript { " Loads anew every " (RELOAD) " seconds; " a href="/?still" { "stop that" } "." }
                } @else if self.live == Live::Still {
                    noscript { " Does not change by itself; " a href="/" { "load anew every " (RELOAD) " seconds" } "." }
                }
            }
        }
    }
}

/// The line below the mount point: whether it is well, and since when it has been there.
fn state(snapshot: &Snapshot) -> Markup {
    let status = &snapshot.status;
    let (class, word) = match &snapshot.trouble {
        Some(trouble) => ("bad", attention::word(trouble.kind)),
        None if attention::is_failing(status) => ("bad", "something does not work"),
        None => ("good", "well"),
    };
    html! {
        p #state data-live role="status" {
            span.state.(class) { (word) }
            @if let Some(trouble) = &snapshot.trouble {
                span { "since " (moment(trouble.since)) }
            } @else {
                @if let Some(ago) = ago(&status.started, SystemTime::now()) {
                    span { "mounted " (ago) }
                }
                @if status.offline { span { "offline by choice" } }
                @if status.read_only { span { "read-only" } }
                span { "process " span.number { (status.pid) } }
                span { "version " (shown(&status.version)) }
            }
        }
    }
}

/// The numbers that matter most.
fn figures(snapshot: &Snapshot) -> Markup {
    let (status, space) = (&snapshot.status, &snapshot.status.space);
    let used = super::history::total(&snapshot.uses).counts;
    let rate: u64 = status
        .transfers
        .iter()
        .fold(0, |sum, transfer| sum.saturating_add(transfer.bytes_per_second));
    let since_mounted = &status.counters.transfers;
    let watched = match snapshot.watched.as_secs() {
        0 => "since this page began".to_owned(),
        _ => format!("in the last {}", span(snapshot.watched)),
    };
    html! {
        section #figures data-live aria-label="In short" {
            dl.figures {
                div {
                    dt { "In the store" }
                    dd { (output::size(space.used)) }
                    dd.more { (count(space.files)) " files" @if !space.complete { ", still counting" } }
                }
                div {
                    dt { "Room left" }
                    dd { (output::size(space.available)) }
                    dd.more { "of " (output::size(space.total)) @if space.limit.is_some() { " (--cache-size)" } }
                }
                div {
                    dt { "Opens from the store" }
                    dd { (used.hit_rate().map_or_else(|| "–".to_owned(), percent)) }
                    dd.more {
                        @match used.hits.saturating_add(used.misses) {
                            0 => { "no opens" }
                            opens => { "of " (count(opens)) }
                        }
                        " " (watched)
                    }
                }
                div {
                    dt { "Received" }
                    dd { (output::size(used.bytes)) }
                    dd.more { (watched) "; " (output::size(since_mounted.bytes)) " since mounted" }
                }
                div {
                    dt { "Coming now" }
                    dd { (output::size(rate)) "/s" }
                    dd.more { (output::files(status.transfers.len() as u64)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::history::Use;
    use super::super::lookup::{Mistakes, Refusal};
    use super::super::watch::{Trouble, TroubleKind};
    use super::*;
    use crate::tree::report::StatusReport;

    const HOSTILE: &str = "<b title=\"'x'\">&amp;";

    /// A status of which every text is hostile.
    fn hostile_status() -> StatusReport {
        let observatory = json!({
            "name": HOSTILE, "state": "failed", "files": 3, "context": HOSTILE, "context_error": HOSTILE, "server": HOSTILE,
            "error": {"kind": HOSTILE, "url": HOSTILE, "message": HOSTILE, "remedy": HOSTILE, "when": HOSTILE},
            "catalog_age_seconds": 7, "offline_since": HOSTILE, "online_since": HOSTILE,
            "stored": [{"group": HOSTILE, "files": 3, "bytes": 4000}],
        });
        let transfer = json!({
            "file": HOSTILE, "url": HOSTILE, "state": HOSTILE, "done": 9, "total": 3, "waiters": 2,
            "waiting": [{"pid": 1, "command": HOSTILE, "waited_seconds": 5}],
        });
        let unknown = json!({"file": HOSTILE, "state": HOSTILE, "done": 5, "total": 0});
        let failure = json!({
            "file": HOSTILE, "kind": HOSTILE, "url": HOSTILE, "message": HOSTILE, "remedy": HOSTILE, "when": HOSTILE,
        });
        let mut status = json!({
            "version": HOSTILE, "mountpoint": HOSTILE, "store": HOSTILE, "started": HOSTILE, "layout": HOSTILE,
            "observatories": [observatory], "transfers": [transfer, unknown], "failures": [failure],
            "wrong_sources": [{"url": HOSTILE, "file": HOSTILE, "when": HOSTILE}],
            "last_panic": {"when": HOSTILE, "message": HOSTILE}, "local_overrides": vec![HOSTILE; 30],
            "space": {"total": 10_000, "used": 20_000, "quarantined_files": 2, "held_files": 1, "evicted_files": 1},
        });
        status["offline"] = Value::Bool(true);
        serde_json::from_value(status).unwrap()
    }

    fn snapshot(status: StatusReport) -> Snapshot {
        let mut uses = vec![Use::default(); 240];
        for (place, used) in uses.iter_mut().enumerate().skip(100) {
            used.seen = Duration::from_secs(15);
            used.counts.bytes = place as u64 * 1000;
            used.counts.hits = 3;
            used.counts.misses = place as u64 % 3;
            used.remounted = place == 150;
        }
        Snapshot {
            mountpoint: HOSTILE.into(),
            status: Arc::new(status),
            read: Some(SystemTime::now()),
            trouble: None,
            uses: Arc::new(uses),
            watched: Duration::from_secs(2000),
        }
    }

    /// The elements that are open at the end, or closed without being open; and every text that is not escaped.
    #[track_caller]
    fn check(page: &Markup) {
        let text = &page.0;
        assert!(!text.contains("<b ") && !text.contains("&amp;amp;amp;"), "{text}");
        assert!(text.contains("&lt;b title="), "{text}");
        let mut ids: Vec<&str> = text
            .split(" id=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "no id is there twice: {text}");
        for reference in ["aria-labelledby=\"", "aria-describedby=\"", "for=\"", " list=\""] {
            let values = text
                .split(reference)
                .skip(1)
                .filter_map(|rest| rest.split('"').next());
            for id in values.flat_map(str::split_whitespace) {
                assert!(
                    ids.binary_search(&id).is_ok(),
                    "{reference}{id} refers to nothing"
                );
            }
        }
    }

    #[test]
    fn every_text_is_escaped() {
        let mut snapshot = snapshot(hostile_status());
        check(&overview(&snapshot, false));
        snapshot.trouble = Some(Trouble {
            kind: TroubleKind::Silent,
            message: HOSTILE.to_owned(),
            since: SystemTime::now(),
        });
        check(&overview(&snapshot, true));
        check(&nothing_here(&snapshot));
        let answer: super::super::lookup::Answer = super::super::lookup::Answer {
            context: HOSTILE.to_owned(),
            dataset: HOSTILE.to_owned(),
            computed_by: HOSTILE.to_owned(),
            computed_at: HOSTILE.to_owned(),
            types: [
                (HOSTILE.to_owned(), crate::resolve::TypeAnswer::from_text(HOSTILE)),
                ("dark".to_owned(), crate::resolve::TypeAnswer::from_text("a.asdf")),
            ]
            .into(),
            explanations: [("dark".to_owned(), HOSTILE.to_owned())].into(),
            unexplained: Some(HOSTILE.to_owned()),
            ..super::super::lookup::Answer::default()
        };
        let wrong = Mistakes {
            context: Some(HOSTILE.to_owned()),
            dataset: Some(HOSTILE.to_owned()),
        };
        for outcome in [
            Outcome::NotAsked,
            Outcome::Wrong(wrong),
            Outcome::Refused(Refusal::Unknown(HOSTILE.to_owned())),
            Outcome::Refused(Refusal::Failed(HOSTILE.to_owned())),
            Outcome::Refused(Refusal::Busy),
            Outcome::Found(answer),
        ] {
            let form = Form {
                context: HOSTILE.to_owned(),
                dataset: HOSTILE.to_owned(),
                outcome,
            };
            check(&bestrefs(&snapshot, &form));
        }
    }

    #[test]
    fn a_mount_of_which_nothing_is_known_has_a_page() {
        let mut snapshot = snapshot(StatusReport::default());
        snapshot.read = None;
        let text = overview(&snapshot, false).0;
        assert!(text.contains("has not answered yet"), "{text}");
        assert!(text.contains("<noscript><meta http-equiv=\"refresh\""));
        assert!(
            !overview(&snapshot, true).0.contains("http-equiv"),
            "it stays still"
        );
    }
}
