//! What is seen, and what is made of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::library;
use crate::nodes::Told;
use crate::origin::Origin;
use crate::problems::Problems;
use crate::readers::Wait;

/// Requests for each file, at most, when nobody is killed.
const MOST: f64 = 1.05;

/// Seconds without a sign of life after which a lease is taken over.
const SILENCE: f64 = 5.0;

/// All that was wrong, and what the nodes of a run have told.
#[derive(Default)]
pub(crate) struct Report {
    told: Vec<Told>,
    pub(crate) problems: Problems,
}

impl Report {
    /// Counts the requests of the mounts, and of the clients `beside` them, for files that were `removed` so often. What
    /// clients do not download, mounts may ask for once only, if that is `judged`, and once more after each removal.
    pub(crate) fn requests(&mut self, origin: &Origin, beside: &Origin, removed: &[u32], judged: bool) {
        let files = removed.len();
        let (mut by_mounts, mut by_clients, mut most) = (0, 0, 0);
        let (mut alone, mut asked_alone, mut removals) = (0_u32, 0, 0);
        for (number, removed) in (0..).zip(removed) {
            let asked = |origin: &Origin| origin.asked(&library::name(number)).len();
            let (mounts, clients) = (asked(origin), asked(beside));
            by_mounts += mounts;
            by_clients += clients;
            most = most.max(mounts);
            if clients == 0 {
                alone += 1;
                asked_alone += mounts;
                removals += removed;
            }
        }
        let factor = factor(asked_alone, alone + removals);
        println!(
            "   {files} files, {} GETs, {by_clients} of them by clients; {asked_alone} GETs by mounts for {alone} files that no \
             client took and that were removed {removals} times, factor {factor:.3}, at most {most} for one file",
            by_mounts + by_clients
        );
        if judged && factor > MOST {
            self.problems
                .add(format!("each file is fetched {factor:.3} times, not {MOST}"));
        }
    }

    pub(crate) fn node(&mut self, told: Told) {
        self.told.push(told);
    }

    /// Sums up what the nodes have told.
    pub(crate) fn waits(&mut self, patience: Duration, logs: &[PathBuf]) {
        let told = std::mem::take(&mut self.told);
        let (mut reads, mut cut, mut short) = (0, 0, 0);
        let (mut errors, mut said) = (BTreeMap::new(), BTreeMap::new());
        let mut longest = Vec::new();
        for node in &told {
            reads += node.seen.reads;
            cut += node.seen.cut;
            short += node.seen.short;
            for (error, count) in &node.seen.errors {
                *errors.entry(error.clone()).or_insert(0) += count;
            }
            for (count, text) in &node.said {
                *said.entry(text.clone()).or_insert(0) += count;
            }
            for problem in &node.seen.problems {
                self.problems.add(format!("{}: {problem}", node.name));
            }
            longest.extend(node.seen.longest.iter().cloned());
        }
        longest.sort_by(|a: &Wait, b| b.seconds.total_cmp(&a.seconds));
        let deaths = |wait: &Wait| {
            let during = |at: f64| at > wait.end - wait.seconds - SILENCE && at < wait.end;
            let deaths = told.iter().flat_map(|node| &node.seen.deaths);
            deaths
                .filter(|(file, at)| *file == wait.file && during(*at))
                .count()
        };
        let waits: Vec<_> = longest
            .iter()
            .take(5)
            .map(|wait| match deaths(wait) {
                0 => format!("{:.1} s", wait.seconds),
                1 => format!("{:.1} s (one death)", wait.seconds),
                count => format!("{:.1} s ({count} deaths)", wait.seconds),
            })
            .collect();
        println!(
            "   {reads} whole reads, {cut} cut off by kills; the longest opens: {}",
            waits.join(", ")
        );
        if short > 0 {
            println!(
                "   {short} reads of the beginning of a file only, which another one was about to write"
            );
        }
        for (error, count) in &errors {
            println!("   {count} times, then read all the same: {error}");
        }
        for (text, count) in said.iter().take(12) {
            println!("   said {count} times: {text}");
        }
        if reads == 0 {
            self.problems.add("nothing was read");
        }
        for wait in &longest {
            // Who fetched it died, then the one who took it over, and so on: a lease for each.
            let leases = u32::try_from(deaths(wait)).unwrap_or(u32::MAX).max(1);
            if wait.seconds > (patience * leases).as_secs_f64() {
                self.problems
                    .add(format!("opening {} took {:.1} s", wait.file, wait.seconds));
                show_history(wait, &told, logs);
            }
        }
    }
}

/// Shows what the mounts have said of a file that was waited for.
fn show_history(wait: &Wait, told: &[Told], logs: &[PathBuf]) {
    println!(
        "   {} was opened after {:.1} s at {}:",
        wait.file,
        wait.seconds,
        time(wait.end)
    );
    for (file, at) in told.iter().flat_map(|node| &node.seen.deaths) {
        if *file == wait.file {
            println!("     who fetched it was killed at {}", time(*at));
        }
    }
    for (number, log) in logs.iter().enumerate() {
        let log = fs::read_to_string(log).unwrap_or_default();
        for line in log.lines().filter(|line| line.contains(&wait.file)) {
            println!("     {number} {line}");
        }
    }
}

/// A time in seconds since 1970, as the logs have it.
fn time(seconds: f64) -> String {
    let time = jiff::Timestamp::UNIX_EPOCH.checked_add(Duration::from_secs_f64(seconds));
    time.map_or_else(|error| error.to_string(), |time| format!("{time:.3}"))
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn factor(requests: usize, files: u32) -> f64 {
    requests as f64 / f64::from(files.max(1))
}
