//! Compares two answers to the same request. Pure: two bodies in, how far they are apart out.
//!
//! It knows the native answer and the JSON of the Open Inference Protocol V2. Whatever else comes, and answers that
//! have not the same form, cannot be compared; nothing that stands in one breaks it.

use serde::Deserialize;
use serde_json::Value;

/// How far two answers are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// The largest absolute difference of two numbers.
    pub max_abs: f64,
    /// Classes that were compared.
    pub classes: u64,
    /// Those of them that are others.
    pub changed: u64,
}

/// Two answers that could be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// How far they are apart.
    pub difference: Difference,
    /// The versions that gave them, as they say themselves.
    pub versions: [String; 2],
}

/// Two answers have not the same form, or none that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotComparable;

/// The members of an answer that matter, in either dialect.
#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "model_version")]
    version: Option<String>,
    predictions: Option<Value>,
    probabilities: Option<Value>,
    classes: Option<Value>,
    outputs: Option<Value>,
}

/// One output of the Open Inference Protocol.
#[derive(Deserialize)]
struct Output {
    name: String,
    shape: Value,
    data: Value,
}

/// Whether numbers are names of classes.
#[derive(Clone, Copy, PartialEq)]
enum Numbers {
    Measure,
    Name,
}

impl Difference {
    /// Whether there is any.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.max_abs > 0.0 || self.changed > 0
    }
}

/// Compares the bodies of two answers.
pub fn compare(live: &[u8], shadow: &[u8]) -> Result<Compared, NotComparable> {
    let (one, other) = (read(live)?, read(shadow)?);
    let mut difference = Difference::default();
    // A classifier's predictions are names even where they are written as numbers.
    let predictions = match (&one.probabilities, &other.probabilities) {
        (None, None) => Numbers::Measure,
        _ => Numbers::Name,
    };
    if one.classes != other.classes {
        return Err(NotComparable);
    }
    let pairs = [
        (&one.predictions, &other.predictions, predictions),
        (&one.probabilities, &other.probabilities, Numbers::Measure),
    ];
    let mut has_any = false;
    for (one, other, numbers) in pairs {
        match (one, other) {
            (None, None) => continue,
            (Some(one), Some(other)) => difference.walk(one, other, numbers)?,
            _ => return Err(NotComparable),
        }
        has_any = true;
    }
    match (one.outputs, other.outputs) {
        (None, None) if has_any => {}
        (Some(Value::Array(one)), Some(Value::Array(other))) => difference.outputs(one, other)?,
        (Some(one @ Value::Object(_)), Some(other)) => difference.walk(&one, &other, Numbers::Measure)?,
        _ => return Err(NotComparable),
    }
    let versions = [one.version, other.version].map(Option::unwrap_or_default);
    Ok(Compared { difference, versions })
}

fn read(body: &[u8]) -> Result<Answer, NotComparable> {
    // serde takes a list for a struct as well.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(NotComparable);
    }
    serde_json::from_slice(body).map_err(|_| NotComparable)
}

impl Difference {
    fn walk(&mut self, one: &Value, other: &Value, numbers: Numbers) -> Result<(), NotComparable> {
        match (one, other) {
            (Value::Array(ones), Value::Array(others)) if ones.len() == others.len() => {
                let mut pairs = ones.iter().zip(others);
                pairs.try_for_each(|(one, other)| self.walk(one, other, numbers))
            }
            (Value::Object(ones), Value::Object(others)) if ones.len() == others.len() => {
                ones.iter().try_for_each(|(name, one)| {
                    let other = others.get(name).ok_or(NotComparable)?;
                    self.walk(one, other, numbers)
                })
            }
            (Value::Number(one), Value::Number(other)) if numbers == Numbers::Measure => {
                let numbers = one.as_f64().zip(other.as_f64()).ok_or(NotComparable)?;
                self.max_abs = self.max_abs.max(distance(numbers.0, numbers.1));
                Ok(())
            }
            (Value::Number(_), Value::Number(_))
            | (Value::String(_), Value::String(_))
            | (Value::Bool(_), Value::Bool(_)) => {
                self.classes += 1;
                self.changed += u64::from(one != other);
                Ok(())
            }
            _ => Err(NotComparable),
        }
    }

    /// By their names, in whatever order they come.
    fn outputs(&mut self, ones: Vec<Value>, others: Vec<Value>) -> Result<(), NotComparable> {
        let (ones, others) = (named(ones)?, named(others)?);
        if ones.len() != others.len() {
            return Err(NotComparable);
        }
        for (one, other) in ones.iter().zip(&others) {
            if one.name != other.name || one.shape != other.shape {
                return Err(NotComparable);
            }
            self.walk(&one.data, &other.data, Numbers::Measure)?;
        }
        Ok(())
    }
}

fn named(outputs: Vec<Value>) -> Result<Vec<Output>, NotComparable> {
    let read = |output| Output::deserialize(output).map_err(|_: serde_json::Error| NotComparable);
    let mut outputs: Vec<Output> = outputs.into_iter().map(read).collect::<Result<_, _>>()?;
    outputs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(outputs)
}

/// Of two finite numbers; never more than what is one itself.
fn distance(one: f64, other: f64) -> f64 {
    (one - other).abs().min(f64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(live: &Value, shadow: &Value) -> Result<Difference, NotComparable> {
        let compared = compare(live.to_string().as_bytes(), shadow.to_string().as_bytes());
        compared.map(|compared| compared.difference)
    }

    fn difference(max_abs: f64, classes: u64, changed: u64) -> Result<Difference, NotComparable> {
        Ok(Difference {
            max_abs,
            classes,
            changed,
        })
    }

    #[test]
    fn numbers_are_measured_and_classes_counted() {
        let regression = |values: [f64; 2]| json!({"model": "m", "version": "1", "predictions": values});
        assert_eq!(
            of(&regression([1.0, 5.0]), &regression([1.5, 3.0])),
            difference(2.0, 0, 0)
        );
        let classifier = |labels: [Value; 2], first: f64| json!({"predictions": labels, "probabilities": [[first, 0.5], [0.25, 0.75]], "classes": ["a", "b"]});
        assert_eq!(
            of(
                &classifier([json!("a"), json!("b")], 0.5),
                &classifier([json!("a"), json!("a")], 0.25)
            ),
            difference(0.25, 2, 1)
        );
        assert_eq!(
            of(
                &classifier([json!(3), json!(7)], 0.5),
                &classifier([json!(3), json!(9)], 0.5)
            ),
            difference(0.0, 2, 1),
            "digits are names"
        );
        let outputs = |x: f64, y: &str| json!({"outputs": {"x": [[x]], "y": [y]}});
        assert_eq!(of(&outputs(1.0, "a"), &outputs(4.0, "b")), difference(3.0, 1, 1));
    }

    #[test]
    fn outputs_of_the_v2_protocol_are_found_by_their_names() {
        let output =
            |name: &str, data: Value| json!({"name": name, "datatype": "X", "shape": [2], "data": data});
        let answer =
            |outputs: [Value; 2]| json!({"model_name": "m", "model_version": "3", "outputs": outputs});
        let one = answer([
            output("score", json!([1.0, 2.0])),
            output("label", json!(["a", "b"])),
        ]);
        let other = answer([
            output("label", json!(["a", "c"])),
            output("score", json!([1.0, 2.5])),
        ]);
        assert_eq!(of(&one, &other), difference(0.5, 2, 1));
        let compared = compare(one.to_string().as_bytes(), other.to_string().as_bytes()).unwrap();
        assert_eq!(compared.versions, ["3", "3"]);
    }

    #[test]
    fn what_has_another_form_is_not_compared() {
        let row = json!({"predictions": [1.0]});
        let v2 =
            |shape: Value, data: Value| json!({"outputs": [{"name": "x", "shape": shape, "data": data}]});
        let probable =
            |classes: Value| json!({"predictions": ["a"], "probabilities": [[1.0]], "classes": classes});
        for (one, other) in [
            (row.clone(), json!({"predictions": [1.0, 2.0]})),
            (row.clone(), json!({"predictions": [[1.0]]})),
            (row.clone(), json!({"predictions": ["a"]})),
            (row.clone(), json!({"predictions": [null]})),
            (row.clone(), json!({"outputs": {"x": [1.0]}})),
            (row, json!({})),
            (json!({}), json!({})),
            (probable(json!(["a"])), probable(json!(["b"]))),
            (v2(json!([2, 1]), json!([1, 2])), v2(json!([1, 2]), json!([1, 2]))),
            (v2(json!([2]), json!([1, 2])), json!({"outputs": []})),
            (v2(json!([2]), json!([1, 2])), json!({"outputs": {"x": [1, 2]}})),
        ] {
            assert_eq!(of(&one, &other), Err(NotComparable), "{one} {other}");
            assert_eq!(of(&other, &one), Err(NotComparable), "{other} {one}");
        }
        for bad in [
            &b"NaN"[..],
            br#"{"predictions": [NaN]}"#,
            br#"{"predictions": [1e999]}"#,
            b"[]",
            b"",
            b"{\"outputs\": []}\x00",
        ] {
            assert_eq!(compare(bad, bad), Err(NotComparable));
        }
    }

    #[test]
    fn the_farthest_numbers_are_a_number_apart() {
        let value = |value: f64| json!({"predictions": [value]});
        assert_eq!(of(&value(f64::MAX), &value(f64::MIN)), difference(f64::MAX, 0, 0));
    }

    fn datum() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Value::from),
            any::<f64>().prop_filter_map("finite", |number| number.is_finite().then(|| Value::from(number))),
            "[a-c]".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop::collection::vec(inner, 0..4).prop_map(Value::from)
        })
    }

    fn answer() -> impl Strategy<Value = Value> {
        prop_oneof![
            datum().prop_map(|data| json!({"predictions": data})),
            (datum(), datum())
                .prop_map(|(labels, shares)| json!({"predictions": labels, "probabilities": shares})),
            datum().prop_map(|data| json!({"outputs": {"x": data}})),
            datum().prop_map(|data| json!({"outputs": [{"name": "x", "shape": [1], "data": data}]})),
        ]
    }

    proptest! {
        #[test]
        fn an_answer_does_not_differ_from_itself(answer in answer()) {
            prop_assert!(!of(&answer, &answer).unwrap().is_any());
        }

        #[test]
        fn it_does_not_matter_which_is_which(one in answer(), other in answer()) {
            prop_assert_eq!(of(&one, &other), of(&other, &one));
        }

        #[test]
        fn nothing_breaks_it(one in prop::collection::vec(any::<u8>(), 0..80), other in r#"[\[\]{}",:0-9a-z]{0,60}"#) {
            let _ = compare(&one, other.as_bytes());
            let _ = compare(other.as_bytes(), &one);
        }
    }

    #[test]
    fn deep_nesting_neither_overflows_nor_matters() {
        let deep = format!(
            "{{\"predictions\": {}{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(compare(deep.as_bytes(), deep.as_bytes()), Err(NotComparable));
    }
}
