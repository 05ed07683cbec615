//! Answers that are known now, or later.

use futures_util::future::BoxFuture;

/// The answer of an operation: now, or when a future is done.
pub(crate) enum Outcome<T, E> {
    /// Answered on the spot, from memory or by a system call that cannot wait for the network.
    Ready(Result<T, E>),
    /// Answered when the future is. Dropping it abandons the wait, never the work that others wait for.
    Later(BoxFuture<'static, Result<T, E>>),
}

impl<T, E> Outcome<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    /// The answer in another shape.
    pub(crate) fn map<U, F>(
        self,
        change: impl FnOnce(Result<T, E>) -> Result<U, F> + Send + 'static,
    ) -> Outcome<U, F>
    where
        U: 'static,
        F: 'static,
    {
        match self {
            Self::Ready(answer) => Outcome::Ready(change(answer)),
            Self::Later(answer) => Outcome::Later(Box::pin(async move { change(answer.await) })),
        }
    }

    /// Goes on with the answer, which may need waiting again.
    pub(crate) fn then<U, F>(
        self,
        next: impl FnOnce(Result<T, E>) -> Outcome<U, F> + Send + 'static,
    ) -> Outcome<U, F>
    where
        U: Send + 'static,
        F: Send + 'static,
    {
        match self {
            Self::Ready(answer) => next(answer),
            Self::Later(answer) => Outcome::Later(Box::pin(async move { next(answer.await).wait().await })),
        }
    }

    /// Waits for the answer.
    pub(crate) async fn wait(self) -> Result<T, E> {
        match self {
            Self::Ready(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}
