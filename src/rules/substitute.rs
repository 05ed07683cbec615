//! Substitutions of elements in the keys of selectors (spec/crds-rules 10).

use rustc_hash::FxHashMap;

use super::compile::Entries;
use super::item::{Item, Tree};

/// `substitutions`: a parameter with its table of old and new elements.
pub(crate) type Substitutions = Vec<(String, Vec<(Item, Item)>)>;

/// Replaces elements of keys; a replaced entry takes the place of one that has the new key already.
pub(super) fn keys(
    tree: &mut Tree<'_>,
    substitutions: &Substitutions,
    params: &[String],
    entries: &mut Entries,
) -> Result<(), String> {
    for (index, param) in params.iter().enumerate() {
        let Some((_, table)) = substitutions.iter().find(|(name, _)| name == param) else {
            continue;
        };
        let too_short = |key| matches!(key, Item::Tuple(parts) if tree.parts(parts).len() <= index);
        if entries.iter().any(|&(key, _)| too_short(key)) {
            return Err("tuple index out of range".to_owned());
        }
        if entries
            .iter()
            .any(|(key, _)| new_element(tree, *key, index, table).is_some())
        {
            *entries = column(tree, std::mem::take(entries), index, table);
        }
    }
    Ok(())
}

fn column(tree: &mut Tree<'_>, entries: Entries, index: usize, table: &[(Item, Item)]) -> Entries {
    let identities = entries.iter().map(|(key, _)| tree.identity(*key));
    let mut places: FxHashMap<String, usize> = identities.zip(0..).collect();
    let mut entries: Vec<_> = entries.into_iter().map(Some).collect();
    for place in 0..entries.len() {
        let Some((key, choice)) = entries.get_mut(place).and_then(Option::take) else {
            continue;
        };
        let Some(element) = new_element(tree, key, index, table) else {
            entries[place] = Some((key, choice));
            continue;
        };
        let new = replaced(tree, key, index, element);
        let old = tree.identity(key);
        if places.get(&old) == Some(&place) {
            places.remove(&old);
        }
        let identity = tree.identity(new);
        let existing = places
            .get(&identity)
            .copied()
            .filter(|&existing| existing != place);
        if let Some(Some((_, old))) = existing.and_then(|existing| entries.get_mut(existing)) {
            *old = choice;
        } else {
            places.insert(identity, place);
            entries[place] = Some((new, choice));
        }
    }
    entries.into_iter().flatten().collect()
}

/// What the table says an element of a key is to be replaced by.
fn new_element(tree: &Tree<'_>, key: Item, index: usize, table: &[(Item, Item)]) -> Option<Item> {
    let element = match key {
        Item::Tuple(elements) => *tree.parts(elements).get(index)?,
        other => other,
    };
    let (_, new) = table.iter().find(|(old, _)| tree.equals(*old, element))?;
    Some(match *new {
        Item::List(items) => Item::Tuple(items),
        other => other,
    })
}

/// The key with another element.
fn replaced(tree: &mut Tree<'_>, key: Item, index: usize, element: Item) -> Item {
    let Item::Tuple(elements) = key else {
        return element;
    };
    let mut elements = tree.parts(elements).to_vec();
    if let Some(place) = elements.get_mut(index) {
        *place = element;
    }
    Item::Tuple(tree.add(&elements))
}
