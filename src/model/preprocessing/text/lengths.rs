//! Lengths of rows: what shorter ones are filled up to.
//!
//! An engine prepares for each length by itself, and rows run together only where they have one length. So there are few
//! of them: the powers of two from 8 on, what lies half-way between two, and the maximum. Less than a third of a row of more
//! than 8 tokens is filled up.

/// The least length that rows are filled up to.
const SHORTEST: usize = 8;

/// The lengths up to `max_length`, which is the last of them.
pub(super) fn buckets(max_length: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(SHORTEST), |length| length.checked_mul(2));
    let steps = powers.flat_map(|length| [length, length.saturating_add(length / 2)]);
    let mut buckets: Vec<usize> = steps.take_while(|&length| length < max_length).collect();
    buckets.push(max_length);
    buckets
}

/// The least of `buckets` that is not below `length`; `length` itself beyond the last.
pub(super) fn bucket(buckets: &[usize], length: usize) -> usize {
    let next = buckets.partition_point(|&bucket| bucket < length);
    buckets.get(next).copied().unwrap_or(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn they_are_powers_of_two_and_half_way_between_up_to_the_maximum() {
        assert_eq!(buckets(128), [8, 12, 16, 24, 32, 48, 64, 96, 128]);
        assert_eq!(buckets(100), [8, 12, 16, 24, 32, 48, 64, 96, 100]);
        assert_eq!(buckets(5), [5]);
        assert_eq!(buckets(8), [8]);
    }

    proptest! {
        #[test]
        fn a_row_is_filled_up_by_less_than_half_of_itself(max_length in 1_usize..5000, length in 1_usize..5000) {
            let length = length.min(max_length);
            let buckets = buckets(max_length);
            let found = bucket(&buckets, length);
            prop_assert!(buckets.is_sorted() && buckets.contains(&found) && found >= length);
            prop_assert!(found <= SHORTEST || found * 2 < length * 3 + 2, "{length} becomes {found}");
        }
    }
}
