//! `/bestrefs`: contexts, datasets, and the best reference of each type.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::crds::{ContextSpec, DatasetName, FileKey, FileName};
use crate::fetch::Outcome;
use crate::resolve::{Answer, Permit, ResolveError};

use super::core::{Core, ready};
use super::error::Error;
use super::handles::{Node, Other};
use super::lookup::{ABSENT, NOT_NOW};
use super::nodes::Key;
use super::ops::{Attr, CacheTtl, Ino, Lookup, NodeKind, Opened};
use super::options::BestrefsAs;

const WHOLE_ANSWER: &str = "bestrefs.json";
const HEADER: &str = "header.json";

/// Not listed: it is made of the rules, which a listing does not bring.
const EXPLANATION: &str = "explain.txt";

/// An entry of a dataset's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// A best reference.
    Reference(FileName),
    /// Generated text.
    Text(Bytes),
}

/// Whether the error says that the context or the best references do not exist, rather than that they could not be
/// found out.
fn says_absent(error: &ResolveError) -> bool {
    matches!(
        error,
        ResolveError::UnknownContext { .. }
            | ResolveError::UnknownDataset { .. }
            | ResolveError::BadDatasetName(_)
            | ResolveError::NotComputable { .. }
            | ResolveError::Incomplete { .. }
    )
}

/// The entry of a dataset's directory with this name. Listed are the types, `bestrefs.json`, `header.json` and the data
/// halves of GEIS references; a type with its file's extension is found too.
fn entry(answer: &Answer, name: &str) -> Option<Entry> {
    match name {
        WHOLE_ANSWER => return Some(Entry::Text(text(&answer.to_json()))),
        HEADER => {
            let header = answer.header.as_ref()?;
            return Some(Entry::Text(text(
                &serde_json::to_value(header.as_ref()).unwrap_or_default(),
            )));
        }
        _ => {}
    }
    if let Some(found) = answer.get(name) {
        return found.file().cloned().map(Entry::Reference);
    }
    let (reftype, extension) = name.rsplit_once('.')?;
    let file = answer.get(reftype)?.file()?;
    if file.extension() == Some(extension) {
        return Some(Entry::Reference(file.clone()));
    }
    let half = file.geis_data_half()?;
    (half.extension() == Some(extension)).then_some(Entry::Reference(half))
}

/// The listed names of a dataset's directory.
fn names(answer: &Answer) -> Vec<String> {
    let mut names = vec![WHOLE_ANSWER.to_owned()];
    if answer.header.is_some() {
        names.push(HEADER.to_owned());
    }
    for (reftype, found) in &answer.types {
        let Some(file) = found.file() else { continue };
        names.push(reftype.as_str().to_owned());
        if let Some(half) = file.geis_data_half()
            && let Some(extension) = half.extension()
        {
            names.push(format!("{reftype}.{extension}"));
        }
    }
    names
}

fn text(value: &Value) -> Bytes {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

impl Core {
    /// Finds a context: a directory for the literal name of a mapping, a link for any other form or spelling.
    pub(super) fn lookup_context(self: &Arc<Self>, name: &OsStr) -> Outcome<Lookup, Error> {
        let Some((text, spec)) = name
            .to_str()
            .and_then(|text| Some((text, text.parse::<ContextSpec>().ok()?)))
        else {
            return ready(Ok(ABSENT));
        };
        let (core, text): (_, Arc<str>) = (Arc::clone(self), Arc::from(text));
        self.resolver.context(&spec).map(move |found| match found {
            Err(error) if says_absent(&error) => Ok(NOT_NOW),
            Err(error) => Err(error.into()),
            Ok(context) if context.as_str() == &*text => {
                let ino = core.nodes.refer(Key::Context(context), None);
                Ok(core.found_directory(ino))
            }
            Ok(context) => {
                let ino = core.nodes.refer(Key::Symbolic(text), None);
                Ok(Lookup::Found {
                    attr: core.link_attr(ino, context.as_str()),
                    keep: CacheTtl::Never,
                })
            }
        })
    }

    fn found_directory(&self, ino: Ino) -> Lookup {
        Lookup::Found {
            attr: self.own(ino, NodeKind::Directory, 0o555, 0),
            keep: CacheTtl::Never,
        }
    }

    /// The best references of a dataset, from memory where they are known.
    fn answer(&self, context: &FileName, dataset: &str) -> Outcome<Arc<Answer>, ResolveError> {
        let name: DatasetName = match dataset.parse() {
            Ok(name) => name,
            Err(error) => return Outcome::Ready(Err(ResolveError::BadDatasetName(error))),
        };
        match self.resolver.remembered(context, &name) {
            Some(answer) => Outcome::Ready(Ok(answer)),
            None => self.resolver.answer(context, &name),
        }
    }

    /// Finds a dataset's directory, after getting its best references.
    pub(super) fn lookup_dataset(
        self: &Arc<Self>,
        context: &FileName,
        name: &OsStr,
    ) -> Outcome<Lookup, Error> {
        let Some(dataset) = name.to_str().map(Arc::<str>::from) else {
            return ready(Ok(ABSENT));
        };
        let (core, context) = (Arc::clone(self), context.clone());
        self.answer(&context, &dataset).map(move |answer| match answer {
            // Programs look for hidden names out of habit: those are no failures.
            Err(error @ ResolveError::BadDatasetName(_)) if !dataset.starts_with('.') => {
                core.resolver
                    .note_failure(&format!("bestrefs/{context}/{dataset}"), &error);
                Ok(NOT_NOW)
            }
            Ok(_) => {
                let ino = core.nodes.refer(Key::Dataset { context, dataset }, None);
                Ok(core.found_directory(ino))
            }
            Err(error) if says_absent(&error) => Ok(NOT_NOW),
            Err(error) => Err(error.into()),
        })
    }

    /// Finds an entry of a dataset's directory.
    pub(super) fn lookup_answer(
        self: &Arc<Self>,
        context: &FileName,
        dataset: &Arc<str>,
        name: &OsStr,
    ) -> Outcome<Lookup, Error> {
        let Some(name) = name.to_str().map(Arc::<str>::from) else {
            return ready(Ok(ABSENT));
        };
        let (core, context, dataset) = (Arc::clone(self), context.clone(), Arc::clone(dataset));
        let found = self.named_entry(&context, &dataset, &name);
        found.then(move |found| {
            let (answer, entry) = match found {
                Ok(found) => found,
                Err(error) => return ready(Err(error)),
            };
            match entry {
                None => ready(Ok(NOT_NOW)),
                Some(Entry::Reference(file)) if core.options.bestrefs_as == BestrefsAs::File => {
                    core.lookup_shared(&answer, file)
                }
                Some(entry) => {
                    let entry_name = Arc::clone(&name);
                    let key = Key::Answer {
                        context,
                        dataset,
                        entry: entry_name,
                    };
                    let ino = core.nodes.refer(key, None);
                    ready(Ok(Lookup::Found {
                        attr: core.entry_attr(ino, &answer, &entry),
                        keep: CacheTtl::Never,
                    }))
                }
            }
        })
    }

    /// A reference as a file in a dataset's directory: the same file as under `references/`.
    fn lookup_shared(self: &Arc<Self>, answer: &Answer, file: FileName) -> Outcome<Lookup, Error> {
        let observatory = answer.observatory;
        let core = Arc::clone(self);
        let permitted = self.permit(answer, &file);
        let ensured = permitted.then(move |permitted| match permitted {
            Ok(()) => core.ensure(observatory),
            Err(error) => ready(Err(error)),
        });
        let core = Arc::clone(self);
        ensured.then(move |view| match view {
            Ok(view) => match view.named(file.as_str()) {
                Some(file) => core.found_catalogued(file).map(|found| {
                    Ok(match found? {
                        // The answer may be another one tomorrow.
                        Lookup::Found { attr, .. } => Lookup::Found {
                            attr,
                            keep: CacheTtl::Never,
                        },
                        absent @ Lookup::Absent { .. } => absent,
                    })
                }),
                None => ready(Ok(NOT_NOW)),
            },
            Err(error) => ready(Err(error)),
        })
    }

    /// Applies the client's policy on bad files.
    fn permit(&self, answer: &Answer, file: &FileName) -> Outcome<(), Error> {
        self.resolver.permit(answer, file).map(|permit| match permit {
            Ok(Permit::Fine) => Ok(()),
            Ok(Permit::Warn(text)) => {
                log::warn!("{text}");
                Ok(())
            }
            Ok(Permit::Refuse(text)) => Err(Error::BadFile(text)),
        })
    }

    fn target(&self, answer: &Answer, file: &FileName) -> String {
        let key = FileKey {
            observatory: answer.observatory,
            name: file.clone(),
        };
        format!("../../../{}", self.path_of(&key).display())
    }

    fn entry_attr(&self, ino: Ino, answer: &Answer, entry: &Entry) -> Attr {
        let attr = match entry {
            Entry::Reference(file) => self.link_attr(ino, &self.target(answer, file)),
            Entry::Text(text) => {
                let size = u64::try_from(text.len()).unwrap_or_default();
                self.own(ino, NodeKind::File, 0o444, size)
            }
        };
        attr.dated(answer.when)
    }

    /// The answer for a dataset, and the entry of its directory that has this name.
    fn named_entry(
        self: &Arc<Self>,
        context: &FileName,
        dataset: &str,
        name: &Arc<str>,
    ) -> Outcome<(Arc<Answer>, Option<Entry>), Error> {
        let (core, name) = (Arc::clone(self), Arc::clone(name));
        self.answer(context, dataset).then(move |answer| {
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => return ready(Err(error.into())),
            };
            if &*name != EXPLANATION {
                let entry = entry(&answer, &name);
                return ready(Ok((answer, entry)));
            }
            core.resolver.explain(&answer).map(move |text| match text {
                Ok(text) => Ok((answer, Some(Entry::Text(text.into())))),
                Err(error) if says_absent(&error) => Ok((answer, None)),
                Err(error) => Err(error.into()),
            })
        })
    }

    /// The answer behind a node, and the entry that the node stands for.
    fn node_entry(
        self: &Arc<Self>,
        context: &FileName,
        dataset: &str,
        name: &Arc<str>,
    ) -> Outcome<(Arc<Answer>, Entry), Error> {
        self.named_entry(context, dataset, name).map(|found| {
            let (answer, entry) = found?;
            Ok((answer, entry.ok_or(Error::Stale)?))
        })
    }

    /// The attributes of a node of `/bestrefs`.
    pub(super) fn bestref_attr(self: &Arc<Self>, ino: Ino, key: Key) -> Outcome<(Attr, CacheTtl), Error> {
        let core = Arc::clone(self);
        match key {
            Key::Local { .. } => ready(Err(Error::Stale)),
            Key::Context(_) | Key::Dataset { .. } => ready(Ok((
                self.own(ino, NodeKind::Directory, 0o555, 0),
                CacheTtl::Never,
            ))),
            Key::Symbolic(text) => self
                .symbolic(&text)
                .map(move |context| Ok((core.link_attr(ino, context?.as_str()), CacheTtl::Never))),
            Key::Answer {
                context,
                dataset,
                entry,
            } => self.node_entry(&context, &dataset, &entry).map(move |found| {
                let (answer, entry) = found?;
                Ok((core.entry_attr(ino, &answer, &entry), CacheTtl::Never))
            }),
        }
    }

    fn symbolic(&self, text: &str) -> Outcome<FileName, Error> {
        match text.parse::<ContextSpec>() {
            Ok(spec) => self.resolver.context(&spec).map(|context| Ok(context?)),
            Err(_) => ready(Err(Error::Stale)),
        }
    }

    /// The target of a link of `/bestrefs`. [`Error::Invalid`] when it is no link, [`Error::BadFile`] when the policy
    /// on bad files refuses the reference.
    pub(super) fn bestref_link(self: &Arc<Self>, key: Key) -> Outcome<OsString, Error> {
        let core = Arc::clone(self);
        match key {
            Key::Symbolic(text) => self.symbolic(&text).map(|context| Ok(context?.as_str().into())),
            Key::Answer {
                context,
                dataset,
                entry,
            } => self
                .node_entry(&context, &dataset, &entry)
                .then(move |found| match found {
                    Ok((answer, Entry::Reference(file))) => {
                        let target = core.target(&answer, &file).into();
                        core.permit(&answer, &file)
                            .map(|permitted| permitted.map(|()| target))
                    }
                    Ok((_, Entry::Text(_))) => ready(Err(Error::Invalid("not a symbolic link"))),
                    Err(error) => ready(Err(error)),
                }),
            Key::Local { .. } | Key::Context(_) | Key::Dataset { .. } => {
                ready(Err(Error::Invalid("not a symbolic link")))
            }
        }
    }

    /// Opens generated text of a dataset's directory.
    pub(super) fn open_answer(self: &Arc<Self>, ino: Ino, key: Key) -> Outcome<Opened, Error> {
        let core = Arc::clone(self);
        match key {
            Key::Answer {
                context,
                dataset,
                entry,
            } => self
                .node_entry(&context, &dataset, &entry)
                .map(move |found| match found? {
                    (_, Entry::Text(text)) => Ok(core.opened_text(ino, text)),
                    (_, Entry::Reference(_)) => Err(Error::Invalid("a link cannot be opened")),
                }),
            Key::Context(_) | Key::Dataset { .. } => ready(Err(Error::IsDirectory)),
            Key::Local { .. } | Key::Symbolic(_) => ready(Err(Error::Invalid("a link cannot be opened"))),
        }
    }

    /// The symbolic contexts that can be resolved today, and the contexts that are known. An observatory that cannot be
    /// reached shows none.
    pub(super) fn list_contexts(self: &Arc<Self>) -> Outcome<Vec<Other>, Error> {
        let observatories = self.fetcher.catalogs().observatories();
        let mut loading: Outcome<(), Error> = ready(Ok(()));
        for observatory in observatories {
            let (core, observatory) = (Arc::clone(self), *observatory);
            loading = loading.then(move |_| core.ensure(observatory).map(|_| Ok(())));
        }
        let core = Arc::clone(self);
        loading.map(move |_| Ok(core.known_contexts()))
    }

    fn known_contexts(&self) -> Vec<Other> {
        let symbolic = self
            .resolver
            .symbolic_contexts()
            .into_iter()
            .map(|(form, context)| {
                let key = Key::Symbolic(form.as_str().into());
                let attr = self.link_attr(self.nodes.number(&key), context.as_str());
                made(form, key, attr)
            });
        let literal = self.resolver.contexts().into_iter().map(|context| {
            let name = context.as_str().to_owned();
            self.made_directory(name, Key::Context(context))
        });
        symbolic.chain(literal).collect()
    }

    fn made_directory(&self, name: String, key: Key) -> Other {
        let attr = self.own(self.nodes.number(&key), NodeKind::Directory, 0o555, 0);
        made(name, key, attr)
    }

    /// The datasets that were asked for under a context.
    pub(super) fn list_datasets(&self, context: &FileName) -> Vec<Other> {
        let datasets = self.resolver.datasets(context).into_iter();
        datasets
            .map(|dataset| {
                let name = dataset.to_string();
                let key = Key::Dataset {
                    context: context.clone(),
                    dataset: name.as_str().into(),
                };
                self.made_directory(name, key)
            })
            .collect()
    }

    /// The types that have an answer.
    pub(super) fn list_answers(
        self: &Arc<Self>,
        context: &FileName,
        dataset: &Arc<str>,
    ) -> Outcome<Vec<Other>, Error> {
        let core = Arc::clone(self);
        let (context, dataset) = (context.clone(), Arc::clone(dataset));
        self.answer(&context, &dataset).map(move |answer| {
            let answer = answer?;
            let listed = names(&answer).into_iter();
            Ok(listed
                .filter_map(|name| core.list_entry(&context, &dataset, &answer, name))
                .collect())
        })
    }

    fn list_entry(
        &self,
        context: &FileName,
        dataset: &Arc<str>,
        answer: &Answer,
        name: String,
    ) -> Option<Other> {
        let found = entry(answer, &name)?;
        if let Entry::Reference(file) = &found
            && self.options.bestrefs_as == BestrefsAs::File
        {
            let file = self.view(answer.observatory)?.named(file.as_str())?;
            let attr = self.catalogued_attr(&file)?;
            let node = Node::Made { key: None, attr };
            let name = name.into();
            return Some(Other { name, node });
        }
        let key = Key::Answer {
            context: context.clone(),
            dataset: Arc::clone(dataset),
            entry: name.as_str().into(),
        };
        let attr = self.entry_attr(self.nodes.number(&key), answer, &found);
        Some(made(name, key, attr))
    }
}

fn made(name: String, key: Key, attr: Attr) -> Other {
    Other {
        name: name.into(),
        node: Node::Made { key: Some(key), attr },
    }
}
