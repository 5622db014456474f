//! Inputs whose rows are objects from keys to values.
//!
//! Some files declare an input as a map. No tensor engine takes one: what it is served by is a tensor with a column for
//! each key. A [`Dictionary`] says which key stands in which column.

use std::collections::HashMap;

/// Columns of one input, at most.
pub const MAX_COLUMNS: usize = 1 << 21;

/// How the rows of an input are written as objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dictionary {
    /// The name of the input in the signature.
    pub input: String,
    /// Which keys there are, and where their values stand.
    pub keys: Keys,
    /// What stands for a key that is absent where values are texts. Numbers are 0 then.
    pub absent: String,
    /// Whether values come as numbers and are held as texts, with six digits after the point.
    pub spells_numbers: bool,
}

/// The keys of a [`Dictionary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// A column for each of these texts; other keys say nothing to the model.
    Texts(Columns<String>),
    /// A column for each of these whole numbers; other keys say nothing to the model.
    Ints(Columns<i64>),
    /// A key is the position of its column, of which there are so many. Larger keys say nothing to the model, and there
    /// are none below 0.
    Positions(usize),
    /// The values of all keys that are there, whole numbers, in the order of these. Rows differ in width.
    Ascending,
}

/// Keys in the order of their columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns<K: std::hash::Hash + Eq> {
    ordered: Vec<K>,
    positions: HashMap<K, usize>,
}

impl<K: std::hash::Hash + Eq + Clone> Columns<K> {
    /// The column of `key`, which is made where there is none yet.
    pub fn column(&mut self, key: K) -> usize {
        let next = self.ordered.len();
        let position = *self.positions.entry(key.clone()).or_insert(next);
        if position == next {
            self.ordered.push(key);
        }
        position
    }

    /// In their order.
    #[must_use]
    pub fn ordered(&self) -> &[K] {
        &self.ordered
    }
}

/// A text that is no key of its dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Keys are whole numbers there.
    #[error("expected a whole number of 64 bits")]
    NoInteger,
    /// Keys are positions there.
    #[error("expected a whole number from 0 on")]
    Negative,
}

impl Keys {
    /// How many columns there are; none where every row has its own number of them.
    #[must_use]
    pub const fn width(&self) -> Option<usize> {
        match self {
            Self::Texts(columns) => Some(columns.ordered.len()),
            Self::Ints(columns) => Some(columns.ordered.len()),
            Self::Positions(width) => Some(*width),
            Self::Ascending => None,
        }
    }

    /// The names of the columns; empty where nobody named them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Texts(columns) => columns.ordered.clone(),
            Self::Ints(columns) => columns.ordered.iter().map(i64::to_string).collect(),
            Self::Positions(_) | Self::Ascending => Vec::new(),
        }
    }

    /// The column of a key as an object writes it; none where the model does not know it.
    pub fn find(&self, key: &str) -> Result<Option<usize>, KeyError> {
        match self {
            Self::Texts(columns) => Ok(columns.positions.get(key).copied()),
            Self::Ints(columns) => Ok(columns.positions.get(&integer(key)?).copied()),
            Self::Positions(width) => {
                let position = usize::try_from(integer(key)?).map_err(|_| KeyError::Negative)?;
                Ok((position < *width).then_some(position))
            }
            Self::Ascending => Ok(None),
        }
    }
}

/// A key that is a whole number.
pub fn integer(key: &str) -> Result<i64, KeyError> {
    key.parse().map_err(|_| KeyError::NoInteger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_column_however_often_it_is_named() {
        let mut columns = Columns::default();
        let positions: Vec<usize> = ["b", "a", "b"]
            .into_iter()
            .map(|key| columns.column(key))
            .collect();
        assert_eq!(positions, [0, 1, 0]);
        assert_eq!(columns.ordered(), ["b", "a"]);
    }

    #[test]
    fn keys_are_found_by_what_they_are() {
        let mut columns = Columns::default();
        columns.column(-3);
        let ints = Keys::Ints(columns);
        assert_eq!(ints.find("-3"), Ok(Some(0)));
        assert_eq!(ints.find("4"), Ok(None));
        assert_eq!(ints.find("x"), Err(KeyError::NoInteger));
        let positions = Keys::Positions(2);
        assert_eq!(positions.find("1"), Ok(Some(1)));
        assert_eq!(positions.find("2"), Ok(None));
        assert_eq!(positions.find("-1"), Err(KeyError::Negative));
    }
}
