//! Picks among those that have fewer requests than they may.

/// Why there is no pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPick {
    /// Everybody is to be avoided.
    Nobody,
    /// Everybody else has as many requests as they may.
    Full,
}

/// What `pick` picks of candidates 0 to `count`, given the indices to avoid in ascending order: never one of `avoid`, and one
/// at which `take` takes a place. One at which it does not is passed over, and whoever else `is_full` with it.
pub fn pick_with_room<T>(
    count: usize,
    mut avoid: Vec<usize>,
    mut pick: impl FnMut(&[usize]) -> Option<usize>,
    mut take: impl FnMut(usize) -> Option<T>,
    is_full: impl Fn(usize) -> bool,
) -> Result<(usize, T), NoPick> {
    let mut why = NoPick::Nobody;
    loop {
        let picked = pick(&avoid).ok_or(why)?;
        if let Some(taken) = take(picked) {
            return Ok((picked, taken));
        }
        why = NoPick::Full;
        let is_out =
            |&index: &usize| index == picked || avoid.binary_search(&index).is_ok() || is_full(index);
        avoid = (0..count).filter(is_out).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whoever_has_room_and_is_not_to_be_avoided_is_found(
            room in prop::collection::vec(0_u32..3, 0..12),
            avoided in prop::collection::btree_set(0_usize..12, 0..12),
        ) {
            let left = RefCell::new(room.clone());
            let avoid: Vec<usize> = avoided.into_iter().filter(|&index| index < room.len()).collect();
            let first = |avoid: &[usize]| (0..room.len()).find(|index| !avoid.contains(index));
            let take = |index: usize| {
                let mut left = left.borrow_mut();
                left[index] = left[index].checked_sub(1)?;
                Some(())
            };
            let is_full = |index: usize| left.borrow()[index] == 0;
            let wanted = (0..room.len()).find(|index| !avoid.contains(index) && room[*index] > 0);
            match pick_with_room(room.len(), avoid.clone(), first, take, is_full) {
                Ok((index, ())) => prop_assert_eq!(Some(index), wanted),
                Err(NoPick::Nobody) => prop_assert_eq!(avoid.len(), room.len()),
                Err(NoPick::Full) => prop_assert!(wanted.is_none() && avoid.len() < room.len()),
            }
        }
    }
}
