//! One row held out as clients send it, and the request that sends it.

use serde_json::{Map, Value, json};

use super::super::dataset::{Column, Dataset, Values};
use super::super::onnx::{Port, Size};

/// A longer row would fill the card.
const MAX_VALUES: usize = 4_096;

/// The row `row` of `data` in the native dialect, for a graph with these `inputs`: a list or nested lists for a single input
/// of numbers, the text for a single one of texts, an object by the names of the columns for several. None where it is too
/// long to be shown.
pub(super) fn row(inputs: &[Port], data: &Dataset, row: usize) -> Option<Value> {
    if data.columns.len() > MAX_VALUES {
        return None;
    }
    if let [column] = data.columns.as_slice()
        && let Values::Texts(texts) = &column.values
    {
        return Some(json!(texts[row]));
    }
    if let [input] = inputs {
        let values: Vec<Value> = data.columns.iter().map(|column| value(column, row)).collect();
        let sizes: Option<Vec<usize>> = input.shape.iter().skip(1).map(fixed).collect();
        return Some(match sizes {
            Some(sizes) if sizes.len() > 1 => nested(values, &sizes),
            _ => Value::Array(values),
        });
    }
    let members = data
        .columns
        .iter()
        .map(|column| (column.name.clone(), value(column, row)));
    Some(Value::Object(members.collect::<Map<String, Value>>()))
}

/// The command that asks a server on this machine for a prediction of `row`.
pub(super) fn request(model: &str, row: &Value) -> String {
    let body = json!({"inputs": [row]}).to_string();
    // Within single quotes a shell takes everything as it is, but for these quotes.
    let body = body.replace('\'', r"'\''");
    format!(
        "curl localhost:8080/models/{model}/predict -H 'content-type: application/json' \\\n     -d '{body}'"
    )
}

fn value(column: &Column, row: usize) -> Value {
    match &column.values {
        // A value that is missing is not-a-number, which JSON has no word for but this.
        Values::Numbers(values) => number(values[row]),
        Values::Categories(values) | Values::Texts(values) => json!(values[row]),
    }
}

fn number(value: f64) -> Value {
    // Whole numbers as people write them.
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return json!(value as i64);
    }
    json!(value)
}

/// `values` in row-major order as lists of lists of these sizes.
fn nested(values: Vec<Value>, sizes: &[usize]) -> Value {
    let (Some((_, inner)), true) = (sizes.split_first(), sizes.len() > 1) else {
        return Value::Array(values);
    };
    let length = inner.iter().product::<usize>().max(1);
    let parts = values.chunks(length).map(|part| nested(part.to_vec(), inner));
    Value::Array(parts.collect())
}

fn fixed(size: &Size) -> Option<usize> {
    match size {
        Size::Fixed(size) => Some(*size),
        Size::Free(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};

    use super::super::super::dataset::Target;
    use super::super::super::onnx::{BATCH, Element};
    use super::*;

    fn port(sizes: &[usize]) -> Port {
        let sizes = sizes.iter().map(|&size| Size::Fixed(size));
        Port {
            name: "inputs".into(),
            element: Element::F32,
            shape: [BATCH].into_iter().chain(sizes).collect(),
        }
    }

    fn numbers() -> Dataset {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let target = Target::Numbers(Array1::zeros(1));
        Dataset::of_numbers(&names, &array![[1.0, 2.5, -3.0, 1e20]], target)
    }

    #[test]
    fn a_row_is_written_as_the_graph_takes_it() {
        let data = numbers();
        assert_eq!(row(&[port(&[4])], &data, 0), Some(json!([1, 2.5, -3, 1e20])));
        let pixels = row(&[port(&[1, 2, 2])], &data, 0);
        assert_eq!(pixels, Some(json!([[[1, 2.5], [-3, 1e20]]])));
    }

    #[test]
    fn records_are_objects_with_gaps_and_texts_are_texts() {
        let column = |name: &str, values| Column {
            name: name.into(),
            values,
        };
        let target = || Target::Numbers(Array1::zeros(1));
        let columns = vec![
            column("age", Values::Numbers(vec![f64::NAN])),
            column("city", Values::Categories(vec!["Lima".into()])),
        ];
        let record = row(&[port(&[1]), port(&[1])], &Dataset::new(columns, target()), 0);
        assert_eq!(record, Some(json!({"age": null, "city": "Lima"})));
        let texts = vec![column("text", Values::Texts(vec!["it's".into()]))];
        let text = row(&[port(&[1])], &Dataset::new(texts, target()), 0).unwrap();
        assert_eq!(text, json!("it's"));
        assert!(request("m", &text).ends_with(r#"-d '{"inputs":["it'\''s"]}'"#));
    }
}
