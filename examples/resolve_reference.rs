//! The best references of one dataset without a mount or a server: by the rules of a cache directory, and the dataset's
//! matching parameters.
//!
//!     cargo run --example resolve_reference CACHE CONTEXT KEY=VALUE...
//!
//! For example, over a CRDS cache of Hubble:
//!
//!     resolve_reference ~/crds_cache hst_0729.pmap INSTRUME=ACS DETECTOR=WFC CCDGAIN=2.0 DATE-OBS=2016-01-01 ...

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crds_fs::crds::Observatory;
use crds_fs::rules::{Context, Header, LoadError, LookupOptions, Mapping, Mappings, Memory};

const USAGE: &str = "usage: resolve_reference CACHE CONTEXT KEY=VALUE...";

/// The rules below a cache directory.
struct Directory(PathBuf);

impl Mappings for Directory {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        let text = fs::read_to_string(self.0.join(name)).map_err(|_| LoadError::absent(name))?;
        Mapping::load(name, &text).map(Arc::new)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let cache = PathBuf::from(words.next().ok_or(USAGE)?);
    let name = words.next().ok_or(USAGE)?;
    let mut header = Header::new();
    for word in words {
        let (key, value) = word.split_once('=').ok_or(USAGE)?;
        header.push(key, value);
    }

    let observatory = Observatory::of_name(&name).ok_or("the context's name names no observatory")?;
    let mappings = Directory(cache.join("mappings").join(observatory.as_str()));
    let context = Context::new(mappings.get(&name)?, observatory, LookupOptions::default())?;
    for (reftype, answer) in context
        .best_references(&mut Memory::none(), &mappings, &header, None::<&[&str]>)?
        .iter()
    {
        println!("{reftype:12} {answer}");
    }
    Ok(())
}
