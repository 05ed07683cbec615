//! The transfers that run.

use std::time::Duration;

use maud::{Markup, html};

use super::text::{count, percent, span};
use crate::cli::output;
use crate::cli::status::describe::shown;
use crate::tree::report::{StatusReport, TransferReport};

/// Transfers that are shown; of others there is the number.
const MAX: usize = 50;

pub(super) fn section(status: &StatusReport) -> Markup {
    let transfers = &status.transfers;
    let more = transfers.len().saturating_sub(MAX);
    html! {
        section #transfers data-live aria-labelledby="transfers-title" {
            h2 #transfers-title { "Being fetched" }
            @if transfers.is_empty() {
                p.none { "Nothing. A file is fetched when it is opened for the first time." }
            } @else {
                div.scroll #transfers-scroll tabindex="0" role="region" aria-label="Table of transfers" {
                    table.transfers {
                        caption { "Oldest first" @if more > 0 { ", and " (count(more as u64)) " more that are not shown" } }
                        thead {
                            tr {
                                th scope="col" { "File" }
                                th scope="col" { "Progress" }
                                th.number scope="col" { "Size" }
                                th.number scope="col" { "Rate" }
                                th.number scope="col" { "Remaining" }
                                th scope="col" { "Waiting for it" }
                            }
                        }
                        tbody { @for transfer in transfers.iter().take(MAX) { (row(transfer)) } }
                    }
                }
            }
        }
    }
}

fn row(transfer: &TransferReport) -> Markup {
    let done = transfer.done.min(transfer.total);
    let thousandths = done.saturating_mul(1000).checked_div(transfer.total);
    let size = (transfer.total > 0).then(|| output::size(transfer.total));
    let rate =
        (transfer.bytes_per_second > 0).then(|| format!("{}/s", output::size(transfer.bytes_per_second)));
    let remaining = transfer
        .remaining_seconds
        .map(|seconds| span(Duration::from_secs(seconds)));
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    html! {
        tr {
            th scope="row" { code { (shown(&transfer.file)) } @if let Some(url) = &transfer.url { p.url { (url) } } }
            td.progress {
                @if let Some(thousandths) = thousandths {
                    progress value=(done) max=(transfer.total) aria-label={ "Progress of " (transfer.file) } {}
                    span.number { (percent(thousandths)) }
                } @else {
                    (output::size(transfer.done)) " so far"
                }
                span.more { (shown(&transfer.state)) }
            }
            td.number { (or_dash(size)) }
            td.number { (or_dash(rate)) }
            td.number { (or_dash(remaining)) }
            td { (waiting(transfer)) }
        }
    }
}

/// The processes that wait, as far as they can be seen.
fn waiting(transfer: &TransferReport) -> Markup {
    let unseen = transfer.waiters.saturating_sub(transfer.waiting.len());
    html! {
        @if transfer.waiters == 0 { span.more { "nobody" } }
        @for waiter in &transfer.waiting {
            p.waiter {
                (shown(&waiter.command)) " " span.more { "(" (waiter.pid) "), " (span(Duration::from_secs(waiter.waited_seconds))) }
            }
        }
        @if unseen > 0 {
            p.waiter { (count(unseen as u64)) @if !transfer.waiting.is_empty() { " more" } }
        }
    }
}
