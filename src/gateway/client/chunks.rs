//! Takes the bytes of a chunked body out of what frames them (RFC 9112, section 7.1). Pure.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes that a line between chunks, or all trailers together, may have.
const MAX_LINES: usize = 16 << 10;

/// How far a chunked body was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Chunks {
    /// A chunk is to begin, with its size.
    #[default]
    Size,
    /// So many bytes are left of a chunk.
    Data(u64),
    /// The end of a chunk's line is to come.
    DataEnd,
    /// The last chunk was there; so many bytes of trailers were.
    Trailers(usize),
    /// The body has ended.
    End,
}

/// What is next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Data(Bytes),
    /// More bytes have to come first.
    More,
    End,
}

/// Something else stands where the size of a chunk, or its end, was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the answer are malformed")]
pub(super) struct BadChunk;

impl Chunks {
    /// Takes what is next off the front of `buffer`.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Next, BadChunk> {
        loop {
            match self {
                Self::Size => match httparse::parse_chunk_size(buffer) {
                    Ok(httparse::Status::Complete((length, size))) => {
                        buffer.advance(length);
                        *self = if size == 0 {
                            Self::Trailers(0)
                        } else {
                            Self::Data(size)
                        };
                    }
                    Ok(httparse::Status::Partial) if buffer.len() <= MAX_LINES => return Ok(Next::More),
                    _ => return Err(BadChunk),
                },
                Self::Data(0) => *self = Self::DataEnd,
                Self::Data(left) => {
                    if buffer.is_empty() {
                        return Ok(Next::More);
                    }
                    let here = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                    *left -= here as u64;
                    return Ok(Next::Data(buffer.split_to(here).freeze()));
                }
                Self::DataEnd => match buffer.get(..2) {
                    None => return Ok(Next::More),
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(BadChunk),
                },
                Self::Trailers(seen) => {
                    let Some(end) = buffer.iter().position(|&byte| byte == b'\n') else {
                        return if *seen + buffer.len() > MAX_LINES {
                            Err(BadChunk)
                        } else {
                            Ok(Next::More)
                        };
                    };
                    let is_last = buffer[..end].trim_ascii().is_empty();
                    *seen += end + 1;
                    if *seen > MAX_LINES {
                        return Err(BadChunk);
                    }
                    buffer.advance(end + 1);
                    if is_last {
                        *self = Self::End;
                    }
                }
                Self::End => return Ok(Next::End),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a body says that comes in these pieces, and what stands behind it.
    fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>), BadChunk> {
        let (mut chunks, mut buffer, mut body) = (Chunks::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Next::Data(data) = chunks.next(&mut buffer)? {
                body.extend_from_slice(&data);
            }
        }
        assert_eq!(chunks, Chunks::End, "it ends");
        Ok((body, buffer.to_vec()))
    }

    #[test]
    fn chunks_are_joined_and_extensions_and_trailers_skipped() {
        let text = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\nHTTP";
        let (body, left) = read(&[text]).unwrap();
        assert_eq!(body, b"abc0123456789");
        assert_eq!(left, b"HTTP", "the next answer is left");
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for text in ["x\r\n", "3\r\nabcd\r\n", "fffffffffffffffff\r\n"] {
            let mut buffer = BytesMut::from(text);
            let mut chunks = Chunks::default();
            let found = loop {
                match chunks.next(&mut buffer) {
                    Ok(Next::Data(_)) => {}
                    other => break other,
                }
            };
            assert_eq!(found, Err(BadChunk), "{text}");
        }
        let endless = format!("0\r\n{}", "a: b\r\n".repeat(MAX_LINES / 6 + 1));
        assert_eq!(
            Chunks::default().next(&mut BytesMut::from(&endless[..])),
            Err(BadChunk)
        );
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_pieces_are_cut(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut text = Vec::new();
            for part in &parts {
                text.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                text.extend_from_slice(part);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            places.extend([0, text.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let (body, left) = read(&pieces).unwrap();
            prop_assert_eq!(body, parts.concat());
            prop_assert!(left.is_empty());
        }
    }
}
