//! `tokenizer.json`, and what becomes of texts by it.
//!
//! The file is somebody's and may contain anything: it is read within bounds, what it says of cutting and filling up is
//! taken out of it, and no panic of the library gets past here.

use std::any::Any;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tokenizers::{
    EncodeInput, Encoding, ModelWrapper, PaddingDirection, PaddingParams, PaddingStrategy, PostProcessor,
    Tokenizer as Library, TruncationDirection, TruncationParams, truncate_encodings,
};

/// Bytes of a file, at most. The largest vocabularies in use take some 35 MB.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// A cut text is first looked at so many characters far for each token that it may have: English has about four.
const NEAR: usize = 16;
/// And where that gives too few tokens, as blanks do, so far.
const FAR: usize = 256;
/// Characters of a text that are looked at however many tokens it may have.
const MAX_CHARS: usize = 1 << 20;
/// Characters that are looked at however few tokens it may have: the longest words are cut as a whole.
const MIN_CHARS: usize = 512;
/// Characters that are tried together.
const PIECE: usize = 2048;
/// What long texts are tried with.
const WORD: &str = "word ";
/// The characters of the planes that are written with.
const TRIED: std::ops::Range<u32> = 0x20..0x3_0000;

/// Cuts texts into tokens.
pub struct Tokenizer {
    library: Library,
    /// How its file cuts off what is too long, where it does.
    cutting: Option<TruncationParams>,
    /// How its file fills up what is short, where it does.
    filling: Option<PaddingParams>,
}

/// One row of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts<'a> {
    /// A text.
    One(&'a str),
    /// Two texts that are read together, such as a question and a passage.
    Pair(&'a str, &'a str),
}

/// What a row has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// For each token its number in the vocabulary.
    pub ids: Vec<u32>,
    /// For each token 0, or 1 where it belongs to the second text of a pair.
    pub types: Vec<u32>,
}

/// How long a row may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// In tokens, those at the ends included.
    pub(super) max_length: usize,
    /// Whether a longer one is cut.
    pub(super) is_cut: bool,
}

/// Why a file is no tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// It cannot be read.
    #[error("tokenizer.json cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is larger than any that is in use.
    #[error("tokenizer.json has more than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// Its contents are not those of a tokenizer.
    #[error("tokenizer.json is not valid: {0}")]
    Invalid(String),
    /// It fails at a text.
    #[error("tokenizer.json fails at texts: {0}")]
    Failing(String),
}

/// Why a row becomes no tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextProblem {
    /// It has more tokens than it may.
    #[error("{}{tokens} tokens; {max_length} are taken at most", if *.is_all { "" } else { "more than " })]
    TooLong {
        /// How many were counted.
        tokens: usize,
        /// Whether these are all that it has.
        is_all: bool,
        /// How many it may have.
        max_length: usize,
    },
    /// It has few tokens in more characters than are looked at.
    #[error("more than {max_chars} characters")]
    TooManyChars {
        /// How many are looked at.
        max_chars: usize,
    },
    /// Nothing of it is a token.
    #[error("no tokens")]
    Empty,
    /// The tokenizer failed.
    #[error("what its tokenizer fails at: {0}")]
    Failed(String),
}

impl Tokenizer {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, TokenizerError> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(TokenizerError::TooLarge);
        }
        Self::parse(&bytes)
    }

    /// Reads the contents of a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let mut library = contained(|| Library::from_bytes(bytes)).map_err(TokenizerError::Invalid)?;
        let cutting = library.get_truncation().cloned();
        let filling = library.get_padding().cloned();
        contained(|| library.with_truncation(None).map(|_| ())).map_err(TokenizerError::Invalid)?;
        library.with_padding(None);
        if let ModelWrapper::BPE(model) = library.get_model() {
            let mut model = model.clone();
            // The library keeps what it remembers in each thread and never lets go of it, also when the tokenizer is gone.
            model.resize_cache(0);
            // Chance is for training.
            model.dropout = None;
            library.with_model(model);
        }
        Ok(Self {
            library,
            cutting,
            filling,
        })
    }

    /// Makes tokens of every character there is and of the longest text that is looked at where rows have so many tokens, so
    /// that what breaks or takes too much does so now.
    pub(super) fn try_out(&self, max_length: usize) -> Result<(), TokenizerError> {
        let characters: Vec<char> = TRIED.filter_map(char::from_u32).collect();
        // In pieces, of which each finds the memory that the one before it took: new memory was half of the time.
        let pieces = characters.chunks(PIECE).map(String::from_iter);
        let long = WORD.repeat(chars_for(max_length, FAR).div_ceil(WORD.len()));
        for text in ["", "a"]
            .map(str::to_owned)
            .into_iter()
            .chain([long])
            .chain(pieces)
        {
            if let Err(TextProblem::Failed(problem)) = self.whole(Texts::One(&text)) {
                return Err(TokenizerError::Failing(problem));
            }
        }
        Ok(())
    }

    /// The length that its file cuts off at.
    pub(super) fn max_length(&self) -> Option<usize> {
        self.cutting.as_ref().map(|cutting| cutting.max_length)
    }

    /// The length that its file fills up to, where it is always the same.
    pub(super) fn fixed_length(&self) -> Option<usize> {
        match self.filling.as_ref()?.strategy {
            PaddingStrategy::Fixed(length) => Some(length),
            PaddingStrategy::BatchLongest => None,
        }
    }

    /// Number and type of what fills up.
    pub(super) fn filler(&self) -> (u32, u32) {
        self.filling
            .as_ref()
            .map_or((0, 0), |filling| (filling.pad_id, filling.pad_type_id))
    }

    /// Whether it stands before the tokens.
    pub(super) fn fills_in_front(&self) -> bool {
        let direction = self.filling.as_ref().map(|filling| filling.direction);
        matches!(direction, Some(PaddingDirection::Left))
    }

    /// How many tokens it adds at the ends of a row.
    pub(super) fn added(&self, is_pair: bool) -> usize {
        let processor = self.library.get_post_processor();
        processor.map_or(0, |processor| processor.added_tokens(is_pair))
    }

    /// The tokens of a row, one at least. What it costs is bounded by `limit`, however long the texts are.
    pub(super) fn encode(&self, texts: Texts<'_>, limit: Limit) -> Result<Tokens, TextProblem> {
        let near = chars_for(limit.max_length, NEAR);
        let far = chars_for(limit.max_length, FAR);
        let (mut looked_at, mut is_whole) = self.beginning(texts, near);
        let mut encoding = self.whole(looked_at)?;
        let has_enough = |encoding: &Encoding| limit.is_cut && encoding.len() > 2 * limit.max_length;
        if !is_whole && !has_enough(&encoding) {
            (looked_at, is_whole) = self.beginning(texts, far);
            encoding = self.whole(looked_at)?;
        }
        let tokens = encoding.len();
        if tokens > limit.max_length && !limit.is_cut {
            return Err(TextProblem::TooLong {
                tokens,
                is_all: is_whole,
                max_length: limit.max_length,
            });
        }
        if !is_whole && !limit.is_cut {
            return Err(TextProblem::TooManyChars { max_chars: far });
        }
        if tokens > limit.max_length {
            encoding = self.cut(looked_at, limit.max_length)?;
        }
        if encoding.is_empty() {
            return Err(TextProblem::Empty);
        }
        Ok(Tokens {
            ids: encoding.get_ids().to_vec(),
            types: encoding.get_type_ids().to_vec(),
        })
    }

    /// As much of the texts as is looked at, and whether that is all of them.
    fn beginning<'a>(&self, texts: Texts<'a>, chars: usize) -> (Texts<'a>, bool) {
        let direction = self.direction();
        let part = |text: &'a str| part_of(text, chars, direction);
        let found = match texts {
            Texts::One(text) => Texts::One(part(text)),
            Texts::Pair(first, second) => Texts::Pair(part(first), part(second)),
        };
        let is_whole = found == texts;
        (found, is_whole)
    }

    fn direction(&self) -> TruncationDirection {
        self.cutting
            .as_ref()
            .map_or(TruncationDirection::Right, |cutting| cutting.direction)
    }

    /// All tokens of a row, those at its ends included.
    fn whole(&self, texts: Texts<'_>) -> Result<Encoding, TextProblem> {
        contained(|| self.library.encode_fast(input(texts), true)).map_err(TextProblem::Failed)
    }

    /// So many tokens of a row, those at its ends included.
    fn cut(&self, texts: Texts<'_>, max_length: usize) -> Result<Encoding, TextProblem> {
        let (first, second) = match texts {
            Texts::One(text) => (text, None),
            Texts::Pair(first, second) => (first, Some(second)),
        };
        let plain = |text: &str| self.library.encode_fast(text, false);
        let cutting = self.cutting.clone().unwrap_or_default();
        contained(|| {
            let cutting = TruncationParams {
                max_length: max_length.saturating_sub(self.added(second.is_some())),
                stride: 0,
                ..cutting
            };
            let (first, second) =
                truncate_encodings(plain(first)?, second.map(plain).transpose()?, &cutting)?;
            self.library.post_process(first, second, true)
        })
        .map_err(TextProblem::Failed)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tokenizer").finish_non_exhaustive()
    }
}

const fn chars_for(max_length: usize, each: usize) -> usize {
    let chars = max_length.saturating_mul(each);
    if chars < MIN_CHARS {
        MIN_CHARS
    } else if chars > MAX_CHARS {
        MAX_CHARS
    } else {
        chars
    }
}

/// The first `chars` characters of a text, or the last where those are kept.
fn part_of(text: &str, chars: usize, direction: TruncationDirection) -> &str {
    if text.len() <= chars {
        return text;
    }
    let mut places = text.char_indices();
    match direction {
        TruncationDirection::Right => places.nth(chars).map_or(text, |(end, _)| &text[..end]),
        TruncationDirection::Left => places
            .nth_back(chars.saturating_sub(1))
            .map_or(text, |(start, _)| &text[start..]),
    }
}

fn input<'a>(texts: Texts<'a>) -> EncodeInput<'a> {
    match texts {
        Texts::One(text) => EncodeInput::Single(Cow::Borrowed(text).into()),
        Texts::Pair(first, second) => {
            EncodeInput::Dual(Cow::Borrowed(first).into(), Cow::Borrowed(second).into())
        }
    }
}

/// Runs the library, and makes a text of its errors and of its panics.
fn contained<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    // A tokenizer is not changed by a run, but for what it remembers of words.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(payload) => Err(panic_text(payload.as_ref()).to_owned()),
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("it broke down")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::preprocessing::text::fixture::{changed, tokenizer};

    const FREE: Limit = Limit {
        max_length: 64,
        is_cut: false,
    };

    fn ids(tokenizer: &Tokenizer, texts: Texts<'_>, limit: Limit) -> Result<Vec<u32>, String> {
        let tokens = tokenizer.encode(texts, limit);
        tokens
            .map(|tokens| tokens.ids)
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_text_becomes_tokens_between_marks() {
        let found = ids(&tokenizer(), Texts::One("The mill turns!"), FREE);
        assert_eq!(found.unwrap(), [2, 4, 5, 11, 20, 28, 3]);
        assert_eq!(ids(&tokenizer(), Texts::One(" \n"), FREE).unwrap(), [2, 3]);
        let pair = tokenizer()
            .encode(Texts::Pair("the mill", "water"), FREE)
            .unwrap();
        assert_eq!(pair.ids, [2, 4, 5, 3, 6, 3]);
        assert_eq!(pair.types, [0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn a_long_text_is_cut_as_its_file_says() {
        let limit = Limit {
            max_length: 5,
            is_cut: true,
        };
        let text = Texts::One("the mill and the water wheel");
        assert_eq!(ids(&tokenizer(), text, limit).unwrap(), [2, 4, 5, 15, 3]);
        let from_the_end =
            json!({"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0});
        let from_the_end = changed("truncation", from_the_end);
        assert_eq!(ids(&from_the_end, text, limit).unwrap(), [2, 4, 6, 7, 3]);
        let pair = Texts::Pair("the mill and the water wheel", "water");
        assert_eq!(ids(&tokenizer(), pair, limit).unwrap(), [2, 4, 3, 6, 3]);
    }

    #[test]
    fn a_long_text_is_refused_with_both_counts() {
        let limit = Limit {
            max_length: 5,
            is_cut: false,
        };
        let told = |text: &str| ids(&tokenizer(), Texts::One(text), limit).unwrap_err();
        assert_eq!(told("the mill and the water"), "7 tokens; 5 are taken at most");
        let long = told(&"the mill ".repeat(100_000));
        assert!(
            long.starts_with("more than ") && long.ends_with("; 5 are taken at most"),
            "{long}"
        );
        assert_eq!(told(&" ".repeat(100_000)), "more than 1280 characters");
    }

    #[test]
    fn of_a_huge_text_only_the_beginning_is_looked_at() {
        let limit = Limit {
            max_length: 16,
            is_cut: true,
        };
        for text in ["the mill ", " ", "a", "水", "👩‍👩‍👧", "\u{300}", "."] {
            let text = text.repeat((4 << 20) / text.len());
            assert!(ids(&tokenizer(), Texts::One(&text), limit).unwrap().len() <= 16);
            let (looked_at, is_whole) = tokenizer().beginning(Texts::One(&text), 4096);
            assert!(!is_whole && matches!(looked_at, Texts::One(part) if part.chars().count() == 4096));
        }
        assert_eq!(chars_for(16, FAR), 4096);
        assert_eq!(chars_for(usize::MAX, FAR), MAX_CHARS);
    }

    #[test]
    fn what_lies_behind_a_page_of_blanks_is_found() {
        let limit = Limit {
            max_length: 16,
            is_cut: true,
        };
        let text = format!("{}mill", " ".repeat(3000));
        assert_eq!(ids(&tokenizer(), Texts::One(&text), limit).unwrap(), [2, 5, 3]);
    }

    #[test]
    fn files_that_are_no_tokenizers_are_refused() {
        for bytes in [
            &b""[..],
            b"[]",
            b"{}",
            b"{\"model\": 7}",
            b"\xff",
            br#"{"version": "9.0", "model": {"type": "WordLevel", "vocab": {}, "unk_token": "x"}}"#,
        ] {
            assert!(matches!(Tokenizer::parse(bytes), Err(TokenizerError::Invalid(_))));
        }
        let deep = "[".repeat(1_000_000);
        assert!(Tokenizer::parse(deep.as_bytes()).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(matches!(
            Tokenizer::read(file.path()),
            Err(TokenizerError::TooLarge)
        ));
    }

    #[test]
    fn every_character_is_tried() {
        tokenizer().try_out(24).unwrap();
    }
}
