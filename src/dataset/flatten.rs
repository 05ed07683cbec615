//! Nested trees (ASDF, YAML, JSON) as flat headers with dotted names, the way the Python client flattens them.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::rules::python::repr;

use super::error::Trouble;

/// The deepest nesting; an alias to a node around it would nest for ever.
const MAX_DEPTH: usize = 256;
/// The most bytes of all names and texts of one tree together; aliases can repeat what the file has once.
const MAX_TEXT: usize = 64 << 20;

/// The value of a node of a tree.
pub(super) enum Value<'a, Id> {
    /// A text, number or boolean, as Python's `str` of it.
    Text(Cow<'a, str>),
    Sequence(Vec<Id>),
    /// Keys that are texts with their values, and the class that Python has it in, shown where it stands in a sequence.
    Mapping(Vec<(Cow<'a, str>, Id)>, &'a str),
    /// Anything else: its class.
    Opaque(Cow<'a, str>),
}

/// A nested tree.
pub(super) trait Tree {
    /// Names a node.
    type Id: Copy;

    /// The value of a node.
    fn value(&self, id: Self::Id) -> Result<Value<'_, Self::Id>, Trouble>;
}

/// The flat header of a tree whose outermost node is `root`.
pub(super) fn flatten<T: Tree>(tree: &T, root: T::Id) -> Result<Vec<(String, String)>, Trouble> {
    let mut flat = Flat {
        tree,
        pairs: Vec::new(),
        index: HashMap::new(),
        budget: MAX_TEXT,
    };
    match tree.value(root)? {
        Value::Mapping(pairs, _) => flat.mapping("", pairs, 0)?,
        _ => return Err(Trouble::malformed("its outermost node is not a mapping")),
    }
    Ok(flat.pairs)
}

/// The header so far.
struct Flat<'a, T: Tree> {
    tree: &'a T,
    pairs: Vec<(String, String)>,
    index: HashMap<String, usize>,
    budget: usize,
}

impl<'a, T: Tree> Flat<'a, T> {
    fn mapping(
        &mut self,
        path: &str,
        pairs: Vec<(Cow<'a, str>, T::Id)>,
        depth: usize,
    ) -> Result<(), Trouble> {
        let depth = deeper(depth)?;
        for (key, id) in pairs {
            let name = format!("{path}{}", key.to_uppercase());
            self.spend(name.len())?;
            match self.tree.value(id)? {
                Value::Mapping(pairs, _) => self.mapping(&format!("{name}."), pairs, depth)?,
                value => {
                    let text = self.text(value, depth)?;
                    self.put(name, text);
                }
            }
        }
        Ok(())
    }

    /// Adds a value; a name that differs from an earlier one in case alone replaces it.
    fn put(&mut self, name: String, text: String) {
        let at = *self.index.entry(name.clone()).or_insert(self.pairs.len());
        match self.pairs.get_mut(at) {
            Some((_, old)) => *old = text,
            None => self.pairs.push((name, text)),
        }
    }

    /// A value that is not a mapping, or stands in a sequence.
    fn text(&mut self, value: Value<'a, T::Id>, depth: usize) -> Result<String, Trouble> {
        let text = match value {
            Value::Text(text) => text.into_owned(),
            Value::Opaque(class) => suppressed(&class),
            Value::Mapping(_, class) => suppressed(class),
            Value::Sequence(items) => return self.tuple(&items, depth),
        };
        self.spend(text.len())?;
        Ok(text)
    }

    /// A sequence as a Python tuple of texts.
    fn tuple(&mut self, items: &[T::Id], depth: usize) -> Result<String, Trouble> {
        let depth = deeper(depth)?;
        let mut text = String::from("(");
        for (index, id) in items.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            let item = match self.tree.value(*id)? {
                Value::Sequence(items) => self.tuple(&items, depth)?,
                value => repr(&self.text(value, depth)?),
            };
            self.spend(item.len() + 2)?;
            text.push_str(&item);
        }
        text.push_str(if items.len() == 1 { ",)" } else { ")" });
        Ok(text)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Trouble> {
        self.budget = self
            .budget
            .checked_sub(bytes + 1)
            .ok_or_else(|| Trouble::malformed(format!("its tree unfolds to more than {MAX_TEXT} bytes")))?;
        Ok(())
    }
}

fn deeper(depth: usize) -> Result<usize, Trouble> {
    if depth >= MAX_DEPTH {
        return Err(Trouble::malformed(format!(
            "its tree is nested deeper than {MAX_DEPTH} levels"
        )));
    }
    Ok(depth + 1)
}

/// The text for a value that is no text: `[sic]`.
fn suppressed(class: &str) -> String {
    format!("SUPRESSED_NONSTD_TYPE: {}", repr(class))
}
