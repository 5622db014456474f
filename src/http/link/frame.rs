//! What travels on a link, frame by frame. Pure.
//!
//! A frame is the length of its payload (4 bytes, big-endian), a tag (4 bytes), what it is (1 byte), and the payload. The tag
//! tells which request a frame belongs to: the gateway counts them up, the worker repeats the one it answers.

use bytes::{Buf, BytesMut};

/// Bytes before the payload.
pub const HEAD: usize = 9;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request or an answer, as an HTTP/1.1 message without its framing.
    Message,
    /// From a gateway: nobody waits for this answer any more.
    Cancelled,
    /// From a worker: there will be no answer.
    Dropped,
    /// From a worker: the answer is too large for a link. To be asked for on a connection of its own.
    TooLarge,
    /// From a worker, with no tag of its own: it takes what comes until the link is closed, and wants nothing new: it shuts
    /// down, or nobody has used the link for long.
    Closing,
}

/// One frame.
#[derive(Debug, PartialEq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub tag: u32,
    /// The message, where it is one.
    pub payload: BytesMut,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Nobody knows it.
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    /// It is longer than this side takes.
    #[error("a frame of {found} bytes is over the limit of {limit}")]
    TooLong {
        /// What its head says.
        found: usize,
        /// What may come.
        limit: usize,
    },
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Message,
        Self::Cancelled,
        Self::Dropped,
        Self::TooLarge,
        Self::Closing,
    ];

    fn of(byte: u8) -> Result<Self, BadFrame> {
        let kind = Self::ALL.get(usize::from(byte));
        kind.copied().ok_or(BadFrame::Kind(byte))
    }
}

/// Appends a frame whose payload `write` appends.
pub fn put(out: &mut Vec<u8>, kind: Kind, tag: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&tag.to_be_bytes());
    out.push(kind as u8);
    write(out);
    let length = out.len() - begin - HEAD;
    let length = u32::try_from(length).expect("a message has less than 4 GiB");
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
}

/// Takes a frame off the front of `buffer`; none while it is not there as a whole. A payload may have `limit` bytes.
pub fn take(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>, BadFrame> {
    let Some(mut head) = buffer.get(..HEAD) else {
        return Ok(None);
    };
    let length = head.get_u32() as usize;
    let tag = head.get_u32();
    let kind = Kind::of(head.get_u8())?;
    if length > limit {
        return Err(BadFrame::TooLong { found: length, limit });
    }
    if buffer.len() < HEAD + length {
        buffer.reserve(HEAD + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEAD);
    let payload = buffer.split_to(length);
    Ok(Some(Frame { kind, tag, payload }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(out: &[u8], limit: usize) -> Result<Vec<(Kind, u32, Vec<u8>)>, BadFrame> {
        let (mut buffer, mut frames) = (BytesMut::from(out), Vec::new());
        while let Some(Frame { kind, tag, payload }) = take(&mut buffer, limit)? {
            frames.push((kind, tag, payload.to_vec()));
        }
        Ok(frames)
    }

    #[test]
    fn frames_longer_than_allowed_are_refused_before_they_are_there() {
        let mut out = Vec::new();
        put(&mut out, Kind::Message, 1, |out| out.extend_from_slice(b"12345"));
        assert_eq!(frames(&out, 5).unwrap().len(), 1);
        let refused = BadFrame::TooLong { found: 5, limit: 4 };
        assert_eq!(frames(&out[..HEAD], 4), Err(refused));
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        assert_eq!(frames(b"\0\0\0\0\0\0\0\x01\x05", 9), Err(BadFrame::Kind(5)));
    }

    proptest! {
        #[test]
        fn what_was_put_is_taken_wherever_the_stream_is_cut(
            sent in prop::collection::vec((0..5_u8, any::<u32>(), prop::collection::vec(any::<u8>(), 0..50)), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let sent: Vec<_> = sent.into_iter().map(|(kind, tag, payload)| (Kind::of(kind).unwrap(), tag, payload)).collect();
            let mut out = Vec::new();
            for (kind, tag, payload) in &sent {
                put(&mut out, *kind, *tag, |out| out.extend_from_slice(payload));
            }
            let cut = cut.index(out.len() + 1);
            let mut buffer = BytesMut::from(&out[..cut]);
            let mut found = Vec::new();
            for rest in [&out[cut..], &[]] {
                while let Some(Frame { kind, tag, payload }) = take(&mut buffer, 50).unwrap() {
                    found.push((kind, tag, payload.to_vec()));
                }
                buffer.extend_from_slice(rest);
            }
            prop_assert_eq!(found, sent);
            prop_assert!(buffer.is_empty());
        }
    }
}
