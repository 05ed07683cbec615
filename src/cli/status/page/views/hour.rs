//! The last hour: bytes received and opens from the store over time, as pictures and as a table.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};

use super::text::{count, percent, span};
use crate::cli::output;
use crate::cli::status::page::history::{self, INTERVAL, INTERVALS, Use};
use crate::cli::status::page::watch::Snapshot;

/// The height of a picture, in its own units; its width is one for each interval.
const HEIGHT: u64 = 100;

/// Intervals in a row of the table: five minutes.
const ROW: usize = 20;

pub(super) fn section(snapshot: &Snapshot) -> Markup {
    let uses = snapshot.uses.as_slice();
    let all = history::total(uses).counts;
    let peak = uses
        .iter()
        .filter_map(|used| used.rate())
        .max()
        .unwrap_or_default();
    let rate = all.hit_rate();
    html! {
        section #hour data-live aria-labelledby="hour-title" {
            h2 #hour-title { "The last hour" }
            @if snapshot.watched < Duration::from_secs(3600 - 2 * INTERVAL.as_secs()) {
                p.none { "Watched for " (span(snapshot.watched)) " so far: the page keeps an hour in memory." }
            }
            div.charts {
                figure {
                    figcaption { span { "Received" } span.more { "at most " (output::size(peak)) "/s" } }
                    (chart(uses, "bytes", "Bytes received per second over the last hour", &[("bar", bars(uses, |used| height(used.rate()?, peak)))]))
                    (axis())
                }
                figure {
                    figcaption {
                        span { "Opens from the store" }
                        span.more {
                            @match rate {
                                Some(rate) => { (percent(rate)) " of " (count(all.hits.saturating_add(all.misses))) }
                                None => { "no opens" }
                            }
                        }
                    }
                    (chart(uses, "opens", "The part of opens that needed no waiting over the last hour", &[
                        ("wait", bars(uses, |used| used.counts.hit_rate().map(|_| HEIGHT))),
                        ("bar", bars(uses, |used| Some(used.counts.hit_rate()? * HEIGHT / 1000))),
                    ]))
                    (axis())
                }
            }
            (legend(uses))
            (table(uses))
        }
    }
}

/// A picture; the shapes are paths with their classes.
fn chart(uses: &[Use], name: &str, title: &str, shapes: &[(&str, String)]) -> Markup {
    let unseen = bars(uses, |used| used.seen.is_zero().then_some(HEIGHT));
    let remounts = uses.iter().enumerate().filter(|(_, used)| used.remounted);
    html! {
        svg.chart role="img" aria-labelledby={ (name) "-title " (name) "-desc" } viewBox={ "0 0 " (INTERVALS) " " (HEIGHT) }
            preserveAspectRatio="none" width="100%" height="110" {
            title id={ (name) "-title" } { (title) }
            desc id={ (name) "-desc" } { "One bar for every " (INTERVAL.as_secs()) " seconds, now at the right. The table below has the same numbers." }
            path.unseen d=(unseen) {}
            @for (class, path) in shapes { path class=(class) d=(path) {} }
            @for (place, _) in remounts { path.remount d={ "M" (place) " 0v" (HEIGHT) } {} }
        }
    }
}

/// The path of bars from the bottom, with the heights that are given for the intervals.
fn bars(uses: &[Use], height: impl Fn(&Use) -> Option<u64>) -> String {
    let heights: Vec<u64> = uses
        .iter()
        .map(|used| height(used).unwrap_or_default().min(HEIGHT))
        .collect();
    let (mut path, mut place) = (String::new(), 0);
    for run in heights.chunk_by(|one, other| one == other) {
        let (width, height) = (run.len(), run.first().copied().unwrap_or_default());
        if height > 0 {
            // Writing to a String cannot fail.
            let _ = write!(path, "M{place} {}h{width}v{height}h-{width}z", HEIGHT - height);
        }
        place += width;
    }
    path
}

/// The height of a bar for a part of the largest; what is more than nothing can be seen.
fn height(part: u64, largest: u64) -> Option<u64> {
    let height = (u128::from(part) * u128::from(HEIGHT)).checked_div(u128::from(largest))?;
    let height = u64::try_from(height).unwrap_or(HEIGHT);
    Some(if part > 0 { height.max(2) } else { 0 })
}

fn axis() -> Markup {
    html! { p.axis aria-hidden="true" { span { "60 min ago" } span { "30 min" } span { "now" } } }
}

fn legend(uses: &[Use]) -> Markup {
    let remounts = uses.iter().filter(|used| used.remounted).count();
    html! {
        ul.legend {
            li { span.swatch.bar {} "received, or opened from the store" }
            li { span.swatch.wait {} "opens that had to wait" }
            li { span.swatch.unseen {} "not watched, or no answer" }
            @if remounts > 0 {
                li { span.swatch.remount {} "mounted anew" @if remounts > 1 { " (" (remounts) " times)" } }
            }
        }
    }
}

fn table(uses: &[Use]) -> Markup {
    let rows = history::sums(uses, ROW);
    let minutes = INTERVAL.as_secs() * ROW as u64 / 60;
    html! {
        details #hour-table {
            summary { "The same as a table" }
            div.scroll #hour-scroll tabindex="0" role="region" aria-label="Table of the last hour" {
                table {
                    caption { "By " (minutes) " minutes, the newest first" }
                    thead {
                        tr {
                            th scope="col" { "Minutes ago" }
                            th.number scope="col" { "Received" }
                            th.number scope="col" { "Opens" }
                            th.number scope="col" { "From the store" }
                            th.number scope="col" { "Failures" }
                        }
                    }
                    tbody {
                        @for (row, used) in rows.iter().rev().enumerate() {
                            tr {
                                th scope="row" {
                                    (row as u64 * minutes) "–" ((row as u64 + 1) * minutes)
                                    @if used.remounted { span.more { "mounted anew" } }
                                }
                                @if used.seen.is_zero() {
                                    td.number colspan="4" { span.more { "not watched" } }
                                } @else {
                                    td.number { (output::size(used.counts.bytes)) }
                                    td.number { (count(used.counts.hits.saturating_add(used.counts.misses))) }
                                    td.number { (used.counts.hit_rate().map_or_else(|| "–".to_owned(), percent)) }
                                    td.number { (count(used.counts.failures)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::status::page::history::Counts;

    #[test]
    fn bars_stand_on_the_bottom() {
        let span = |bytes, seconds| Use {
            counts: Counts {
                bytes,
                ..Counts::default()
            },
            seen: Duration::from_secs(seconds),
            remounted: false,
        };
        let uses = [
            span(0, 15),
            span(1500, 15),
            span(0, 0),
            span(15, 15),
            span(15, 15),
        ];
        assert_eq!(
            bars(&uses, |used| height(used.rate()?, 100)),
            "M1 0h1v100h-1zM3 98h2v2h-2z"
        );
        assert_eq!(height(5, 0), None);
        assert_eq!(height(u64::MAX, u64::MAX), Some(HEIGHT));
    }
}
