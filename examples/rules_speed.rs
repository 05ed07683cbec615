//! How fast the rules are: loading of whole contexts, headers per second (of processor time), and memory.
//!
//! `cargo run --release --example rules_speed -- CACHE [VECTORS]`: `CACHE` is a CRDS cache with mappings, `VECTORS` the
//! directory of the oracle's vectors, whose headers are used.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crds_fs::crds::Observatory;
use crds_fs::rules::{
    Context, Header, HeaderValue, LoadError, LookupOptions, Mapping, Mappings, Memory, spread,
};

struct Directory {
    root: PathBuf,
    loaded: Mutex<HashMap<String, Arc<Mapping>>>,
}

impl Directory {
    fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            loaded: Mutex::default(),
        }
    }
}

impl Mappings for Directory {
    fn get(&self, name: &str) -> Result<Arc<Mapping>, LoadError> {
        if let Some(mapping) = self
            .loaded
            .lock()
            .ok()
            .and_then(|loaded| loaded.get(name).cloned())
        {
            return Ok(mapping);
        }
        let observatory = name.split(['_', '.']).next().unwrap_or("");
        let path = self.root.join("mappings").join(observatory).join(name);
        let text = std::fs::read_to_string(path).map_err(|_| LoadError::absent(name))?;
        let mapping = Arc::new(Mapping::load(name, text)?);
        if let Ok(mut loaded) = self.loaded.lock() {
            loaded.insert(name.to_owned(), mapping.clone());
        }
        Ok(mapping)
    }

    fn prepare(&self, names: &[&str]) {
        spread(names, |name| drop(self.get(name)));
    }
}

type Failure = Box<dyn std::error::Error>;

const OPTIONS: LookupOptions = LookupOptions {
    ignore_checksum: true,
};

/// Loads a context and everything below it.
fn load(root: &Path, name: &str, observatory: Observatory) -> Result<(Directory, Context, usize), Failure> {
    let mappings = Directory::new(root);
    let context = Context::new(mappings.get(name)?, observatory, OPTIONS)?;
    context.required_parkeys(&mappings)?;
    let count = mappings.loaded.lock().map_or(0, |loaded| loaded.len());
    Ok((mappings, context, count))
}

fn headers(vectors: &Path, observatory: Observatory) -> Result<Vec<Header>, Failure> {
    let file = std::fs::File::open(vectors.join(format!("{observatory}-pmap.jsonl.gz")))?;
    let mut headers = Vec::new();
    for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
        let record: serde_json::Value = serde_json::from_str(&line?)?;
        let entries = record["header"].as_object().ok_or("a record has no header")?;
        let entries = entries.iter();
        headers.push(
            entries
                .map(|(name, value)| (name.clone(), HeaderValue::from(value)))
                .collect(),
        );
    }
    Ok(headers)
}

/// Time that the processor has spent on this thread: other programs on the machine do not count.
fn busy() -> Duration {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = spent.and_then(|text| text.split_whitespace().next()?.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

fn resident_megabytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

#[expect(clippy::cast_precision_loss, reason = "counts of headers are small")]
fn run(
    root: &Path,
    vectors: Option<&Path>,
    observatory: Observatory,
    name: &str,
) -> Result<(Directory, Context), Failure> {
    let once = || {
        let begin = Instant::now();
        load(root, name, observatory).map(|(.., count)| (begin.elapsed(), count))
    };
    let (first, count) = once()?;
    let mut times: Vec<_> = (0..30)
        .map(|_| once().map(|(time, _)| time))
        .collect::<Result<_, _>>()?;
    times.sort();
    println!(
        "{name}: {count} mappings loaded on all cores: first {first:.2?}, then at least {:.2?}, median {:.2?}",
        times[0],
        times[times.len() / 2]
    );
    let (mappings, context, _) = load(root, name, observatory)?;
    if let Some(vectors) = vectors {
        let headers = headers(vectors, observatory)?;
        let types: Option<&[&str]> = Some(&[]);
        let mut memory = Memory::new();
        let (mut lookups, mut answers) = (0_usize, 0_usize);
        let (begin, clock) = (busy(), Instant::now());
        while clock.elapsed().as_secs_f64() < 2.0 {
            for header in &headers {
                lookups += 1;
                answers += context
                    .best_references(&mut memory, &mappings, header, types)
                    .map_or(0, |answers| answers.len());
            }
        }
        let rate = lookups as f64 / (busy().saturating_sub(begin)).as_secs_f64();
        println!(
            "{name}: {rate:.0} headers per second on one core, all types ({:.1} answers each)",
            answers as f64 / lookups as f64
        );
    }
    Ok((mappings, context))
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let root = arguments.next().ok_or("usage: rules_speed CACHE [VECTORS]")?;
    let vectors = arguments.next();
    let mut kept = Vec::new();
    let contexts = [
        (Observatory::Hst, "hst_0729.pmap"),
        (Observatory::Jwst, "jwst_0541.pmap"),
        (Observatory::Roman, "roman_0007.pmap"),
    ];
    for (observatory, name) in contexts {
        match run(&root, vectors.as_deref(), observatory, name) {
            Ok(loaded) => kept.push(loaded),
            Err(error) => println!("{name}: {error}"),
        }
    }
    println!(
        "{} contexts in memory: {} MB resident",
        kept.len(),
        resident_megabytes().unwrap_or(0)
    );
    Ok(())
}
