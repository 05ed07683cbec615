//! The files that are on their way, and who waits for them.

use crate::cli::output;
use crate::cli::status::look::{Look, Tone, measure};
use crate::crds::times;
use crate::fetch::TransferState;
use crate::tree::report::TransferReport;

use super::shown;

/// The most transfers that are shown on a terminal.
const SHOWN: usize = 12;
/// The indent of what is told of a transfer.
const INDENT: usize = 4;

pub(super) fn write(transfers: &[TransferReport], look: &Look) -> String {
    if transfers.is_empty() {
        return String::new();
    }
    let is_queued =
        |transfer: &&TransferReport| transfer.state == TransferState::Queued.as_str() && transfer.done == 0;
    let (queued, running): (Vec<_>, Vec<_>) = transfers.iter().partition(is_queued);
    let rate = running.iter().fold(0_u64, |sum, transfer| {
        sum.saturating_add(transfer.bytes_per_second)
    });
    let mut head = output::files(u64::try_from(transfers.len()).unwrap_or_default());
    if rate > 0 {
        head = format!("{head}, {}/s", output::size(rate));
    }
    if !queued.is_empty() {
        head = format!("{head}, {} queued", queued.len());
    }
    let mut text = look.item("fetching", &head, Tone::Plain);
    // Those that wait for a slot come last, and are the first to be left out.
    let ordered = running.into_iter().chain(queued);
    let most = if look.is_terminal() { SHOWN } else { usize::MAX };
    for transfer in ordered.take(most) {
        text += &one(transfer, look);
    }
    if transfers.len() > most {
        text += &look.wrap(
            &format!("and {} more", transfers.len() - most),
            INDENT,
            Tone::Faint,
        );
    }
    text
}

/// A transfer: on one line if there is room, else on two, and those who wait below.
fn one(transfer: &TransferReport, look: &Look) -> String {
    let name = shown(&transfer.file);
    let progress = progress(transfer, look);
    let room = look.width.unwrap_or(usize::MAX);
    let painted = look.paint(name, Tone::Title);
    let mut text = if measure(name) + measure(&progress) + INDENT <= room {
        format!("  {painted}  {progress}\n")
    } else {
        format!("  {painted}\n{}{progress}\n", " ".repeat(INDENT))
    };
    if let Some(waiting) = waiting(transfer) {
        text += &look.wrap(&waiting, INDENT, Tone::Faint);
    }
    text
}

/// The part of it that is here, the rate at which the rest comes, and its state where that is another than receiving.
pub(in crate::cli::status) fn progress(transfer: &TransferReport, look: &Look) -> String {
    let mut text = look.bar(transfer.done, transfer.total, Tone::Good);
    text = match transfer.total {
        0 => format!("{text}  {}", output::size(transfer.done)),
        total => format!(
            "{text}  {} of {}",
            output::size(transfer.done),
            output::size(total)
        ),
    };
    if transfer.state != TransferState::Receiving.as_str() {
        text = format!("{text}  {}", shown(&transfer.state));
    }
    if transfer.bytes_per_second > 0 {
        text = format!("{text}  {}/s", output::size(transfer.bytes_per_second));
    }
    if let Some(seconds) = transfer.remaining_seconds {
        text = format!("{text}  {} left", times::coarse(seconds));
    }
    text
}

/// The processes that wait for it; `None` if nobody does.
pub(in crate::cli::status) fn waiting(transfer: &TransferReport) -> Option<String> {
    if transfer.waiters == 0 {
        return None;
    }
    let told: Vec<String> = transfer
        .waiting
        .iter()
        .map(|waiter| {
            let waited = times::coarse(waiter.waited_seconds);
            format!("{} ({}) {waited}", waiter.command, waiter.pid)
        })
        .collect();
    let others = transfer.waiters.saturating_sub(told.len());
    Some(match (told.join(", "), others) {
        (told, 0) => format!("waited for by {told}"),
        (told, others) if told.is_empty() => format!("{others} waiting"),
        (told, others) => format!("waited for by {told} and {others} more"),
    })
}
