//! Requests whose rows are lists of nothing but numbers, as most are, read straight into a table: no tree of values, and no
//! check of each one's type. Whatever is written in any other way is not understood here and read by
//! [`PredictRequest`](super::predict::PredictRequest), which has the words for what is wrong with it.

/// A native request with rows of equal length, all of whose values are numbers.
#[derive(Debug, PartialEq)]
pub struct PlainRequest<'a> {
    /// The model, where the body names it.
    pub model: Option<&'a str>,
    /// The version, where the body names it.
    pub version: Option<&'a str>,
    /// Values of each row; one at least.
    pub width: usize,
    /// The rows one after the other; one at least.
    pub values: Vec<f64>,
}

/// Powers of ten that a double holds exactly.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Decimal digits that surely make a whole number below 2^53.
const EXACT_DIGITS: usize = 15;

impl<'a> PlainRequest<'a> {
    /// Reads a body; none where it is anything else.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader { body, at: 0 };
        let (mut model, mut version, mut rows) = (None, None, None);
        reader.expect(b'{')?;
        loop {
            let name = reader.text()?;
            reader.expect(b':')?;
            let is_news = match name {
                "inputs" => rows.replace(reader.rows()?).is_none(),
                "model" => model.replace(reader.text()?).is_none(),
                "version" => version.replace(reader.text()?).is_none(),
                _ => return None,
            };
            match reader.next()? {
                b',' if is_news => {}
                b'}' if is_news => break,
                _ => return None,
            }
        }
        if reader.peek().is_some() {
            return None;
        }
        let (width, values) = rows?;
        Some(Self {
            model,
            version,
            width,
            values,
        })
    }
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next byte that is no blank; it is not taken.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.body.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.body.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// A text of printable ASCII without escapes.
    fn text(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let rest = &self.body[self.at..];
        let length = rest.iter().position(|&byte| byte == b'"')?;
        let text = &rest[..length];
        if !text
            .iter()
            .all(|&byte| matches!(byte, b' '..=b'~') && byte != b'\\')
        {
            return None;
        }
        self.at += length + 1;
        str::from_utf8(text).ok()
    }

    /// Rows of equal length, and that length.
    fn rows(&mut self) -> Option<(usize, Vec<f64>)> {
        // A number and what parts it from the next are two bytes at least.
        let mut values = Vec::with_capacity((self.body.len() / 4).min(1 << 16));
        let (mut width, mut begun) = (None, 0);
        self.expect(b'[')?;
        loop {
            self.row(&mut values)?;
            if *width.get_or_insert(values.len()) != values.len() - begun {
                return None;
            }
            begun = values.len();
            match self.next()? {
                b',' => {}
                b']' => return Some((width?, values)),
                _ => return None,
            }
        }
    }

    fn row(&mut self, values: &mut Vec<f64>) -> Option<()> {
        self.expect(b'[')?;
        loop {
            self.peek()?;
            values.push(self.number()?);
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A number, from where it begins (RFC 8259, section 6).
    fn number(&mut self) -> Option<f64> {
        let begin = self.at;
        let is_negative = self.skip(b'-');
        let mut digits = 0_u64;
        let whole = self.digits(&mut digits)?;
        let has_leading_zero = whole > 1 && self.body[self.at - whole] == b'0';
        let is_float = self.skip(b'.');
        let fraction = if is_float { self.digits(&mut digits)? } else { 0 };
        let is_exponential = matches!(self.body.get(self.at), Some(b'e' | b'E'));
        if has_leading_zero {
            return None;
        }
        if whole + fraction <= EXACT_DIGITS && !is_exponential {
            // Both are exact, so that their quotient is the nearest double (Clinger, PLDI 1990).
            let number = digits as f64 / TENS[fraction];
            return Some(if is_negative { -number } else { number });
        }
        if is_exponential {
            self.at += 1;
            if !self.skip(b'+') {
                self.skip(b'-');
            }
            self.digits(&mut 0)?;
        } else if !is_float {
            // Whole numbers are not rounded twice, which they would be where the model takes single precision.
            return None;
        }
        let text = str::from_utf8(&self.body[begin..self.at]).ok()?;
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn skip(&mut self, byte: u8) -> bool {
        let is_there = self.body.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// Appends decimal digits, one at least, to a number, which wraps where there are too many; gives how many there were.
    fn digits(&mut self, number: &mut u64) -> Option<usize> {
        let begin = self.at;
        while let Some(digit @ b'0'..=b'9') = self.body.get(self.at) {
            *number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let count = self.at - begin;
        (count > 0).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::datum::Datum;
    use crate::api::predict::PredictRequest;

    fn read(body: &str) -> Option<PlainRequest<'_>> {
        PlainRequest::read(body.as_bytes())
    }

    #[test]
    fn rows_of_numbers_are_read() {
        let body = " {\"inputs\" : [[1, -2.5],\n[3e2,0.1]], \"model\":\"iris\",\"version\": \"2\"} ";
        let expected = PlainRequest {
            model: Some("iris"),
            version: Some("2"),
            width: 2,
            values: vec![1.0, -2.5, 300.0, 0.1],
        };
        assert_eq!(read(body), Some(expected));
    }

    #[test]
    fn everything_else_is_for_others_to_read() {
        for body in [
            "",
            "{}",
            "[[1]]",
            r#"{"inputs": []}"#,
            r#"{"inputs": [[]]}"#,
            r#"{"inputs": [[1], [2, 3]]}"#,
            r#"{"inputs": [[1, null]]}"#,
            r#"{"inputs": [1]}"#,
            r#"{"inputs": [["1"]]}"#,
            r#"{"inputs": [[1]], "inputs": [[1]]}"#,
            r#"{"inputs": [[1]], "more": 1}"#,
            r#"{"inputs": [[1]], "version": 2}"#,
            r#"{"inputs": [[1]], "model": "a\u0062"}"#,
            r#"{"inputs": [[1]]} x"#,
            r#"{"inputs": [[1]],}"#,
            r#"{"inputs": [[1,]]}"#,
            r#"{"inputs": [[01]]}"#,
            r#"{"inputs": [[1.]]}"#,
            r#"{"inputs": [[.5]]}"#,
            r#"{"inputs": [[+1]]}"#,
            r#"{"inputs": [[1e999]]}"#,
            r#"{"inputs": [[9007199254740993]]}"#,
            r#"{"model": "iris"}"#,
            r#"{"inputs": [[1"#,
        ] {
            assert_eq!(read(body), None, "{body}");
        }
    }

    fn number() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "-?[0-9]{1,17}(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?",
            2 => any::<f32>().prop_map(|number| number.to_string()),
            2 => any::<f64>().prop_map(|number| format!("{number:e}")),
            1 => "[0-9.eE+-]{0,5}",
        ]
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_others_read(
            rows in prop::collection::vec(prop::collection::vec(number(), 0..4), 0..4),
            noise in "[ \\n\\],\\[]{0,2}",
        ) {
            let row = |row: &Vec<String>| format!("[{}]", row.join(", "));
            let rows: Vec<String> = rows.iter().map(row).collect();
            let body = format!("{{\"inputs\": [{}]{noise}}}", rows.join(","));
            let Some(plain) = read(&body) else { return Ok(()) };
            let request = PredictRequest::parse(body.as_bytes()).expect("it is a request for others as well");
            let mut values = plain.values.iter();
            for row in &request.inputs {
                let Datum::List(items) = row else { panic!("{row:?}") };
                prop_assert_eq!(items.len(), plain.width);
                for item in items {
                    let other = match *item {
                        Datum::Int(number) => number as f64,
                        Datum::Float(number) => number,
                        ref item => panic!("{item:?}"),
                    };
                    prop_assert_eq!(values.next().map(|value| value.to_bits()), Some(other.to_bits()));
                }
            }
            prop_assert_eq!(values.next(), None);
        }
    }
}
