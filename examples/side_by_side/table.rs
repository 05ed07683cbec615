//! The samples, and what is printed of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Fallible;
use crate::columns::Column;
use crate::rows::{Goal, Row};

/// Samples of all rows and columns, in the order in which rows were first measured.
pub(crate) struct Table {
    description: String,
    repetitions: u32,
    rows: Vec<(&'static Row, BTreeMap<Column, Vec<f64>>)>,
}

impl Table {
    pub(crate) fn new(description: String, repetitions: u32) -> Self {
        Self {
            description,
            repetitions,
            rows: Vec::new(),
        }
    }

    /// Adds the sample of one more repetition.
    pub(crate) fn add(&mut self, row: &'static Row, column: Column, value: f64) {
        let place = self.rows.iter().position(|(known, _)| known.key == row.key);
        let place = place.unwrap_or_else(|| {
            self.rows.push((row, BTreeMap::new()));
            self.rows.len() - 1
        });
        self.rows[place].1.entry(column).or_default().push(value);
        println!("  {}, {}: {}", row.key, column.name(), row.unit.show(value));
    }

    /// Prints medians, in brackets as multiples of the row's reference.
    pub(crate) fn print(&self) {
        let columns: Vec<Column> = Column::ALL
            .into_iter()
            .filter(|column| self.rows.iter().any(|(_, samples)| samples.contains_key(column)))
            .collect();
        println!(
            "\n{}\nMedians, in brackets the median of the ratio to the reference (=); smaller is better.\n",
            self.description
        );
        let headings: Vec<_> = columns.iter().map(|column| column.name()).collect();
        println!("| | {} | goal of crds-fs | |", headings.join(" | "));
        println!("|{}", " --- |".repeat(columns.len() + 3));
        for (row, samples) in &self.rows {
            let cells: Vec<_> = columns.iter().map(|column| cell(row, samples, *column)).collect();
            let verdict = match met(row, samples) {
                Some(true) => "met",
                Some(false) => "missed",
                None => "",
            };
            println!(
                "| {} | {} | {} | {verdict} |",
                row.what,
                cells.join(" | "),
                row.goal.text()
            );
        }
    }

    /// Every sample, with medians and ratios.
    pub(crate) fn json(&self) -> Fallible<String> {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|(row, samples)| {
                let columns: Map<String, Value> = samples
                    .iter()
                    .map(|(column, values)| {
                        let told = json!({
                            "samples": values, "median": median(values),
                            "ratio": row.reference.and_then(|reference| ratio(samples, *column, reference)),
                        });
                        (column.name().to_owned(), told)
                    })
                    .collect();
                json!({
                    "row": row.key, "what": row.what, "unit": row.unit.name(), "columns": columns,
                    "reference": row.reference.map(Column::name), "goal": row.goal.text(), "met": met(row, samples),
                })
            })
            .collect();
        let whole = json!({"description": self.description, "repetitions": self.repetitions, "rows": rows});
        Ok(serde_json::to_string_pretty(&whole)? + "\n")
    }
}

fn cell(row: &Row, samples: &BTreeMap<Column, Vec<f64>>, column: Column) -> String {
    let Some(values) = samples.get(&column) else {
        return String::new();
    };
    let value = row.unit.show(median(values));
    match row.reference {
        Some(reference) if reference == column => format!("{value} (=)"),
        Some(reference) => match ratio(samples, column, reference) {
            Some(ratio) => format!("{value} ({ratio:.2})"),
            None => value,
        },
        None => value,
    }
}

/// The median of the ratios of one column to another, each of one repetition.
fn ratio(samples: &BTreeMap<Column, Vec<f64>>, column: Column, reference: Column) -> Option<f64> {
    let ratios: Vec<f64> = samples
        .get(&column)?
        .iter()
        .zip(samples.get(&reference)?)
        .map(|(value, reference)| value / reference)
        .collect();
    Some(median(&ratios))
}

/// True if crds-fs meets a row's goal; `None` for a row without a goal, or without the samples to compare with.
fn met(row: &Row, samples: &BTreeMap<Column, Vec<f64>>) -> Option<bool> {
    let own = samples.get(&Column::CrdsFs)?;
    match row.goal {
        Goal::None => None,
        Goal::Times(most) => ratio(samples, Column::CrdsFs, row.reference?).map(|ratio| ratio <= most),
        Goal::AsLimit(most) => ratio(samples, Column::CrdsFs, Column::Limit).map(|ratio| ratio <= most),
        Goal::Plus(seconds) => Some(median(own) <= median(samples.get(&row.reference?)?) + seconds),
        Goal::Most(most) => Some(median(own) <= most),
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}
