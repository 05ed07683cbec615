//! Moments between the steps of a change, at which tests let somebody else act: what can happen there once in a million
//! times happens then every time.

/// A moment at which nobody holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// It is known which copies must go; none has gone yet.
    VictimsChosen,
    /// A file that was found has been hashed; nothing follows from it yet.
    Hashed,
    /// The bytes of a partial file are durable; it does not have its name yet.
    Durable,
}

#[cfg(test)]
type Action = Box<dyn FnOnce() + Send>;

/// What is to happen at which moment: nothing, except in tests.
#[derive(Default)]
pub(super) struct Moments {
    #[cfg(test)]
    planned: parking_lot::Mutex<Vec<(Moment, Action)>>,
}

impl std::fmt::Debug for Moments {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Moments").finish_non_exhaustive()
    }
}

impl Moments {
    /// The moment has come.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests keep plans in it")]
    pub(super) const fn reach(&self, _: Moment) {}

    /// The moment has come: does what was planned for it, once.
    #[cfg(test)]
    pub(super) fn reach(&self, moment: Moment) {
        let action = {
            let mut planned = self.planned.lock();
            let at = planned.iter().position(|(when, _)| *when == moment);
            at.map(|at| planned.remove(at).1)
        };
        if let Some(action) = action {
            action();
        }
    }

    /// Plans what happens when a moment is reached next.
    #[cfg(test)]
    pub(super) fn plan(&self, moment: Moment, action: impl FnOnce() + Send + 'static) {
        self.planned.lock().push((moment, Box::new(action)));
    }
}
