//! Rules with something of everything answer any header, whole or reduced.
#![cfg_attr(not(test), no_main)]

use std::sync::{Arc, LazyLock};

use crds_fs::crds::Observatory;
use crds_fs::rules::{
    Context, Header, HeaderValue, LoadError, LookupOptions, Mapping, Mappings, Memory, default_reftypes,
};
use libfuzzer_sys::fuzz_target;

const RULES: &str = "header = {'mapping': 'REFERENCE', 'name': 'x', 'derived_from': 'y', 'observatory': 'HST',
    'instrument': 'ACS', 'filekind': 'BIASFILE', 'extra_keys': ('NAXIS1', 'XCORNER', 'YCORNER'),
    'parkey': (('DETECTOR', 'CCDGAIN', 'NUMCOLS', 'APERTURE'), ('DATE-OBS', 'TIME-OBS')),
    'parkey_relevance': {'ccdgain': '(DETECTOR in [\"WFC\", \"HRC\"] and not APERTURE == \"N/A\")'},
    'rmap_relevance': '(DETECTOR != \"SBC\" or 1 < 2)', 'reffile_required': 'YES',
    'hooks': {'precondition_header': 'precondition_header_acs_biasfile_v3', 'fallback_header': 'fallback_header_acs_biasfile_v3'}}
selector = Match({
    ('WFC|HRC', '1.0', '# >1 and <=2048.5 #', '*'): UseAfter({'2002-03-01 00:00:00': 'a.fits', '2004-01-01 12:13:14': 'b.fits'}),
    ('WFC', 'BETWEEN 1 4', 'N/A', 'NOT WFC*'): UseAfter({'1990-01-01 00:00:00': 'c.fits'}),
    ('HRC', '(^[0-9.]+$)', '{12}', 'WFC?[12]'): ClosestTime({'2003-01-01 00:00:00': 'd.fits', '2003-09-26 01:28:00': 'e.fits'}),
    ('HRC', 'N/A', 'N/A', 'N/A'): SelectVersion({'<3.1': 'f.fits', '<5': 'g.fits', 'default': 'h.fits'}),
})
";

static CONTEXTS: LazyLock<Vec<Context>> = LazyLock::new(|| {
    let mapping = Arc::new(Mapping::load("hst_acs_biasfile.rmap", RULES).expect("the rules load"));
    let options = LookupOptions {
        ignore_checksum: true,
    };
    [Observatory::Hst, Observatory::Jwst, Observatory::Roman]
        .map(|observatory| {
            Context::new(Arc::clone(&mapping), observatory, options).expect("the context is made")
        })
        .into()
});

struct Nothing;

impl Mappings for Nothing {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        Err(LoadError::absent(name))
    }
}

const NAMES: [&str; 12] = [
    "DETECTOR",
    "CCDGAIN",
    "NUMCOLS",
    "APERTURE",
    "DATE-OBS",
    "TIME-OBS",
    "NAXIS1",
    "XCORNER",
    "YCORNER",
    "INSTRUME",
    "META.INSTRUMENT.DETECTOR",
    "CAL_VER",
];

fuzz_target!(|input: Vec<(u8, &str)>| {
    let entries = input.into_iter().map(|(name, value)| {
        let value = match name & 0x60 {
            0x60 => value.parse().map_or(HeaderValue::None, HeaderValue::Float),
            0x40 => HeaderValue::Bool(value.is_empty()),
            _ => HeaderValue::Text(value.to_owned()),
        };
        (NAMES[usize::from(name & 0x1f) % NAMES.len()].to_owned(), value)
    });
    let header: Header = entries.collect();
    let _ = default_reftypes(&header);
    for context in &*CONTEXTS {
        let _ = context.evaluate_raw(&header);
        let _ = context.best_references(&mut Memory::new(), &Nothing, &header, Some(&["biasfile"]));
    }
});
