//! Any text is a mapping or refused, and whatever was loaded answers any header: lines `NAME=VALUE` after a NUL.
#![cfg_attr(not(test), no_main)]

use std::sync::Arc;

use crds_fs::crds::Observatory;
use crds_fs::rules::{Context, Header, LoadError, LookupOptions, Mapping, Mappings, Memory};
use libfuzzer_sys::fuzz_target;

struct Nothing;

impl Mappings for Nothing {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        Err(LoadError::absent(name))
    }
}

fuzz_target!(|input: &str| {
    let (text, header) = input.split_once('\0').unwrap_or((input, ""));
    let header: Header = header.lines().filter_map(|line| line.split_once('=')).collect();
    for name in ["hst.pmap", "hst_acs.imap", "hst_acs_biasfile.rmap"] {
        let Ok(mapping) = Mapping::load(name, text) else {
            continue;
        };
        let options = LookupOptions {
            ignore_checksum: true,
        };
        if let Ok(context) = Context::new(Arc::new(mapping), Observatory::Hst, options) {
            let _ = context.evaluate_raw(&header);
            let _ = context.best_references::<&str>(&mut Memory::new(), &Nothing, &header, Some(&[]));
            let _ = context.best_references(&mut Memory::none(), &Nothing, &header, Some(&["biasfile"]));
        }
    }
});
