//! Sorting as Python does it.

/// Sorts with the comparisons that Python makes for short lists, so that the same one fails first.
pub(super) fn sort<T>(items: &mut [T], less: impl Fn(&T, &T) -> Result<bool, String>) -> Result<(), String> {
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
        assert_eq!(sort(&mut [9, 1], fail), Err("1 9".to_owned()));
        assert_eq!(sort(&mut [1, 2, 3, 0, 9], fail), Err("9 2".to_owned()));
    }
}
