//! Open files and directories.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ops::Handle;

/// A table of open things. Handles are never given out twice, so that a late request cannot hit another's file.
#[derive(Debug)]
pub(super) struct Handles<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    next: Handle,
    open: HashMap<Handle, Arc<T>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                next: 1,
                open: HashMap::new(),
            }),
        }
    }
}

impl<T> Handles<T> {
    fn state(&self) -> parking_lot::MutexGuard<'_, State<T>> {
        self.state.lock()
    }

    pub(super) fn insert(&self, thing: T) -> Handle {
        let mut state = self.state();
        let handle = state.next;
        state.next += 1;
        state.open.insert(handle, Arc::new(thing));
        handle
    }

    pub(super) fn get(&self, handle: Handle) -> Option<Arc<T>> {
        self.state().open.get(&handle).cloned()
    }

    pub(super) fn remove(&self, handle: Handle) -> Option<Arc<T>> {
        self.state().open.remove(&handle)
    }

    /// The first open thing that `wanted` accepts.
    pub(super) fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.state().open.values().find(|thing| wanted(thing)).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.state().open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_not_reused() {
        let handles = Handles::default();
        let first = handles.insert("a");
        assert_eq!(handles.remove(first).as_deref(), Some(&"a"));
        let second = handles.insert("b");
        assert_ne!(first, second);
        assert!(handles.get(first).is_none());
        assert_eq!(handles.find(|thing| *thing == "b").as_deref(), Some(&"b"));
        assert_eq!(handles.len(), 1);
    }
}
