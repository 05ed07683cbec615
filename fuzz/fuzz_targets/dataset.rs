//! Any bytes are a dataset file of each format, or refused; a header that was read can be looked up with.
#![cfg_attr(not(test), no_main)]

use std::io::Cursor;
use std::path::Path;

use crds_fs::dataset;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let names = ["x.fits", "x.asdf", "x.r0h", "x.json", "x.yaml", "unknown"];
    let (which, bytes) = input;
    let name = Path::new(names[usize::from(which) % names.len()]);
    let Ok(header) = dataset::read_from(Cursor::new(bytes), name, None) else {
        return;
    };
    assert!(header.get("FILE_FORMAT").is_some());
    if let Ok(header) = header.for_lookup() {
        let _ = header.iter().collect::<crds_fs::rules::Header>().conditioned();
    }
});
