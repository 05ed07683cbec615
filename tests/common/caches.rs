//! Commands on a cache, run alike on a mount and on a directory that is not mounted.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::origin::{Content, Origin};
use crate::outputs::text;
use crate::rig::{Rig, program};
use crate::{DARK, PMAP, content, server_flag};

const OTHER: &str = "roman_0002.pmap";
pub(crate) const IMAP: &str = "roman_wfi_0001.imap";
pub(crate) const RMAP: &str = "roman_wfi_dark_0001.rmap";

/// The mount of a rig, or its store when nothing is mounted.
pub(crate) struct Place<'a> {
    pub(crate) rig: &'a Rig,
    pub(crate) origin: &'a Origin,
    pub(crate) mounted: bool,
}

impl<'a> Place<'a> {
    /// The mount of a rig.
    pub(crate) fn mounted(rig: &'a Rig, origin: &'a Origin) -> Self {
        Self {
            rig,
            origin,
            mounted: true,
        }
    }

    /// The store of a rig that is not mounted.
    pub(crate) fn unmounted(rig: &'a Rig, origin: &'a Origin) -> Self {
        Self {
            rig,
            origin,
            mounted: false,
        }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let (command, rest) = arguments.split_first().unwrap();
        let mut program = program();
        program.arg(command);
        if self.mounted {
            program.arg("--mount").arg(self.rig.mountpoint());
        } else {
            program.arg("--cache").arg(self.rig.store());
        }
        program
            .args(rest)
            .env("CRDS_FS_SERVER", server_flag(self.origin))
            .env("CRDS_FS_OBSERVATORY", "roman")
            .env("CRDS_IGNORE_MAPPING_CHECKSUM", "1")
            .current_dir("/");
        program.output().unwrap()
    }

    /// The output of a command that succeeds.
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout)
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// State and error of each file that a command tells in JSON.
    pub(crate) fn states(&self, arguments: &[&str]) -> Vec<(String, String, Option<String>)> {
        let told = self.json(arguments);
        let line = |file: &Value| {
            let of = |field: &str| file[field].as_str().map(str::to_owned);
            (of("name").unwrap(), of("state").unwrap(), of("error"))
        };
        told["files"].as_array().unwrap().iter().map(line).collect()
    }

    /// Runs what is asked of a cache directory without a mount, and of a mount.
    pub(crate) fn each(content: impl Fn() -> Content, arguments: &[&str], test: impl Fn(&Place<'_>)) {
        for mounted in [false, true] {
            let origin = Origin::start(content());
            let mut rig = Rig::new(&[&server_flag(&origin)], arguments);
            if mounted {
                rig.mount();
            }
            test(&Place {
                rig: &rig,
                origin: &origin,
                mounted,
            });
        }
    }

    /// Brings files here.
    pub(crate) fn fetch(&self, names: &[&str]) {
        let fetched = self.run(&[&["fetch"], names].concat());
        assert!(fetched.status.success(), "{fetched:?}");
    }

    pub(crate) fn is_here(&self, name: &str) -> bool {
        if self.mounted {
            self.rig.settle();
        }
        self.rig.store().join(path(name)).exists()
    }
}

pub(crate) fn path(name: &str) -> PathBuf {
    let area = if name.ends_with("map") {
        "mappings"
    } else {
        "references"
    };
    Path::new(area).join("roman").join(name)
}

pub(crate) fn names(states: &[(String, String, Option<String>)], state: &str) -> Vec<String> {
    let in_state = states.iter().filter(|(_, known, _)| known == state);
    in_state.map(|(name, ..)| name.clone()).collect()
}

/// Rules in two contexts, which share all but the context itself.
pub(crate) fn rules() -> Content {
    let head = |kind: &str, parkey: &str, more: &str| {
        format!(
            "header = {{'mapping': '{kind}', 'parkey': {parkey}, 'name': 'x', 'derived_from': 'y', 'observatory': \
             'ROMAN'{more}}}\n"
        )
    };
    let pmap = head("PIPELINE", "('ROMAN.META.INSTRUMENT.NAME',)", "")
        + &format!("selector = {{'WFI': '{IMAP}'}}\n");
    let imap = head("INSTRUMENT", "('REFTYPE',)", ", 'instrument': 'WFI'")
        + &format!("selector = {{'DARK': '{RMAP}'}}\n");
    let parkey = "(('ROMAN.META.INSTRUMENT.DETECTOR',),)";
    let rmap = head("REFERENCE", parkey, ", 'instrument': 'WFI', 'filekind': 'DARK'")
        + &format!("selector = Match({{('WFI01',): '{DARK}'}})\n");
    let texts = [(PMAP, &pmap), (OTHER, &pmap), (IMAP, &imap), (RMAP, &rmap)];
    texts.into_iter().fold(content(), |content, (name, text)| {
        content.share(name, &text.as_bytes().to_vec().into())
    })
}
