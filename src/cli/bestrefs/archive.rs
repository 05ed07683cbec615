//! Datasets of the archive: their answers and parameters, asked of an open target.

use crate::cli::target::{DatasetAnswers, Session};
use crate::crds::{DatasetName, FileName, NameError};

/// The answers for a dataset under a context, by its literal name, or why there are none.
pub(super) fn answers(
    session: &Session,
    context: &str,
    dataset: &DatasetName,
) -> Result<DatasetAnswers, String> {
    let context = literal(context)?;
    let answers = session.wait(session.target().answers(&context, dataset));
    answers.map_err(|failure| failure.to_string())
}

/// Asks for many datasets at once, so that they share requests; the answers are remembered.
pub(super) fn prepare(session: &Session, context: &str, datasets: &[DatasetName]) {
    // A context without a name in the archive fails when its answers are asked for.
    if let Ok(context) = literal(context) {
        session.wait(session.target().prepare(&context, datasets));
    }
}

fn literal(context: &str) -> Result<FileName, String> {
    context.parse().map_err(|error: NameError| error.to_string())
}
