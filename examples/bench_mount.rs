//! How fast the mount is, as ratios to the best this machine can do in the same run.
//!
//!     cargo build --release && cargo run --release --example bench_mount [-- --reps 5] [--dir DIR]
//!
//! A cache of one file of 1 GiB and 2,000 files of 16 KiB is made in DIR (default: a temporary directory), served on
//! loopback by `crds-fs serve`, and read through fresh mounts. Each repetition measures the reference and the mount in
//! turn, so that the ratios hold while the machine's speed drifts; the table shows medians.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

type Fallible<T> = Result<T, Box<dyn Error>>;

const LARGE_BYTES: usize = 1 << 30;
const LARGE: &str = "jwst_nircam_dark_0001.fits";
const SMALL_COUNT: usize = 2000;
const SMALL_BYTES: usize = 16 << 10;

fn small_name(index: usize) -> String {
    format!("jwst_nircam_distortion_{index:04}.asdf")
}

fn main() -> Fallible<()> {
    let (repetitions, directory) = arguments()?;
    let binary = binary()?;
    let scratch = tempfile::tempdir_in(&directory)?;
    let origin = scratch.path().join("origin");
    make_cache(&origin)?;
    let server = Server::start(&binary, &origin)?;
    let mut table = Table::default();
    for repetition in 0..repetitions {
        measure(
            &binary,
            &server,
            &origin,
            &scratch.path().join(format!("run{repetition}")),
            &mut table,
        )?;
    }
    table.print();
    Ok(())
}

fn arguments() -> Fallible<(usize, PathBuf)> {
    let mut repetitions = 5;
    let mut directory = std::env::temp_dir();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--reps", Some(value)) => repetitions = value.parse()?,
            ("--dir", Some(value)) => directory = value.into(),
            _ => return Err("usage: bench_mount [--reps N] [--dir DIR]".into()),
        }
    }
    Ok((repetitions, directory))
}

/// The program beside this example, which cargo builds into the same profile's directory.
fn binary() -> Fallible<PathBuf> {
    let example = std::env::current_exe()?;
    let binary = example
        .ancestors()
        .nth(2)
        .ok_or("no target directory")?
        .join("crds-fs");
    if binary.exists() {
        Ok(binary)
    } else {
        Err(format!("{} is not built yet", binary.display()).into())
    }
}

/// Bytes that compress badly and differ from file to file; quality does not matter.
fn fill(buffer: &mut [u8], mut state: u64) {
    for chunk in buffer.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

fn make_cache(origin: &Path) -> Fallible<()> {
    let references = origin.join("references/jwst");
    fs::create_dir_all(&references)?;
    fs::create_dir_all(origin.join("config/jwst"))?;
    fs::write(origin.join("config/jwst/ref_cache_subdir_mode"), "flat")?;
    let mut buffer = vec![0; 1 << 20];
    let mut large = File::create(references.join(LARGE))?;
    for part in 0..LARGE_BYTES / buffer.len() {
        fill(&mut buffer, part as u64 + 1);
        large.write_all(&buffer)?;
    }
    for index in 0..SMALL_COUNT {
        fill(&mut buffer[..SMALL_BYTES], index as u64 + 77_777);
        fs::write(references.join(small_name(index)), &buffer[..SMALL_BYTES])?;
    }
    Ok(())
}

/// `crds-fs serve` over the made cache; ended when dropped.
struct Server {
    process: Child,
    base: String,
}

impl Server {
    fn start(binary: &Path, origin: &Path) -> Fallible<Self> {
        let mut process = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .arg(origin)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let found = BufReader::new(output)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let start = line.find("http://127.0.0.1:")?;
                let address: String = line[start + 7..]
                    .chars()
                    .take_while(|c| !matches!(c, '/' | ' '))
                    .collect();
                Some(format!("http://{address}/jwst"))
            });
        let Some(base) = found else {
            process.kill()?;
            return Err("the server did not say where it listens".into());
        };
        Ok(Self { process, base })
    }

    fn url(&self, name: &str) -> String {
        format!("{}/unchecked_get/references/jwst/{name}", self.base)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A mount with an empty store; unmounted when dropped.
struct Mount<'a> {
    binary: &'a Path,
    point: PathBuf,
    ready: f64,
}

impl<'a> Mount<'a> {
    fn new(binary: &'a Path, server: &Server, point: &Path, store: &Path) -> Fallible<Self> {
        fs::create_dir_all(point)?;
        fs::create_dir_all(store)?;
        let begin = Instant::now();
        let status = Command::new(binary)
            .args([
                "mount",
                "-q",
                "--observatory",
                "jwst",
                "--server",
                &server.base,
                "--cache",
            ])
            .arg(store)
            .arg(point)
            .status()?;
        let ready = begin.elapsed().as_secs_f64();
        if !status.success() {
            return Err("the mount failed".into());
        }
        Ok(Self {
            binary,
            point: point.to_owned(),
            ready,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.point.join("references/jwst").join(name)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        Command::new(self.binary)
            .arg("umount")
            .arg(&self.point)
            .status()
            .ok();
    }
}

/// Seconds that `work` takes.
fn timed(work: impl FnOnce() -> Fallible<()>) -> Fallible<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}

fn read_whole(path: &Path, expected: usize) -> Fallible<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 128 << 10];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => total += count,
        }
    }
    if total == expected {
        Ok(())
    } else {
        Err(format!("{}: {total} bytes", path.display()).into())
    }
}

fn curl(url: &str, target: &Path) -> Fallible<()> {
    let status = Command::new("curl")
        .args(["-sS", "--fail", "-o"])
        .arg(target)
        .arg(url)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("curl failed".into())
    }
}

fn measure(binary: &Path, server: &Server, origin: &Path, run: &Path, table: &mut Table) -> Fallible<()> {
    fs::create_dir_all(run)?;
    let native = origin.join("references/jwst").join(LARGE);
    read_whole(&native, LARGE_BYTES)?;
    let fetched = run.join("curl");
    let reference = timed(|| curl(&server.url(LARGE), &fetched))?;
    fs::remove_file(&fetched)?;
    let mount = Mount::new(binary, server, &run.join("mnt"), &run.join("store"))?;
    table.add("mount ready, empty store", mount.ready, None);
    let cold = timed(|| read_whole(&mount.file(LARGE), LARGE_BYTES))?;
    table.add("1 GiB cold / curl -o", cold, Some(reference));
    let reference = timed(|| read_whole(&native, LARGE_BYTES))?;
    let warm = timed(|| read_whole(&mount.file(LARGE), LARGE_BYTES))?;
    table.add("1 GiB warm / native", warm, Some(reference));

    let small = |directory: &dyn Fn(&str) -> PathBuf| -> Fallible<()> {
        (0..SMALL_COUNT).try_for_each(|index| read_whole(&directory(&small_name(index)), SMALL_BYTES))
    };
    let references = origin.join("references/jwst");
    let reference = timed(|| curl_many(server, &run.join("small")))?;
    let cold = timed(|| small(&|name| mount.file(name)))?;
    table.add("2,000 x 16 KiB cold / one curl -o", cold, Some(reference));
    let reference = timed(|| small(&|name| references.join(name)))?;
    let warm = timed(|| small(&|name| mount.file(name)))?;
    table.add("2,000 x 16 KiB warm / native", warm, Some(reference));
    drop(mount);

    let again = Mount::new(binary, server, &run.join("mnt"), &run.join("store"))?;
    table.add("mount ready, store with catalog", again.ready, None);
    let reference = timed(|| read_whole(&native, LARGE_BYTES))?;
    let warm = timed(|| read_whole(&again.file(LARGE), LARGE_BYTES))?;
    table.add("1 GiB after remount / native", warm, Some(reference));
    drop(again);
    fs::remove_dir_all(run)?;
    Ok(())
}

/// One curl process with one kept connection fetches all small files.
fn curl_many(server: &Server, directory: &Path) -> Fallible<()> {
    fs::create_dir_all(directory)?;
    let mut process = Command::new("curl")
        .args(["-sS", "--fail", "-K", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = process.stdin.take().ok_or("no input")?;
    for index in 0..SMALL_COUNT {
        let name = small_name(index);
        writeln!(
            input,
            "url = \"{}\"\noutput = \"{}\"",
            server.url(&name),
            directory.join(&name).display()
        )?;
    }
    drop(input);
    if process.wait()?.success() {
        Ok(())
    } else {
        Err("curl failed".into())
    }
}

/// Seconds by row, with the reference's seconds of the same repetition.
#[derive(Default)]
struct Table {
    rows: BTreeMap<usize, Row>,
}

struct Row {
    name: &'static str,
    samples: Vec<(f64, Option<f64>)>,
}

impl Table {
    fn add(&mut self, name: &'static str, seconds: f64, reference: Option<f64>) {
        let next = self.rows.len();
        let place = self
            .rows
            .iter()
            .find(|(_, row)| row.name == name)
            .map_or(next, |(place, _)| *place);
        self.rows
            .entry(place)
            .or_insert_with(|| Row {
                name,
                samples: Vec::new(),
            })
            .samples
            .push((seconds, reference));
    }

    fn print(&self) {
        println!("| what | seconds | reference | time / reference (min to max) |");
        println!("| --- | --- | --- | --- |");
        for row in self.rows.values() {
            let seconds = median(row.samples.iter().map(|sample| sample.0));
            let reference: Vec<f64> = row.samples.iter().filter_map(|sample| sample.1).collect();
            let mut ratios: Vec<f64> = row
                .samples
                .iter()
                .filter_map(|(seconds, reference)| Some(seconds / (*reference)?))
                .collect();
            ratios.sort_by(f64::total_cmp);
            match (ratios.first(), ratios.last()) {
                (Some(least), Some(most)) => println!(
                    "| {} | {seconds:.3} | {:.3} | {:.2} ({least:.2} to {most:.2}) |",
                    row.name,
                    median(reference.into_iter()),
                    median(ratios.iter().copied()),
                ),
                _ => println!("| {} | {seconds:.3} | | |", row.name),
            }
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
