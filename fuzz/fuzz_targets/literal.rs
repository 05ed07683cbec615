//! Any text is a Python literal or refused, and what is read is written so that it reads the same.
#![cfg_attr(not(test), no_main)]

use crds_fs::crds::literal::{parse, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(value) = parse(text) {
        let written = write(&value);
        assert!(written.is_ascii());
        assert_eq!(parse(&written).as_ref(), Ok(&value), "{written}");
    }
});
