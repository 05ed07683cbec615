//! The directory of the store and its space.

use crate::cli::output;
use crate::cli::status::look::{Look, Tone};
use crate::tree::report::{SharedReport, SpaceReport, StatusReport};

use super::shown;

pub(super) fn write(status: &StatusReport, look: &Look) -> String {
    let (unwritable, tone) = if status.store_removed {
        (" (it has been removed)", Tone::Bad)
    } else if status.store_writable {
        ("", Tone::Plain)
    } else {
        (" (cannot be written: nothing is fetched into it)", Tone::Doubtful)
    };
    let place = format!("{}{unwritable}", shown(&status.store));
    look.item("cache", &place, tone)
        + &shared(status.shared.as_ref(), look)
        + &space(&status.space, look)
        + &kept(status, look)
}

/// The dealings of this mount with others who use the store.
fn shared(shared: Option<&SharedReport>, look: &Look) -> String {
    let Some(shared) = shared else {
        return String::new();
    };
    let mut words = format!(
        "{} came from others, {} waited for",
        output::files(shared.found),
        shared.waited
    );
    if shared.leases_held > 0 {
        words = format!("{words}; fetching {} for all", shared.leases_held);
    }
    if shared.leases_taken_over > 0 {
        let count = shared.leases_taken_over;
        words = format!("{words}; {count} taken over from others who were silent");
    }
    look.item("shared", &words, Tone::Plain) + &look.item("state", shown(&shared.state), Tone::Plain)
}

/// The space that the files take of what they may take.
fn space(space: &SpaceReport, look: &Look) -> String {
    let left = output::size(space.available);
    let used = output::size(space.used);
    let files = output::files(space.files);
    let (whole, words) = match space.limit {
        Some(limit) => {
            // The disk may be smaller than the limit.
            let is_short = space.used.saturating_add(space.available) < limit / 100 * 99;
            let short = if is_short {
                format!(", only {left} left on the disk")
            } else {
                String::new()
            };
            (
                limit,
                format!("{used} of {} in {files}{short}", output::size(limit)),
            )
        }
        None => (
            space.used.saturating_add(space.available),
            format!("{used} in {files}, {left} left on the disk"),
        ),
    };
    let tone = if space.used >= whole / 20 * 19 {
        Tone::Doubtful
    } else {
        Tone::Good
    };
    let bar = look.bar(space.used, whole, tone);
    let mut text = look.item("space", &format!("{bar}  {words}"), Tone::Plain);
    if !space.complete {
        text += &look.item("", "the files are still being counted", Tone::Faint);
    }
    text
}

/// The files that stay, those that had to go, and those that are left over. Nothing is said of what there is none of.
fn kept(status: &StatusReport, look: &Look) -> String {
    let space = &status.space;
    let several = |files: u64, bytes: u64| format!("{} with {}", output::files(files), output::size(bytes));
    let mut text = String::new();
    if space.held_files > 0 {
        let words = format!("{}, never evicted", several(space.held_files, space.held_bytes));
        text += &look.item("held", &words, Tone::Plain);
    }
    if space.evicted_files > 0 {
        let words = format!(
            "{}, to make room",
            several(space.evicted_files, space.evicted_bytes)
        );
        text += &look.item("evicted", &words, Tone::Plain);
    }
    if space.partial > 0 {
        let words = format!(
            "{} of interrupted transfers, which go on from there",
            output::size(space.partial)
        );
        text += &look.item("partial", &words, Tone::Plain);
    }
    if space.quarantined_files > 0 {
        let hidden = if status.store == status.mountpoint {
            " after 'crds-fs umount'"
        } else {
            ""
        };
        let words = format!(
            "{} in .crds-fs/quarantine in the cache: look through them{hidden}",
            several(space.quarantined_files, space.quarantined_bytes)
        );
        text += &look.item("quarantine", &words, Tone::Doubtful);
    }
    text
}
