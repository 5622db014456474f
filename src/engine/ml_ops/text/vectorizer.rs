//! Tokenizer and TfIdfVectorizer as one operator.
//!
//! How many tokens a text has shows only when it is there, and an engine wants to know the shape of everything before. Of
//! both operators together it is known: a row of counts for each row of texts. Each row is cut by itself, so that no row
//! is filled up to the length of another's.

use super::super::features::{refused, tensor};
use super::super::{Attributes, Fact, MlError, MlOperator, View};
use super::ngrams::TfIdfVectorizer;
use super::tokenizer::Tokenizer;
use super::{fact_of_texts, view_of_texts};
use crate::model::tensor::{Datatype, Tensor, Values};

/// Counts the n-grams of each row of texts.
#[derive(Debug)]
pub(in super::super) struct TextVectorizer {
    tokenizer: Tokenizer,
    ngrams: TfIdfVectorizer,
}

impl TextVectorizer {
    /// Of a node that has the attributes of both operators.
    pub(in super::super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let ngrams = TfIdfVectorizer::from_node(attributes)?;
        if !ngrams.takes_texts() {
            return Err(MlError::MissingAttribute("pool_strings"));
        }
        Ok(Self {
            tokenizer: Tokenizer::from_node(attributes)?,
            ngrams,
        })
    }
}

impl MlOperator for TextVectorizer {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let shape = fact_of_texts(inputs)?;
        let (1 | 2, Some(&rows)) = (shape.len(), shape.first()) else {
            return Err(refused(format!(
                "expected the shape [texts] or [rows, texts], found {shape:?}"
            )));
        };
        Ok(vec![Fact {
            datatype: Datatype::F32,
            shape: vec![rows, self.ngrams.width()],
        }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (shape, texts) = view_of_texts(inputs)?;
        let rows = shape.first().copied().unwrap_or(1);
        let width = self.ngrams.width();
        let mut counted = vec![0.0; rows.saturating_mul(width)];
        let mut memories = self.tokenizer.memories();
        let texts_of_a_row = (texts.len() / rows.max(1)).max(1);
        for (texts, into) in texts
            .chunks_exact(texts_of_a_row)
            .zip(counted.chunks_exact_mut(width))
        {
            let (tokens, _) = self.tokenizer.tokens_of(texts, &mut memories);
            let tokens: Vec<_> = tokens.into_iter().map(|token| self.ngrams.token(token)).collect();
            self.ngrams.count(&tokens, into);
        }
        tensor(vec![rows, width], Values::F32(counted))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::node_fixture::NodeFixture;
    use super::*;

    #[test]
    fn each_row_is_counted_by_itself() {
        let node = NodeFixture::default()
            .int("mincharnum", 1)
            .text("tokenexp", "[a-z]+")
            .text("pad_value", "#");
        let node = node
            .text("mode", "TF")
            .ints("ngram_counts", &[0, 3])
            .ints("ngram_indexes", &[0, 1, 2, 3]);
        let node = node
            .texts("pool_strings", &["a", "b", "#", "a", "b"])
            .int("max_skip_count", 0);
        let node = node.int("min_gram_length", 1).int("max_gram_length", 2);
        let texts = ["a", "b b", "b", "a"].map(str::to_owned).to_vec();
        // The second cell is longer: the first is filled up. The cells of the second row are of one length.
        let found = node
            .run("TextVectorizer", 2, Values::Text(texts.clone()))
            .unwrap();
        assert_eq!(found, [Values::F32(vec![1., 2., 1., 0., 1., 1., 0., 0.])]);
        let found = node.run("TextVectorizer", 1, Values::Text(texts)).unwrap();
        assert_eq!(found[0].len(), 16);
    }
}
