//! The readers: processes with many threads each, which compare every byte that they get.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::Fallible;
use crate::daemon::PATIENCE;
use crate::library::{self, Library};
use crate::report::Report;

/// The first argument with which this program is a process of readers.
pub(crate) const COMMAND: &str = "--read";

const PROCESSES: u32 = 8;

/// The errors that an open may have while the server fails, with their names.
const EXPECTED: [(Errno, &str); 7] = [
    (Errno::REMOTEIO, "EREMOTEIO"),
    (Errno::BADMSG, "EBADMSG"),
    (Errno::TIMEDOUT, "ETIMEDOUT"),
    (Errno::HOSTUNREACH, "EHOSTUNREACH"),
    (Errno::NODATA, "ENODATA"),
    (Errno::ACCESS, "EACCES"),
    (Errno::NOSPC, NO_ROOM),
];

const NO_ROOM: &str = "ENOSPC";

/// The counts and problems of all readers.
#[derive(Default)]
struct Seen {
    reads: u64,
    errors: BTreeMap<String, u64>,
    problems: Vec<String>,
}

/// The processes of readers; killed when dropped.
pub(crate) struct Readers {
    arguments: Vec<String>,
    processes: Vec<Child>,
    seen: Arc<Mutex<Seen>>,
    started: u64,
}

impl Readers {
    pub(crate) fn start(point: &Path, readers: u32, files: u32, seed: u64) -> Fallible<Self> {
        let threads = readers.div_ceil(PROCESSES);
        let mut all = Self {
            arguments: vec![
                point.display().to_string(),
                files.to_string(),
                threads.to_string(),
            ],
            processes: Vec::new(),
            seen: Arc::default(),
            started: seed,
        };
        for _ in 0..PROCESSES {
            let process = all.spawn()?;
            all.processes.push(process);
        }
        Ok(all)
    }

    fn spawn(&mut self) -> Fallible<Child> {
        self.started += 1;
        let mut process = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .args(&self.arguments)
            .arg(self.started.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("no output")?;
        let seen = Arc::clone(&self.seen);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                seen.lock().take(&line);
            }
        });
        Ok(process)
    }

    /// Kills a process while it reads, sees it end, and starts another one.
    pub(crate) fn kill_one(&mut self, report: &mut Report) -> Fallible<()> {
        let mut process = self.processes.remove(0);
        // It may have ended by itself.
        let _ = process.kill();
        wait(&mut process, report)?;
        let process = self.spawn()?;
        self.processes.push(process);
        Ok(())
    }

    /// Tells all to end, and sees that they do.
    pub(crate) fn stop(&mut self, report: &mut Report) -> Fallible<()> {
        for process in &mut self.processes {
            drop(process.stdin.take());
        }
        for mut process in std::mem::take(&mut self.processes) {
            if let Some(status) = wait(&mut process, report)?
                && !status.success()
            {
                report
                    .problems
                    .add(format!("a process of readers ended with {status}"));
            }
        }
        Ok(())
    }

    pub(crate) fn counts(&self) -> String {
        let seen = self.seen.lock();
        let errors: Vec<_> = seen
            .errors
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        format!("{} reads, {}", seen.reads, errors.join(", "))
    }

    /// All that no reader may see.
    pub(crate) fn problems(&self) -> Vec<String> {
        let seen = self.seen.lock();
        let mut problems = seen.problems.clone();
        let full = seen.errors.get(NO_ROOM).copied().unwrap_or(0);
        if seen.reads == 0 || full > seen.reads / 100 {
            problems.push(format!("{} reads, and {full} times no room", seen.reads));
        }
        problems
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The exit status of a process, which must end within [`PATIENCE`]; else it is killed, and a problem.
fn wait(process: &mut Child, report: &mut Report) -> Fallible<Option<std::process::ExitStatus>> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    report.problems.add(format!(
        "process {} of readers does not end: {}",
        process.id(),
        fs::read_to_string(format!("/proc/{}/wchan", process.id())).unwrap_or_default()
    ));
    let _ = process.kill();
    Ok(None)
}

impl Seen {
    /// One line of a reader: `read`, `error NAME`, or what was wrong.
    fn take(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("read", count)) => self.reads += count.parse::<u64>().unwrap_or(0),
            Some(("error", name)) => *self.errors.entry(name.to_owned()).or_default() += 1,
            _ => {
                println!("WRONG: {line}");
                self.problems.push(line.to_owned());
            }
        }
    }
}

/// A process of readers: ends when its input does.
pub(crate) fn read(words: &[String]) -> Fallible<()> {
    let [point, files, threads, seed] = words else {
        return Err("mount point, files, threads and seed are missing".into());
    };
    let (files, threads, seed): (u32, u64, u64) = (files.parse()?, threads.parse()?, seed.parse()?);
    let stop = AtomicBool::new(false);
    let reader = |number: u64| Reader {
        point: PathBuf::from(point),
        files,
        number: seed * 1000 + number,
        random: fastrand::Rng::with_seed(seed * 1000 + number),
        removed: None,
    };
    std::thread::scope(|scope| {
        for number in 0..threads {
            let (mut reader, stop) = (reader(number), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    reader.step();
                }
            });
        }
        // It ends when whoever has started it wants it, or is gone.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
    });
    Ok(())
}

struct Reader {
    point: PathBuf,
    files: u32,
    number: u64,
    random: fastrand::Rng,
    /// The number of the file that this reader has removed last.
    removed: Option<u32>,
}

impl Reader {
    /// One thing that a user does.
    fn step(&mut self) {
        let number = self.random.u32(..self.files);
        let (what, outcome) = match self.random.u32(..100) {
            0..=1 => ("a file of the user's own", self.own_file()),
            2..=3 => ("an absent name", self.absent()),
            4..=6 => ("removing", self.remove(number)),
            7..=9 => ("a best reference", self.best_reference()),
            10 => ("listing", self.list()),
            11 => ("the status", self.status()),
            _ => ("reading", self.read_one()),
        };
        match outcome {
            Ok(None) => println!("read 1"),
            Ok(Some(wrong)) => println!("{what}: {wrong}"),
            Err(error) => {
                let expected = EXPECTED
                    .iter()
                    .find(|(errno, _)| errno.raw_os_error() == error.raw_os_error().unwrap_or(0));
                match expected {
                    Some((_, name)) => println!("error {name}"),
                    None => println!("{what}: {error}"),
                }
            }
        }
    }

    /// Removes a copy, but not the same one twice: that is what a program does that wants to replace the file, and is refused.
    fn remove(&mut self, number: u32) -> io::Result<Option<String>> {
        if self.removed == Some(number) {
            return Ok(None);
        }
        self.removed = Some(number);
        fs::remove_file(self.reference(number)).map(|()| None)
    }

    fn list(&self) -> io::Result<Option<String>> {
        let names = fs::read_dir(self.point.join("references/jwst"))?.count();
        Ok((names < self.files as usize).then(|| format!("{names} names only")))
    }

    fn status(&self) -> io::Result<Option<String>> {
        let text = fs::read(self.point.join(".crds-fs/status.json"))?;
        let parsed = serde_json::from_slice::<serde_json::Value>(&text);
        Ok(parsed.err().map(|error| error.to_string()))
    }

    fn reference(&self, number: u32) -> PathBuf {
        self.point.join("references/jwst").join(library::name(number))
    }

    /// Half of all reads go to a tenth of the files.
    fn read_one(&mut self) -> io::Result<Option<String>> {
        let number = if self.random.bool() {
            self.random.u32(..self.files.div_ceil(10))
        } else {
            self.random.u32(..self.files)
        };
        let bytes = fs::read(self.reference(number))?;
        Ok(compare(
            &library::name(number),
            &bytes,
            &library::reference(number),
        ))
    }

    /// A name that never was.
    fn absent(&mut self) -> io::Result<Option<String>> {
        let name = format!("jwst_nircam_bias_{:04}.fits", self.random.u32(..10_000));
        match File::open(self.point.join("references/jwst").join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Ok(Some(format!("{name} can be opened"))),
        }
    }

    /// A file of the user's own, made, renamed, read and removed.
    fn own_file(&mut self) -> io::Result<Option<String>> {
        let directory = self.point.join("references/jwst");
        let [new, kept] =
            ["new", "kept"].map(|what| directory.join(format!("mine_{}_{what}.txt", self.number)));
        let text = format!("{} by {}\n", self.random.u64(..), self.number).repeat(20);
        fs::write(&new, &text)?;
        fs::rename(&new, &kept)?;
        let back = fs::read(&kept)?;
        fs::remove_file(&kept)?;
        Ok((back != text.as_bytes()).then(|| format!("{} changed", kept.display())))
    }

    /// The dark of the newest context, and the rules of it.
    fn best_reference(&mut self) -> io::Result<Option<String>> {
        let latest = fs::read_link(self.point.join("bestrefs/jwst-latest"))?;
        let number = latest
            .to_str()
            .and_then(|name| name.strip_prefix("jwst_")?.strip_suffix(".pmap")?.parse().ok());
        let Some(number) = number else {
            return Ok(Some(format!("the latest context is {}", latest.display())));
        };
        for (name, text) in library::rules(number) {
            let bytes = fs::read(self.point.join("mappings/jwst").join(&name))?;
            if let Some(wrong) = compare(&name, &bytes, text.as_bytes()) {
                return Ok(Some(wrong));
            }
        }
        let (name, blob) = library::dark(number);
        let link = self.point.join(library::dark_link(number));
        let target = fs::read_link(&link)?;
        if target.file_name().is_none_or(|found| found != name.as_str()) {
            return Ok(Some(format!("{} leads to {}", link.display(), target.display())));
        }
        Ok(compare(&name, &fs::read(link)?, &blob))
    }
}

fn compare(name: &str, found: &[u8], right: &[u8]) -> Option<String> {
    let at = found.iter().zip(right).position(|(found, right)| found != right);
    let at = at.or_else(|| (found.len() != right.len()).then(|| found.len().min(right.len())))?;
    Some(format!("{name}: {} bytes, wrong at {at}", found.len()))
}

/// Reads all files once, when nothing fails any more.
pub(crate) fn read_everything(point: &Path, library: &Library, context: u32) -> Fallible<()> {
    // Failures are remembered for a while.
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let mut wanted: Vec<_> = library
        .files()
        .iter()
        .map(|(name, blob)| (point.join("references/jwst").join(name), blob.to_vec()))
        .collect();
    for number in 1..=context {
        let rules = library::rules(number)
            .map(|(name, text)| (point.join("mappings/jwst").join(name), text.into_bytes()));
        wanted.extend(rules);
        wanted.push((
            point.join(library::dark_link(number)),
            library::dark(number).1.to_vec(),
        ));
    }
    let worker = || -> Fallible<()> {
        while let Some((path, right)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let bytes = loop {
                match fs::read(path) {
                    Ok(bytes) => break bytes,
                    Err(_) if begin.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(100)),
                    Err(error) => return Err(format!("{}: {error}", path.display()).into()),
                }
            };
            if let Some(wrong) = compare(&path.display().to_string(), &bytes, right) {
                return Err(wrong.into());
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..16).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a reader panicked")?)
    })
}
