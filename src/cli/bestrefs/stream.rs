//! Answers lines with lines, in order, on several threads, in constant memory.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use parking_lot::Mutex;

use crate::cli::output::OutputError;

/// The error that ended a stream before its input did.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// The input cannot be read.
    #[error(transparent)]
    Input(io::Error),
    /// The output takes no more.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// A chunk of lines is handed to a worker when it has this many bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// A line longer than this is refused: the input would not fit into constant memory.
const MAX_LINE: u64 = 16 << 20;

/// Chunks under way for each worker, results that wait for their turn included.
const CHUNKS_PER_WORKER: usize = 4;

/// The lines that a worker takes at once.
struct Chunk {
    /// The index of the chunk in the input, from 0.
    index: u64,
    /// The number of its first line, from 1.
    first_line: u64,
    text: Vec<u8>,
}

struct Done {
    index: u64,
    text: Vec<u8>,
}

/// The output of one chunk. It is sent when it is dropped, so that also a worker that panics sends it and the writer
/// does not wait for ever.
struct Turn<'a> {
    done: &'a SyncSender<Done>,
    index: u64,
    text: Vec<u8>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The receiver is gone only if writing failed, which is reported.
        let _ = self.done.send(Done {
            index: self.index,
            text: std::mem::take(&mut self.text),
        });
    }
}

/// Gives every line of `input` that is not blank, with its number from 1, to `answer`, which appends its output to the
/// buffer; outputs appear in the order of the lines. `answer` runs on as many threads as there are workers, each with a
/// state of its own made by `worker`.
pub(super) fn run<W>(
    input: impl BufRead + Send,
    output: &mut impl Write,
    workers: NonZeroUsize,
    worker: impl Fn() -> W + Sync,
    answer: impl Fn(&mut W, u64, &[u8], &mut Vec<u8>) + Sync,
) -> Result<(), StreamError> {
    let slots = workers.get() * CHUNKS_PER_WORKER;
    let (chunk_sender, chunks) = sync_channel::<Chunk>(slots);
    let (done_sender, done) = sync_channel::<Done>(slots);
    // A chunk needs a token from its reading to its writing: that bounds what waits for its turn.
    let (token_sender, tokens) = sync_channel::<()>(slots);
    for _ in 0..slots {
        // The channel is made to hold them all.
        let _ = token_sender.try_send(());
    }
    let chunks = Mutex::new(chunks);
    thread::scope(|scope| {
        let reader = scope.spawn(move || read(input, &chunk_sender, &tokens));
        for _ in 0..workers.get() {
            let done_sender = done_sender.clone();
            let (chunks, worker, answer) = (&chunks, &worker, &answer);
            scope.spawn(move || work(chunks, &done_sender, worker(), answer));
        }
        drop(done_sender);
        let written = write(output, &done, &token_sender);
        // When writing failed, results are no longer taken and tokens no longer given: the other threads end.
        drop((done, token_sender));
        let read = reader
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the reader of the input died")));
        written.map_err(OutputError::from)?;
        read.map_err(StreamError::Input)
    })
}

fn read(mut input: impl BufRead, chunks: &SyncSender<Chunk>, tokens: &Receiver<()>) -> io::Result<()> {
    let (mut index, mut line) = (0, 1);
    loop {
        let mut text = Vec::with_capacity(CHUNK_BYTES + 4096);
        let mut lines = 0;
        while text.len() < CHUNK_BYTES {
            let before = text.len();
            let count = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut text)?;
            if count == 0 {
                break;
            }
            if count as u64 == MAX_LINE && text.last() != Some(&b'\n') {
                return Err(io::Error::other(format!(
                    "line {} is longer than 16 MiB",
                    line + lines
                )));
            }
            debug_assert_eq!(before + count, text.len());
            lines += 1;
        }
        if text.is_empty() {
            return Ok(());
        }
        // A closed channel: writing has failed, which is reported.
        if tokens.recv().is_err()
            || chunks
                .send(Chunk {
                    index,
                    first_line: line,
                    text,
                })
                .is_err()
        {
            return Ok(());
        }
        index += 1;
        line += lines;
    }
}

fn work<W>(
    chunks: &Mutex<Receiver<Chunk>>,
    done: &SyncSender<Done>,
    mut worker: W,
    answer: &impl Fn(&mut W, u64, &[u8], &mut Vec<u8>),
) {
    loop {
        let next = chunks.lock().recv();
        let Ok(Chunk {
            index,
            first_line,
            text,
        }) = next
        else {
            return;
        };
        let mut turn = Turn {
            done,
            index,
            text: Vec::with_capacity(text.len()),
        };
        for (number, line) in (first_line..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if !line.is_empty() {
                answer(&mut worker, number, line, &mut turn.text);
            }
        }
    }
}

fn write(output: &mut impl Write, done: &Receiver<Done>, tokens: &SyncSender<()>) -> io::Result<()> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for Done { index, text } in done {
        waiting.insert(index, text);
        while let Some(text) = waiting.remove(&next) {
            output.write_all(&text)?;
            next += 1;
            // At the end of the input the reader takes no more tokens.
            let _ = tokens.try_send(());
        }
        if waiting.is_empty() {
            output.flush()?;
        }
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn upper(workers: usize, input: &[u8]) -> String {
        let mut output = Vec::new();
        run(
            input,
            &mut output,
            NonZeroUsize::new(workers).unwrap(),
            || (),
            |(), number, line, out| {
                // Work of uneven length, so that chunks overtake each other.
                for _ in 0..line.len() % 7 {
                    thread::yield_now();
                }
                out.extend_from_slice(format!("{number} ").as_bytes());
                out.extend(line.iter().map(u8::to_ascii_uppercase));
                out.push(b'\n');
            },
        )
        .unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn order_and_numbers_are_kept() {
        let (mut input, mut expected) = (String::new(), String::new());
        for number in 1..=60_000 {
            let line = format!("line {number} {}", "x".repeat(1 + number % 83));
            writeln!(input, "{line}").unwrap();
            writeln!(expected, "{number} {}", line.to_uppercase()).unwrap();
        }
        assert!(input.len() > 8 * CHUNK_BYTES);
        for workers in [1, 2, 5] {
            assert!(upper(workers, input.as_bytes()) == expected, "{workers}");
        }
    }

    #[test]
    fn blank_lines_and_a_missing_end() {
        assert_eq!(upper(2, b"a\n\n  \r\nb\r\nc"), "1 A\n4 B\n5 C\n");
        assert_eq!(upper(2, b""), "");
    }

    #[test]
    fn a_reader_that_went_away_ends_it() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let input = "x\n".repeat(4 * CHUNK_BYTES);
        let outcome = run(
            input.as_bytes(),
            &mut Closed,
            NonZeroUsize::MIN,
            || (),
            |(), _, line, out| out.extend_from_slice(line),
        );
        assert!(matches!(outcome, Err(StreamError::Output(error)) if error.reader_is_gone()));
    }

    #[test]
    fn an_endless_line_is_refused() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        let outcome = run(
            endless,
            &mut io::sink(),
            NonZeroUsize::MIN,
            || (),
            |(), _, _, _| {},
        );
        assert!(outcome.unwrap_err().to_string().contains("line 1 is longer"));
    }
}
