//! The answers for a subject, as lines of output: under every context, or the difference of two, explained or checked.

use std::borrow::Cow;
use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::check;
use super::counts::Counts;
use super::explain;
use super::lookup::Lookup;
use super::record::Record;
use super::render;
use super::stream::{self, StreamError};
use super::subject::Subject;
use crate::rules::{BestRefs, Memory};

impl Lookup<'_> {
    /// Answers JSON lines. In JSON output the answer to a lookup is a result even if it is an error: only lines that
    /// cannot be read count as failed.
    pub(super) fn stream(
        &self,
        input: impl BufRead + Send,
        output: &mut impl Write,
        workers: NonZeroUsize,
    ) -> Result<Counts, StreamError> {
        let (asked, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let answer = |memory: &mut Memory, number: u64, line: &[u8], out: &mut Vec<u8>| {
            let good = match Record::read(line) {
                Ok(record) => match &self.check {
                    Some(tally) => check::line(self, memory, record, tally, out),
                    None => self.tell(memory, &record.into(), out) || self.json,
                },
                Err(text) => {
                    render::error(out, self.json, &id_of(line), &format!("line {number}: {text}"));
                    false
                }
            };
            asked.fetch_add(1, Ordering::Relaxed);
            failed.fetch_add(usize::from(!good), Ordering::Relaxed);
        };
        stream::run(input, output, workers, Memory::new, answer)?;
        Ok(Counts {
            asked: asked.into_inner(),
            failed: failed.into_inner(),
        })
    }

    /// Writes the answers for a subject; false if a lookup failed as a whole.
    pub(super) fn tell(&self, memory: &mut Memory, subject: &Subject<'_>, out: &mut Vec<u8>) -> bool {
        let own = subject
            .context
            .as_deref()
            .map(|context| self.rules.literal(context));
        let contexts: Vec<Cow<'_, str>> = match own {
            Some(Ok(context)) => vec![context.into()],
            Some(Err(text)) => return self.refuse(subject, &text, out),
            None if !self.contexts.is_empty() => self
                .contexts
                .iter()
                .map(|context| context.as_str().into())
                .collect(),
            None => match self.contexts_of(subject.observatory()) {
                Ok(contexts) => contexts.into_iter().map(Cow::from).collect(),
                Err(text) => return self.refuse(subject, &text, out),
            },
        };
        let mut complete = true;
        for context in contexts {
            complete &= match &self.compare {
                _ if self.explain => explain::tell(self, subject, &context, out),
                Some(new) => self.tell_difference(memory, subject, (&context, new), out),
                None => self.tell_answers(memory, subject, &context, out),
            };
        }
        complete
    }

    fn refuse(&self, subject: &Subject<'_>, text: &str, out: &mut Vec<u8>) -> bool {
        render::error(out, self.json, &subject.id, text);
        false
    }

    fn tell_answers(
        &self,
        memory: &mut Memory,
        subject: &Subject<'_>,
        context: &str,
        out: &mut Vec<u8>,
    ) -> bool {
        let told = self.with_answers(memory, subject, context, |_, answers| {
            self.write_answers(out, &subject.id, context, answers);
            self.note(context, answers);
        });
        match told {
            Ok(()) => true,
            Err(text) => self.refuse(subject, &text, out),
        }
    }

    fn tell_difference(
        &self,
        memory: &mut Memory,
        subject: &Subject<'_>,
        (old, new): (&str, &str),
        out: &mut Vec<u8>,
    ) -> bool {
        let told = self.with_answers(memory, subject, old, |memory, before| {
            self.with_answers(memory, subject, new, |_, after| {
                let instrument = subject.instrument();
                let whose = (&*subject.id, Some(&*instrument));
                let (was, is) = (before.differing_from(after), after.differing_from(before));
                self.note_difference(render::difference(out, self.json, whose, (old, &was), (new, &is)));
                self.note(new, after);
            })
        });
        match told.and_then(std::convert::identity) {
            Ok(()) => true,
            Err(text) => self.refuse(subject, &text, out),
        }
    }

    /// Notes the references that are to be fetched.
    fn note(&self, context: &str, answers: &BestRefs<'_>) {
        let names = answers.iter().flat_map(|(_, answer)| answer.files());
        self.want(context, || names.filter_map(|name| name.parse().ok()));
    }
}

/// The id of a line that is no record, if it has one all the same.
fn id_of(line: &[u8]) -> String {
    let id = serde_json::from_slice::<serde_json::Value>(line).ok();
    id.and_then(|line| line.get("id").cloned())
        .unwrap_or_default()
        .to_string()
}
