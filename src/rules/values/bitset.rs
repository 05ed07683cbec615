//! Sets of rows of a Match selector.

/// A set of small numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BitSet(Vec<u64>);

impl BitSet {
    /// The empty set with room for `size` numbers.
    pub(crate) fn empty(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    /// All numbers below `size`, in a set that may have other room already.
    pub(crate) fn fill(&mut self, size: usize) {
        self.0.clear();
        self.0.resize(size.div_ceil(64), u64::MAX);
        let used = size % 64;
        if used > 0
            && let Some(last) = self.0.last_mut()
        {
            *last = (1 << used) - 1;
        }
    }

    /// Adds a number within the room.
    pub(crate) fn insert(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Adds numbers within the room.
    pub(crate) fn extend<'n>(&mut self, numbers: impl IntoIterator<Item = &'n u32>) {
        for &number in numbers {
            self.insert(number);
        }
    }

    /// Takes a number out.
    pub(crate) fn remove(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    /// Whether the number is in the set.
    pub(crate) fn contains(&self, number: u32) -> bool {
        self.0
            .get(number as usize / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Whether nothing is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// The only number in the set, if there is exactly one.
    pub(crate) fn only(&self) -> Option<u32> {
        let mut words = self.0.iter().zip(0u32..).filter(|(word, _)| **word != 0);
        let (word, index) = words.next()?;
        (word.is_power_of_two() && words.next().is_none()).then(|| index * 64 + word.trailing_zeros())
    }

    /// Keeps what is also in the other set.
    pub(crate) fn intersect(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// Keeps what is in one of two sets, the first being given by its words.
    pub(crate) fn intersect_union(&mut self, one: &[u64], two: &Self) {
        for ((word, one), two) in self.0.iter_mut().zip(one).zip(&two.0) {
            *word &= one | two;
        }
    }

    /// Adds what is in the set with these words.
    pub(crate) fn unite(&mut self, words: &[u64]) {
        for (word, other) in self.0.iter_mut().zip(words) {
            *word |= other;
        }
    }

    /// Copies the other set.
    pub(crate) fn assign(&mut self, other: &Self) {
        self.0.clear();
        self.0.extend_from_slice(&other.0);
    }

    /// The numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().zip(0u32..).flat_map(|(&word, index)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                // Clears the lowest bit.
                rest &= rest.wrapping_sub(1);
                (bit < 64).then_some(index * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_rows() {
        let mut all = BitSet::default();
        all.fill(130);
        assert_eq!(all.iter().count(), 130);
        assert_eq!(all.only(), None);
        let mut some = BitSet::empty(130);
        for number in [0, 63, 64, 129] {
            some.insert(number);
        }
        all.intersect(&some);
        assert_eq!(all.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        for number in [0, 64, 129] {
            all.remove(number);
        }
        assert_eq!(all.only(), Some(63));
        all.insert(64);
        assert!(all.contains(64) && !all.contains(65) && !all.is_empty());
    }
}
