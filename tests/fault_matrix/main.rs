//! The fault matrix: everything that a network and a server can do, by what is opened and what is there of it before.
//!
//! In each cell files are opened while a server misbehaves. The errno, or the right bytes, are those of the table of errors;
//! every open ends; nothing wrong can be read or is in the store; other files open, the status answers, and when the server
//! is well again so are the files; the process needs no more memory than it may. All that is otherwise is collected, and
//! told at the end, the smallest case first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a step that cannot go on fails its test"
)]

#[path = "../common/origin.rs"]
mod origin;
#[path = "../common/rig.rs"]
mod rig;

mod cells;
mod table;

use std::collections::VecDeque;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cells::{Bench, Cell, MANY, MEMORY, good, prepare};
use origin::{Asked, Origin};
use rig::at_least;
use rig::waiting::await_look;
use table::{CONTROL, FILES, Fault, SERVICE, SHAPES, Shape, State, WELL, What};

/// Mounts that are tested at a time. Most of them wait for a server.
const WORKERS: usize = 6;
/// Short, and yet long enough for all tries of a transfer on a busy machine.
const IMPATIENT: [&str; 4] = ["--stall-timeout", "1s", "--timeout", "8s"];
const PATIENT: [&str; 4] = ["--stall-timeout", "30s", "--timeout", "60s"];
/// With this a mount asks for a new catalog all the time.
const CURIOUS: [&str; 2] = ["--catalog-ttl", "300ms"];

/// The faults that are tried in one mount.
#[derive(Clone, Copy)]
enum Job {
    /// These faults of files, one after the other.
    Files(Shape, &'static [Fault]),
    /// A fault of the service.
    Service(Shape, &'static Fault),
}

#[derive(Default)]
struct Findings {
    cells: Vec<Cell>,
    /// The most memory that a process had.
    peak: u64,
}

#[test]
fn every_fault_in_every_shape_and_state() {
    let begun = Instant::now();
    let jobs = Mutex::new(all_jobs());
    let findings = Mutex::new(Findings::default());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = lock(&jobs).pop_front();
                    let Some(job) = next else { return };
                    let found = job.run();
                    let mut all = lock(&findings);
                    all.cells.extend(found.cells);
                    all.peak = all.peak.max(found.peak);
                }
            });
        }
    });
    let findings = findings.into_inner().unwrap();
    report(findings, begun.elapsed());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those that take longest first.
fn all_jobs() -> VecDeque<Job> {
    let mut jobs = VecDeque::new();
    for shape in SHAPES.into_iter().rev() {
        // Half of what is prepared waits in one mount.
        let chunk = if shape == Shape::Many { 3 } else { 6 };
        jobs.extend(FILES.chunks(chunk).map(|faults| Job::Files(shape, faults)));
        jobs.extend(SERVICE.iter().map(|fault| Job::Service(shape, fault)));
    }
    jobs
}

fn report(findings: Findings, took: Duration) {
    let Findings { mut cells, peak } = findings;
    let all = SHAPES.len() * 3 * (FILES.len() + SERVICE.len());
    let controls = cells.iter().filter(|cell| cell.fault == CONTROL.name).count();
    cells.sort_by_key(|cell| (cell.shape, cell.state));
    let wrong: Vec<&Cell> = cells.iter().filter(|cell| !cell.wrong.is_empty()).collect();
    println!(
        "{} cells and {controls} without a fault, {} as expected; {} opens at a time at most, {} MiB at most, in {took:.0?}",
        cells.len() - controls,
        cells.len() - wrong.len(),
        MANY,
        peak >> 20
    );
    let mut first = wrong.iter().map(|cell| {
        format!(
            "{}, {:?}, {:?}: {}",
            cell.fault,
            cell.shape,
            cell.state,
            cell.wrong.join("; ")
        )
    });
    if let Some(smallest) = first.next() {
        let others = first.collect::<Vec<_>>().join("\n  ");
        panic!("the smallest case: {smallest}\nall others:\n  {others}");
    }
    assert_eq!(cells.len() - controls, all, "cells were left out");
    assert!(peak < MEMORY, "{} MiB", peak >> 20);
}

impl Job {
    /// The cells with all that was wrong in them. A step that cannot go on is a mismatch, and the other jobs still run.
    fn run(self) -> Findings {
        let (name, shape) = match self {
            Self::Files(shape, faults) => (faults.first().map_or("", |fault| fault.name), shape),
            Self::Service(shape, fault) => (fault.name, shape),
        };
        let done = catch_unwind(AssertUnwindSafe(|| match self {
            Self::Files(shape, faults) => run_files(shape, faults),
            Self::Service(shape, fault) => run_service(shape, fault),
        }));
        done.unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let cell = Cell {
                fault: name,
                shape,
                state: State::Cold,
                wrong: vec![format!(
                    "from here on nothing could be tested: {}",
                    what.unwrap_or_default()
                )],
            };
            Findings {
                cells: vec![cell],
                peak: 0,
            }
        })
    }
}

/// Faults of what files come from, one after the other in one mount.
fn run_files(shape: Shape, faults: &'static [Fault]) -> Findings {
    let faults: Vec<&Fault> = std::iter::once(&CONTROL).chain(faults).collect();
    let origin = Origin::start(shape.content(0..faults.len()));
    let cached = shape.names(State::Cached, 0);
    let half: Vec<String> = (0..faults.len())
        .flat_map(|number| shape.names(State::Half, number))
        .collect();
    let prepared = prepare(&origin, shape, &cached, &half);
    let mut bench = Bench::mounted(&origin, &IMPATIENT, Some(prepared.store()));
    let mut cells = Vec::new();
    let mut failed = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        for state in [State::Cached, State::Half, State::Cold] {
            let names = match state {
                State::Cached => cached.clone(),
                _ => shape.names(state, number),
            };
            let wrong = run_cell(&bench, fault, number, (shape, state), &names);
            if fault.expected(shape, state) != WELL && (shape, state) != (Shape::Large, State::Cold) {
                failed.push((cells.len(), names));
            } else if state != State::Cached {
                bench.drop_copies(&names);
            }
            cells.push(fault.cell(shape, state, wrong));
        }
    }
    for (cell, names) in failed {
        cells[cell].wrong.extend(bench.recover(&names));
        bench.drop_copies(&names);
    }
    let peak = bench.rig.peak_memory();
    if let (Some(wrong), Some(last)) = (bench.umount(), cells.last_mut()) {
        last.wrong.push(wrong);
    }
    Findings { cells, peak }
}

/// Begins a fault of files, opens them, and ends it. Returns all that was wrong.
fn run_cell(
    bench: &Bench<'_>,
    fault: &Fault,
    number: usize,
    (shape, state): (Shape, State),
    names: &[String],
) -> Vec<String> {
    let origin = bench.origin;
    let asked: Vec<usize> = names.iter().map(|name| origin.asked(name).len()).collect();
    fault.begin(origin, shape, names);
    let mut wrong = bench.compare(fault, shape, state, names);
    for (name, before) in names.iter().zip(asked) {
        let requests = origin.asked(name).split_off(before);
        if state == State::Cached && !requests.is_empty() {
            wrong.push(format!("{name} is cached, and asked for"));
        }
        let goes_on = requests.first().is_some_and(goes_on);
        // The smallest files come as a whole, or not at all.
        let is_kept = state == State::Half && shape != Shape::Many;
        if fault.name == CONTROL.name && is_kept && !goes_on {
            wrong.push(format!("{name} does not go on where it was: {requests:?}"));
        }
    }
    // While nobody listens no other file can come.
    let other = (!matches!(fault.what, What::Port)).then(|| good(number));
    wrong.extend(bench.unwell(other));
    fault.end(origin);
    wrong.extend(bench.wrong_in_store());
    wrong
}

/// A fault of the service: in a mount that has never heard of it, and in one that knows a catalog and asks for a new one.
fn run_service(shape: Shape, fault: &'static Fault) -> Findings {
    let mut findings = Findings::default();
    let origin = Origin::start(shape.content(0..1));
    let content = origin.content();
    let names = shape.names(State::Cold, 0);
    fault.begin(&origin, shape, &names);
    // A large file that comes is no reason for short time limits.
    let patience = if fault.expected(shape, State::Cold) == libc::ETIMEDOUT {
        &IMPATIENT
    } else {
        &PATIENT
    };
    let arguments = [&patience[..], &CURIOUS].concat();
    let mut bench = Bench::new(&origin, &arguments, None).with_right(content.files.clone());
    bench.rig.mount_untouched();
    // A look at names waits 2 s for a first catalog at most, an open of this file as long as it takes to refuse it.
    drop(bench.rig.read("config/roman/server_config"));
    let mut wrong = bench.compare(fault, shape, State::Cold, &names);
    wrong.extend(bench.unwell(None));
    wrong.extend(bench.wrong_in_store());
    fault.end(&origin);
    origin.change(|now| *now = content.clone());
    wrong.extend(bench.recover(&[good(0)]));
    if shape != Shape::Large {
        wrong.extend(bench.recover(&names));
    }
    findings.peak = bench.rig.peak_memory();
    wrong.extend(bench.umount());
    findings.cells.push(fault.cell(shape, State::Cold, wrong));
    drop(bench);

    let states = [State::Half, State::Cached].map(|state| (state, shape.names(state, 0)));
    let [(_, half), (_, cached)] = &states;
    let prepared = prepare(&origin, shape, cached, half);
    fault.begin(&origin, shape, &[half.as_slice(), cached].concat());
    let bench = Bench::new(&origin, &arguments, Some(prepared.store()));
    let mut bench = bench.with_right(content.files.clone());
    bench.rig.mount_untouched();
    // The catalog of the store is shown at once. With the second question for a new one the first answer has been taken in.
    let before = origin.called("get_server_info").len();
    let _ = fs::read_dir(bench.rig.path("references/roman"));
    let new = await_look(|| at_least(origin.called("get_server_info").len(), before + 2));
    let waited: Vec<String> = new
        .err()
        .map(|_| "no new catalog is asked for".to_owned())
        .into_iter()
        .collect();
    for (state, names) in &states {
        let mut wrong = waited.clone();
        wrong.extend(bench.compare(fault, shape, *state, names));
        wrong.extend(bench.unwell(None));
        wrong.extend(bench.wrong_in_store());
        findings.cells.push(fault.cell(shape, *state, wrong));
    }
    fault.end(&origin);
    origin.change(|now| *now = content);
    for (cell, (_, names)) in findings.cells.iter_mut().skip(1).zip(&states) {
        cell.wrong.extend(bench.recover(names));
    }
    findings.peak = findings.peak.max(bench.rig.peak_memory());
    if let (Some(wrong), Some(last)) = (bench.umount(), findings.cells.last_mut()) {
        last.wrong.push(wrong);
    }
    findings
}

impl Fault {
    fn cell(&self, shape: Shape, state: State, wrong: Vec<String>) -> Cell {
        Cell {
            fault: self.name,
            shape,
            state,
            wrong,
        }
    }

    /// From now on the server behaves so towards these files.
    fn begin(&self, origin: &Origin, shape: Shape, names: &[String]) {
        match self.what {
            What::Files(behaviours) => {
                for name in names {
                    origin.set_each(name, &behaviours(shape.size()));
                }
            }
            What::Port => origin.refuse(),
            What::Calls(behaviour) => origin.set_calls(behaviour),
            What::Says(change) => origin.change(|content| change(content, names)),
            What::Describes(result) => origin.change(|content| {
                content.results.insert("get_server_info", result());
            }),
        }
    }

    /// From now on the server behaves well. What it says is the caller's to mend.
    fn end(&self, origin: &Origin) {
        origin.mend();
        if matches!(self.what, What::Port) {
            origin.accept();
        }
    }
}

/// True if a request continues an earlier one from where that ended.
fn goes_on(request: &Asked) -> bool {
    let from = request
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes="));
    from.is_some_and(|from| !from.starts_with("0-"))
}
