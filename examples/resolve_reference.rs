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

use crds_fs::crds::Observatory;
use crds_fs::rules::{Header, LoadError, LookupOptions, Memory, Provider, Texts};

const USAGE: &str = "usage: resolve_reference CACHE CONTEXT KEY=VALUE...";

/// The rules below a cache directory.
struct Directory(PathBuf);

impl Texts for Directory {
    type Version = ();

    fn text(&self, name: &str) -> Result<String, LoadError> {
        fs::read_to_string(self.0.join(name)).map_err(|_| LoadError::absent(name))
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
    let directory = Directory(cache.join("mappings").join(observatory.as_str()));
    let provider = Provider::new(directory, LookupOptions::default());
    let context = provider.context(observatory, &name)?;
    for (reftype, answer) in context
        .best_references(&mut Memory::none(), &header, None::<&[&str]>)?
        .iter()
    {
        println!("{reftype:12} {answer}");
    }
    Ok(())
}
