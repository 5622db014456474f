//! Operators of texts: StringNormalizer, Tokenizer, TfIdfVectorizer, and Cast from and to texts.

mod cast;
mod ngrams;
mod normalizer;
mod pattern;
mod tokenizer;
mod vectorizer;

pub(super) use self::cast::TextCast;
pub(super) use self::ngrams::TfIdfVectorizer;
pub(super) use self::normalizer::StringNormalizer;
pub(super) use self::tokenizer::Tokenizer;
pub(super) use self::vectorizer::TextVectorizer;

use super::features::only;
use super::{Fact, MlError, View, features};
use crate::model::tensor::{Datatype, Slice};

/// The shape of the only input, which holds texts.
fn fact_of_texts(inputs: &[Fact]) -> Result<&[usize], MlError> {
    let input = only(inputs)?;
    if input.datatype == Datatype::Text {
        return Ok(&input.shape);
    }
    Err(features::refused(format!(
        "expected texts, found {}",
        input.datatype
    )))
}

/// The only input, which holds texts.
fn view_of_texts<'a>(inputs: &[View<'a>]) -> Result<(&'a [usize], &'a [String]), MlError> {
    let input = only(inputs)?;
    match input.values {
        Slice::Text(texts) => Ok((input.shape, texts)),
        other => Err(features::refused(format!(
            "expected texts, found {}",
            other.datatype()
        ))),
    }
}
