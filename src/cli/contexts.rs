//! `crds-fs contexts`: the contexts of the observatories.

#![expect(clippy::doc_markdown, reason = "the comments of arguments are the help text")]

use std::fmt::Write as _;

use clap::builder::TypedValueParser as _;
use serde_json::json;

use super::rule_source::RuleSource;
use super::suggestions::OBSERVATORIES;
use super::target::TargetFlags;
use super::{Failure, logging, output, settings};
use crate::cache::contexts::{ContextReport, Share, contexts};
use crate::crds::Observatory;

/// So many columns a line of text takes at most.
const COLUMNS: usize = 120;

/// List the contexts: since when each was the default, what it says of itself, and how much of it is here.
///
/// Marked are the default context (latest), the one being edited (edit), those for calibration versions (versions) and
/// the present release (build). What is complete can be used without a network.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this observatory [default: $CRDS_OBSERVATORY, else all].
    #[arg(value_name = "OBS", hide_possible_values = true,
        value_parser = OBSERVATORIES.try_map(|name| name.parse::<Observatory>()))]
    observatory: Option<Observatory>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetFlags,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    logging::to_standard_error("error");
    let environment = settings::environment();
    let only = args.observatory.or_else(|| settings::observatory(&environment));
    let source = RuleSource::open(&args.target, &environment, only)?;
    let asked = only.map_or_else(|| source.observatories(), |only| vec![only]);
    let mut reports = Vec::new();
    let mut failures = Vec::new();
    for observatory in asked {
        let told = source.description(observatory).and_then(|info| {
            let holdings = source.holdings(observatory)?;
            Ok(contexts(&info, &holdings))
        });
        match told {
            Ok(told) => reports.extend(told),
            Err(failure) => failures.push((observatory, failure)),
        }
    }
    source.close();
    output::write(
        if args.json {
            to_json(&reports)
        } else {
            table(&reports)
        }
        .as_bytes(),
    )?;
    match (failures.pop(), failures.len()) {
        (None, _) => Ok(()),
        (Some((_, failure)), 0) if only.is_some() => Err(failure),
        (Some(last), _) => {
            failures.push(last);
            let told = |(observatory, failure): &(Observatory, Failure)| format!("{observatory}: {failure}");
            let told: Vec<String> = failures.iter().map(told).collect();
            Err(Failure::new(told.join("\n         ")))
        }
    }
}

fn to_json(reports: &[ContextReport]) -> String {
    let count = |of: fn(&&ContextReport) -> bool| reports.iter().filter(of).count();
    let all = json!({
        "files": reports,
        "totals": {
            "contexts": reports.len(),
            "cached": count(|report| report.state != "remote"),
            "complete": count(|report| report.complete),
        },
    });
    format!("{}\n", serde_json::to_string_pretty(&all).unwrap_or_default())
}

/// A line for each context, the newest of each observatory last.
fn table(reports: &[ContextReport]) -> String {
    let cells: Vec<[String; 4]> = reports
        .iter()
        .map(|report| {
            let since = report.since.as_deref().and_then(|since| since.get(..10));
            let tags = report.tags.join(" ");
            [
                report.name.clone(),
                since.unwrap_or("-").to_owned(),
                tags,
                held(report),
            ]
        })
        .collect();
    let width = |place: usize| cells.iter().map(|row| row[place].len()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for (report, row) in reports.iter().zip(&cells) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        let description = report.description.as_ref().or(report.header_description.as_ref());
        let room = COLUMNS.saturating_sub(line.len()).max(20);
        line.push_str(&brief(description.map_or("", String::as_str), room));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The part of a context that is here, in words.
fn held(report: &ContextReport) -> String {
    let of = |share: Share, what: &str| format!("{} of {} {what}", share.held, share.total);
    match (report.rules, report.references) {
        _ if report.complete => "complete".to_owned(),
        (Some(_), Some(references)) => format!("rules, {}", of(references, "references")),
        (Some(rules), None) => of(rules, "rules"),
        (None, _) => "-".to_owned(),
    }
}

/// The beginning of a text, on one line.
fn brief(text: &str, room: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= room {
        return line;
    }
    let kept: String = line.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}
