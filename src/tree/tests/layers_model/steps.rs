//! The steps that are tried, and the names that they use.

use proptest::prelude::*;

use crate::crds::FileKind;

/// Names that the catalog may have, some of them at first, and names that it never has.
pub(crate) const CATALOGUED: [&str; 7] = [
    "hst_0001.pmap",
    "hst_acs_0001.imap",
    "v8q14451j_idc.fits",
    "x1o1958ej_drk.fits",
    "Weekdark_0H_wk03_drk.fits",
    "a0h1524tu.r4h",
    "y0000001j_drk.fits",
];
pub(crate) const OWN: [&str; 3] = ["mine_a", "mine_b", ".mine"];
/// The number of names, from the first on, that the catalog has at first.
pub(crate) const FIRST: usize = 5;
/// Room for about three of them.
pub(crate) const ROOM: u64 = 9_000;
pub(crate) const QUARANTINE: &str = ".crds-fs/quarantine";

/// A step; names are indexes in the arrays above, first one, then the other.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Opens, reads and closes.
    Read(usize),
    /// Opens and goes on to the next step before anything has come.
    Leave(usize),
    /// Opens, and keeps it open.
    Open(usize),
    /// Reads what is open once more, and closes one.
    Close(usize),
    Stat(usize),
    List,
    Create(usize, u16),
    Append(usize, u16),
    Rename(usize, usize),
    Unlink(usize),
    /// The catalog has this name with other contents, or has it now.
    Change(usize),
    /// The catalog has this name no more.
    Withdraw(usize),
    /// The next request for this file goes wrong.
    Fail(usize, Fault),
    /// The server is not reached, or is again.
    Unreachable(bool),
    /// Requests for files are held until an open waits for one.
    Hold,
    /// Everything ends, and begins anew over the same directory.
    Restart {
        offline: bool,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Refused,
    Cut(usize),
    Flipped(u64),
}

pub(crate) fn name(index: usize) -> &'static str {
    CATALOGUED.iter().chain(&OWN).nth(index).unwrap()
}

pub(crate) fn path(name: &str) -> String {
    let directory = if FileKind::of(name).is_mapping() {
        "mappings"
    } else {
        "references"
    };
    format!("{directory}/hst/{name}")
}

/// The contents of a name in one of its versions in the catalog: 500 to 3,500 bytes.
pub(crate) fn version(name: &str, number: u32) -> Vec<u8> {
    let length = 500 + (name.len() * 577 + number as usize * 1_234) % 3_000;
    let text = format!("{name} {number} ");
    text.bytes().cycle().take(length).collect()
}

/// Steps that are shown one to a line.
#[derive(Clone)]
pub(crate) struct Steps(pub(crate) Vec<Step>);

impl std::fmt::Debug for Steps {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|step| write!(out, "\n    {step:?}"))
    }
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let any_name = || 0..CATALOGUED.len() + OWN.len();
    let catalogued = || 0..CATALOGUED.len();
    let fault = prop_oneof![
        Just(Fault::Refused),
        (0..3_000_usize).prop_map(Fault::Cut),
        (0..3_000_u64).prop_map(Fault::Flipped),
    ];
    prop_oneof![
        8 => any_name().prop_map(Step::Read),
        4 => catalogued().prop_map(Step::Leave),
        3 => any_name().prop_map(Step::Open),
        4 => any::<usize>().prop_map(Step::Close),
        2 => any_name().prop_map(Step::Stat),
        1 => Just(Step::List),
        4 => (any_name(), 0..1_000_u16).prop_map(|(name, length)| Step::Create(name, length)),
        2 => (any_name(), 0..300_u16).prop_map(|(name, length)| Step::Append(name, length)),
        6 => (any_name(), any_name()).prop_map(|(from, to)| Step::Rename(from, to)),
        3 => any_name().prop_map(Step::Unlink),
        3 => catalogued().prop_map(Step::Change),
        1 => catalogued().prop_map(Step::Withdraw),
        2 => (catalogued(), fault).prop_map(|(name, fault)| Step::Fail(name, fault)),
        1 => any::<bool>().prop_map(Step::Unreachable),
        3 => Just(Step::Hold),
        1 => any::<bool>().prop_map(|offline| Step::Restart { offline }),
    ]
}
