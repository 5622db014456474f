//! Texts as tokens: byte-pair encoding (Sennrich et al. 2016, <https://arxiv.org/abs/1508.07909>), learnt on the training part.
//!
//! Of the trainers of Hugging Face's library only this one gives the same tokens each time: that of WordPiece numbers the
//! characters within words in the order of a hash map, and that of Unigram adds up floats in such an order.

use candle_core::{Device, Tensor};
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::{Lowercase, NFKC, NormalizerWrapper, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence as Splits;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, PaddingParams, Tokenizer, TokenizerBuilder, TruncationParams};

use super::super::TrainingError;

/// The token that shorter rows are filled up with, which has the number 0.
const PADDING: &str = "[PAD]";
/// The token of characters that the training part did not have.
const UNKNOWN: &str = "[UNK]";
/// Its number.
pub(super) const UNKNOWN_ID: u32 = 1;
/// Marks where a word begins.
const WORD_START: char = '▁';
/// A pair of tokens that is seen less often becomes no token.
const MIN_FREQUENCY: u64 = 2;

/// What cuts texts into tokens.
pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
    /// Tokens of the longest text that it was learnt on, where that is not longer than allowed.
    pub(super) max_length: usize,
}

impl Vocabulary {
    /// Learns at most `size` tokens on these texts, in lower case and in Unicode's form NFKC. Texts are cut at `max_length`
    /// tokens, or at the longest that was seen: of places beyond it nothing can be learnt.
    pub(super) fn learn(texts: &[String], size: usize, max_length: usize) -> Result<Self, TrainingError> {
        let mut tokenizer = learn_tokens(texts, size)?;
        let tokens = tokenizer.get_vocab_size(true);
        TrainingError::check(
            tokens <= size,
            "--vocabulary",
            "at least the different characters of the texts and two more",
            &format!("{size}, which is below {tokens}"),
        )?;
        let mut longest = 1;
        for text in texts {
            longest = longest.max(tokenizer.encode_fast(text.as_str(), true)?.len());
        }
        let max_length = max_length.min(longest);
        let truncation = TruncationParams {
            max_length,
            ..TruncationParams::default()
        };
        tokenizer.with_truncation(Some(truncation))?;
        tokenizer.with_padding(Some(PaddingParams {
            pad_token: PADDING.to_owned(),
            ..PaddingParams::default()
        }));
        Ok(Self {
            tokenizer,
            max_length,
        })
    }

    /// Tokens that there are.
    pub(super) fn tokens(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The contents of `tokenizer.json`.
    pub(super) fn file(&self) -> Result<Vec<u8>, TrainingError> {
        Ok(self.tokenizer.to_string(false)?.into_bytes())
    }

    /// The tokens of each text: n × length numbers, and n × length ones where there is a token; zeros fill up both.
    pub(super) fn encode(&self, texts: &[String]) -> Result<[Tensor; 2], TrainingError> {
        let width = self.max_length;
        let mut ids = vec![0_u32; texts.len() * width];
        let mut mask = vec![0_f32; texts.len() * width];
        for (row, text) in texts.iter().enumerate() {
            let encoding = self.tokenizer.encode_fast(text.as_str(), true)?;
            let start = row * width;
            let end = start + encoding.len();
            ids[start..end].copy_from_slice(encoding.get_ids());
            mask[start..end].fill(1.0);
        }
        let shape = (texts.len(), width);
        Ok([
            Tensor::from_vec(ids, shape, &Device::Cpu)?,
            Tensor::from_vec(mask, shape, &Device::Cpu)?,
        ])
    }
}

fn learn_tokens(texts: &[String], size: usize) -> tokenizers::Result<Tokenizer> {
    let word_start = Metaspace::new(WORD_START, PrependScheme::Always, true);
    let model = BPE::builder().unk_token(UNKNOWN.to_owned()).build()?;
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >::new()
    .with_model(model)
    .with_normalizer(Some(Normalizers::new(vec![NFKC.into(), Lowercase.into()]).into()))
    .with_pre_tokenizer(Some(
        Splits::new(vec![
            WhitespaceSplit.into(),
            word_start.clone().into(),
            Punctuation::new(SplitDelimiterBehavior::Isolated).into(),
        ])
        .into(),
    ))
    .with_decoder(Some(word_start.into()))
    .build()?;
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(size)
        .min_frequency(MIN_FREQUENCY)
        .show_progress(false)
        .special_tokens(
            [PADDING, UNKNOWN]
                .map(|token| AddedToken::from(token, true))
                .to_vec(),
        )
        .build();
    tokenizer.train(&mut trainer, texts.iter())?;
    Ok(tokenizer.into())
}

impl From<tokenizers::Error> for TrainingError {
    fn from(cause: tokenizers::Error) -> Self {
        Self::Fit(cause.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        let line = |row: usize| {
            let words = [
                "the act of",
                "a person who",
                "moving quickly,",
                "(of) green ideas",
                "sleeping; furiously",
            ];
            format!("{} {} No. {}", words[row % 5], words[row * 7 % 3], row * 31 % 97)
        };
        (0..400).map(line).collect()
    }

    #[test]
    fn the_same_texts_give_the_same_tokens() {
        let file = || Vocabulary::learn(&texts(), 300, 16).unwrap().file().unwrap();
        let first = file();
        for _ in 0..5 {
            assert!(file() == first);
        }
    }

    #[test]
    fn what_is_common_is_one_token_and_what_is_new_is_unknown() {
        let vocabulary = Vocabulary::learn(&texts(), 300, 4).unwrap();
        let [ids, mask] = vocabulary
            .encode(&["The ACT".into(), "ж".into(), String::new()])
            .unwrap();
        let mask = mask.to_vec2::<f32>().unwrap();
        assert_eq!(mask, [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0; 4]]);
        let ids = ids.to_vec2::<u32>().unwrap();
        assert_eq!((ids[1][1], ids[2][0]), (UNKNOWN_ID, 0));
    }

    #[test]
    fn a_text_is_cut_at_the_longest_that_was_seen() {
        let seen = ["a b c".to_owned(), "c b a".to_owned(), "b".to_owned()];
        assert_eq!(Vocabulary::learn(&seen, 20, 512).unwrap().max_length, 3);
        assert_eq!(Vocabulary::learn(&seen, 20, 2).unwrap().max_length, 2);
    }

    #[test]
    fn a_vocabulary_below_the_characters_is_refused() {
        let error = Vocabulary::learn(&texts(), 10, 16).err().unwrap();
        assert!(
            error.is_usage() && error.to_string().starts_with("--vocabulary"),
            "{error}"
        );
    }
}
