//! Substitutions of elements in the keys of selectors (spec/crds-rules 10).

use hashbrown::HashTable;

use crate::rules::model::selector::Choice;
use crate::rules::syntax::ast::{Item, Tree};

/// Keys of a selector with their choices.
pub(super) type Entries = Vec<(Item, Choice)>;

/// `substitutions`: a parameter with its table of old and new elements.
pub(crate) type Substitutions = Vec<(String, Vec<(Item, Item)>)>;

/// Replaces elements of keys; a replaced entry takes the place of one that has the new key already, else the last one.
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
    let (mut keys, choices): (Vec<Item>, Vec<Choice>) = entries.into_iter().unzip();
    let mut choices: Vec<Option<Choice>> = choices.into_iter().map(Some).collect();
    // The places of keys.
    let mut known: HashTable<usize> = HashTable::with_capacity(keys.len());
    for (place, &key) in keys.iter().enumerate() {
        known.insert_unique(tree.key_hash(key), place, |&place| hash_at(tree, &keys, place));
    }
    for place in 0..keys.len() {
        let key = keys.get(place).copied().unwrap_or(Item::None);
        let Some(element) = new_element(tree, key, index, table) else {
            continue;
        };
        if let Ok(old) = known.find_entry(tree.key_hash(key), |&other| other == place) {
            old.remove();
        }
        let new = replaced(tree, key, index, element);
        let same = |&other: &usize| keys.get(other).is_some_and(|&key| tree.same_key(key, new));
        let existing = known.find(tree.key_hash(new), same).copied();
        let choice = choices.get_mut(place).and_then(Option::take);
        if let Some(Some(old)) = existing.and_then(|existing| choices.get_mut(existing)) {
            *old = choice.unwrap_or(Choice::Tuple(Box::default()));
        } else {
            known.insert_unique(tree.key_hash(new), keys.len(), |&place| {
                hash_at(tree, &keys, place)
            });
            keys.push(new);
            choices.push(choice);
        }
    }
    let entries = keys.into_iter().zip(choices);
    entries.filter_map(|(key, choice)| Some((key, choice?))).collect()
}

fn hash_at(tree: &Tree<'_>, keys: &[Item], place: usize) -> u64 {
    keys.get(place).map_or(0, |&key| tree.key_hash(key))
}

/// The replacement for an element of a key by the table.
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
