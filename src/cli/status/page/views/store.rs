//! The store: its room, and what is in it by observatory and instrument, as a picture and as a table.

use maud::{Markup, html};

use super::text::{count, percent};
use crate::cli::output;
use crate::cli::status::describe::shown;
use crate::cli::status::page::treemap::{self, Rect};
use crate::tree::report::{SpaceReport, StatusReport, StoredReport, TierReport};

/// The proportions of the picture on a wide screen.
const AREA: Rect = Rect {
    x: 0.0,
    y: 0.0,
    width: 320.0,
    height: 100.0,
};

/// A rectangle of the picture, in percent of its width and height.
struct Tile<'a> {
    observatory: &'a str,
    group: &'a StoredReport,
    rect: Rect,
}

pub(super) fn section(status: &StatusReport) -> Markup {
    let tiles = tiles(status);
    html! {
        section #store data-live aria-labelledby="store-title" {
            h2 #store-title { "Store" }
            p { code { (shown(&status.store)) } }
            (room(&status.space))
            @if let Some(tier) = &status.tier { (of_tier(tier)) }
            @if tiles.is_empty() {
                @if status.space.complete {
                    p.none { "No file is here yet. What is opened in the mount comes here and stays." }
                } @else {
                    p.none { "The files are still being counted." }
                }
            } @else {
                (picture(&tiles))
                (table(status))
            }
        }
    }
}

/// The files that the tier gave, and those that it was given.
fn of_tier(tier: &TierReport) -> Markup {
    let counts = &tier.counts;
    html! {
        p.tier {
            "Tier " code { (tier.tier) } ": gave " (output::files(tier.served_files)) " with " (output::size(tier.served_bytes))
            ", was given " (output::files(counts.written_files)) " with " (output::size(counts.written_bytes))
            @if tier.queued_files > 0 { "; " (output::files(tier.queued_files)) " to be written" }
            "."
        }
    }
}

/// The use of the room, as a bar and in words.
fn room(space: &SpaceReport) -> Markup {
    let copies = space
        .used
        .saturating_sub(space.partial)
        .saturating_sub(space.quarantined_bytes);
    let taken = space
        .total
        .saturating_sub(space.used)
        .saturating_sub(space.available);
    let parts = [
        ("copies", "files", copies),
        ("partial", "interrupted transfers", space.partial),
        ("quarantine", "quarantine", space.quarantined_bytes),
        ("others", "of others on the disk", taken),
        ("free", "room left", space.available),
    ];
    let whole = parts
        .iter()
        .fold(0_u64, |sum, (.., bytes)| sum.saturating_add(*bytes));
    let mut left = 0.0;
    let bars = parts.map(|(class, _, bytes)| {
        let (start, width) = (left, 100.0 * fraction(bytes, whole));
        left += width;
        (class, start, width)
    });
    html! {
        @if whole > 0 {
            svg.room aria-hidden="true" width="100%" height="12" {
                @for (class, start, width) in bars {
                    @if width > 0.0 {
                        rect class={ "room-" (class) } x=(share(start)) y="0" width=(share(width)) height="12" {}
                    }
                }
            }
            ul.legend {
                @for (class, name, bytes) in parts {
                    @if bytes > 0 {
                        li { span class={ "swatch room-" (class) } {} (output::size(bytes)) " " (name) }
                    }
                }
            }
        }
        @if space.held_files > 0 {
            p { (output::files(space.held_files)) " with " (output::size(space.held_bytes)) " are held: they are never evicted." }
        }
        @if space.evicted_files > 0 {
            p { (output::files(space.evicted_files)) " with " (output::size(space.evicted_bytes)) " had to make room since it was mounted." }
        }
    }
}

/// A rectangle for each group of files, side by side within their observatory.
fn tiles(status: &StatusReport) -> Vec<Tile<'_>> {
    let weigh = |group: &StoredReport| number(group.bytes);
    let observatories = &status.observatories;
    let weights: Vec<f64> = observatories
        .iter()
        .map(|one| one.stored.iter().map(weigh).sum())
        .collect();
    let areas = treemap::layout(&weights, AREA);
    let mut tiles = Vec::new();
    for (observatory, area) in observatories.iter().zip(areas) {
        let weights: Vec<f64> = observatory.stored.iter().map(weigh).collect();
        let rects = area.map_or_else(Vec::new, |area| treemap::layout(&weights, area));
        for (group, rect) in observatory.stored.iter().zip(rects) {
            tiles.extend(rect.map(|rect| Tile {
                observatory: &observatory.name,
                group,
                rect: in_percent(rect),
            }));
        }
    }
    tiles
}

/// A rectangle of [`AREA`] in percent of its width and height.
fn in_percent(rect: Rect) -> Rect {
    Rect {
        x: 100.0 * rect.x / AREA.width,
        y: 100.0 * rect.y / AREA.height,
        width: 100.0 * rect.width / AREA.width,
        height: 100.0 * rect.height / AREA.height,
    }
}

fn picture(tiles: &[Tile<'_>]) -> Markup {
    html! {
        svg.treemap role="img" aria-labelledby="treemap-title treemap-desc" width="100%" height="300" {
            title #treemap-title { "Bytes by observatory and instrument" }
            desc #treemap-desc { "Rectangles with areas as the bytes that they stand for. The table below has the same numbers." }
            @for tile in tiles {
                @let Rect { x, y, width, height } = tile.rect;
                @let (narrow, tiny) = (width < 24.0, width < 15.0);
                svg x=(share(x)) y=(share(y)) width=(share(width)) height=(share(height)) {
                    title { (tile.observatory) " " (group_name(tile.group)) ": " (output::size(tile.group.bytes)) " in " (output::files(tile.group.files)) }
                    rect class={ "tile tile-" (colour(tile.observatory)) } width="100%" height="100%" {}
                    @if width > 8.0 && height > 16.0 {
                        g.label.narrow[narrow].tiny[tiny] {
                            text x="10" y="22" { tspan.more { (tile.observatory) " " } tspan.strong { (group_name(tile.group)) } }
                            text.more x="10" y="40" { (output::size(tile.group.bytes)) }
                        }
                    }
                }
            }
        }
    }
}

fn table(status: &StatusReport) -> Markup {
    let groups = || {
        let observatories = status.observatories.iter();
        observatories.flat_map(|one| one.stored.iter().map(move |group| (one.name.as_str(), group)))
    };
    let whole = groups().fold(0_u64, |sum, (_, group)| sum.saturating_add(group.bytes));
    let files = groups().fold(0_u64, |sum, (_, group)| sum.saturating_add(group.files));
    let mut rows: Vec<_> = groups().collect();
    rows.sort_by_key(|(_, group)| std::cmp::Reverse(group.bytes));
    html! {
        div.scroll #stored-scroll tabindex="0" role="region" aria-label="Table of files in the store" {
            table {
                caption { "Files in the store, the largest part first" }
                thead {
                    tr {
                        th scope="col" { "Observatory" }
                        th scope="col" { "Part" }
                        th.number scope="col" { "Files" }
                        th.number scope="col" { "Size" }
                        th.number scope="col" { "Share" }
                    }
                }
                tbody {
                    @for (observatory, group) in rows {
                        tr {
                            td { span class={ "swatch tile-" (colour(observatory)) } {} (observatory) }
                            th scope="row" { (group_name(group)) }
                            td.number { (count(group.files)) }
                            td.number { (output::size(group.bytes)) }
                            td.number { (part(group.bytes, whole)) }
                        }
                    }
                }
                tfoot {
                    tr {
                        th scope="row" colspan="2" { "All" }
                        td.number { (count(files)) }
                        td.number { (output::size(whole)) }
                        td.number { "" }
                    }
                }
            }
        }
    }
}

/// The name of a group for people.
fn group_name(group: &StoredReport) -> &str {
    match group.group.as_str() {
        "mappings" => "rules",
        "other" => "other references",
        instrument => instrument,
    }
}

/// The class that gives an observatory its colour.
fn colour(observatory: &str) -> &str {
    match observatory {
        "hst" | "jwst" | "roman" => observatory,
        _ => "other",
    }
}

/// A part of the whole; what is more than nothing is not told as nothing.
fn part(bytes: u64, whole: u64) -> String {
    match thousandths(bytes, whole) {
        0 if bytes > 0 => "< 0.1 %".to_owned(),
        thousandths => percent(thousandths),
    }
}

/// A position or length in percent, to a hundredth.
fn share(percent: f64) -> String {
    format!("{percent:.2}%")
}

fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        number(part) / number(whole)
    }
}

fn thousandths(part: u64, whole: u64) -> u64 {
    let thousandths = u128::from(part) * 1000;
    let rounded = (thousandths + u128::from(whole / 2)).checked_div(u128::from(whole));
    rounded
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "for a picture")]
fn number(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tile_has_the_share_of_its_bytes() {
        let status: StatusReport = serde_json::from_value(json!({"observatories": [
            {"name": "hst", "stored": [{"group": "acs", "files": 1, "bytes": 300}, {"group": "mappings", "files": 9, "bytes": 100}]},
            {"name": "jwst"},
            {"name": "roman", "stored": [{"group": "wfi", "files": 2, "bytes": 400}, {"group": "other", "files": 0, "bytes": 0}]},
        ]}))
        .unwrap();
        let areas: Vec<_> = tiles(&status)
            .iter()
            .map(|tile| {
                (
                    tile.observatory.to_owned(),
                    tile.group.group.clone(),
                    (tile.rect.width * tile.rect.height).round(),
                )
            })
            .collect();
        let expected = [
            ("hst", "acs", 3750.0),
            ("hst", "mappings", 1250.0),
            ("roman", "wfi", 5000.0),
        ];
        assert_eq!(
            areas,
            expected.map(|(one, group, area)| (one.to_owned(), group.to_owned(), area))
        );
        assert_eq!(
            (thousandths(1, 3), thousandths(2, 3), thousandths(0, 0)),
            (333, 667, 0)
        );
        assert_eq!(thousandths(u64::MAX, u64::MAX), 1000);
        assert_eq!(
            [part(0, 9), part(1, 9000), part(9, 9)],
            ["0.0 %", "< 0.1 %", "100.0 %"]
        );
    }
}
