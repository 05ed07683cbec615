//! Sorting as Python does it.

/// The number of items up to which Python inserts one after the other.
const SHORT: usize = 63;

/// Sorts, in the case of a short list with the comparisons that Python makes, so that the same one fails first.
pub(super) fn sort<T>(
    items: &mut Vec<T>,
    less: impl Fn(&T, &T) -> Result<bool, String>,
) -> Result<(), String> {
    if items.len() <= SHORT {
        return insert(items, less);
    }
    let compare = |one: usize, two: usize| match (items.get(one), items.get(two)) {
        (Some(one), Some(two)) => less(one, two),
        _ => Ok(false),
    };
    let order = merged((0..items.len()).collect(), &compare)?;
    let mut slots: Vec<Option<T>> = items.drain(..).map(Some).collect();
    items.extend(order.into_iter().filter_map(|place| slots.get_mut(place)?.take()));
    Ok(())
}

/// Sorts indexes.
fn merged(
    mut places: Vec<usize>,
    less: &impl Fn(usize, usize) -> Result<bool, String>,
) -> Result<Vec<usize>, String> {
    if places.len() < 2 {
        return Ok(places);
    }
    let second = places.split_off(places.len() / 2);
    let mut first = merged(places, less)?.into_iter().peekable();
    let mut second = merged(second, less)?.into_iter().peekable();
    let mut all = Vec::with_capacity(first.len() + second.len());
    while let (Some(&one), Some(&two)) = (first.peek(), second.peek()) {
        let next = if less(two, one)? {
            second.next()
        } else {
            first.next()
        };
        all.extend(next);
    }
    all.extend(first);
    all.extend(second);
    Ok(all)
}

fn insert<T>(items: &mut [T], less: impl Fn(&T, &T) -> Result<bool, String>) -> Result<(), String> {
    let mut run = items.len().min(1);
    let mut descending = false;
    while let Some([before, item]) = items.get(run.wrapping_sub(1)..=run) {
        let falls = less(item, before)?;
        if run == 1 {
            descending = falls;
        } else if falls != descending {
            break;
        }
        run += 1;
    }
    if descending && let Some(run) = items.get_mut(..run) {
        run.reverse();
    }
    for place in run..items.len() {
        let (mut low, mut high) = (0, place);
        while low < high {
            let middle = low + (high - low) / 2;
            let (Some(item), Some(other)) = (items.get(place), items.get(middle)) else {
                break;
            };
            if less(item, other)? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        if let Some(moved) = items.get_mut(low..=place) {
            moved.rotate_right(1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_and_fails_at_the_same_pair() {
        for list in [&[3, 1, 2][..], &[1, 2, 3, 0], &[3, 2, 1, 5, 4, 4], &[], &[1]] {
            let (mut items, mut expected) = (list.to_vec(), list.to_vec());
            sort(&mut items, |one, two| Ok(one < two)).unwrap();
            expected.sort_unstable();
            assert_eq!(items, expected);
        }
        let fail = |one: &i32, two: &i32| {
            if *one == 9 || *two == 9 {
                Err(format!("{one} {two}"))
            } else {
                Ok(one < two)
            }
        };
        assert_eq!(sort(&mut vec![9, 1], fail), Err("1 9".to_owned()));
        assert_eq!(sort(&mut vec![1, 2, 3, 0, 9], fail), Err("9 2".to_owned()));
    }

    #[test]
    fn long_lists_are_sorted_too_and_equal_items_keep_their_order() {
        let mut items: Vec<(u64, u64)> = (0..1000).map(|place| (place * 7919 % 100, place)).collect();
        let mut expected = items.clone();
        expected.sort_unstable();
        sort(&mut items, |one, two| Ok(one.0 < two.0)).unwrap();
        assert_eq!(items, expected);
        let fail = |one: &(u64, u64), two: &(u64, u64)| {
            if one.1.max(two.1) == 500 {
                Err("x".to_owned())
            } else {
                Ok(one < two)
            }
        };
        assert_eq!(sort(&mut items, fail), Err("x".to_owned()));
    }
}
