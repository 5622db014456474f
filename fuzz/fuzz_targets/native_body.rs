//! The body of `POST /predict`: whatever it is, it becomes rows of the model's shape or an error.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use millrace::api::predict::PredictRequest;
use millrace::model::artifact::Metadata;
use millrace::model::preprocessing::image::{Channels, ImageInput, ImageLayout};
use millrace::model::schema::Schema;
use millrace::model::signature::{Batch, Signature, TensorSpec};
use millrace::model::tensor::Datatype;
use millrace::worker::validation::tensors_of;

static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    let spec = |name: &str, datatype, shape: &[Option<usize>]| TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: shape.to_vec(),
    };
    let output = spec("y", Datatype::F32, &[None, Some(1)]);
    let inputs = [
        vec![spec("x", Datatype::F32, &[None, Some(4)])],
        vec![spec("x", Datatype::F16, &[None, None, Some(2)])],
        vec![
            spec("age", Datatype::I64, &[None, Some(1)]),
            spec("city", Datatype::Text, &[None, Some(1)]),
            spec("seen", Datatype::Bool, &[None, Some(1)]),
        ],
    ];
    let schema = |inputs, metadata: &Metadata| {
        let signature = Signature {
            inputs,
            outputs: vec![output.clone()],
            batch: Batch::Free,
        };
        Schema::new(signature, metadata).expect("the metadata fits its signature")
    };
    let gaps = Metadata {
        missing_values: true,
        ..Metadata::default()
    };
    let plain = inputs.iter().cloned().map(|inputs| schema(inputs, &Metadata::default()));
    let with_gaps = inputs.iter().cloned().map(|inputs| schema(inputs, &gaps));
    let image = |channels: Channels, layout, shape: &[Option<usize>]| {
        let declared = ImageInput {
            width: None,
            height: None,
            layout,
            ..ImageInput::new(1, 1, channels)
        };
        let metadata = Metadata {
            image: Some(declared),
            ..Metadata::default()
        };
        schema(vec![spec("x", Datatype::F32, shape)], &metadata).with_max_image_pixels(1 << 12)
    };
    let images = [
        image(Channels::Grey, ImageLayout::Nchw, &[None, Some(1), Some(8), Some(8)]),
        image(Channels::Colour, ImageLayout::Nhwc, &[None, None, None, Some(3)]),
    ];
    plain.chain(with_gaps).chain(images).collect()
});

fuzz_target!(|body: &[u8]| {
    let Ok(request) = PredictRequest::parse(body) else {
        return;
    };
    for schema in SCHEMAS.iter() {
        let Ok(tensors) = tensors_of(&request.inputs, "model", schema) else {
            continue;
        };
        assert_eq!(tensors.len(), schema.signature.inputs.len());
        for tensor in tensors {
            assert_eq!(tensor.rows(), request.inputs.len());
        }
    }
});
