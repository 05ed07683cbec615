//! The report on files that several commands print: `{"files": [...], "totals": {...}}`, or a table (design, section 6).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::output;
use crate::crds::FileKey;

/// A report on the results for some files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct FilesReport {
    files: Vec<FileLine>,
    totals: Totals,
}

/// One file of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct FileLine {
    observatory: &'static str,
    name: String,
    /// In bytes, where the catalog has it.
    size: Option<u64>,
    state: String,
    /// The reason for a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The sums of a report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Totals {
    files: u64,
    bytes: u64,
    /// Files with an error.
    failed: u64,
    /// The same by state.
    states: BTreeMap<String, Count>,
    /// Counts of other things than the files, by name.
    #[serde(flatten)]
    others: BTreeMap<&'static str, Count>,
}

/// Files and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
struct Count {
    files: u64,
    bytes: u64,
}

impl FilesReport {
    /// Adds a file in a state, with the reason for which it failed, if it did.
    pub(super) fn add(&mut self, key: &FileKey, size: Option<u64>, state: &str, error: Option<String>) {
        let bytes = size.unwrap_or_default();
        let count = self.totals.states.entry(state.to_owned()).or_default();
        count.files += 1;
        count.bytes += bytes;
        self.totals.files += 1;
        self.totals.bytes += bytes;
        self.totals.failed += u64::from(error.is_some());
        self.files.push(FileLine {
            observatory: key.observatory.as_str(),
            name: key.name.as_str().to_owned(),
            size,
            state: state.to_owned(),
            error,
        });
    }

    /// The number of files.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Adds a count of something else than the files to the totals.
    pub(super) fn note(&mut self, what: &'static str, files: u64, bytes: u64) {
        self.totals.others.insert(what, Count { files, bytes });
    }

    /// The number of files with an error.
    pub(super) fn failed(&self) -> u64 {
        self.totals.failed
    }

    /// The number of files in a state.
    pub(super) fn count(&self, state: &str) -> u64 {
        self.totals.states.get(state).map_or(0, |count| count.files)
    }

    /// The files with an error, each with its reason: `roman/roman_0001.pmap: ...`.
    pub(super) fn errors(&self) -> impl Iterator<Item = String> {
        self.files.iter().filter_map(|line| {
            let error = line.error.as_ref()?;
            Some(format!("{}/{}: {error}", line.observatory, line.name))
        })
    }

    /// The report as JSON.
    pub(super) fn to_json(&self) -> String {
        // Texts and numbers always have a form.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The report as a table: a line for each file, and the sums below.
    pub(super) fn to_table(&self) -> String {
        let mut text = self.table(|_| true);
        text.push_str(&self.sums());
        text
    }

    /// The files with an error as a table.
    pub(super) fn failures(&self) -> String {
        self.table(|line| line.error.is_some())
    }

    /// The files with an error or in one of these states as a table.
    pub(super) fn noteworthy(&self, states: &[&str]) -> String {
        self.table(|line| line.error.is_some() || states.contains(&line.state.as_str()))
    }

    fn table(&self, is_shown: impl Fn(&FileLine) -> bool) -> String {
        let size = |line: &FileLine| line.size.map_or_else(|| "-".to_owned(), output::size);
        let shown: Vec<&FileLine> = self.files.iter().filter(|line| is_shown(line)).collect();
        let width = |of: &dyn Fn(&FileLine) -> usize| shown.iter().map(|line| of(line)).max().unwrap_or(0);
        let (states, sizes) = (width(&|line| line.state.len()), width(&|line| size(line).len()));
        let names = width(&|line| line.observatory.len() + 1 + line.name.len());
        let mut text = String::new();
        for line in shown {
            let name = format!("{}/{}", line.observatory, line.name);
            let (state, size) = (&line.state, size(line));
            // A String takes everything.
            let _ = match &line.error {
                Some(error) => writeln!(text, "{state:states$}  {size:>sizes$}  {name:names$}  {error}"),
                None => writeln!(text, "{state:states$}  {size:>sizes$}  {name}"),
            };
        }
        text
    }

    /// The sums on one line: `3 files, 1.5 KiB: 2 cached (1.0 KiB), 1 failed (512 B)`.
    pub(super) fn sums(&self) -> String {
        let totals = &self.totals;
        let states: Vec<String> = totals
            .states
            .iter()
            .map(|(state, count)| format!("{} {state} ({})", count.files, output::size(count.bytes)))
            .collect();
        let bytes = output::size(totals.bytes);
        let behind = if states.is_empty() {
            String::new()
        } else {
            format!(": {}", states.join(", "))
        };
        format!("{}, {bytes}{behind}\n", output::files(totals.files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crds::Observatory;
    use serde_json::{Value, json};

    fn report() -> FilesReport {
        let key = |name: &str| FileKey {
            observatory: Observatory::Hst,
            name: name.parse().unwrap(),
        };
        let mut report = FilesReport::default();
        report.add(&key("a.fits"), Some(1024), "cached", None);
        report.add(&key("long.fits"), None, "cached", None);
        report.add(&key("b.fits"), Some(512), "failed", Some("404".to_owned()));
        report
    }

    /// The names are a promise to scripts.
    #[test]
    fn the_json_has_these_fields() {
        assert_eq!(
            serde_json::from_str::<Value>(&report().to_json()).unwrap(),
            json!({
                "files": [
                    {"observatory": "hst", "name": "a.fits", "size": 1024, "state": "cached"},
                    {"observatory": "hst", "name": "long.fits", "size": null, "state": "cached"},
                    {"observatory": "hst", "name": "b.fits", "size": 512, "state": "failed", "error": "404"},
                ],
                "totals": {
                    "files": 3, "bytes": 1536, "failed": 1,
                    "states": {"cached": {"files": 2, "bytes": 1024}, "failed": {"files": 1, "bytes": 512}},
                },
            })
        );
    }

    #[test]
    fn what_is_beside_the_files_is_told_in_the_totals() {
        let mut report = FilesReport::default();
        report.note("quarantined", 2, 7);
        let told: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(told["totals"]["quarantined"], json!({"files": 2, "bytes": 7}));
        assert_eq!(told["totals"]["files"], 0);
    }

    #[test]
    fn the_table_reads_well() {
        assert_eq!(
            report().to_table(),
            "cached  1.0 KiB  hst/a.fits\n\
             cached        -  hst/long.fits\n\
             failed    512 B  hst/b.fits     404\n\
             3 files, 1.5 KiB: 2 cached (1.0 KiB), 1 failed (512 B)\n"
        );
        assert_eq!(report().failures(), "failed  512 B  hst/b.fits  404\n");
        assert_eq!(report().noteworthy(&["held"]), report().failures());
        assert_eq!(report().noteworthy(&["cached"]).lines().count(), 3);
        assert_eq!(FilesReport::default().to_table(), "0 files, 0 B\n");
        assert_eq!(report().failed(), 1);
    }
}
