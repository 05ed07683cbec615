//! Benchmarks of the rules engine on a context built in code, and on the shared cache where that is there.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use crds_fs::crds::Observatory;
use crds_fs::rules::{Context, Header, LoadError, LookupOptions, Mapping, Mappings, Memory};
use criterion::{Criterion, criterion_group, criterion_main};

const OPTIONS: LookupOptions = LookupOptions {
    ignore_checksum: true,
};

struct Loaded(HashMap<String, Arc<Mapping>>);

impl Mappings for Loaded {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        self.0.get(name).cloned().ok_or_else(|| LoadError::absent(name))
    }
}

/// An rmap of 300 match keys with 20 dates each.
fn rmap() -> String {
    let mut text = String::from(
        "header = {'mapping': 'REFERENCE', 'observatory': 'HST', 'instrument': 'ACS', 'filekind': 'DARKFILE', \
         'name': 'hst_acs_darkfile_0001.rmap', 'derived_from': 'nothing', \
         'parkey': (('DETECTOR', 'CCDGAIN', 'CCDAMP'), ('DATE-OBS', 'TIME-OBS'))}\nselector = Match({\n",
    );
    for row in 0..300 {
        let (detector, gain) = (row % 3, row / 3);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "('D{detector}', '{gain}', 'ABCD|AD'): UseAfter({{");
        for year in 1990..2010 {
            let _ = writeln!(text, "'{year}-01-01 00:00:00': 'dark_{row}_{year}.fits',");
        }
        text.push_str("}),\n");
    }
    text.push_str("})\n");
    text
}

fn built_in(criterion: &mut Criterion) {
    let text = rmap();
    criterion.bench_function("load an rmap of 6000 entries", |bencher| {
        bencher.iter(|| Mapping::load("hst_acs_darkfile_0001.rmap", black_box(&text)));
    });
    let Ok(mapping) = Mapping::load("hst_acs_darkfile_0001.rmap", &text) else {
        return;
    };
    let Ok(context) = Context::new(Arc::new(mapping), Observatory::Hst, OPTIONS) else {
        return;
    };
    let entries = [
        ("DETECTOR", "D1"),
        ("CCDGAIN", "42.0"),
        ("CCDAMP", "AD"),
        ("DATE-OBS", "2003-05-06"),
        ("TIME-OBS", "07:08:09"),
    ];
    let header: Header = entries.into_iter().collect();
    let none = Loaded(HashMap::new());
    let mut memory = Memory::new();
    criterion.bench_function("look up a header in it", |bencher| {
        bencher.iter(|| {
            let answers =
                context.best_references(&mut memory, &none, black_box(&header), Some(&["darkfile"]));
            answers.map(|answers| answers.len())
        });
    });
}

fn shared_contexts(criterion: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/crds-cache/mappings");
    for (observatory, name) in [
        (Observatory::Hst, "hst_0729.pmap"),
        (Observatory::Jwst, "jwst_0541.pmap"),
    ] {
        let read = |name: &str| std::fs::read_to_string(root.join(observatory.as_str()).join(name)).ok();
        let load = || {
            let mut loaded = HashMap::new();
            let mut wanted = vec![name.to_owned()];
            while let Some(name) = wanted.pop() {
                let mapping = Mapping::load(&name, read(&name)?).ok()?;
                wanted.extend(mapping.children().into_iter().map(str::to_owned));
                loaded.insert(name, Arc::new(mapping));
            }
            let loaded = Loaded(loaded);
            let context = Context::new(loaded.get(name).ok()?, observatory, OPTIONS).ok()?;
            context.required_parkeys(&loaded).ok()?;
            Some(context)
        };
        if load().is_none() {
            println!("{name} is not there: its loading is not measured");
            continue;
        }
        criterion.bench_function(&format!("load {name} and all below it"), |bencher| {
            bencher.iter(load);
        });
    }
}

criterion_group!(benches, built_in, shared_contexts);
criterion_main!(benches);
