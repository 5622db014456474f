//! Rows that are objects from keys to values, where the input is a tensor with a column for each key.

use std::borrow::Cow;

use super::column::{Column, push};
use super::refusal::Place;
use crate::api::datum::{Datum, shortened};
use crate::api::error::ApiError;
use crate::model::dictionary::{Dictionary, KeyError, integer};

/// Values of one input in one request, at most, where rows are objects: as many as a large body could bring as lists. A
/// row of a few bytes stands for as many as there are keys.
const MAX_VALUES: usize = 1 << 21;

type Member<'d> = (Cow<'d, str>, Datum<'d>);

/// Adds a row that is written as an object. Keys that it lacks are absent, and those that the model does not know say
/// nothing to it.
pub(super) fn push_members(
    dictionary: &Dictionary,
    members: &[Member<'_>],
    place: Place<'_>,
    column: &mut Column<'_>,
) -> Result<(), ApiError> {
    match dictionary.keys.width() {
        Some(width) => push_columns(dictionary, width, members, place, column),
        None => push_ascending(dictionary, members, place, column),
    }
}

fn push_columns(
    dictionary: &Dictionary,
    width: usize,
    members: &[Member<'_>],
    place: Place<'_>,
    column: &mut Column<'_>,
) -> Result<(), ApiError> {
    if column.len() + width > MAX_VALUES {
        return Err(ApiError::invalid_input(format!(
            "{place} is one row too many: the model has {width} keys, and one request takes at most {MAX_VALUES} values"
        )));
    }
    let mut ordered: Vec<Option<&Member<'_>>> = vec![None; width];
    for member in members {
        let (name, _) = member;
        let found = dictionary
            .keys
            .find(name)
            .map_err(|error| no_key(place, name, error))?;
        if let Some(position) = found
            && ordered[position].replace(member).is_some()
        {
            return Err(twice(place, name));
        }
    }
    for member in ordered {
        match member {
            Some((name, value)) => push_value(dictionary, value, Place::Member(&place, name), column)?,
            None => column.push_absent(&dictionary.absent),
        }
    }
    Ok(())
}

fn push_ascending(
    dictionary: &Dictionary,
    members: &[Member<'_>],
    place: Place<'_>,
    column: &mut Column<'_>,
) -> Result<(), ApiError> {
    let keyed = members.iter().map(|member| match integer(&member.0) {
        Ok(key) => Ok((key, member)),
        Err(error) => Err(no_key(place, &member.0, error)),
    });
    let mut keyed: Vec<(i64, &Member<'_>)> = keyed.collect::<Result<_, _>>()?;
    keyed.sort_by_key(|&(key, _)| key);
    if let Some(pair) = keyed.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(twice(place, &pair[1].1.0));
    }
    if keyed.is_empty() {
        return Err(ApiError::invalid_input(format!(
            "{place} is an empty object; expected 1 key or more"
        )));
    }
    column.settle(0, keyed.len(), place)?;
    for (_, (name, value)) in keyed {
        push_value(dictionary, value, Place::Member(&place, name), column)?;
    }
    Ok(())
}

fn push_value(
    dictionary: &Dictionary,
    value: &Datum<'_>,
    place: Place<'_>,
    column: &mut Column<'_>,
) -> Result<(), ApiError> {
    if !dictionary.spells_numbers {
        return push(value, place, None, column);
    }
    let single = match *value {
        Datum::Int(number) => number as f32,
        Datum::Float(number) => number as f32,
        _ => f32::NAN,
    };
    if !single.is_finite() {
        let found = value.describe();
        return Err(ApiError::invalid_input(format!(
            "{place} is {found}; expected a number in the range of 32-bit floats"
        )));
    }
    push(&Datum::Text(format!("{single:.6}").into()), place, None, column)
}

fn no_key(place: Place<'_>, name: &str, error: KeyError) -> ApiError {
    let name = shortened(name);
    ApiError::invalid_input(format!("{place} has the key {name:?}; {error}"))
}

fn twice(place: Place<'_>, name: &str) -> ApiError {
    let name = shortened(name);
    ApiError::invalid_input(format!("{place} gives {name} twice"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::Metadata;
    use crate::model::dictionary::{Columns, Keys};
    use crate::model::schema::Schema;
    use crate::model::signature::{Batch, Signature, TensorSpec};
    use crate::model::tensor::{Datatype, Tensor, Values};
    use crate::worker::validation::tensors_of;

    fn texts(keys: &[&str]) -> Keys {
        let mut columns = Columns::default();
        keys.iter().for_each(|&key| {
            columns.column(key.to_owned());
        });
        Keys::Texts(columns)
    }

    fn dictionary(keys: Keys) -> Dictionary {
        Dictionary {
            input: "x".into(),
            keys,
            absent: "?".into(),
            spells_numbers: false,
        }
    }

    fn check(dictionary: &Dictionary, datatype: Datatype, rows: &str) -> Result<Tensor, String> {
        let spec = |name: &str, width| TensorSpec {
            name: name.into(),
            datatype,
            shape: vec![None, width],
        };
        let signature = Signature {
            inputs: vec![spec("x", dictionary.keys.width())],
            outputs: vec![spec("y", Some(1))],
            batch: Batch::Free,
        };
        let schema = Schema::new(signature, &Metadata::default()).unwrap();
        let schema = schema
            .with_dictionaries(std::slice::from_ref(dictionary))
            .unwrap();
        let rows: Vec<Datum<'_>> = serde_json::from_str(rows).unwrap();
        let mut tensors = tensors_of(&rows, "m", &schema).map_err(|error| error.message.into_owned())?;
        Ok(tensors.remove(0))
    }

    #[test]
    fn absent_keys_are_zero_and_unknown_ones_say_nothing() {
        let rows = r#"[{"b": 2, "unknown": "anything"}, {}, [5, 6], {"b": 0.5, "a": 1}]"#;
        let found = check(&dictionary(texts(&["a", "b"])), Datatype::F32, rows).unwrap();
        assert_eq!(
            found.values(),
            &Values::F32(vec![0., 2., 0., 0., 5., 6., 1., 0.5])
        );
    }

    #[test]
    fn keys_that_are_positions_leave_out_what_lies_beyond_them() {
        let positions = dictionary(Keys::Positions(2));
        let found = check(&positions, Datatype::Text, r#"[{"1": "b", "7": "c"}]"#).unwrap();
        assert_eq!(found.values(), &Values::Text(vec!["?".into(), "b".into()]));
        let error = check(&positions, Datatype::Text, r#"[{"-1": "b"}]"#).unwrap_err();
        assert_eq!(
            error,
            r#"inputs[0] has the key "-1"; expected a whole number from 0 on"#
        );
    }

    #[test]
    fn dense_values_stand_in_the_order_of_their_keys() {
        let ascending = dictionary(Keys::Ascending);
        let found = check(
            &ascending,
            Datatype::F32,
            r#"[{"10": 1, "-2": 2}, {"0": 3, "1": 4}]"#,
        )
        .unwrap();
        assert_eq!(
            (found.shape(), found.values()),
            (&[2, 2][..], &Values::F32(vec![2., 1., 3., 4.]))
        );
        for (rows, told) in [
            (
                r#"[{"1": 1}, {"1": 1, "2": 2}]"#,
                "inputs[1] has 2 values; the list before it has 1",
            ),
            (r#"[{"1": 1, "01": 1}]"#, "gives 01 twice"),
            (r#"[{"a": 1}]"#, "whole number of 64 bits"),
            ("[{}]", "empty object"),
        ] {
            let error = check(&ascending, Datatype::F32, rows).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn numbers_are_spelled_with_six_digits() {
        let spelled = Dictionary {
            spells_numbers: true,
            ..dictionary(Keys::Positions(3))
        };
        let found = check(&spelled, Datatype::Text, r#"[{"0": 1.5, "2": -3}]"#).unwrap();
        let expected = ["1.500000", "?", "-3.000000"].map(str::to_owned);
        assert_eq!(found.values(), &Values::Text(expected.to_vec()));
        assert!(check(&spelled, Datatype::Text, r#"[{"0": "1"}]"#).is_err());
    }

    #[test]
    fn wrong_rows_are_told() {
        let words = dictionary(texts(&["a", "b"]));
        for (rows, told) in [
            (r#"[{"a": "x"}]"#, r#"inputs[0].a is the text "x""#),
            (r#"[{"a": 1, "a": 2}]"#, "gives a twice"),
            ("[7]", "expected an object from keys to values"),
            ("[[1]]", "inputs[0] has 1 value; model m takes 2"),
        ] {
            let error = check(&words, Datatype::F32, rows).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn few_bytes_do_not_become_many_values() {
        let wide = dictionary(Keys::Positions(1 << 20));
        assert!(check(&wide, Datatype::U8, "[{}, {}]").is_ok());
        let error = check(&wide, Datatype::U8, "[{}, {}, {}]").unwrap_err();
        assert!(error.starts_with("inputs[2] is one row too many"), "{error}");
    }
}
