//! Rows of a request to the input tensors of a model, or an error that says which row, what was expected and what
//! came.
//!
//! Every row is looked at before anything is queued, so that a batch holds only rows that fit and nobody's mistake
//! becomes a neighbour's.

use std::fmt::{self, Write};

use crate::api::datum::{Datum, shortened};
use crate::api::error::{ApiError, ErrorCode};
use crate::model::schema::{Layout, Names, Schema};
use crate::model::signature::TensorSpec;
use crate::model::tensor::{Datatype, Tensor, Values};

/// Rows of one request, at most. More belong into several requests, which other clients' fit between.
pub const MAX_ROWS: usize = 10_000;
/// Names that an error lists before it says how many more there are.
const LISTED_NAMES: usize = 8;
/// How alike an unknown feature must be to one that exists to be taken for a misspelling of it.
const MISSPELLING: f64 = 0.8;

/// The input tensors of a request, one row of each for every row of `inputs`, in order.
pub fn tensors_of(inputs: &[Datum<'_>], model: &str, schema: &Schema) -> Result<Vec<Tensor>, ApiError> {
    if inputs.is_empty() {
        return Err(invalid("inputs has no rows; expected at least 1"));
    }
    if inputs.len() > MAX_ROWS {
        let rows = inputs.len();
        return Err(invalid(format!(
            "inputs has {rows} rows; one request takes at most {MAX_ROWS}"
        )));
    }
    let validation = Validation { model, schema };
    let mut columns = validation.columns(inputs.len());
    for (row, datum) in inputs.iter().enumerate() {
        validation.row(datum, Place::Row(row), &mut columns)?;
    }
    columns
        .into_iter()
        .map(|column| column.tensor(inputs.len()))
        .collect()
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidInput, message.into())
}

/// Where in a request a value stands. Written only when something is wrong with it.
#[derive(Clone, Copy)]
enum Place<'a> {
    Row(usize),
    Item(&'a Place<'a>, usize),
    Member(&'a Place<'a>, &'a str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(row) => write!(formatter, "inputs[{row}]"),
            Self::Item(parent, position) => write!(formatter, "{parent}[{position}]"),
            Self::Member(parent, name) => write!(formatter, "{parent}.{name}"),
        }
    }
}

/// The values of one input, as they gather row by row.
struct Column<'a> {
    /// The shape of a row; free sizes are settled by the first row.
    row_shape: Vec<Option<usize>>,
    spec: &'a TensorSpec,
    values: Values,
}

impl Column<'_> {
    fn tensor(self, rows: usize) -> Result<Tensor, ApiError> {
        // An axis that nobody settled lies inside an empty list.
        let sizes = self.row_shape.into_iter().map(|size| size.unwrap_or(0));
        let shape = std::iter::once(rows).chain(sizes).collect();
        Tensor::new(shape, self.values).map_err(|error| invalid(error.to_string()))
    }
}

struct Validation<'a> {
    model: &'a str,
    schema: &'a Schema,
}

impl<'a> Validation<'a> {
    fn columns(&self, rows: usize) -> Vec<Column<'a>> {
        let signature = &self.schema.signature;
        let column = |spec: &'a TensorSpec| {
            let row_shape = signature.row_shape(spec).to_vec();
            let row_len: usize = row_shape.iter().map(|size| size.unwrap_or(1)).product();
            // The room is only a guess: a few bytes of request must not reserve a whole picture for each row.
            let room = row_len.min(1024) * rows.min(64);
            Column {
                row_shape,
                spec,
                values: Values::with_capacity(spec.datatype, room),
            }
        };
        signature.inputs.iter().map(column).collect()
    }

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

    /// The values of an object in the order of `names`, each exactly once.
    fn members<'d>(
        &self,
        members: &'d [(std::borrow::Cow<'d, str>, Datum<'d>)],
        names: &Names,
        place: Place<'_>,
    ) -> Result<Vec<&'d Datum<'d>>, ApiError> {
        let mut values: Vec<Option<&Datum<'_>>> = vec![None; names.ordered().len()];
        for (guess, (name, value)) in members.iter().enumerate() {
            let Some(position) = names.position(name, guess) else {
                return Err(self.unknown_feature(place, name, names));
            };
            if values[position].replace(value).is_some() {
                return Err(invalid(format!("{place} gives {name} twice")));
            }
        }
        let missing = || {
            let is_missing = |(name, value): (&String, &Option<_>)| value.is_none().then(|| name.clone());
            names.ordered().iter().zip(&values).filter_map(is_missing)
        };
        if values.iter().any(Option::is_none) {
            let lacking = listed(&missing().collect::<Vec<_>>());
            let takes = self.takes(names.ordered().len(), names);
            return Err(invalid(format!("{place} lacks {lacking}; {takes}")));
        }
        Ok(values.into_iter().flatten().collect())
    }

    /// Nested lists along the axes of a row from `axis` on.
    fn nested(
        &self,
        datum: &Datum<'_>,
        place: Place<'_>,
        axis: usize,
        column: &mut Column<'_>,
    ) -> Result<(), ApiError> {
        let Some(&size) = column.row_shape.get(axis) else {
            return push(datum, place, None, column);
        };
        let is_last = axis + 1 == column.row_shape.len();
        if is_last && is_scalar(datum) && size.is_none_or(|size| size == 1) {
            // A single value may stand without its list; so do texts.
            column.row_shape[axis] = Some(1);
            return push(datum, place, None, column);
        }
        let Datum::List(items) = datum else {
            let expected = size.map_or_else(
                || "a list".to_owned(),
                |size| format!("a list of {}", values(size)),
            );
            let model = self.model;
            return Err(invalid(format!(
                "{place} is {}; model {model} takes {expected} there",
                datum.describe()
            )));
        };
        let declared = self
            .schema
            .signature
            .row_shape(column.spec)
            .get(axis)
            .copied()
            .flatten();
        let expected = *column.row_shape[axis].get_or_insert(items.len());
        if items.len() != expected {
            return Err(match declared {
                Some(_) => self.wrong_length(place, items.len(), expected, &Names::default()),
                None => invalid(format!(
                    "{place} has {}; the list before it has {expected}: rows of one request have one shape",
                    values(items.len())
                )),
            });
        }
        for (position, item) in items.iter().enumerate() {
            self.nested(item, Place::Item(&place, position), axis + 1, column)?;
        }
        Ok(())
    }

    fn wrong_length(&self, place: Place<'_>, found: usize, expected: usize, names: &Names) -> ApiError {
        let takes = self.takes(expected, names);
        invalid(format!("{place} has {}; {takes}", values(found)))
    }

    fn wrong_kind(&self, place: Place<'_>, found: &Datum<'_>, expected: usize, names: &Names) -> ApiError {
        let takes = self.takes(expected, names);
        let form = if names.ordered().is_empty() {
            "a row is a list"
        } else {
            "a row is a list of them, or an object by their names"
        };
        invalid(format!("{place} is {}; {takes}; {form}", found.describe()))
    }

    fn unknown_feature(&self, place: Place<'_>, name: &str, names: &Names) -> ApiError {
        let hint = nearest(name, names.ordered()).map_or_else(
            || self.takes(names.ordered().len(), names),
            |near| format!("did you mean {near}?"),
        );
        let name = shortened(name);
        invalid(format!("{place} has the unknown feature {name:?}; {hint}"))
    }

    fn takes(&self, count: usize, names: &Names) -> String {
        let mut text = format!("model {} takes {count}", self.model);
        if !names.ordered().is_empty() {
            // A text takes every character.
            let _ = write!(text, ": {}", listed(names.ordered()));
        }
        text
    }
}

fn is_scalar(datum: &Datum<'_>) -> bool {
    matches!(
        datum,
        Datum::Bool(_) | Datum::Int(_) | Datum::Float(_) | Datum::Text(_)
    )
}

fn values(count: usize) -> String {
    if count == 1 {
        "1 value".to_owned()
    } else {
        format!("{count} values")
    }
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(LISTED_NAMES).map(String::as_str);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if names.len() > LISTED_NAMES {
        let _ = write!(text, ", … ({} more)", names.len() - LISTED_NAMES);
    }
    text
}

fn nearest<'n>(name: &str, names: &'n [String]) -> Option<&'n String> {
    // Comparing takes the product of both lengths, and this name is the client's.
    if name.len() > 256 {
        return None;
    }
    let similarity = |known: &&String| strsim::jaro_winkler(name, known);
    let best = names
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(&best) > MISSPELLING).then_some(best)
}

/// Adds one value to a column, if it is of the column's type and in its range.
fn push(
    datum: &Datum<'_>,
    place: Place<'_>,
    feature: Option<&String>,
    column: &mut Column<'_>,
) -> Result<(), ApiError> {
    let taken = match (&mut column.values, datum) {
        (Values::F32(values), &Datum::Float(number)) => {
            let single = number as f32;
            values.push(single);
            single.is_finite()
        }
        // Every 64-bit integer is in the range of both floating-point types.
        (Values::F32(values), &Datum::Int(number)) => {
            values.push(number as f32);
            true
        }
        (Values::F64(values), &Datum::Float(number)) => {
            values.push(number);
            true
        }
        (Values::F64(values), &Datum::Int(number)) => {
            values.push(number as f64);
            true
        }
        (Values::I64(values), number) => push_integer(number, values),
        (Values::I32(values), number) => push_integer(number, values),
        (Values::I8(values), number) => push_integer(number, values),
        (Values::U8(values), number) => push_integer(number, values),
        (Values::Bool(values), &Datum::Bool(value)) => {
            values.push(value);
            true
        }
        (Values::Text(values), Datum::Text(text)) => {
            values.push(text.clone().into_owned());
            true
        }
        _ => false,
    };
    if taken {
        return Ok(());
    }
    let feature = feature.map(|name| format!(" ({name})")).unwrap_or_default();
    let expected = expected(column.values.datatype());
    Err(invalid(format!(
        "{place}{feature} is {}; expected {expected}",
        datum.describe()
    )))
}

/// Adds a number that is whole and in range; says whether it was.
fn push_integer<T: TryFrom<i64>>(datum: &Datum<'_>, values: &mut Vec<T>) -> bool {
    let whole = match *datum {
        Datum::Int(number) => Some(number),
        Datum::Float(number) => whole(number),
        _ => None,
    };
    let Some(value) = whole.and_then(|number| T::try_from(number).ok()) else {
        return false;
    };
    values.push(value);
    true
}

/// `number` as an integer, where it is one. The bounds are the powers of two between which every whole float fits.
fn whole(number: f64) -> Option<i64> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    let is_whole = number.fract() == 0.0 && (-BOUND..BOUND).contains(&number);
    is_whole.then_some(number as i64)
}

const fn expected(datatype: Datatype) -> &'static str {
    match datatype {
        Datatype::Bool => "true or false",
        Datatype::U8 => "a whole number from 0 to 255",
        Datatype::I8 => "a whole number from -128 to 127",
        Datatype::I32 => "a whole number of 32 bits",
        Datatype::I64 => "a whole number of 64 bits",
        Datatype::F32 => "a number in the range of 32-bit floats",
        Datatype::F64 => "a number",
        Datatype::Text => "a text",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::artifact::Metadata;
    use crate::model::signature::{Batch, Signature};

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
            ("null", "null"),
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

    proptest! {
        #[test]
        fn whatever_comes_is_a_whole_tensor_or_a_told_error(rows in prop::collection::vec(any_datum(), 0..5)) {
            let schemas = [
                flowers(),
                schema(vec![spec("x", Datatype::F32, &[-1, 2])], &[]),
                schema(vec![spec("x", Datatype::I64, &[])], &[]),
                schema(vec![spec("a", Datatype::F64, &[1]), spec("b", Datatype::Bool, &[-1])], &[]),
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
