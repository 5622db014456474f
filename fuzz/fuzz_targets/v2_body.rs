//! The body of an inference request of the Open Inference Protocol V2: JSON, JSON with binary tensors behind it, or raw
//! bytes. The first two bytes are the length of the JSON; 65535 stands for a request without that header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::api::v2::request::{parse, parse_raw};
use millrace::model::tensor::Datatype;

fuzz_target!(|input: &[u8]| {
    let Some((length, body)) = input.split_first_chunk::<2>() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length));
    let length = (length < usize::from(u16::MAX)).then_some(length);
    if let Err(error) = parse(body, length) {
        assert!(!error.message.is_empty());
    }
    for datatype in [Datatype::F32, Datatype::U8, Datatype::Text] {
        if let Ok(tensor) = parse_raw(body, datatype, &[None, Some(2)]) {
            assert!(tensor.values().len() <= body.len().max(2));
        }
    }
});
