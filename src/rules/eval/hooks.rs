//! The built-in header transforms that rmaps name (spec/crds-rules 16).

use crate::crds::literal::float_text;
use crate::rules::model::frame::Cell;
use crate::rules::model::slots::{Slot, Slots};
use crate::rules::values::condition::{NOT_APPLICABLE, UNDEFINED, condition};
use crate::rules::values::date;
use crate::rules::values::python::{float, repr, to_float};

/// The date by which the camera had been installed.
const INSTALLED: u64 = date::pack(2002, [3, 30, 0, 0, 0]);

/// The date by which the fourth servicing mission had ended.
const REPAIRED: u64 = date::pack(2009, [5, 14, 0, 0, 0]);

/// The parameters that make up the date where a transform looks at it.
pub(crate) const DATE: [&str; 2] = ["DATE-OBS", "TIME-OBS"];

/// Between which of the moments that transforms distinguish a date lies.
pub(crate) fn era(moment: date::Moment) -> u32 {
    let when = moment.packed();
    u32::from(when >= INSTALLED) + u32::from(when >= REPAIRED)
}

/// A transform and the version of its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Before ACS bias files are looked up.
    AcsBias(AcsBias),
    /// The header after a failure of that: the full frame.
    AcsBiasFallback(AcsBias),
    Wfc3Bias,
    Wfpc2Flat,
}

/// The versions of the ACS transforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcsBias {
    V1,
    V2,
    V3,
}

impl AcsBias {
    fn columns(self) -> &'static str {
        if self == Self::V1 { "NUMCOLS" } else { "NAXIS1" }
    }

    fn rows(self) -> &'static str {
        if self == Self::V1 { "NUMROWS" } else { "NAXIS2" }
    }

    fn offsets(self) -> [&'static str; 2] {
        if self == Self::V3 {
            ["RAW_LTV1", "RAW_LTV2"]
        } else {
            ["LTV1", "LTV2"]
        }
    }
}

impl Hook {
    /// The transform with this name in an instrument's module.
    pub(crate) fn find(observatory: &str, instrument: &str, name: &str) -> Option<Self> {
        if observatory != "hst" {
            return None;
        }
        Some(match (instrument, name) {
            ("acs", "precondition_header_acs_biasfile_v1") => Self::AcsBias(AcsBias::V1),
            ("acs", "precondition_header_acs_biasfile_v2") => Self::AcsBias(AcsBias::V2),
            ("acs", "precondition_header_acs_biasfile_v3") => Self::AcsBias(AcsBias::V3),
            ("acs", "fallback_header_acs_biasfile_v2") => Self::AcsBiasFallback(AcsBias::V2),
            ("acs", "fallback_header_acs_biasfile_v3") => Self::AcsBiasFallback(AcsBias::V3),
            ("wfc3", "precondition_header_wfc3_biasfile_v1") => Self::Wfc3Bias,
            ("wfpc2", "fallback_header_wfpc2_flatfile_v1") => Self::Wfpc2Flat,
            _ => return None,
        })
    }

    /// The parameters that it reads or writes.
    pub(crate) fn parameters(self) -> Vec<&'static str> {
        match self {
            Self::AcsBias(version) | Self::AcsBiasFallback(version) => {
                let [first, second] = version.offsets();
                let mut names = vec![
                    "DATE-OBS", "TIME-OBS", "APERTURE", "CCDAMP", "CCDGAIN", "DETECTOR",
                ];
                names.extend([
                    "XCORNER",
                    "YCORNER",
                    version.columns(),
                    version.rows(),
                    first,
                    second,
                ]);
                names
            }
            Self::Wfc3Bias => vec!["SUBARRAY", "APERTURE"],
            Self::Wfpc2Flat => vec!["FILTER1", "FILTER2"],
        }
    }

    /// Gives its parameters slots.
    pub(crate) fn reserve(self, slots: &mut Slots) {
        for name in self.parameters() {
            slots.parameter(name);
        }
    }

    /// Its changes of a header, or the text of its failure.
    pub(crate) fn apply(self, slots: &[Slot], cells: &[Cell<'_>]) -> Result<Changes, String> {
        let mut work = Work {
            slots,
            cells,
            changes: Vec::new(),
        };
        match self {
            Self::AcsBias(version) => work.acs(version)?,
            Self::AcsBiasFallback(version) => {
                work.acs(version)?;
                work.acs_full_frame(version)?;
            }
            Self::Wfc3Bias => {
                if work.read("SUBARRAY")? == "T" && !work.read("APERTURE")?.contains("SUB") {
                    work.set("APERTURE", NOT_APPLICABLE.to_owned());
                }
            }
            Self::Wfpc2Flat => {
                let first = work.read("FILTER1")?.to_owned();
                let second = work.read("FILTER2")?.to_owned();
                work.set("FILTER1", second);
                work.set("FILTER2", first);
            }
        }
        Ok(work.changes)
    }
}

/// New values of slots, later ones counting.
pub(crate) type Changes = Vec<(u16, String)>;

/// Puts changes into a copy of the values of slots; names in expressions change with their parameters.
pub(crate) fn changed<'c>(slots: &[Slot], cells: &[Cell<'c>], changes: &'c Changes) -> Vec<Cell<'c>> {
    let mut cells = cells.to_vec();
    for (changed, value) in changes {
        let name = slots.get(usize::from(*changed)).map(|slot| &slot.name);
        for (slot, cell) in slots.iter().zip(&mut cells) {
            if Some(&slot.name) == name {
                *cell = Cell::text(value);
            }
        }
    }
    cells
}

struct Work<'w> {
    slots: &'w [Slot],
    cells: &'w [Cell<'w>],
    changes: Changes,
}

impl Work<'_> {
    fn slot(&self, name: &str) -> Option<u16> {
        let place = self
            .slots
            .iter()
            .position(|slot| !slot.in_expression && *slot.name == *name)?;
        u16::try_from(place).ok()
    }

    fn get(&self, name: &str) -> Option<&str> {
        let slot = self.slot(name)?;
        let change = self.changes.iter().rev().find(|(changed, _)| *changed == slot);
        match change {
            Some((_, value)) => Some(value),
            None => self.cells.get(usize::from(slot))?.text,
        }
    }

    fn read(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| repr(name))
    }

    fn set(&mut self, name: &str, value: String) {
        if let Some(slot) = self.slot(name) {
            self.changes.push((slot, value));
        }
    }

    fn when(&self) -> Result<date::Moment, String> {
        let (date, time) = (self.read("DATE-OBS")?, self.read("TIME-OBS")?);
        date::parse(&format!("{date} {time}"))
    }

    /// Whether version 3 transforms this header.
    fn gate(&self) -> Result<bool, String> {
        let when = self.when()?.packed();
        if self.read("DETECTOR")? != "WFC" || when < INSTALLED {
            return Ok(true);
        }
        if self.get("APERTURE").is_none_or(|aperture| aperture == UNDEFINED) {
            return Ok(true);
        }
        let gain = float(self.read("CCDGAIN")?)?;
        Ok([4.0, 8.0].contains(&gain) || matches!(self.read("CCDAMP")?, "AD" | "BC"))
    }

    fn acs(&mut self, version: AcsBias) -> Result<(), String> {
        if version == AcsBias::V3 && !self.gate()? {
            return Ok(());
        }
        let early = self.when()?.packed() < REPAIRED;
        if early {
            self.set("APERTURE", NOT_APPLICABLE.to_owned());
        }
        if let Some(columns) = whole(self.read(version.columns())?)? {
            self.set(version.columns(), condition(&float_text(columns)).into_owned());
            if early && columns > 2048.0 {
                match self.read("CCDAMP")? {
                    "A" | "D" => self.set("CCDAMP", "AD".to_owned()),
                    "B" | "C" => self.set("CCDAMP", "BC".to_owned()),
                    _ => {}
                }
            }
        }
        let full = self.read("DETECTOR")? == "WFC"
            && self.read("XCORNER")? == "0.0"
            && self.read("YCORNER")? == "0.0";
        if full && let Some(rows) = whole(self.read(version.rows())?)? {
            self.set(version.rows(), condition(&float_text(rows / 2.0)).into_owned());
        }
        Ok(())
    }

    fn acs_full_frame(&mut self, version: AcsBias) -> Result<(), String> {
        let [first, second] = version.offsets();
        for name in [version.columns(), version.rows(), first, second] {
            self.read(name)?;
        }
        let values = if self.read("DETECTOR")? == "WFC" {
            ["4144.0", "2068.0", "24.0", "0.0"]
        } else if matches!(self.read("CCDAMP")?, "C" | "D") {
            ["1062.0", "1044.0", "19.0", "0.0"]
        } else {
            ["1062.0", "1044.0", "19.0", "20.0"]
        };
        for (name, value) in [version.columns(), version.rows(), first, second]
            .into_iter()
            .zip(values)
        {
            self.set(name, value.to_owned());
        }
        Ok(())
    }
}

/// The whole part of a number, nothing for what is none.
fn whole(text: &str) -> Result<Option<f64>, String> {
    match to_float(text) {
        Some(number) if number.is_infinite() => Err("cannot convert float infinity to integer".to_owned()),
        Some(number) if !number.is_nan() => Ok(Some(number.trunc())),
        _ => Ok(None),
    }
}
