//! The speed of the rules: loading of whole contexts, headers per second (of processor time), a hundred thousand headers
//! against two contexts, and memory; and, in the same run, the speed of the Python client.
//!
//! `cargo build --release && cargo run --release --example rules_speed -- CACHE [VECTORS [PYTHON]]`: `CACHE` is a CRDS cache
//! with mappings, `VECTORS` the directory of the oracle's vectors, whose headers are used, `PYTHON` an interpreter that has
//! the package `crds`. The program `crds-fs` is that beside the example.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crds_fs::crds::Observatory;
use crds_fs::rules::{Header, HeaderValue, LoadError, LookupOptions, Memory, OpenContext, Provider, Texts};

/// The texts of a cache directory.
struct Directory(PathBuf);

impl Texts for Directory {
    type Version = ();

    fn text(&self, name: &str) -> Result<String, LoadError> {
        let observatory = name.split(['_', '.']).next().unwrap_or("");
        let path = self.0.join("mappings").join(observatory).join(name);
        std::fs::read_to_string(path).map_err(|_| LoadError::absent(name))
    }
}

type Failure = Box<dyn std::error::Error>;

const OPTIONS: LookupOptions = LookupOptions {
    ignore_checksum: true,
};

/// Loads a context and everything below it.
fn load(root: &Path, name: &str, observatory: Observatory) -> Result<Provider<Directory>, Failure> {
    let provider = Provider::new(Directory(root.to_owned()), OPTIONS);
    provider.context(observatory, name)?.required_parkeys()?;
    Ok(provider)
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

/// The measurements of one context.
struct Speed {
    /// Seconds.
    load: f64,
    /// Headers per second.
    rate: Option<f64>,
}

fn load_times(root: &Path, name: &str, observatory: Observatory) -> Result<f64, Failure> {
    let once = || {
        let begin = Instant::now();
        load(root, name, observatory).map(|provider| (begin.elapsed(), provider))
    };
    let (first, provider) = once()?;
    let count = provider.closure(name)?.mappings.len();
    let mut times: Vec<_> = (0..30)
        .map(|_| once().map(|(time, _)| time))
        .collect::<Result<_, _>>()?;
    times.sort();
    let median = times[times.len() / 2];
    println!(
        "{name}: {count} mappings loaded on all cores: first {first:.2?}, then at least {:.2?}, median {median:.2?}",
        times[0]
    );
    Ok(median.as_secs_f64())
}

const ALL_TYPES: Option<&[&str]> = Some(&[]);

#[expect(clippy::cast_precision_loss, reason = "counts of headers are small")]
fn rate(name: &str, context: &OpenContext<'_, Directory>, headers: &[Header]) -> f64 {
    let mut memory = Memory::new();
    let (mut lookups, mut answers) = (0_usize, 0_usize);
    let (begin, clock) = (busy(), Instant::now());
    while clock.elapsed().as_secs_f64() < 2.0 {
        for header in headers {
            lookups += 1;
            answers += context
                .best_references(&mut memory, header, ALL_TYPES)
                .map_or(0, |answers| answers.len());
        }
    }
    let rate = lookups as f64 / (busy().saturating_sub(begin)).as_secs_f64();
    println!(
        "{name}: {rate:.0} headers per second on one core, all types ({:.1} answers each)",
        answers as f64 / lookups as f64
    );
    rate
}

/// A hundred thousand headers against this context and another one, on two threads.
fn two_contexts(
    root: &Path,
    other: &str,
    name: &str,
    observatory: Observatory,
    headers: &[Header],
) -> Result<(), Failure> {
    const HEADERS: usize = 100_000;
    let provider = load(root, name, observatory)?;
    let context = provider.context(observatory, name)?;
    let other_context = provider.context(observatory, other)?;
    other_context.required_parkeys()?;
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let contexts = [&context, &other_context];
            scope.spawn(move || {
                let mut memory = Memory::new();
                for header in headers.iter().cycle().skip(half).step_by(2).take(HEADERS / 2) {
                    for context in contexts {
                        let answers = context.best_references(&mut memory, header, ALL_TYPES);
                        std::hint::black_box(answers.is_ok());
                    }
                }
            });
        }
    });
    println!(
        "{HEADERS} headers against {name} and {other} on two threads: {:.2?}",
        begin.elapsed()
    );
    Ok(())
}

fn run(
    root: &Path,
    vectors: Option<&Path>,
    observatory: Observatory,
    name: &str,
    other: &str,
) -> Result<(Provider<Directory>, Speed), Failure> {
    let mut speed = Speed {
        load: load_times(root, name, observatory)?,
        rate: None,
    };
    let provider = load(root, name, observatory)?;
    if let Some(vectors) = vectors {
        let headers = headers(vectors, observatory)?;
        speed.rate = Some(rate(name, &provider.context(observatory, name)?, &headers));
        two_contexts(root, other, name, observatory, &headers)?;
    }
    Ok((provider, speed))
}

/// The Python client beside it.
struct Client<'a> {
    python: &'a Path,
    root: &'a Path,
    vectors: &'a Path,
}

impl Client<'_> {
    fn work(&self, observatory: Observatory, name: &str, work: &str) -> Result<serde_json::Value, Failure> {
        let output = Command::new(self.python)
            .arg("-c")
            .arg(include_str!("rules_speed.py"))
            .args([self.root, self.vectors])
            .args([observatory.as_str(), name, work])
            .stderr(Stdio::inherit())
            .output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn compare(&self, observatory: Observatory, name: &str, speed: &Speed) -> Result<(), Failure> {
        let told = self.work(observatory, name, "all")?;
        let number = |key: &str| told[key].as_f64().unwrap_or(f64::NAN);
        println!(
            "{name}: the Python client loads in {:.0} ms: ratio {:.0}",
            number("load") * 1e3,
            number("load") / speed.load
        );
        if let Some(rate) = speed.rate {
            println!(
                "{name}: the Python client answers {:.0} headers per second: ratio {:.0}",
                number("rate"),
                rate / number("rate")
            );
        }
        let theirs = shortest(3, || self.work(observatory, name, "query").map(drop))?;
        let header = self.first_header(observatory, name)?;
        let program = std::env::current_exe()?;
        let program = program
            .ancestors()
            .nth(2)
            .ok_or("where is crds-fs?")?
            .join("crds-fs");
        let ours = shortest(10, || {
            let status = Command::new(&program)
                .args([
                    "bestrefs",
                    "--context",
                    name,
                    "--json",
                    "--header",
                    &header,
                    "--cache",
                ])
                .arg(self.root)
                .env("CRDS_IGNORE_MAPPING_CHECKSUM", "1")
                .stdout(Stdio::null())
                .status()?;
            if status.success() {
                Ok(())
            } else {
                Err(format!("{}: {status}", program.display()).into())
            }
        })?;
        println!(
            "{name}: one query in a fresh process {ours:.2?}, the Python client {theirs:.2?}: ratio {:.0}",
            theirs.as_secs_f64() / ours.as_secs_f64()
        );
        Ok(())
    }

    /// The first header of the vectors that has answers, as `--header` takes it.
    fn first_header(&self, observatory: Observatory, name: &str) -> Result<String, Failure> {
        let provider = load(self.root, name, observatory)?;
        let context = provider.context(observatory, name)?;
        let headers = headers(self.vectors, observatory)?;
        let has_answers = |header: &&Header| {
            let answers = context.best_references::<&str>(&mut Memory::none(), header, None);
            answers.is_ok()
        };
        let first = headers.iter().find(has_answers).ok_or("no vector has answers")?;
        let escaped = |text: &str| {
            let text = text.replace('%', "%25").replace(',', "%2C");
            text.replace('=', "%3D").replace('/', "%2F")
        };
        let pairs: Vec<String> = first
            .iter()
            .map(|(name, value)| format!("{}={}", escaped(name), escaped(&value.text())))
            .collect();
        Ok(pairs.join(","))
    }
}

fn shortest(times: usize, mut work: impl FnMut() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let mut shortest = Duration::MAX;
    for _ in 0..times {
        let begin = Instant::now();
        work()?;
        shortest = shortest.min(begin.elapsed());
    }
    Ok(shortest)
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let root = arguments
        .next()
        .ok_or("usage: rules_speed CACHE [VECTORS [PYTHON]]")?;
    let (vectors, python) = (arguments.next(), arguments.next());
    let contexts = [
        (Observatory::Hst, "hst_0729.pmap", "hst_0728.pmap"),
        (Observatory::Jwst, "jwst_0541.pmap", "jwst_0540.pmap"),
        (Observatory::Roman, "roman_0007.pmap", "roman_0005.pmap"),
    ];
    let mut kept = Vec::new();
    for (observatory, name, other) in contexts {
        match run(&root, vectors.as_deref(), observatory, name, other) {
            Ok(loaded) => kept.push((observatory, name, loaded)),
            Err(error) => println!("{name}: {error}"),
        }
    }
    println!(
        "{} contexts in memory: {} MB resident",
        kept.len(),
        resident_megabytes().unwrap_or(0)
    );
    let (Some(vectors), Some(python)) = (&vectors, &python) else {
        return Ok(());
    };
    let client = Client {
        python,
        root: &root,
        vectors,
    };
    for (observatory, name, (.., speed)) in &kept {
        client.compare(*observatory, name, speed)?;
    }
    Ok(())
}
