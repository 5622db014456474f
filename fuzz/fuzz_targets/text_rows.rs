//! The body of `POST /predict` for a model of texts: whatever it is, it becomes tokens of the model's shape or an error.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use millrace::api::predict::PredictRequest;
use millrace::model::artifact::Metadata;
use millrace::model::preprocessing::text::{Padding, TextInput, TextRows, Tokenized, Tokenizer};
use millrace::model::schema::Schema;
use millrace::model::signature::{Batch, Signature, TensorSpec};
use millrace::model::tensor::{Datatype, Tensor, Values};
use millrace::worker::validation::{tensors_of, tokens_of};

/// That of a shipped model: byte pairs, learnt on definitions.
const BYTE_PAIRS: &[u8] = include_bytes!("../../models/definitions/1/tokenizer.json");
/// Forty words, with tokens at the ends and between the texts of a pair.
const WORDS: &[u8] = include_bytes!("../../tests/nets/tokenizer.json");

/// A model of texts, and how many tokens its vocabulary has at most.
struct Model {
    schema: Schema,
    vocabulary: i64,
}

static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let cut = TextInput {
        max_length: Some(24),
        truncate: Some(true),
        ..TextInput::default()
    };
    let refused = TextInput {
        max_length: Some(40),
        truncate: Some(false),
        ..TextInput::default()
    };
    let unfilled = TextInput {
        padding: Some(Padding::None),
        ..refused.clone()
    };
    let filled = TextInput {
        padding: Some(Padding::MaxLength),
        ..cut.clone()
    };
    let encoder = ["input_ids", "attention_mask", "token_type_ids"];
    vec![
        model(BYTE_PAIRS, 3000, &cut, &encoder[..2]),
        model(BYTE_PAIRS, 3000, &unfilled, &encoder[..1]),
        model(WORDS, 40, &refused, &encoder),
        model(WORDS, 40, &filled, &encoder),
    ]
});

fn model(tokenizer: &[u8], vocabulary: i64, said: &TextInput, inputs: &[&str]) -> Model {
    let spec = |name: &str, datatype, shape: &[Option<usize>]| TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: shape.to_vec(),
    };
    let inputs = inputs.iter().map(|name| spec(name, Datatype::I64, &[None, None]));
    let signature = Signature {
        inputs: inputs.collect(),
        outputs: vec![spec("y", Datatype::F32, &[None, Some(1)])],
        batch: Batch::Free,
    };
    let tokenizer = Tokenizer::parse(tokenizer).expect("the file is one that is in use");
    let rows = TextRows::new(tokenizer, said, &signature).expect("the graph takes tokens");
    let schema = Schema::new(signature, &Metadata::default()).expect("nothing is said that could not fit");
    Model {
        schema: schema.with_text(Some(rows)),
        vocabulary,
    }
}

fn integers(tensor: &Tensor) -> &[i64] {
    match tensor.values() {
        Values::I64(values) => values,
        other => panic!("{other:?} are no 64-bit integers"),
    }
}

/// What must hold of the tokens of so many rows.
fn check(tokenized: &Tokenized, rows: usize, model: &Model) {
    let inputs = &model.schema.signature.inputs;
    assert_eq!(tokenized.tensors.len(), inputs.len());
    assert_eq!(tokenized.places.len(), rows);
    let length = tokenized.tensors[0].row_len();
    for (input, tensor) in inputs.iter().zip(&tokenized.tensors) {
        assert_eq!(tensor.shape(), [rows, length]);
        for (values, places) in integers(tensor).chunks(length).zip(&tokenized.places) {
            assert!(!places.is_empty() && places.end <= length);
            for (place, &value) in values.iter().enumerate() {
                match input.name.as_str() {
                    "input_ids" => assert!((0..model.vocabulary).contains(&value)),
                    "attention_mask" => assert_eq!(value, i64::from(places.contains(&place))),
                    _ => assert!(matches!(value, 0 | 1)),
                }
            }
        }
    }
}

fuzz_target!(|body: &[u8]| {
    let Ok(request) = PredictRequest::parse(body) else {
        return;
    };
    let rows = request.inputs.len();
    for model in MODELS.iter() {
        match tokens_of(&request.inputs, "model", &model.schema) {
            Ok(Some(tokenized)) => check(&tokenized, rows, model),
            // Rows as the graph itself takes them.
            Ok(None) => {
                if let Ok(tensors) = tensors_of(&request.inputs, "model", &model.schema) {
                    assert!(tensors.iter().all(|tensor| tensor.rows() == rows));
                }
            }
            Err(error) => assert!(!error.message.is_empty()),
        }
    }
});
