//! The tier: what it gave, what it was given, and why it is not.

use crate::cli::output;
use crate::cli::status::look::{Look, Tone};
use crate::crds::times;
use crate::tree::report::TierReport;

use super::shown;

pub(super) fn write(tier: Option<&TierReport>, look: &Look) -> String {
    let Some(tier) = tier else {
        return String::new();
    };
    let several = |files: u64, bytes: u64| format!("{} with {}", output::files(files), output::size(bytes));
    let mut words = format!(
        "{}: gave {}, was given {}",
        shown(&tier.tier),
        several(tier.served_files, tier.served_bytes),
        several(tier.counts.written_files, tier.counts.written_bytes)
    );
    if tier.queued_files > 0 {
        let queued = several(tier.queued_files, tier.queued_bytes);
        words = format!("{words}; {queued} to be written");
    }
    let mut text = look.item("tier", &words, Tone::Plain);
    for (count, what, tone) in [
        (tier.counts.unwritten_files, "not written", Tone::Doubtful),
        (
            tier.counts.wrong_files,
            "in whose place it has others: the log says what to remove",
            Tone::Bad,
        ),
        (
            tier.counts.damaged_files,
            "not written because they are damaged here: crds-fs verify",
            Tone::Bad,
        ),
    ] {
        if count > 0 {
            text += &look.item("", &format!("{} {what}", output::files(count)), tone);
        }
    }
    if let Some(error) = &tier.error {
        let since = tier.since.as_deref().unwrap_or("-");
        let state = match tier.state.as_str() {
            "read-only" => "cannot be written to, and is only read",
            "full" => "is full, and is only read",
            _ => "cannot be written to for now",
        };
        let mut words = format!("{state}, {}: {error}", look.since(since));
        if let Some(left) = tier.retry_in_seconds {
            words = format!("{words}; tried again in {}", times::coarse(left));
        }
        text += &look.item("", &words, Tone::Bad);
    }
    text
}
