//! Cast to texts and from them, in the way of ONNX Runtime: eight significant digits, and as much of a text as is a number.

use half::{bf16, f16};

use super::super::features::{only, quoted, refused, tensor};
use super::super::{Attributes, Fact, MlError, MlOperator, View};
use crate::model::tensor::{Datatype, Slice, Tensor, Values};

/// Significant digits of a floating-point number that becomes a text.
const DIGITS: i32 = 8;

/// A Cast of which one side is texts.
#[derive(Debug)]
pub(in super::super) struct TextCast {
    to: Datatype,
}

impl TextCast {
    pub(in super::super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let to = attributes.int("to")?.ok_or(MlError::MissingAttribute("to"))?;
        let datatype = i32::try_from(to)
            .ok()
            .and_then(super::super::tensor_proto::datatype_of);
        let to = datatype.ok_or_else(|| MlError::attribute("to", format!("no value is of the type {to}")))?;
        Ok(Self { to })
    }

    /// What it makes values.
    pub(in super::super) const fn to(&self) -> Datatype {
        self.to
    }
}

impl MlOperator for TextCast {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        Ok(vec![Fact {
            datatype: self.to,
            shape: only(inputs)?.shape.clone(),
        }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let input = only(inputs)?;
        let values = match (input.values, self.to) {
            (values, Datatype::Text) => Values::Text(spelled(values)),
            (Slice::Text(texts), to) => parsed(texts, to)?,
            (values, to) => {
                return Err(refused(format!(
                    "expected texts on one side, found {} to {to}",
                    values.datatype()
                )));
            }
        };
        tensor(input.shape.to_vec(), values)
    }
}

fn spelled(values: Slice<'_>) -> Vec<String> {
    fn all<T: ToString>(values: &[T]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }
    match values {
        Slice::Bool(values) => values.iter().map(|&value| u8::from(value).to_string()).collect(),
        Slice::U8(values) => all(values),
        Slice::U16(values) => all(values),
        Slice::U32(values) => all(values),
        Slice::U64(values) => all(values),
        Slice::I8(values) => all(values),
        Slice::I16(values) => all(values),
        Slice::I32(values) => all(values),
        Slice::I64(values) => all(values),
        Slice::F16(values) => values.iter().map(|&value| general(value.into())).collect(),
        Slice::BF16(values) => values.iter().map(|&value| general(value.into())).collect(),
        Slice::F32(values) => values.iter().map(|&value| general(value.into())).collect(),
        Slice::F64(values) => values.iter().map(|&value| general(value)).collect(),
        Slice::Text(values) => values.to_vec(),
    }
}

/// As C's `%.8g`, but for what is not a finite number.
fn general(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    let scientific = format!("{value:.*e}", DIGITS as usize - 1);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        return without_zeros(&format!("{value:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(digits), exponent.abs())
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

fn parsed(texts: &[String], to: Datatype) -> Result<Values, MlError> {
    fn all<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, MlError>) -> Result<Vec<T>, MlError> {
        texts.iter().map(|text| parse(text)).collect()
    }
    Ok(match to {
        Datatype::Bool => Values::Bool(all(texts, |text| Ok(integer(text)? != 0))?),
        Datatype::U8 => Values::U8(all(texts, |text| Ok(integer(text)? as u8))?),
        Datatype::U16 => Values::U16(all(texts, |text| Ok(integer(text)? as u16))?),
        Datatype::U32 => Values::U32(all(texts, |text| Ok(integer(text)? as u32))?),
        Datatype::U64 => Values::U64(all(texts, |text| Ok(integer(text)? as u64))?),
        Datatype::I8 => Values::I8(all(texts, |text| Ok(integer(text)? as i8))?),
        Datatype::I16 => Values::I16(all(texts, |text| Ok(integer(text)? as i16))?),
        Datatype::I32 => Values::I32(all(texts, |text| Ok(integer(text)? as i32))?),
        Datatype::I64 => Values::I64(all(texts, |text| {
            i64::try_from(integer(text)?).map_err(|_| no_number(text))
        })?),
        Datatype::F16 => Values::F16(all(texts, |text| Ok(f16::from_f64(float(text)?)))?),
        Datatype::BF16 => Values::BF16(all(texts, |text| Ok(bf16::from_f64(float(text)?)))?),
        Datatype::F32 => Values::F32(all(texts, |text| Ok(float(text)? as f32))?),
        Datatype::F64 => Values::F64(all(texts, float)?),
        Datatype::Text => Values::Text(texts.to_vec()),
    })
}

fn no_number(text: &str) -> MlError {
    let found = quoted(text);
    refused(format!(
        "expected a text that begins with a number, found {found}"
    ))
}

/// The whole number that a text begins with, of 64 bits with or without a sign.
fn integer(text: &str) -> Result<i128, MlError> {
    let text = text.trim_start();
    let end = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || at == 0 && matches!(c, '+' | '-')))
        .map_or(text.len(), |(at, _)| at);
    let number: i128 = text[..end].parse().map_err(|_| no_number(text))?;
    if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number) {
        return Ok(number);
    }
    Err(no_number(text))
}

/// The number that a text begins with.
fn float(text: &str) -> Result<f64, MlError> {
    let text = text.trim_start();
    if let Ok(number) = text.trim_end().parse() {
        return Ok(number);
    }
    let bytes = text.as_bytes();
    let signed = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let is_digit = |at: &usize| bytes.get(*at).is_some_and(u8::is_ascii_digit);
    let digits = |from: usize| (from..bytes.len()).take_while(is_digit).count();
    let mut end = signed + digits(signed);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let from = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digits(from) > 0 {
            end = from + digits(from);
        }
    }
    text[..end].parse().map_err(|_| no_number(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ONNX Runtime 1.32 makes of them.
    #[test]
    fn numbers_are_spelled_with_eight_digits() {
        let numbers = [
            1.0,
            0.1,
            1e10,
            1e-5_f32,
            123_456_789.0,
            2.718_281_7,
            -0.0,
            100_000.0,
            1e8,
            1e7,
            16_777_216.0,
            0.000_123_45,
        ];
        let expected = [
            "1",
            "0.1",
            "1e+10",
            "9.9999997e-06",
            "1.2345679e+08",
            "2.7182817",
            "-0",
            "100000",
            "1e+08",
            "10000000",
            "16777216",
            "0.00012344999",
        ];
        assert_eq!(spelled(Slice::F32(&numbers)), expected);
        assert_eq!(
            spelled(Slice::F64(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY])),
            ["NaN", "INF", "-INF"]
        );
        assert_eq!(spelled(Slice::Bool(&[true, false])), ["1", "0"]);
    }

    #[test]
    fn a_text_is_as_much_of_a_number_as_it_begins_with() {
        for (text, expected) in [
            ("1", 1.0),
            (" 2.5", 2.5),
            ("3abc", 3.0),
            ("1e3", 1000.0),
            ("-7.9", -7.9),
            ("+INF", f64::INFINITY),
            ("4e", 4.0),
        ] {
            assert_eq!(float(text), Ok(expected), "{text}");
        }
        assert!(float("NaN").is_ok_and(f64::is_nan));
        for (text, expected) in [("1.5", 1), ("-7.9", -7), ("+3", 3), (" 4 ", 4), ("1e3", 1)] {
            assert_eq!(integer(text), Ok(expected), "{text}");
        }
        for text in ["", "abc", "-", "."] {
            assert!(float(text).is_err() && integer(text).is_err(), "{text}");
        }
        assert!(integer("99999999999999999999").is_err());
    }
}
