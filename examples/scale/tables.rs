//! The tables that are printed, in Markdown.

use std::fmt::Write as _;

use crate::job::Job;
use crate::play::play;
use crate::site::{Setup, Site};

/// One site, by set-up.
pub(crate) fn one(site: &Site, job: &Job) -> String {
    let mut text = "| set-up | bytes from the institute | last file on the last node | narrowest |\n| --- | ---: | ---: | --- |\n".to_owned();
    for setup in Setup::ALL {
        let outcome = play(site, setup, job);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            setup.name(),
            bytes(outcome.institute),
            time(outcome.time),
            if outcome.narrowest.is_empty() {
                "connections".to_owned()
            } else {
                outcome.narrowest.join(", ")
            }
        );
    }
    text
}

/// A table for a terminal: its columns have one width each.
pub(crate) fn aligned(table: &str) -> String {
    let rows = table.lines().filter(|line| !line.starts_with("| ---"));
    let rows: Vec<Vec<&str>> = rows
        .map(|line| line.trim_matches(['|', ' ']).split(" | ").collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The tables of docs/scale.md.
pub(crate) fn page(site: &Site, job: &Job) -> String {
    format!(
        "{}\n{}\n{}",
        one(site, job),
        by_size(site, job),
        by_server(site, job)
    )
}

/// Times by the network of what stands in the middle.
fn by_server(site: &Site, job: &Job) -> String {
    const SERVERS: [f64; 4] = [10.0, 25.0, 100.0, 400.0];
    let setups = [Setup::Nginx, Setup::Shared, Setup::SiteServer];
    let mut text = "| server's network |".to_owned();
    for setup in setups {
        let _ = write!(text, " {} |", setup.name());
    }
    let _ = writeln!(text, "\n| --- |{}", " ---: |".repeat(setups.len()));
    for server in SERVERS {
        let _ = write!(text, "| {server} Gb/s |");
        for setup in setups {
            let site = Site {
                server: server * 1e9 / 8.0,
                ..site.clone()
            };
            let _ = write!(text, " {} |", time(play(&site, setup, job).time));
        }
        text.push('\n');
    }
    text
}

/// Times by number of nodes and uplink.
fn by_size(site: &Site, job: &Job) -> String {
    const UPLINKS: [(&str, f64); 3] = [("100 Mb/s", 12.5e6), ("1 Gb/s", 125e6), ("10 Gb/s", 1.25e9)];
    const NODES: [f64; 3] = [10.0, 100.0, 1000.0];
    let mut text = "| nodes, uplink |".to_owned();
    for setup in Setup::ALL {
        let _ = write!(text, " {} |", setup.name());
    }
    let _ = writeln!(text, "\n| --- |{}", " ---: |".repeat(Setup::ALL.len()));
    for nodes in NODES {
        for (name, uplink) in UPLINKS {
            let _ = write!(text, "| {nodes}, {name} |");
            for setup in Setup::ALL {
                let site = Site {
                    nodes,
                    uplink,
                    ..site.clone()
                };
                let _ = write!(text, " {} |", time(play(&site, setup, job).time));
            }
            text.push('\n');
        }
    }
    text
}

/// Bytes with two digits.
fn bytes(number: f64) -> String {
    let (number, unit) = match number {
        _ if number >= 1e12 => (number / 1e12, "TB"),
        _ if number >= 1e9 => (number / 1e9, "GB"),
        _ => (number / 1e6, "MB"),
    };
    if number < 10.0 {
        format!("{number:.1} {unit}")
    } else {
        format!("{number:.0} {unit}")
    }
}

/// A time with two digits or so.
fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds < 120.0 => format!("{seconds:.0} s"),
        _ if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        _ if seconds < 72.0 * 3600.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}
