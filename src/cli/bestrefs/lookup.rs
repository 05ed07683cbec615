//! From a header to lines of output: every context, or the difference of two.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::record::Record;
use super::render;
use super::rulebook::{Rulebook, observatory_of};
use super::stream::{self, StreamError};
use super::subject::Subject;
use crate::crds::FileKey;
use crate::rules::{BestRefs, Memory};

/// What is asked about every subject.
pub(super) struct Lookup<'a> {
    pub(super) rulebook: &'a Rulebook,
    /// Literal names.
    pub(super) contexts: Vec<String>,
    /// The context to compare with.
    pub(super) compare: Option<String>,
    /// Types asked for; nothing means the default types.
    pub(super) types: Option<Vec<String>>,
    pub(super) json: bool,
    /// The references named so far, where they are to be fetched.
    pub(super) wanted: Option<Mutex<BTreeSet<FileKey>>>,
}

impl Lookup<'_> {
    /// Answers JSON lines. False if a line could not be read.
    pub(super) fn stream(
        &self,
        input: impl BufRead + Send,
        output: &mut impl Write,
        workers: NonZeroUsize,
    ) -> Result<bool, StreamError> {
        let readable = AtomicBool::new(true);
        let answer = |memory: &mut Memory, number: u64, line: &[u8], out: &mut Vec<u8>| {
            match Record::read(line) {
                Ok(record) => {
                    // What a lookup says is its result, also if that is an error.
                    self.tell(memory, &record.into(), out);
                }
                Err(text) => {
                    readable.store(false, Ordering::Relaxed);
                    render::error(out, self.json, &id_of(line), &format!("line {number}: {text}"));
                }
            }
        };
        stream::run(input, output, workers, Memory::new, answer)?;
        Ok(readable.into_inner())
    }

    /// Writes the answers for a subject; false if a lookup failed as a whole.
    pub(super) fn tell(&self, memory: &mut Memory, subject: &Subject<'_>, out: &mut Vec<u8>) -> bool {
        let own = subject
            .context
            .as_deref()
            .map(|context| self.rulebook.literal(context));
        let contexts: Vec<Cow<'_, str>> = match own {
            Some(Ok(context)) => vec![context.into()],
            Some(Err(text)) => return self.refuse(subject, &text, out),
            None => self
                .contexts
                .iter()
                .map(|context| context.as_str().into())
                .collect(),
        };
        if contexts.is_empty() {
            return self.refuse(
                subject,
                "under which context? Give --context, or one in each line",
                out,
            );
        }
        let mut complete = true;
        for context in contexts {
            complete &= match &self.compare {
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
            render::answers(out, self.json, &subject.id, context, answers);
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
                render::difference(out, self.json, whose, (old, &was), (new, &is));
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
        let names = || answers.iter().flat_map(|(_, answer)| answer.files());
        self.want(context, names);
    }

    /// Notes references that are to be fetched, if any are.
    pub(super) fn want<'n, I: Iterator<Item = &'n str>>(&self, context: &str, names: impl FnOnce() -> I) {
        if let (Some(wanted), Ok(observatory)) = (&self.wanted, observatory_of(context).parse()) {
            let keys = names().filter_map(|name| {
                Some(FileKey {
                    observatory,
                    name: name.parse().ok()?,
                })
            });
            wanted.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
        }
    }

    /// Looks a subject up; a failure of the lookup as a whole is its text.
    pub(super) fn with_answers<T>(
        &self,
        memory: &mut Memory,
        subject: &Subject<'_>,
        context: &str,
        tell: impl FnOnce(&mut Memory, &BestRefs<'_>) -> T,
    ) -> Result<T, String> {
        let context = self
            .rulebook
            .context(context)
            .map_err(|error| error.to_string())?;
        let types = subject.types.as_deref().or(self.types.as_deref());
        let answers = context
            .best_references(memory, self.rulebook, &subject.header, types)
            .map_err(|error| error.to_string())?;
        Ok(tell(memory, &answers))
    }
}

/// The id of a line that is no record, if it has one all the same.
fn id_of(line: &[u8]) -> String {
    let id = serde_json::from_slice::<serde_json::Value>(line).ok();
    id.and_then(|line| line.get("id").cloned())
        .unwrap_or_default()
        .to_string()
}
