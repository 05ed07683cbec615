//! The status of a mount as people read it. What is missing, as from another version, is shown as `-`.

mod catalogs;
mod failures;
mod store;
#[cfg(test)]
mod tests;
mod tier;
mod transfers;

use super::look::{Look, Tone};
use crate::cli::output;
use crate::crds::times;
use crate::tree::report::{CounterReport, StatusReport};

pub(super) use transfers::{progress, waiting};

/// The whole report: where, the store, the counts, the catalogs, what is on its way, and what went wrong.
pub(super) fn describe(status: &StatusReport, look: &Look) -> String {
    let parts = [
        head(status, look),
        store::write(status, look)
            + &counts(&status.counters, look)
            + &tier::write(status.tier.as_ref(), look)
            + &limits(status, look),
        catalogs::write(&status.observatories, look),
        transfers::write(&status.transfers, look),
        failures::overrides(&status.local_overrides, look),
        failures::write(status, look),
    ];
    let parts: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("\n")
}

/// The mount point, what serves it and since when.
fn head(status: &StatusReport, look: &Look) -> String {
    let place = shown(&status.mountpoint);
    let up = if look.is_terminal() {
        format!("up {}", times::coarse(status.uptime_seconds))
    } else {
        format!("since {}", shown(&status.started))
    };
    let mut text = format!("crds-fs {}, process {}, {up}", shown(&status.version), status.pid);
    for (is_so, word) in [
        (status.offline, "offline"),
        (status.read_only, "read-only"),
        (status.shared.is_some(), "shared"),
    ] {
        if is_so {
            text.push_str(", ");
            text.push_str(word);
        }
    }
    format!("{} {text}\n", look.paint(&format!("{place}:"), Tone::Title))
}

/// The findings of opens, and the files that were fetched for them.
fn counts(counters: &CounterReport, look: &Look) -> String {
    let counts = &counters.transfers;
    let opens = counts.hits.saturating_add(counts.misses);
    let found = match opens {
        0 => "none yet".to_owned(),
        _ => format!(
            "{} of {opens} from the cache ({}), {} waited",
            counts.hits,
            percent(counts.hits, opens),
            counts.misses
        ),
    };
    let mut fetched = format!(
        "{} with {}",
        output::files(counts.downloads),
        output::size(counts.bytes)
    );
    let mut tone = Tone::Plain;
    for (count, one, many, is_bad) in [
        (counts.retries, "retry", "retries", false),
        (
            counts.mismatches,
            "wrong file thrown away",
            "wrong files thrown away",
            true,
        ),
        (counts.failures, "failure", "failures", true),
    ] {
        if count > 0 {
            fetched = format!("{fetched}, {count} {}", if count == 1 { one } else { many });
            if is_bad {
                tone = Tone::Doubtful;
            }
        }
    }
    look.item("opens", &found, Tone::Plain) + &look.item("fetched", &fetched, tone)
}

/// The counts that come near their limits, and those of what ought not to happen.
fn limits(status: &StatusReport, look: &Look) -> String {
    let mut text = String::new();
    let (open, limit) = (status.open_files, status.descriptors.open_files_limit);
    if limit > 0 && open.saturating_mul(10) >= limit.saturating_mul(9) {
        let words = format!("{open}, of {limit} that can be open at a time; mount with a higher 'ulimit -n'");
        text += &look.item("open files", &words, Tone::Bad);
    }
    if let Some(last) = &status.last_panic {
        let count = status.counters.panics;
        let words = format!(
            "{count}, mistakes in crds-fs that the log describes; please report the last, {}: {}",
            look.ago(&last.when),
            last.message
        );
        text += &look.item("panics", &words, Tone::Bad);
    }
    text
}

/// A share in tenths of a percent, rounded down: all but one is not all.
fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// A text, or `-` where it is missing.
pub(super) fn shown(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
