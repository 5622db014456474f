//! Operators that put one value in the place of another: LabelEncoder, CategoryMapper, OneHotEncoder.

use std::collections::HashMap;

use super::features::{only, quoted, refused, tensor};
use super::take::take;
use super::tensor_proto::tensor_values;
use super::{Attributes, Fact, MlError, MlOperator, View};
use crate::model::tensor::{Datatype, Slice, Tensor, Values};

/// Finds the position of a value in a list; of equal ones the first counts.
#[derive(Debug)]
enum Positions {
    Ints(HashMap<i64, usize>),
    Texts(HashMap<String, usize>),
    /// By their bits, with one bit pattern for all that is not a number, and one zero.
    Floats(HashMap<u64, usize>),
}

fn bits(number: f64) -> u64 {
    if number.is_nan() {
        return f64::NAN.to_bits();
    }
    // Adding 0 makes the negative zero a positive one.
    (number + 0.0).to_bits()
}

fn positions<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> HashMap<K, usize> {
    let mut found = HashMap::new();
    for (position, key) in keys.enumerate() {
        found.entry(key).or_insert(position);
    }
    found
}

impl Positions {
    fn of(keys: &Values) -> Option<Self> {
        Some(match keys {
            Values::I64(keys) => Self::Ints(positions(keys.iter().copied())),
            Values::I32(keys) => Self::Ints(positions(keys.iter().map(|&key| key.into()))),
            Values::I16(keys) => Self::Ints(positions(keys.iter().map(|&key| key.into()))),
            Values::F32(keys) => Self::Floats(positions(keys.iter().map(|&key| bits(key.into())))),
            Values::F64(keys) => Self::Floats(positions(keys.iter().map(|&key| bits(key)))),
            Values::Text(keys) => Self::Texts(positions(keys.iter().cloned())),
            _ => return None,
        })
    }

    const fn takes(&self, datatype: Datatype) -> bool {
        match self {
            Self::Ints(_) => matches!(datatype, Datatype::I64 | Datatype::I32 | Datatype::I16),
            Self::Texts(_) => matches!(datatype, Datatype::Text),
            Self::Floats(_) => matches!(datatype, Datatype::F32 | Datatype::F64),
        }
    }

    const fn expected(&self) -> &'static str {
        match self {
            Self::Ints(_) => "whole numbers",
            Self::Texts(_) => "texts",
            Self::Floats(_) => "FP32 or FP64",
        }
    }

    /// The position of each of `values`; none for those that are not in the list.
    fn find_all(&self, values: Slice<'_>) -> Result<Vec<Option<usize>>, MlError> {
        Ok(match (self, values) {
            (Self::Ints(list), Slice::I64(values)) => values.iter().map(|x| list.get(x).copied()).collect(),
            (Self::Ints(list), Slice::I32(values)) => find(values, |&x| list.get(&x.into())),
            (Self::Ints(list), Slice::I16(values)) => find(values, |&x| list.get(&x.into())),
            (Self::Texts(list), Slice::Text(values)) => find(values, |x| list.get(x)),
            (Self::Floats(list), Slice::F32(values)) => find(values, |&x| list.get(&bits(x.into()))),
            (Self::Floats(list), Slice::F64(values)) => find(values, |&x| list.get(&bits(x))),
            _ => return Err(refused(format!("expected {}", self.expected()))),
        })
    }
}

fn find<'a, T>(values: &[T], position: impl Fn(&T) -> Option<&'a usize>) -> Vec<Option<usize>> {
    values.iter().map(|value| position(value).copied()).collect()
}

/// Looks each value up in a table, and puts a default in the place of those that it has not.
#[derive(Debug)]
pub(super) struct Lookup {
    keys: Positions,
    /// One for each key, and the default at the end.
    values: Values,
}

impl Lookup {
    fn new(keys: &Values, mut values: Values, default: Values) -> Result<Self, MlError> {
        let (key_count, value_count) = (keys.len(), values.len());
        if key_count != value_count {
            let problem = format!("{key_count} keys and {value_count} values");
            return Err(MlError::Attribute {
                name: "keys",
                problem,
            });
        }
        match (&mut values, default) {
            (Values::I64(values), Values::I64(default)) => values.extend(default),
            (Values::I32(values), Values::I32(default)) => values.extend(default),
            (Values::I16(values), Values::I16(default)) => values.extend(default),
            (Values::F32(values), Values::F32(default)) => values.extend(default),
            (Values::F64(values), Values::F64(default)) => values.extend(default),
            (Values::Text(values), Values::Text(default)) => values.extend(default),
            (values, default) => {
                let problem = format!("expected {}, found {}", values.datatype(), default.datatype());
                return Err(MlError::Attribute {
                    name: "default",
                    problem,
                });
            }
        }
        let keys = Positions::of(keys).ok_or_else(|| MlError::Attribute {
            name: "keys",
            problem: format!("{} are no keys", keys.datatype()),
        })?;
        if values.len() == key_count {
            return Err(MlError::MissingAttribute("default"));
        }
        Ok(Self { keys, values })
    }

    /// A LabelEncoder of any version: version 1 has `classes_strings`, later ones have keys and values.
    pub(super) fn label_encoder(attributes: Attributes<'_>) -> Result<BothWays, MlError> {
        if attributes.has("classes_strings") {
            let names = texts(attributes, "classes_strings")?;
            let numbers = (0..names.len()).map(|number| number as i64).collect();
            return BothWays::new(attributes, names, numbers);
        }
        let keys = [
            ("keys_int64s", listed(attributes, "keys_int64s")?),
            ("keys_strings", listed(attributes, "keys_strings")?),
            ("keys_floats", listed(attributes, "keys_floats")?),
            ("keys_tensor", listed(attributes, "keys_tensor")?),
        ];
        let keys = keys.into_iter().find_map(|(_, keys)| keys);
        let values = [
            listed(attributes, "values_int64s")?,
            listed(attributes, "values_strings")?,
            listed(attributes, "values_floats")?,
            listed(attributes, "values_tensor")?,
        ];
        let values = values.into_iter().flatten().next();
        let keys = keys.ok_or(MlError::MissingAttribute("keys_*"))?;
        let values = values.ok_or(MlError::MissingAttribute("values_*"))?;
        let default = default_for(attributes, values.datatype())?;
        Ok(BothWays(vec![Self::new(&keys, values, default)?]))
    }

    /// A CategoryMapper.
    pub(super) fn category_mapper(attributes: Attributes<'_>) -> Result<BothWays, MlError> {
        let names = texts(attributes, "cats_strings")?;
        BothWays::new(attributes, names, attributes.ints("cats_int64s")?.to_vec())
    }
}

/// Tables of which the one for the type of the input is used: texts to numbers, or numbers to texts.
#[derive(Debug)]
pub(super) struct BothWays(Vec<Lookup>);

impl BothWays {
    fn new(attributes: Attributes<'_>, names: Vec<String>, numbers: Vec<i64>) -> Result<Self, MlError> {
        let (names, numbers) = (Values::Text(names), Values::I64(numbers));
        let number = default_for(attributes, Datatype::I64)?;
        let name = default_for(attributes, Datatype::Text)?;
        Ok(Self(vec![
            Lookup::new(&names, numbers.clone(), number)?,
            Lookup::new(&numbers, names, name)?,
        ]))
    }

    fn table(&self, datatype: Datatype) -> Result<&Lookup, MlError> {
        let fitting = self.0.iter().find(|table| table.keys.takes(datatype));
        fitting.ok_or_else(|| {
            let expected: Vec<&str> = self.0.iter().map(|table| table.keys.expected()).collect();
            refused(format!("expected {}, found {datatype}", expected.join(" or ")))
        })
    }
}

impl MlOperator for BothWays {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let input = only(inputs)?;
        Ok(vec![Fact {
            datatype: self.table(input.datatype)?.values.datatype(),
            shape: input.shape.clone(),
        }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let input = only(inputs)?;
        let table = self.table(input.values.datatype())?;
        let default = table.values.len() - 1;
        let found = table.keys.find_all(input.values)?;
        let positions: Vec<usize> = found.into_iter().map(|found| found.unwrap_or(default)).collect();
        let values = take(table.values.as_slice(), &positions);
        tensor(input.shape.to_vec(), values)
    }
}

/// A 1 at the place of each value's category, and 0 at all others, along a new last axis.
#[derive(Debug)]
pub(super) struct OneHotEncoder {
    categories: Positions,
    count: usize,
    /// Whether values outside all categories are answered with zeros, or refused.
    takes_unknown: bool,
}

impl OneHotEncoder {
    pub(super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let names = texts(attributes, "cats_strings")?;
        let numbers = attributes.ints("cats_int64s")?;
        let categories = match (names.is_empty(), numbers.is_empty()) {
            (true, true) => return Err(MlError::MissingAttribute("cats_int64s")),
            (false, false) => {
                return Err(MlError::Attribute {
                    name: "cats_strings",
                    problem: "cats_int64s is there as well; expected one of them".to_owned(),
                });
            }
            (false, true) => Positions::Texts(positions(names.iter().cloned())),
            (true, false) => Positions::Ints(positions(numbers.iter().copied())),
        };
        Ok(Self {
            categories,
            count: names.len().max(numbers.len()),
            takes_unknown: attributes.int("zeros")?.unwrap_or(1) != 0,
        })
    }

    /// The position of each value. Other numbers are cut off to whole ones first.
    fn find_all(&self, values: Slice<'_>) -> Result<Vec<Option<usize>>, MlError> {
        match (&self.categories, values) {
            (Positions::Ints(list), Slice::F32(values)) => Ok(find(values, |&x| list.get(&(x as i64)))),
            (Positions::Ints(list), Slice::F64(values)) => Ok(find(values, |&x| list.get(&(x as i64)))),
            (categories, values) => categories.find_all(values),
        }
    }
}

impl MlOperator for OneHotEncoder {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let input = only(inputs)?;
        let is_cut = matches!(self.categories, Positions::Ints(_)) && input.datatype.is_float();
        if !is_cut && !self.categories.takes(input.datatype) {
            let expected = self.categories.expected();
            return Err(refused(format!("expected {expected}, found {}", input.datatype)));
        }
        let mut shape = input.shape.clone();
        shape.push(self.count);
        Ok(vec![Fact {
            datatype: Datatype::F32,
            shape,
        }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let input = only(inputs)?;
        let found = self.find_all(input.values)?;
        if !self.takes_unknown
            && let Some(unknown) = found.iter().position(Option::is_none)
        {
            let value = shown(input.values, unknown);
            return Err(refused(format!("{value} is none of the categories")));
        }
        let mut encoded = vec![0.0; found.len().saturating_mul(self.count)];
        for (row, found) in encoded.chunks_exact_mut(self.count).zip(found) {
            if let Some(position) = found {
                row[position] = 1.0;
            }
        }
        let mut shape = input.shape.to_vec();
        shape.push(self.count);
        tensor(shape, Values::F32(encoded))
    }
}

/// A value in words.
fn shown(values: Slice<'_>, position: usize) -> String {
    match values {
        Slice::Text(texts) => quoted(&texts[position]),
        Slice::I64(numbers) => numbers[position].to_string(),
        Slice::F32(numbers) => numbers[position].to_string(),
        Slice::F64(numbers) => numbers[position].to_string(),
        _ => format!("value {position}"),
    }
}

fn texts(attributes: Attributes<'_>, name: &'static str) -> Result<Vec<String>, MlError> {
    Ok(attributes.texts(name)?.into_iter().map(str::to_owned).collect())
}

/// The list in an attribute, of the type that its name says; none where it is not there.
fn listed(attributes: Attributes<'_>, name: &'static str) -> Result<Option<Values>, MlError> {
    if !attributes.has(name) {
        return Ok(None);
    }
    Ok(Some(match name.rsplit('_').next() {
        Some("int64s") => Values::I64(attributes.ints(name)?.to_vec()),
        Some("floats") => Values::F32(attributes.floats(name)?.to_vec()),
        Some("strings") => Values::Text(texts(attributes, name)?),
        _ => {
            return attributes
                .tensor(name)?
                .map(|tensor| tensor_values(tensor).map_err(|problem| MlError::attribute(name, problem)))
                .transpose();
        }
    }))
}

/// What stands for values that are no key: as the attributes say it, or as the definition does.
fn default_for(attributes: Attributes<'_>, datatype: Datatype) -> Result<Values, MlError> {
    if let Some(default) = listed(attributes, "default_tensor")? {
        return Ok(default);
    }
    Ok(match datatype {
        Datatype::Text => Values::Text(vec![
            attributes.text("default_string")?.unwrap_or("_Unused").to_owned(),
        ]),
        Datatype::F32 => Values::F32(vec![attributes.float("default_float")?.unwrap_or(-0.0)]),
        Datatype::F64 => Values::F64(vec![-0.0]),
        Datatype::I16 => Values::I16(vec![-1]),
        Datatype::I32 => Values::I32(vec![-1]),
        _ => Values::I64(vec![attributes.int("default_int64")?.unwrap_or(-1)]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(operator: &impl MlOperator, values: Slice<'_>, count: usize) -> Result<Tensor, MlError> {
        let shape = [count];
        Ok(operator
            .run(&[View {
                shape: &shape,
                values,
            }])?
            .remove(0))
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_is_no_key_becomes_the_default_and_nan_is_a_key() {
        let keys = Values::F32(vec![1.0, f32::NAN, 0.0]);
        let values = Values::I64(vec![10, 20, 30]);
        let table = BothWays(vec![Lookup::new(&keys, values, Values::I64(vec![-7])).unwrap()]);
        let found = run(&table, Slice::F32(&[-f32::NAN, 2.0, -0.0, 1.0]), 4).unwrap();
        assert_eq!(found.values(), &Values::I64(vec![20, -7, 30, 10]));
    }

    #[test]
    fn a_category_mapper_works_both_ways() {
        let tables = BothWays(vec![
            Lookup::new(
                &Values::Text(names(&["a", "b"])),
                Values::I64(vec![5, 6]),
                Values::I64(vec![-1]),
            )
            .unwrap(),
            Lookup::new(
                &Values::I64(vec![5, 6]),
                Values::Text(names(&["a", "b"])),
                Values::Text(names(&["?"])),
            )
            .unwrap(),
        ]);
        let found = run(&tables, Slice::Text(&names(&["b", "c"])), 2).unwrap();
        assert_eq!(found.values(), &Values::I64(vec![6, -1]));
        let found = run(&tables, Slice::I64(&[5, 7]), 2).unwrap();
        assert_eq!(found.values(), &Values::Text(names(&["a", "?"])));
        assert!(run(&tables, Slice::F32(&[5.0]), 1).is_err());
    }

    #[test]
    fn keys_and_values_come_in_pairs() {
        let lookup = Lookup::new(
            &Values::I64(vec![1, 2]),
            Values::I64(vec![1]),
            Values::I64(vec![0]),
        );
        assert!(lookup.is_err());
    }

    #[test]
    fn a_value_outside_all_categories_is_zeros_or_refused() {
        let encoder = |takes_unknown| OneHotEncoder {
            categories: Positions::Ints(positions([3, 4].into_iter())),
            count: 2,
            takes_unknown,
        };
        let encoded = run(&encoder(true), Slice::F32(&[4.9, 7.0]), 2).unwrap();
        assert_eq!(encoded.shape(), [2, 2]);
        assert_eq!(encoded.values(), &Values::F32(vec![0.0, 1.0, 0.0, 0.0]));
        let error = run(&encoder(false), Slice::I64(&[3, 7]), 2).unwrap_err();
        assert_eq!(error.to_string(), "input 0: 7 is none of the categories");
    }
}
