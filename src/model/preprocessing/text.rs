//! Texts: what a model's `[text]` section says of how they become tokens, and how they do.

mod lengths;
mod rows;
mod tokenizer;

use serde::{Deserialize, Serialize};

pub use self::rows::{RowsProblem, TextError, TextRows, Tokenized};
pub use self::tokenizer::{TextProblem, Texts, Tokenizer, TokenizerError, Tokens};

/// The section `[text]` of `model.toml`, for models with a `tokenizer.json`. What is absent is as the tokenizer's own file
/// says, and else as it is written at each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextInput {
    /// Tokens of one row at most, those that the tokenizer adds at its ends included: 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Whether a longer text is cut. Otherwise it is refused, and so it is where nobody says anything of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    /// What shorter rows are filled up to: a bucket where the graph takes a mask, and nothing where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding: Option<Padding>,
    /// The graph's input of token ids: `input_ids`, or the only input that there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<String>,
    /// Its input that has a one for each token and a zero for each place that is filled up: `attention_mask`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// Its input that has a one for each token of the second text of a pair: `token_type_ids`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub types: Option<String>,
}

/// What rows of a model are filled up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// The longest row of the request, and from there to the next of a few lengths, so that requests of about the same
    /// length run together.
    Bucket,
    /// Always `max_length`.
    MaxLength,
    /// Nothing: rows of one length run together, and a request has rows of one length only.
    None,
}

#[cfg(test)]
mod fixture {
    use serde_json::Value;

    use super::Tokenizer;

    const FILE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nets/tokenizer.json"));

    /// Forty words.
    pub(super) fn tokenizer() -> Tokenizer {
        Tokenizer::parse(FILE.as_bytes()).unwrap()
    }

    /// The same, with another value of one member of its file.
    pub(super) fn changed(member: &str, value: Value) -> Tokenizer {
        let mut file: Value = serde_json::from_str(FILE).unwrap();
        file[member] = value;
        Tokenizer::parse(file.to_string().as_bytes()).unwrap()
    }
}
