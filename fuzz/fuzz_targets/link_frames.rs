//! What comes on a link, from whoever opened it: frames, and the requests in them. Whatever it is, it is understood or refused,
//! and wherever the stream is cut, the same comes out.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use millrace::http::link::frame::{BadFrame, Frame, Kind, take};
use millrace::http::link::read_request;

const LIMIT: usize = 4 << 10;

type Taken = (Kind, u32, Vec<u8>);

/// The frames of a stream that comes in these pieces, until one is refused.
fn frames(pieces: &[&[u8]]) -> (Vec<Taken>, Option<BadFrame>) {
    let (mut buffer, mut taken) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match take(&mut buffer, LIMIT) {
                Ok(Some(Frame { kind, tag, payload })) => taken.push((kind, tag, payload.to_vec())),
                Ok(None) => break,
                Err(error) => return (taken, Some(error)),
            }
        }
    }
    (taken, None)
}

fuzz_target!(|input: &[u8]| {
    let (taken, refused) = frames(&[input]);
    let (first, second) = input.split_at(input.len() / 2);
    assert_eq!(frames(&[first, second]), (taken.clone(), refused));
    for (_, _, payload) in taken {
        assert!(payload.len() <= LIMIT);
        let _ = read_request(BytesMut::from(&payload[..]));
    }
});
