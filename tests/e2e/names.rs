//! Names as users have them: products for datasets, contexts in any case and without their extension.

use std::fs;
use std::path::Path;

use crate::library::Library;
use crate::rig::Rig;

#[test]
fn a_product_is_found_as_its_dataset_and_a_context_in_any_spelling() {
    let library = Library::demo();
    let rig = Rig::mounted(&[&library.flags()[0]], &[]);
    let dataset = "R0000101001001001001_0001.WFI01";
    let product = "r0000101001001001001_0001_wfi01_uncal.asdf";
    let link = |context: &str, dataset: &str| {
        fs::read_link(rig.path(format!("bestrefs/{context}/{dataset}/dark"))).map_err(|error| error.kind())
    };
    let dark = link("roman_0002.pmap", dataset).unwrap();
    assert!(dark.ends_with("roman_wfi_dark_0001.asdf"));
    assert_eq!(link("roman_0002.pmap", product), Ok(dark.clone()));
    for context in ["roman_0002", "ROMAN_0002.PMAP", "Roman-Latest"] {
        assert_eq!(link(context, product), Ok(dark.clone()), "{context}");
        // One directory is the context: every other spelling leads there.
        let means = fs::read_link(rig.path(Path::new("bestrefs").join(context))).unwrap();
        assert_eq!(means, Path::new("roman_0002.pmap"), "{context}");
    }
    assert!(link("roman_0099", product).is_err());
    assert!(
        library.counters().calls("get_best_references_by_ids") <= 1,
        "every name shares one answer"
    );
}
