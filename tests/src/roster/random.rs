//! SplitMix64: the same numbers from the same seed on every machine.

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014). Not for secrets.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator that depends on every one of `parts` and on their order.
    pub fn of(parts: &[u64]) -> Self {
        Self(parts.iter().fold(0, |seed, part| Self(seed ^ part).next()))
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "an endless generator has no use for Option")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number of the range, both ends included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True `permille` times in a thousand.
    pub fn chance(&mut self, permille: usize) -> bool {
        self.below(1000) < permille
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// One of `choices` by weight; the weights must not all be 0.
    pub fn weigh<'a, T: ?Sized>(&mut self, choices: &[(&'a T, usize)]) -> &'a T {
        let mut left = self.below(choices.iter().map(|(_, weight)| weight).sum());
        for (choice, weight) in choices {
            if left < *weight {
                return choice;
            }
            left -= weight;
        }
        choices[choices.len() - 1].0
    }

    /// Brings `items` into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence_of_seed_zero() {
        let mut random = SplitMix64::new(0);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]);
    }

    #[test]
    fn weights_are_respected() {
        let mut random = SplitMix64::new(7);
        let heads = (0..10_000).filter(|_| random.weigh(&[("head", 3), ("tail", 1)]) == "head").count();
        assert!((7200..7800).contains(&heads), "{heads}");
        assert!((0..1000).all(|_| random.weigh(&[("never", 0), ("always", 1)]) == "always"));
    }
}
