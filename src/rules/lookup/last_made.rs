//! A cell for the value that was last made of a mapping, to be shared while it is in use.

use std::any::Any;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The value that was last made of a mapping, as long as it is used somewhere. Its maker decides of which type it is:
/// the mapping need not know.
#[derive(Debug)]
pub(crate) struct LastMade(Mutex<Weak<dyn Any + Send + Sync>>);

impl Default for LastMade {
    fn default() -> Self {
        Self(Mutex::new(Weak::<()>::new()))
    }
}

impl LastMade {
    /// The value that was made last if it `fits` to what it would be made `of`, else one that is made now.
    pub(crate) fn get_or_make<T: Any + Send + Sync, O>(
        &self,
        of: O,
        fits: impl FnOnce(&T, &O) -> bool,
        make: impl FnOnce(O) -> T,
    ) -> Arc<T> {
        let mut last = self.0.lock();
        if let Some(Ok(known)) = last.upgrade().map(Arc::downcast::<T>)
            && fits(&known, &of)
        {
            return known;
        }
        let shared: Arc<T> = Arc::new(make(of));
        let any: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(&shared);
        *last = Arc::downgrade(&any);
        shared
    }
}
