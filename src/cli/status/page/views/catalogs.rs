//! The catalogs and servers of the observatories.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::text::{count, lasting, span};
use crate::tree::report::{CatalogState, ObservatoryReport, StatusReport};

pub(super) fn section(status: &StatusReport) -> Markup {
    html! {
        section #catalogs data-live aria-labelledby="catalogs-title" {
            h2 #catalogs-title { "Catalogs" }
            @if status.observatories.is_empty() {
                p.none { "Nothing is known of them." }
            } @else {
                div.scroll #catalogs-scroll tabindex="0" role="region" aria-label="Table of catalogs" {
                    table {
                        caption { "Which files there are, as the server of each observatory says" }
                        thead {
                            tr {
                                th scope="col" { "Observatory" }
                                th scope="col" { "State" }
                                th.number scope="col" { "Files" }
                                th scope="col" { "Default context" }
                                th.number scope="col" { "Confirmed" }
                                th scope="col" { "Server" }
                            }
                        }
                        tbody { @for observatory in &status.observatories { (row(observatory)) } }
                    }
                }
            }
        }
    }
}

fn row(observatory: &ObservatoryReport) -> Markup {
    let (class, word) = match observatory.state {
        CatalogState::Unused => ("idle", "not looked at yet"),
        CatalogState::Ready => ("good", "ready"),
        CatalogState::Stale => ("warn", "no newer one"),
        CatalogState::Failed => ("bad", "none"),
        CatalogState::Unknown => ("idle", "of another version"),
    };
    let age = observatory
        .catalog_age_seconds
        .map(|age| span(Duration::from_secs(age)));
    html! {
        tr {
            th scope="row" { (observatory.name) }
            td { span.state.(class) { (word) } }
            td.number { (observatory.files.map_or_else(|| "–".to_owned(), |files| count(files as u64))) }
            td {
                code { (observatory.context.as_deref().unwrap_or("–")) }
                @if observatory.context_chosen { span.more { "chosen by --context" } }
            }
            td.number { @if let Some(age) = age { (age) " ago" } @else { "–" } }
            td {
                code { (observatory.server.as_deref().unwrap_or("–")) }
                (reach(observatory))
            }
        }
    }
}

/// Whether the server answers.
fn reach(observatory: &ObservatoryReport) -> Markup {
    let now = SystemTime::now();
    let since = |text: &Option<String>| text.as_deref().and_then(|text| lasting(text, now));
    html! {
        @if observatory.offline {
            span.more { "is not asked" }
        } @else if let Some(when) = since(&observatory.offline_since) {
            span.more { "not reachable " (when) }
        } @else if let Some(when) = since(&observatory.online_since) {
            span.more { "answers " (when) }
        }
    }
}
