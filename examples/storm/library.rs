//! The files of the server, whose bytes follow from their names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::origin::content::Blob;
use crate::origin::{Behaviour, Content};
use crate::sizes::{LARGE_FILES, size};

pub(crate) const OBSERVATORY: &str = "roman";
const INSTRUMENT: &str = "wfi";
const CONTEXT: &str = "roman_0001.pmap";
const RULES: &str = "header = {'mapping': 'PIPELINE', 'parkey': ('ROMAN.META.INSTRUMENT.NAME',), 'name': 'roman_0001.pmap', \
                     'derived_from': 'nothing', 'observatory': 'ROMAN'}\nselector = {}\n";

/// How slow files come: a second or two, so that mounts die while they fetch.
pub(crate) const SLOWLY: Behaviour = Behaviour::Drip {
    bytes: 2048,
    every: Duration::from_millis(50),
};

/// Where references lie in a cache.
pub(crate) fn directory(instrument: bool) -> PathBuf {
    let directory = Path::new("references").join(OBSERVATORY);
    if instrument {
        directory.join(INSTRUMENT)
    } else {
        directory
    }
}

/// The name of a reference.
pub(crate) fn name(number: u32) -> String {
    format!("roman_wfi_flat_{number:04}.asdf")
}

/// Whether a file comes slowly while mounts are killed.
pub(crate) fn is_slow(number: u32) -> bool {
    number >= LARGE_FILES && number.is_multiple_of(10)
}

/// The right bytes of a reference.
pub(crate) fn reference(number: u32) -> Blob {
    Blob::random(&name(number), size(number))
}

/// How long all references are together.
pub(crate) fn bytes(files: u32) -> usize {
    (0..files).map(size).sum()
}

pub(crate) fn content(files: u32) -> Content {
    let mut content = Content {
        observatory: OBSERVATORY,
        context: CONTEXT.to_owned(),
        ..Content::default()
    };
    content
        .files
        .insert(CONTEXT.to_owned(), RULES.as_bytes().to_vec().into());
    content
        .files
        .extend((0..files).map(|number| (name(number), reference(number))));
    content
}
