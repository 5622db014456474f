//! Rows of a request to the input tensors of a model, or an error that says which row, what was expected and what
//! came.
//!
//! Every row is looked at before anything is queued, so that a batch holds only rows that fit and nobody's mistake
//! becomes a neighbour's.

mod column;
mod dictionary;
mod image;
mod refusal;
mod text;

use std::borrow::Cow;

use self::column::{Column, is_scalar, push};
pub use self::image::takes_long;
use self::refusal::Place;
pub(super) use self::text::tokenize;
pub use self::text::{is_long, tokens_of};
use crate::api::datum::Datum;
use crate::api::error::ApiError;
use crate::api::plain::PlainRequest;
use crate::model::schema::{Layout, Names, Schema};
use crate::model::tensor::{Datatype, Tensor, Values};

/// Rows of one request, at most. More belong into several requests, which other clients' fit between.
pub const MAX_ROWS: usize = 10_000;

/// The input tensors of a request, one row of each for every row of `inputs`, in order.
pub fn tensors_of(inputs: &[Datum<'_>], model: &str, schema: &Schema) -> Result<Vec<Tensor>, ApiError> {
    check_rows(inputs.len())?;
    let validation = Validation { model, schema };
    let columns = (0..schema.signature.inputs.len()).map(|input| Column::new(schema, input, inputs.len()));
    let mut columns: Vec<Column<'_>> = columns.collect();
    for (row, datum) in inputs.iter().enumerate() {
        validation.row(datum, Place::Row(row), &mut columns)?;
    }
    columns
        .into_iter()
        .map(|column| column.tensor(inputs.len()))
        .collect()
}

/// The tensor of rows of nothing but numbers, where the model takes them in one input of floats and nothing is wrong with
/// them; else none, and [`tensors_of`] says why.
pub(super) fn plain_tensor(request: PlainRequest<'_>, schema: &Schema) -> Option<Tensor> {
    let Layout::Features { count, .. } = &schema.layout else {
        return None;
    };
    let rows = request.values.len() / request.width;
    if *count != request.width || rows > MAX_ROWS {
        return None;
    }
    let values = match schema.signature.inputs[0].datatype {
        Datatype::F32 => {
            let singles: Vec<f32> = request.values.iter().map(|&value| value as f32).collect();
            // What has no place in single precision is told with its place in the request.
            let is_in_range = singles.iter().all(|single| single.is_finite());
            Values::F32(is_in_range.then_some(singles)?)
        }
        Datatype::F64 => Values::F64(request.values),
        _ => return None,
    };
    let mut shape = vec![rows];
    let row_shape = schema.signature.row_shape(&schema.signature.inputs[0]);
    shape.extend(row_shape.iter().map(|size| size.unwrap_or(request.width)));
    Tensor::new(shape, values).ok()
}

fn check_rows(rows: usize) -> Result<(), ApiError> {
    if rows == 0 {
        return Err(ApiError::invalid_input("inputs has no rows; expected at least 1"));
    }
    if rows > MAX_ROWS {
        return Err(ApiError::invalid_input(format!(
            "inputs has {rows} rows; one request takes at most {MAX_ROWS}"
        )));
    }
    Ok(())
}

struct Validation<'a> {
    model: &'a str,
    schema: &'a Schema,
}

impl Validation<'_> {
    fn row(&self, datum: &Datum<'_>, place: Place<'_>, columns: &mut [Column<'_>]) -> Result<(), ApiError> {
        match (&self.schema.layout, datum) {
            (Layout::Features { count, names }, Datum::List(values)) => {
                if values.len() != *count {
                    return Err(self.wrong_length(place, values.len(), *count, names));
                }
                for (position, value) in values.iter().enumerate() {
                    let place = Place::Item(&place, position);
                    push(value, place, names.ordered().get(position), &mut columns[0])?;
                }
                Ok(())
            }
            (Layout::Features { names, .. }, Datum::Object(members)) if !names.ordered().is_empty() => {
                for (name, value) in names.ordered().iter().zip(self.members(members, names, place)?) {
                    push(value, Place::Member(&place, name), None, &mut columns[0])?;
                }
                Ok(())
            }
            (Layout::Features { count: 1, names }, value) if is_scalar(value) => {
                push(value, place, names.ordered().first(), &mut columns[0])
            }
            (Layout::Features { count, names }, other) => Err(self.wrong_kind(place, other, *count, names)),
            (Layout::Image(rows), value) => self.image(rows, value, place, &mut columns[0]),
            (Layout::Single, value) => self.nested(value, place, 0, &mut columns[0]),
            (Layout::Inputs(names), Datum::List(values)) => {
                if values.len() != columns.len() {
                    return Err(self.wrong_length(place, values.len(), columns.len(), names));
                }
                for (position, (value, column)) in values.iter().zip(columns).enumerate() {
                    self.nested(value, Place::Item(&place, position), 0, column)?;
                }
                Ok(())
            }
            (Layout::Inputs(names), Datum::Object(members)) => {
                let values = self.members(members, names, place)?;
                for ((name, value), column) in names.ordered().iter().zip(values).zip(columns) {
                    self.nested(value, Place::Member(&place, name), 0, column)?;
                }
                Ok(())
            }
            (Layout::Inputs(names), other) => Err(self.wrong_kind(place, other, columns.len(), names)),
        }
    }

    /// The values of an object in the order of `names`, each exactly once; a null stands for one that may be missing.
    fn members<'d>(
        &self,
        members: &'d [(Cow<'d, str>, Datum<'d>)],
        names: &Names,
        place: Place<'_>,
    ) -> Result<Vec<&'d Datum<'d>>, ApiError> {
        let mut values: Vec<Option<&Datum<'_>>> = vec![None; names.ordered().len()];
        for (guess, (name, value)) in members.iter().enumerate() {
            let Some(position) = names.position(name, guess) else {
                return Err(self.unknown_feature(place, name, names));
            };
            if values[position].replace(value).is_some() {
                return Err(ApiError::invalid_input(format!("{place} gives {name} twice")));
            }
        }
        if values.iter().any(Option::is_none) && !self.schema.missing_values {
            let is_missing = |(name, value): (&String, &Option<_>)| value.is_none().then(|| name.clone());
            let missing: Vec<String> = names
                .ordered()
                .iter()
                .zip(&values)
                .filter_map(is_missing)
                .collect();
            return Err(self.missing_features(place, &missing, names));
        }
        Ok(values
            .into_iter()
            .map(|value| value.unwrap_or(&Datum::Null))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::artifact::Metadata;
    use crate::model::signature::{Batch, Signature, TensorSpec};
    use crate::model::tensor::{Datatype, Values};

    fn spec(name: &str, datatype: Datatype, row_shape: &[i64]) -> TensorSpec {
        let row_shape = row_shape.iter().map(|&size| usize::try_from(size).ok());
        TensorSpec {
            name: name.into(),
            datatype,
            shape: std::iter::once(None).chain(row_shape).collect(),
        }
    }

    fn schema(inputs: Vec<TensorSpec>, features: &[&str]) -> Schema {
        let signature = Signature {
            inputs,
            outputs: vec![spec("y", Datatype::F32, &[1])],
            batch: Batch::Free,
        };
        let metadata = Metadata {
            features: features.iter().map(|&name| name.to_owned()).collect(),
            ..Metadata::default()
        };
        Schema::new(signature, &metadata).unwrap()
    }

    fn flowers() -> Schema {
        let features = ["sepal_length", "sepal_width", "petal_length", "petal_width"];
        schema(vec![spec("x", Datatype::F32, &[4])], &features)
    }

    fn check(schema: &Schema, inputs: &str) -> Result<Vec<Tensor>, String> {
        let inputs: Vec<Datum<'_>> = serde_json::from_str(inputs).unwrap();
        tensors_of(&inputs, "iris", schema).map_err(|error| error.message.into_owned())
    }

    fn refusal(schema: &Schema, inputs: &str) -> String {
        check(schema, inputs).unwrap_err()
    }

    #[test]
    fn lists_and_objects_make_the_same_rows() {
        let lists = check(&flowers(), "[[1, 2, 3, 4], [5, 6, 7, 8.5]]").unwrap();
        let objects = r#"[{"sepal_length": 1, "sepal_width": 2, "petal_length": 3, "petal_width": 4},
                          {"petal_width": 8.5, "petal_length": 7, "sepal_width": 6, "sepal_length": 5}]"#;
        assert_eq!(check(&flowers(), objects).unwrap(), lists);
        assert_eq!(lists[0].shape(), [2, 4]);
        let expected = Values::F32(vec![1., 2., 3., 4., 5., 6., 7., 8.5]);
        assert_eq!(lists[0].values(), &expected);
    }

    #[test]
    fn a_wrong_length_is_told_with_the_names() {
        assert_eq!(
            refusal(&flowers(), "[[1, 2, 3, 4], [1, 2, 3]]"),
            "inputs[1] has 3 values; model iris takes 4: sepal_length, sepal_width, petal_length, petal_width"
        );
    }

    #[test]
    fn a_wrong_type_is_told_with_the_name() {
        for (value, described) in [
            (r#""abc""#, r#"the text "abc""#),
            ("true", "true"),
            ("[1]", "a list of 1 value"),
            ("1e39", "the number 1000000000000000000000000000000000000000"),
        ] {
            assert_eq!(
                refusal(&flowers(), &format!("[[1, 2, {value}, 4]]")),
                format!(
                    "inputs[0][2] (petal_length) is {described}; expected a number in the range of 32-bit floats"
                )
            );
        }
        assert_eq!(
            refusal(
                &flowers(),
                r#"[{"sepal_length": "x", "sepal_width": 2, "petal_length": 3, "petal_width": 4}]"#
            ),
            r#"inputs[0].sepal_length is the text "x"; expected a number in the range of 32-bit floats"#
        );
    }

    fn with_gaps(mut schema: Schema) -> Schema {
        schema.missing_values = true;
        schema
    }

    #[test]
    fn a_null_is_refused_unless_values_may_be_missing() {
        assert_eq!(
            refusal(&flowers(), "[[1, 2, null, 4]]"),
            "inputs[0][2] (petal_length) is null; expected a number in the range of 32-bit floats, and none may be \
             missing (missing_values in model.toml)"
        );
        let inputs = vec![
            spec("age", Datatype::F32, &[1]),
            spec("city", Datatype::Text, &[1]),
        ];
        let told = refusal(&schema(inputs, &[]), r#"[{"age": null, "city": "Rome"}]"#);
        assert!(
            told.starts_with("inputs[0].age is null; expected a number"),
            "{told}"
        );
        assert!(told.contains("missing_values"), "{told}");
    }

    #[test]
    fn missing_values_are_no_numbers_and_empty_texts() {
        let flowers = with_gaps(flowers());
        let inputs = r#"[[1, null, 3, null], {"sepal_width": 6, "petal_width": null}]"#;
        let Values::F32(values) = check(&flowers, inputs).unwrap()[0].values().clone() else {
            panic!("floats")
        };
        let is_there: Vec<bool> = values.iter().map(|value| !value.is_nan()).collect();
        assert_eq!(is_there, [true, false, true, false, false, true, false, false]);
        assert!(refusal(&flowers, r#"[{"sepal_lenght": 1}]"#).contains("did you mean"));
        assert!(refusal(&flowers, "[[1, 2]]").contains("2 values"));
        assert!(refusal(&flowers, "[null]").contains("null"));

        let inputs = vec![
            spec("age", Datatype::F64, &[1]),
            spec("city", Datatype::Text, &[1]),
            spec("seen", Datatype::I64, &[1]),
        ];
        let records = with_gaps(schema(inputs, &[]));
        let tensors = check(&records, r#"[{"seen": 1}, [null, null, 2], [7, "Rome", 3]]"#).unwrap();
        assert_eq!(
            tensors[1].values(),
            &Values::Text(vec![String::new(), String::new(), "Rome".into()])
        );
        assert!(matches!(tensors[0].values(), Values::F64(ages)
            if ages[0].is_nan() && ages[1].is_nan() && ages[2] == 7.0));
        assert_eq!(
            refusal(&records, r#"[{"age": 1, "city": "Rome"}]"#),
            "inputs[0].seen is missing; expected a whole number of 64 bits, and only floats and texts may be missing"
        );
    }

    #[test]
    fn unknown_missing_and_repeated_features_are_told() {
        let unknown = refusal(&flowers(), r#"[{"sepal_lenght": 1}]"#);
        assert_eq!(
            unknown,
            r#"inputs[0] has the unknown feature "sepal_lenght"; did you mean sepal_length?"#
        );
        let strange = refusal(&flowers(), r#"[{"zzz": 1}]"#);
        assert!(strange.contains("model iris takes 4: sepal_length"), "{strange}");
        let missing = refusal(
            &flowers(),
            r#"[{"sepal_length": 1, "petal_length": 3, "petal_width": 4}]"#,
        );
        assert!(missing.starts_with("inputs[0] lacks sepal_width; "), "{missing}");
        let twice = refusal(&flowers(), r#"[{"sepal_length": 1, "sepal_length": 1}]"#);
        assert_eq!(twice, "inputs[0] gives sepal_length twice");
    }

    #[test]
    fn a_row_that_is_no_row_is_told() {
        let message = refusal(&flowers(), "[5.1, 3.5, 1.4, 0.2]");
        assert!(
            message.starts_with("inputs[0] is the number 5.1; model iris takes 4"),
            "{message}"
        );
        assert!(
            message.ends_with("a row is a list of them, or an object by their names"),
            "{message}"
        );
    }

    #[test]
    fn there_are_some_rows_and_not_too_many() {
        assert!(refusal(&flowers(), "[]").contains("no rows"));
        let many = format!("[{}]", vec!["0"; MAX_ROWS + 1].join(","));
        assert!(refusal(&flowers(), &many).contains("10001 rows"));
    }

    #[test]
    fn whole_numbers_are_taken_for_integers_and_no_others() {
        let schema = schema(vec![spec("x", Datatype::I32, &[1])], &[]);
        assert_eq!(
            check(&schema, "[[3.0], [-4]]").unwrap()[0].values(),
            &Values::I32(vec![3, -4])
        );
        for value in ["0.5", "2147483648", "1e300", "true", r#""1""#] {
            let message = refusal(&schema, &format!("[[{value}]]"));
            assert!(
                message.ends_with("expected a whole number of 32 bits"),
                "{message}"
            );
        }
    }

    #[test]
    fn pictures_are_nested_lists_of_the_declared_shape() {
        let schema = schema(vec![spec("x", Datatype::F32, &[2, 2])], &[]);
        let tensors = check(&schema, "[[[1, 2], [3, 4]]]").unwrap();
        assert_eq!(tensors[0].shape(), [1, 2, 2]);
        assert_eq!(
            refusal(&schema, "[[[1, 2], [3]]]"),
            "inputs[0][1] has 1 value; model iris takes 2"
        );
        let flat = refusal(&schema, "[[1, 2, 3, 4]]");
        assert_eq!(flat, "inputs[0] has 4 values; model iris takes 2");
        assert!(refusal(&schema, "[[1, 2]]").contains("inputs[0][0] is the number 1"));
    }

    #[test]
    fn rows_of_a_free_length_have_one_length_in_one_request() {
        let schema = schema(vec![spec("x", Datatype::F32, &[-1])], &[]);
        assert_eq!(
            check(&schema, "[[1, 2, 3], [4, 5, 6]]").unwrap()[0].shape(),
            [2, 3]
        );
        let ragged = refusal(&schema, "[[1, 2, 3], [4, 5]]");
        assert!(
            ragged.starts_with("inputs[1] has 2 values; the list before it has 3"),
            "{ragged}"
        );
    }

    #[test]
    fn a_text_model_takes_texts() {
        let schema = schema(vec![spec("x", Datatype::Text, &[1])], &[]);
        let expected = Values::Text(vec!["good".into(), "bad".into()]);
        assert_eq!(
            check(&schema, r#"["good", ["bad"]]"#).unwrap()[0].values(),
            &expected
        );
        assert!(refusal(&schema, "[7]").contains("expected a text"));
    }

    #[test]
    fn several_inputs_come_as_a_list_or_by_name() {
        let inputs = vec![
            spec("age", Datatype::F32, &[1]),
            spec("city", Datatype::Text, &[1]),
        ];
        let schema = schema(inputs, &[]);
        let by_name = check(&schema, r#"[{"city": "Rome", "age": 30}]"#).unwrap();
        assert_eq!(check(&schema, r#"[[30, "Rome"]]"#).unwrap(), by_name);
        assert_eq!(by_name[1].shape(), [1, 1]);
        assert!(refusal(&schema, "[[30]]").contains("model iris takes 2: age, city"));
        assert!(refusal(&schema, r#"[{"age": 30}]"#).contains("lacks city"));
    }

    fn any_datum() -> impl Strategy<Value = Datum<'static>> {
        let leaf = prop_oneof![
            Just(Datum::Null),
            any::<bool>().prop_map(Datum::Bool),
            any::<i64>().prop_map(Datum::Int),
            any::<f64>().prop_map(Datum::Float),
            ".{0,4}".prop_map(|text| Datum::Text(text.into())),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Datum::List),
                prop::collection::vec(("[a-c]", inner), 0..4).prop_map(|members| {
                    Datum::Object(
                        members
                            .into_iter()
                            .map(|(name, value)| (name.into(), value))
                            .collect(),
                    )
                }),
            ]
        })
    }

    #[test]
    fn every_datatype_takes_its_range_and_nothing_beyond() {
        for (datatype, good, bad) in [
            (Datatype::U8, "[0, 255]", "[256]"),
            (Datatype::U16, "[0, 65535]", "[-1]"),
            (Datatype::U32, "[0, 4294967295]", "[4294967296]"),
            (Datatype::U64, "[0, 9223372036854775807]", "[-1]"),
            (Datatype::I8, "[-128, 127]", "[128]"),
            (Datatype::I16, "[-32768, 32767]", "[32768]"),
            (Datatype::I32, "[-2147483648, 2147483647]", "[2147483648]"),
            (Datatype::F16, "[0.5, 65504]", "[65536]"),
            (Datatype::BF16, "[0.5, 3.3e38]", "[3.4e38]"),
            (Datatype::F32, "[0.5, 1e38]", "[1e39]"),
            (Datatype::Bool, "[true, false]", "[1]"),
        ] {
            let schema = schema(vec![spec("x", datatype, &[1])], &[]);
            let tensors = check(&schema, good).unwrap();
            assert_eq!(
                (tensors[0].datatype(), tensors[0].rows()),
                (datatype, 2),
                "{datatype}"
            );
            assert!(refusal(&schema, bad).contains("expected"), "{datatype}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_whole_tensor_or_a_told_error(rows in prop::collection::vec(any_datum(), 0..5)) {
            let schemas = [
                flowers(),
                schema(vec![spec("x", Datatype::F32, &[-1, 2])], &[]),
                schema(vec![spec("x", Datatype::I64, &[])], &[]),
                schema(vec![spec("a", Datatype::F64, &[1]), spec("b", Datatype::Bool, &[-1])], &[]),
                with_gaps(schema(vec![spec("a", Datatype::F16, &[1]), spec("b", Datatype::Text, &[2])], &[])),
                with_gaps(schema(vec![spec("x", Datatype::BF16, &[3])], &["a", "b", "c"])),
            ];
            for schema in &schemas {
                match tensors_of(&rows, "m", schema) {
                    Ok(tensors) => prop_assert!(tensors.iter().all(|tensor| tensor.rows() == rows.len())),
                    Err(error) => prop_assert!(error.message.starts_with("inputs"), "{}", error.message),
                }
            }
        }
    }
}
