//! The files of the server, whose bytes follow from their names.

use std::fs;
use std::path::Path;

use sha1::{Digest as _, Sha1};

use crate::Fallible;
use crate::origin::Content;
use crate::origin::content::Blob;
use crate::sizes::size;

const DETECTOR: &str = "META.INSTRUMENT.DETECTOR";
const INSTRUMENT: &str = "META.INSTRUMENT.NAME";

/// The references of the server with their contents.
pub(crate) struct Library {
    files: Vec<(String, Blob)>,
}

/// The name of a reference.
pub(crate) fn name(number: u32) -> String {
    format!("jwst_nircam_flat_{number:04}.fits")
}

/// The right bytes of a reference.
pub(crate) fn reference(number: u32) -> Blob {
    Blob::random(&name(number), size(number))
}

pub(crate) fn context(number: u32) -> String {
    format!("jwst_{number:04}.pmap")
}

/// The dark that a context chooses, and its bytes.
pub(crate) fn dark(context: u32) -> (String, Blob) {
    let name = format!("jwst_miri_dark_{context:04}.fits");
    let blob = Blob::random(&name, 20_000);
    (name, blob)
}

/// The path of the link to a context's dark, below the mount.
pub(crate) fn dark_link(number: u32) -> String {
    format!(
        "bestrefs/{}/{INSTRUMENT}=MIRI,{DETECTOR}=MIRIMAGE/dark",
        context(number)
    )
}

/// The rules of a context, by name.
pub(crate) fn rules(number: u32) -> [(String, String); 3] {
    let imap = format!("jwst_miri_{number:04}.imap");
    let rmap = format!("jwst_miri_dark_{number:04}.rmap");
    let pipeline = rule(
        &format!("'mapping': 'PIPELINE', 'parkey': ('{INSTRUMENT}',)"),
        &format!("{{'MIRI': '{imap}'}}"),
    );
    let instrument = rule(
        "'mapping': 'INSTRUMENT', 'parkey': ('REFTYPE',), 'instrument': 'MIRI'",
        &format!("{{'DARK': '{rmap}'}}"),
    );
    let darks = rule(
        &format!(
            "'mapping': 'REFERENCE', 'parkey': (('{DETECTOR}',),), 'instrument': 'MIRI', 'filekind': 'DARK'"
        ),
        &format!("Match({{('MIRIMAGE',): '{}'}})", dark(number).0),
    );
    [(context(number), pipeline), (imap, instrument), (rmap, darks)]
}

/// A rule with its own SHA-1 in it, which is that of all other lines.
fn rule(header: &str, selector: &str) -> String {
    let before =
        format!("header = {{\n    {header}, 'name': 'x', 'derived_from': 'y', 'observatory': 'JWST',\n");
    let behind = format!("}}\nselector = {selector}\n");
    let digest = Sha1::digest(before.clone() + &behind);
    let sum = digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat();
    format!("{before}    'sha1sum': '{sum}',\n{behind}")
}

impl Library {
    pub(crate) fn new(files: u32) -> Self {
        Self {
            files: (0..files)
                .map(|number| (name(number), reference(number)))
                .collect(),
        }
    }

    /// The size of all references together, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, blob)| blob.len() as u64).sum()
    }

    pub(crate) fn files(&self) -> &[(String, Blob)] {
        &self.files
    }

    /// All that the server has once this many contexts have been made.
    pub(crate) fn content(&self, contexts: u32) -> Content {
        let mut content = Content {
            observatory: "jwst",
            context: context(contexts),
            ..Content::default()
        };
        content.files.extend(self.files.iter().cloned());
        for number in 1..=contexts {
            let rules = rules(number).map(|(name, text)| (name, text.into_bytes().into()));
            content.files.extend(rules);
            content.files.extend([dark(number)]);
        }
        content
    }

    /// That what is under a final name in the store is right, and nothing was put aside.
    pub(crate) fn check_store(&self, store: &Path) -> Fallible<()> {
        let (mut right, mut bytes) = (0, 0);
        for entry in fs::read_dir(store.join("references/jwst"))? {
            let entry = entry?;
            let name = entry.file_name();
            let known = self.files.iter().find(|(known, _)| name == known.as_str());
            let Some((name, blob)) = known else { continue };
            let stored = fs::read(entry.path())?;
            if stored[..] != blob[..] {
                return Err(format!("{name} in the store is wrong").into());
            }
            (right, bytes) = (right + 1, bytes + stored.len());
        }
        let aside = fs::read_dir(store.join(".crds-fs/quarantine")).map_or(0, Iterator::count);
        if aside > 0 {
            return Err(
                format!("{aside} entries in the quarantine of a store that nobody else wrote to").into(),
            );
        }
        println!(
            "{right} files of {} MB in the store, all right",
            bytes / 1_000_000
        );
        Ok(())
    }
}
