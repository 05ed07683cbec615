//! Best references, looked up through the mount's own tree: `bestrefs/<context>/<dataset>/`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::watch;
use crate::cli::Failure;
use crate::cli::target::STATUS;
use crate::crds::{ContextSpec, DatasetName, FileName, Observatory};
use crate::mount::Error;
use crate::mount::health::Reader;
use crate::mount::mountinfo::MountEntry;
use crate::resolve::TypeAnswer;
use crate::tree::report::{FileReport, StatusReport};

/// Lookups at a time.
const AT_ONCE: usize = 4;

/// The longest wait for an answer, and for its explanation.
const LIMIT: Duration = Duration::from_secs(60);

/// The longest wait for what the mount knows by heart.
const SHORT_LIMIT: Duration = Duration::from_secs(10);

/// The longest text of a dataset or a context, in bytes.
pub(super) const MAX_TEXT: usize = 2000;

/// References of one answer whose state is told.
const MAX_STATES: usize = 100;

/// A question for the best references of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    context: ContextSpec,
    dataset: DatasetName,
}

/// The fields of a question that make no sense, with the reasons.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mistakes {
    pub(super) context: Option<String>,
    pub(super) dataset: Option<String>,
}

/// The best references of a dataset.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    /// The literal context.
    pub(super) context: String,
    /// The dataset, in the form that all equal names share.
    pub(super) dataset: String,
    pub(super) observatory: String,
    /// The evaluator: `server` or `rules`.
    pub(super) computed_by: String,
    /// The time of that.
    pub(super) computed_at: String,
    /// By reference type.
    pub(super) types: BTreeMap<String, TypeAnswer>,
    /// The state of the files, as far as they are known.
    pub(super) files: BTreeMap<String, FileReport>,
    /// The reasons, by reference type.
    pub(super) explanations: BTreeMap<String, String>,
    /// The reason why there are no reasons.
    pub(super) unexplained: Option<String>,
}

/// The reason why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// As many lookups as may be are under way.
    Busy,
    /// The mount does not know the dataset or the context.
    Unknown(String),
    /// The mount cannot be asked, or could not find out.
    Failed(String),
}

/// The lookups that may be under way.
#[derive(Debug)]
pub(super) struct Lookups {
    free: Mutex<Vec<Reader>>,
}

impl Question {
    /// The question with these texts.
    pub(super) fn read(context: &str, dataset: &str) -> Result<Self, Mistakes> {
        let (context, dataset) = (context.trim(), dataset.trim());
        let too_long = || format!("more than {MAX_TEXT} bytes are refused");
        let check = |text: &str| (text.len() <= MAX_TEXT).then_some(()).ok_or_else(too_long);
        let spec =
            check(context).and_then(|()| context.parse::<ContextSpec>().map_err(|error| error.to_string()));
        let name =
            check(dataset).and_then(|()| dataset.parse::<DatasetName>().map_err(|error| error.to_string()));
        match (spec, name) {
            (Ok(context), Ok(dataset)) => Ok(Self { context, dataset }),
            (spec, name) => Err(Mistakes {
                context: spec.err(),
                dataset: name.err(),
            }),
        }
    }
}

impl Default for Lookups {
    fn default() -> Self {
        let readers = (0..AT_ONCE).map(|_| Reader::default());
        Self {
            free: Mutex::new(readers.collect()),
        }
    }
}

impl Lookups {
    /// Looks up on a thread for blocking work.
    pub(super) async fn ask(
        self: &Arc<Self>,
        mountpoint: &Path,
        question: Question,
    ) -> Result<Answer, Refusal> {
        let reader = self.free.lock().pop().ok_or(Refusal::Busy)?;
        let mut slot = Slot {
            lookups: Arc::clone(self),
            reader,
        };
        let mountpoint = mountpoint.to_owned();
        let asked = tokio::task::spawn_blocking(move || slot.answer(&mountpoint, &question)).await;
        asked.unwrap_or_else(|error| Err(Refusal::Failed(error.to_string())))
    }
}

/// A lookup that is under way.
struct Slot {
    lookups: Arc<Lookups>,
    reader: Reader,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let reader = std::mem::take(&mut self.reader);
        self.lookups.free.lock().push(reader);
    }
}

/// The part of `bestrefs.json` that is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WholeAnswer {
    observatory: String,
    context: String,
    dataset: String,
    computed_by: String,
    computed_at: String,
    bestrefs: Map<String, Value>,
}

impl Slot {
    fn answer(&mut self, mountpoint: &Path, question: &Question) -> Result<Answer, Refusal> {
        let entry = watch::find(mountpoint).map_err(|error| failed(error, mountpoint))?;
        let directory = Path::new("bestrefs")
            .join(question.context.to_string())
            .join(question.dataset.to_string());
        let text = match self.read(&entry, &directory.join("bestrefs.json"), LIMIT) {
            Ok(text) => text,
            Err(error) => return Err(self.refusal(&entry, question, error)),
        };
        let whole: WholeAnswer = serde_json::from_slice(&text)
            .map_err(|error| Refusal::Failed(format!("the answer makes no sense: {error}")))?;
        let types = whole.bestrefs.iter();
        let mut answer = Answer {
            types: types
                .map(|(name, value)| (name.clone(), TypeAnswer::from_json(value)))
                .collect(),
            context: whole.context,
            dataset: whole.dataset,
            observatory: whole.observatory,
            computed_by: whole.computed_by,
            computed_at: whole.computed_at,
            ..Answer::default()
        };
        self.explain(&entry, &directory, &mut answer);
        self.look_at_files(&entry, &mut answer);
        Ok(answer)
    }

    fn explain(&mut self, entry: &MountEntry, directory: &Path, answer: &mut Answer) {
        match self.read(entry, &directory.join("explain.txt"), LIMIT) {
            Ok(text) => {
                answer.explanations = sections(&String::from_utf8_lossy(&text));
                // The first line names the dataset.
                answer
                    .explanations
                    .retain(|reftype, _| answer.types.contains_key(reftype));
            }
            Err(error) if is_absent(&error) => {
                answer.unexplained = Some("the rules here have no reasons for this answer".to_owned());
            }
            Err(error) => answer.unexplained = Some(Failure::from(error).to_string()),
        }
    }

    /// Notes the state of each reference; where one cannot be had it is left out.
    fn look_at_files(&mut self, entry: &MountEntry, answer: &mut Answer) {
        let Ok(observatory) = answer.observatory.parse::<Observatory>() else {
            return;
        };
        let directory = Path::new(".crds-fs/files/references").join(observatory.as_str());
        let names: Vec<FileName> = answer
            .types
            .values()
            .flat_map(TypeAnswer::files)
            .cloned()
            .collect();
        for name in names.iter().take(MAX_STATES) {
            let text = match self.read(entry, &directory.join(name.as_str()), SHORT_LIMIT) {
                Ok(text) => text,
                Err(error) if is_absent(&error) => continue,
                Err(_) => return,
            };
            if let Ok(report) = serde_json::from_slice(&text) {
                answer.files.insert(name.to_string(), report);
            }
        }
    }

    fn read(&mut self, entry: &MountEntry, file: &Path, limit: Duration) -> Result<Vec<u8>, Error> {
        // Every part of it is text.
        self.reader.read(entry, &file.to_string_lossy(), limit)
    }

    /// The reason for a failure, as the mount tells it in its status.
    fn refusal(&mut self, entry: &MountEntry, question: &Question, error: Error) -> Refusal {
        let Error::Io { source, .. } = &error else {
            let told = failed(error, &entry.mountpoint);
            return match told {
                Refusal::Failed(text) => Refusal::Failed(format!("{text} (after {} s)", LIMIT.as_secs())),
                other => other,
            };
        };
        let is_absent = source.kind() == io::ErrorKind::NotFound;
        let status = self.read(entry, Path::new(STATUS), SHORT_LIMIT);
        let status: StatusReport = status
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let reason = reason(&status, question);
        if is_absent {
            Refusal::Unknown(reason.unwrap_or_else(|| {
                format!(
                    "there is no dataset {} or no context {} here",
                    question.dataset, question.context
                )
            }))
        } else {
            Refusal::Failed(reason.unwrap_or_else(|| Failure::from(error).to_string()))
        }
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn failed(error: Error, mountpoint: &Path) -> Refusal {
    match error {
        Error::NotMounted(_) => Refusal::Failed(format!(
            "nothing is mounted at {0}: 'crds-fs mount {0}'",
            mountpoint.display()
        )),
        error => Refusal::Failed(Failure::from(error).to_string()),
    }
}

/// The last failure of a question for this dataset, or for this context.
fn reason(status: &StatusReport, question: &Question) -> Option<String> {
    let (context, dataset) = (question.context.to_string(), question.dataset.to_string());
    let is_of_it = |subject: &str| {
        let mut parts = subject.split('/');
        let (area, of, about) = (parts.next(), parts.next(), parts.next());
        let about_dataset = about.is_some_and(|about| about.eq_ignore_ascii_case(&dataset));
        area == Some("bestrefs") && (about_dataset || (about.is_none() && of == Some(&context)))
    };
    let failure = status
        .failures
        .iter()
        .rev()
        .find(|failure| is_of_it(&failure.file));
    failure.map(|failure| failure.message.clone())
}

/// The parts of an explanation by their reference types: each begins with a line without a margin.
fn sections(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut current: Option<(String, String)> = None;
    for line in text.lines() {
        if line.starts_with(' ') || line.is_empty() {
            if let Some((_, section)) = &mut current {
                section.push_str(line.strip_prefix("    ").unwrap_or(line));
                section.push('\n');
            }
        } else {
            found.extend(current.take());
            let reftype = line.split_whitespace().next().unwrap_or_default();
            current = Some((reftype.to_owned(), String::new()));
        }
    }
    found.extend(current);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_question_is_checked_by_field() {
        assert!(Question::read(" jwst-latest ", "JW01234001001_02101_00001.MIRIMAGE").is_ok());
        assert!(Question::read("hst_0729.pmap", "A=1,B=%2F").is_ok());
        for (context, dataset, wrong) in [
            ("", "X", (true, false)),
            ("jwst-latest", "", (false, true)),
            ("../..", "a/b", (true, true)),
            ("jwst-latest", "..", (false, true)),
            ("jwst-latest", "A=/", (false, true)),
            ("jwst_0001.pmap/..", "X", (true, false)),
        ] {
            let mistakes = Question::read(context, dataset).unwrap_err();
            let found = (mistakes.context.is_some(), mistakes.dataset.is_some());
            assert_eq!(found, wrong, "{context} {dataset}");
        }
        let long = format!("A={}", "x".repeat(MAX_TEXT));
        let mistakes = Question::read("hst-latest", &long).unwrap_err();
        assert!(mistakes.dataset.unwrap().len() < 100);
    }

    #[test]
    fn an_explanation_has_a_part_for_each_type() {
        let parts = sections("dark  a.asdf\n    by a.rmap\n        X = 1\n\nflat  NOT FOUND\n    tried: 1\n");
        let expected = [("dark", "by a.rmap\n    X = 1\n\n"), ("flat", "tried: 1\n")];
        assert_eq!(parts.len(), 2);
        for (reftype, text) in expected {
            assert_eq!(parts[reftype], text);
        }
        assert!(sections("    margin first").is_empty());
    }

    #[test]
    fn the_reason_is_the_last_of_this_question() {
        let status: StatusReport = serde_json::from_value(json!({"failures": [
            {"file": "bestrefs/jwst_0001.pmap/X", "message": "old"},
            {"file": "bestrefs/jwst_0001.pmap/X", "message": "new"},
            {"file": "bestrefs/jwst-edit", "message": "no edit"},
            {"file": "jwst/x", "message": "of a file"},
        ]}))
        .unwrap();
        let told = |context: &str, dataset: &str| reason(&status, &Question::read(context, dataset).unwrap());
        assert_eq!(told("jwst-latest", "x").as_deref(), Some("new"));
        assert_eq!(told("jwst-edit", "Y").as_deref(), Some("no edit"));
        assert_eq!(told("jwst-latest", "Y"), None);
    }

    #[tokio::test]
    async fn a_few_lookups_are_under_way_at_a_time() {
        let lookups = Arc::new(Lookups::default());
        let directory = tempfile::tempdir().unwrap();
        let question = Question::read("hst-latest", "X").unwrap();
        for _ in 0..2 * AT_ONCE {
            let refused = lookups.ask(directory.path(), question.clone()).await.unwrap_err();
            assert!(
                matches!(&refused, Refusal::Failed(text) if text.contains("crds-fs mount")),
                "{refused:?}"
            );
        }
        lookups.free.lock().clear();
        let refused = lookups.ask(directory.path(), question).await.unwrap_err();
        assert_eq!(refused, Refusal::Busy);
    }
}
