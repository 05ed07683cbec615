//! The observatories: their catalogs, contexts and servers.

use crate::cli::output;
use crate::cli::status::look::{Cell, Look, Tone};
use crate::crds::times;
use crate::fetch::FetchErrorKind;
use crate::tree::report::{CatalogFailure, CatalogState, ObservatoryReport, SourceStateReport};

use super::shown;

/// From this width on the URLs of the servers are shown.
const WIDE: usize = 110;
/// The indent of what is told beside a row.
const INDENT: usize = 6;

pub(super) fn write(observatories: &[ObservatoryReport], look: &Look) -> String {
    if observatories.is_empty() {
        return String::new();
    }
    let has_urls = look.width.is_none_or(|width| width >= WIDE);
    let titles = ["catalogs", "context", "names", "here", "size", "age", "server"];
    let title = |text: &str| (text.to_owned(), Tone::Faint);
    let mut rows: Vec<Vec<Cell>> = vec![titles.iter().copied().map(title).collect()];
    rows.extend(
        observatories
            .iter()
            .map(|observatory| row(observatory, has_urls, look)),
    );
    let right = [false, false, true, true, true, true, false];
    let mut lines = look.table(&rows, &right).into_iter();
    let mut text = lines.next().unwrap_or_default();
    for (line, observatory) in lines.zip(observatories) {
        text += &line;
        text += &troubles(observatory, look);
        text += &sources(&observatory.sources, look);
    }
    text
}

fn row(observatory: &ObservatoryReport, has_urls: bool, look: &Look) -> Vec<Cell> {
    let plain = |text: String| (text, Tone::Plain);
    let missing = || "-".to_owned();
    let (files, bytes) = observatory
        .stored
        .iter()
        .fold((0_u64, 0_u64), |(files, bytes), group| {
            (
                files.saturating_add(group.files),
                bytes.saturating_add(group.bytes),
            )
        });
    let (mut words, tone) = server(observatory, look);
    if let (true, Some(url)) = (has_urls, &observatory.server) {
        words = format!("{words}  {url}");
    }
    vec![
        (shown(&observatory.name).to_owned(), Tone::Title),
        plain(observatory.context.clone().unwrap_or_else(missing)),
        plain(observatory.files.map_or_else(missing, |files| files.to_string())),
        plain(files.to_string()),
        plain(output::size(bytes)),
        plain(
            observatory
                .catalog_age_seconds
                .map_or_else(missing, times::coarse),
        ),
        (words, tone),
    ]
}

/// Whether the server answers, and since when.
fn server(observatory: &ObservatoryReport, look: &Look) -> Cell {
    let failed = matches!(observatory.state, CatalogState::Failed | CatalogState::Stale);
    if observatory.offline {
        ("not asked (offline)".to_owned(), Tone::Faint)
    } else if let Some(since) = &observatory.offline_since {
        (format!("offline {}", look.since(since)), Tone::Bad)
    } else if failed {
        ("fails".to_owned(), Tone::Bad)
    } else if let Some(since) = &observatory.online_since {
        (format!("online {}", look.since(since)), Tone::Good)
    } else {
        ("not asked yet".to_owned(), Tone::Faint)
    }
}

/// The troubles of an observatory, and what helps.
fn troubles(observatory: &ObservatoryReport, look: &Look) -> String {
    let mut text = String::new();
    if let Some(error) = &observatory.error {
        text += &failure(error, observatory.files.is_some(), look);
    }
    if let Some(problem) = &observatory.context_error {
        text += &look.wrap(problem, INDENT, Tone::Bad);
    }
    text
}

fn failure(error: &CatalogFailure, has_catalog: bool, look: &Look) -> String {
    let what = if has_catalog {
        "no newer catalog"
    } else {
        "no catalog"
    };
    let url = error.url.as_ref();
    let url = url.map_or_else(String::new, |url| format!(" ({url})"));
    // Without a network on purpose nothing has failed.
    let is_meant = error.kind == FetchErrorKind::Offline.as_str();
    let tone = if is_meant || has_catalog {
        Tone::Doubtful
    } else {
        Tone::Bad
    };
    let text = format!("{what}, {}: {}{url}", look.ago(&error.when), error.message);
    let remedy = error.remedy.as_deref();
    look.wrap(&text, INDENT, tone)
        + &remedy.map_or_else(String::new, |remedy| look.wrap(remedy, INDENT, Tone::Plain))
}

/// The sources of an observatory's files. Where there is nothing to tell apart, and nothing is wrong, they are not shown.
fn sources(sources: &[SourceStateReport], look: &Look) -> String {
    let is_worth_it = |source: &SourceStateReport| match source.state.as_str() {
        "failing" => true,
        "unused" => false,
        _ => source.source != "crds",
    };
    if !sources.iter().any(is_worth_it) {
        return String::new();
    }
    sources.iter().map(|one| source(one, look)).collect()
}

fn source(source: &SourceStateReport, look: &Look) -> String {
    let since = source.since.as_deref().unwrap_or("-");
    let error = source.error.as_deref().unwrap_or("-");
    let (state, tone) = match source.state.as_str() {
        "unused" => ("not asked yet".to_owned(), Tone::Faint),
        "failing" => (format!("failing {}: {error}", look.since(since)), Tone::Bad),
        "wrong" => (format!("wrong file {}", look.ago(since)), Tone::Bad),
        _ => ("answers".to_owned(), Tone::Good),
    };
    let tier = if source.tier { " (the tier)" } else { "" };
    let mut text = format!("from {}{tier}: {state}", shown(&source.source));
    if source.files > 0 || source.bytes > 0 {
        let given = output::files(source.files);
        text = format!("{text}, {given} with {}", output::size(source.bytes));
    }
    if let Some(left) = source.retry_in_seconds {
        text = format!("{text}; others are asked before it for {}", times::coarse(left));
    }
    look.wrap(&text, INDENT, tone)
}
