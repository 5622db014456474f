//! Tensors as raw bytes: little-endian, row-major, without padding; `BOOL` one byte a value, `BYTES` a 32-bit length
//! and as many bytes for each text.

use half::{bf16, f16};

use crate::model::tensor::{Datatype, Values};

/// Bytes that are not the values they should be. The text goes on after the name of the tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// Fewer or more bytes than the shape asks for.
    #[error("has {found} bytes; {count} values of {datatype} are {expected}")]
    Length {
        /// Bytes that came.
        found: usize,
        /// Values that the shape asks for.
        count: usize,
        /// Their type.
        datatype: Datatype,
        /// Bytes that they take.
        expected: u128,
    },
    /// The bytes end within an element, or between its length and its text.
    #[error("breaks off in element {0}; each one is a 32-bit little-endian length and as many bytes")]
    BrokenOff(usize),
    /// The shape asks for another number of elements.
    #[error("does not hold the {expected} elements that its shape asks for, but {found}")]
    Count {
        /// Elements that the shape asks for.
        expected: usize,
        /// Elements that came; at most one more than were asked for are looked at.
        found: usize,
    },
    /// A text that is none.
    #[error("has an element {0} that is not UTF-8 text, which is what models take as BYTES")]
    NotText(usize),
    /// A truth value that is neither.
    #[error("has the byte {byte} as element {element}; BOOL is 0 or 1")]
    NotBool {
        /// Its position.
        element: usize,
        /// What it is.
        byte: u8,
    },
}

/// Bytes of one value; none where values differ in length.
#[must_use]
pub const fn size_of(datatype: Datatype) -> Option<usize> {
    match datatype {
        Datatype::Bool | Datatype::U8 | Datatype::I8 => Some(1),
        Datatype::U16 | Datatype::I16 | Datatype::F16 | Datatype::BF16 => Some(2),
        Datatype::U32 | Datatype::I32 | Datatype::F32 => Some(4),
        Datatype::U64 | Datatype::I64 | Datatype::F64 => Some(8),
        Datatype::Text => None,
    }
}

/// The `count` values of `datatype` in `bytes`, which must hold exactly those.
pub fn read(datatype: Datatype, count: usize, bytes: &[u8]) -> Result<Values, BinaryError> {
    if let Some(size) = size_of(datatype) {
        let expected = count as u128 * size as u128;
        if bytes.len() as u128 != expected {
            let found = bytes.len();
            return Err(BinaryError::Length {
                found,
                count,
                datatype,
                expected,
            });
        }
    }
    Ok(match datatype {
        Datatype::Bool => Values::Bool(bools(bytes)?),
        Datatype::U8 => Values::U8(bytes.to_vec()),
        Datatype::U16 => Values::U16(numbers(bytes, u16::from_le_bytes)),
        Datatype::U32 => Values::U32(numbers(bytes, u32::from_le_bytes)),
        Datatype::U64 => Values::U64(numbers(bytes, u64::from_le_bytes)),
        Datatype::I8 => Values::I8(numbers(bytes, i8::from_le_bytes)),
        Datatype::I16 => Values::I16(numbers(bytes, i16::from_le_bytes)),
        Datatype::I32 => Values::I32(numbers(bytes, i32::from_le_bytes)),
        Datatype::I64 => Values::I64(numbers(bytes, i64::from_le_bytes)),
        Datatype::F16 => Values::F16(numbers(bytes, f16::from_le_bytes)),
        Datatype::BF16 => Values::BF16(numbers(bytes, bf16::from_le_bytes)),
        Datatype::F32 => Values::F32(numbers(bytes, f32::from_le_bytes)),
        Datatype::F64 => Values::F64(numbers(bytes, f64::from_le_bytes)),
        Datatype::Text => Values::Text(texts(count, bytes)?),
    })
}

fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|&chunk| number(chunk)).collect()
}

fn bools(bytes: &[u8]) -> Result<Vec<bool>, BinaryError> {
    let bool = |(element, &byte): (usize, &u8)| match byte {
        0 => Ok(false),
        1 => Ok(true),
        byte => Err(BinaryError::NotBool { element, byte }),
    };
    bytes.iter().enumerate().map(bool).collect()
}

fn texts(count: usize, mut bytes: &[u8]) -> Result<Vec<String>, BinaryError> {
    // Each takes four bytes at least, so that no shape makes room for more than came.
    let mut texts = Vec::with_capacity(count.min(bytes.len() / 4));
    while !bytes.is_empty() {
        let element = texts.len();
        if element == count {
            let found = count + 1;
            return Err(BinaryError::Count {
                expected: count,
                found,
            });
        }
        let (length, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or(BinaryError::BrokenOff(element))?;
        let length = u32::from_le_bytes(*length) as usize;
        let (text, rest) = rest
            .split_at_checked(length)
            .ok_or(BinaryError::BrokenOff(element))?;
        let text = std::str::from_utf8(text).map_err(|_| BinaryError::NotText(element))?;
        texts.push(text.to_owned());
        bytes = rest;
    }
    if texts.len() < count {
        let (expected, found) = (count, texts.len());
        return Err(BinaryError::Count { expected, found });
    }
    Ok(texts)
}

/// Appends the bytes of `values` to `bytes`; gives how many they are.
pub fn write(values: &Values, bytes: &mut Vec<u8>) -> usize {
    let before = bytes.len();
    match values {
        Values::Bool(values) => bytes.extend(values.iter().copied().map(u8::from)),
        Values::U8(values) => bytes.extend_from_slice(values),
        Values::U16(values) => append(bytes, values, u16::to_le_bytes),
        Values::U32(values) => append(bytes, values, u32::to_le_bytes),
        Values::U64(values) => append(bytes, values, u64::to_le_bytes),
        Values::I8(values) => append(bytes, values, i8::to_le_bytes),
        Values::I16(values) => append(bytes, values, i16::to_le_bytes),
        Values::I32(values) => append(bytes, values, i32::to_le_bytes),
        Values::I64(values) => append(bytes, values, i64::to_le_bytes),
        Values::F16(values) => append(bytes, values, f16::to_le_bytes),
        Values::BF16(values) => append(bytes, values, bf16::to_le_bytes),
        Values::F32(values) => append(bytes, values, f32::to_le_bytes),
        Values::F64(values) => append(bytes, values, f64::to_le_bytes),
        Values::Text(values) => {
            for text in values {
                let length = u32::try_from(text.len()).expect("no model makes a text of 4 GiB");
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
    bytes.len() - before
}

fn append<const N: usize, T: Copy>(bytes: &mut Vec<u8>, values: &[T], number: impl Fn(T) -> [u8; N]) {
    bytes.reserve(values.len() * N);
    for &value in values {
        bytes.extend_from_slice(&number(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_carry_their_length() {
        let values = Values::Text(vec!["ab".into(), String::new(), "ä".into()]);
        let mut bytes = Vec::new();
        assert_eq!(write(&values, &mut bytes), 16);
        assert_eq!(bytes, b"\x02\0\0\0ab\0\0\0\0\x02\0\0\0\xc3\xa4");
        assert_eq!(read(Datatype::Text, 3, &bytes), Ok(values));
    }

    #[test]
    fn bytes_that_do_not_fit_are_told() {
        let message = |datatype, count, bytes: &[u8]| read(datatype, count, bytes).unwrap_err().to_string();
        assert_eq!(
            message(Datatype::F32, 2, &[0; 7]),
            "has 7 bytes; 2 values of FP32 are 8"
        );
        assert!(message(Datatype::F32, usize::MAX, &[0; 7]).contains("73786976294838206460"));
        assert!(message(Datatype::Bool, 1, &[2]).contains("the byte 2"));
        for broken in [&b"\x02\0\0"[..], b"\x02\0\0\0a", b"\xff\xff\xff\xff"] {
            assert!(message(Datatype::Text, 1, broken).starts_with("breaks off in element 0"));
        }
        assert!(message(Datatype::Text, 1, b"\x01\0\0\0\xff").contains("not UTF-8"));
        assert!(message(Datatype::Text, usize::MAX, b"\0\0\0\0").contains("but 1"));
        assert!(message(Datatype::Text, 0, b"\0\0\0\0").contains("but 1"));
    }
}
