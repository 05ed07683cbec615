//! The best references of datasets of the archive, asked of an open target.

use std::fs;
use std::io;
use std::path::Path;

use futures_util::future::join_all;
use serde_json::{Map, Value};

use super::{Opened, Place, in_background};
use crate::cli::Failure;
use crate::crds::{DatasetName, FileKey, FileName};
use crate::resolve::TypeAnswer;

/// The answers for a dataset of the archive.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::cli) struct DatasetAnswers {
    /// The matching parameters, where they are known.
    pub(in crate::cli) header: Option<Map<String, Value>>,
    /// By reference type.
    pub(in crate::cli) answers: Map<String, Value>,
}

impl DatasetAnswers {
    /// The files that the answers name.
    pub(in crate::cli) fn files(&self) -> impl Iterator<Item = FileName> {
        let answers = self.answers.values().map(TypeAnswer::from_json);
        answers.flat_map(|answer| answer.files().cloned().collect::<Vec<_>>())
    }
}

impl Opened {
    /// The answers for a dataset under a literal context.
    pub(in crate::cli) async fn answers(
        &self,
        context: &FileName,
        dataset: &DatasetName,
    ) -> Result<DatasetAnswers, Failure> {
        let (answer, header) = match &self.place {
            Place::Cache(cache) => {
                let answer = cache.resolver().answer(context, dataset).wait().await?;
                let header = answer.header.as_deref().map(serde_json::to_value);
                (answer.to_json(), header.transpose()?)
            }
            Place::Mount(mount) => {
                let contexts = mount.mountpoint.join("bestrefs");
                let directory = contexts.join(context.as_str()).join(dataset.to_string());
                let read = in_background(move || read_answers(&directory)).await?;
                match read {
                    Ok(read) => read,
                    Err(error) => return Err(self.no_answers((context, dataset), error).await),
                }
            }
        };
        let Value::Object(mut answer) = answer else {
            return Err(Failure::new("the answer is no JSON object"));
        };
        match (answer.remove("bestrefs"), header) {
            (Some(Value::Object(answers)), Some(Value::Object(header))) => Ok(DatasetAnswers {
                header: Some(header),
                answers,
            }),
            (Some(Value::Object(answers)), _) => Ok(DatasetAnswers {
                header: None,
                answers,
            }),
            _ => Err(Failure::new("the answer has no best references in it")),
        }
    }

    /// The best references of a dataset under a literal context.
    pub(in crate::cli) async fn best_references(
        &self,
        context: &FileKey,
        dataset: &DatasetName,
    ) -> Result<Vec<FileKey>, Failure> {
        let answers = self.answers(&context.name, dataset).await?;
        let key = |name| FileKey {
            observatory: context.observatory,
            name,
        };
        Ok(answers.files().map(key).collect())
    }

    /// Asks for many datasets at once, so that they share requests; the answers are remembered. A question that fails is to
    /// be asked again for its failure.
    pub(in crate::cli) async fn prepare(&self, context: &FileName, datasets: &[DatasetName]) {
        join_all(datasets.iter().map(|dataset| self.answers(context, dataset))).await;
    }

    /// The failure that a mount has no answers, with what it says of that.
    async fn no_answers(&self, (context, dataset): (&FileName, &DatasetName), error: io::Error) -> Failure {
        let dataset = dataset.display();
        if let Some(told) = self
            .failure_in_mount(&format!("bestrefs/{context}/{dataset}"))
            .await
        {
            return Failure::new(told);
        }
        match error.kind() {
            io::ErrorKind::NotFound => Failure::new(format!(
                "there is no dataset '{dataset}', or it has no best references under {context}"
            )),
            _ => Failure::because(format!("the best references of '{dataset}'"), error),
        }
    }
}

/// Reads the answers for a dataset, and its parameters where they are known, in its directory.
fn read_answers(directory: &Path) -> io::Result<(Value, Option<Value>)> {
    let answer = serde_json::from_slice(&fs::read(directory.join("bestrefs.json"))?)?;
    let header = fs::read(directory.join("header.json")).ok();
    Ok((answer, header.and_then(|text| serde_json::from_slice(&text).ok())))
}
