//! Rows of texts as the tensors of a graph that takes tokens.

use half::f16;

use super::lengths::{bucket, buckets};
use super::tokenizer::{Limit, TextProblem, Texts, Tokenizer, TokenizerError, Tokens};
use super::{Padding, TextInput};
use crate::model::signature::{Signature, TensorSpec};
use crate::model::tensor::{Datatype, Tensor, Values};

/// Tokens of a row where nobody says how many there may be: what most encoders have places for.
const MAX_LENGTH: usize = 512;
/// Tokens of a row that anybody may ask for.
const LONGEST: usize = 1 << 16;
/// Tokens of one request, with what is filled up: one long text among thousands of short ones would make all of them long.
const MAX_TOKENS: usize = 1 << 21;

/// How the texts of one model become the inputs of its graph.
#[derive(Debug)]
pub struct TextRows {
    tokenizer: Tokenizer,
    limit: Limit,
    padding: Padding,
    /// The lengths that rows are filled up to, the least first; empty where they are not.
    lengths: Vec<usize>,
    /// What each input of the graph takes, in their order.
    parts: Vec<(Part, Datatype)>,
}

/// What an input of the graph takes of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Ids,
    Mask,
    Types,
}

/// The tensors of a request's texts, and where in them its tokens are.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenized {
    /// In the order of the graph's inputs, `[rows, length]` each.
    pub tensors: Vec<Tensor>,
    /// Where the tokens of each row stand among the places of a row.
    pub places: Vec<std::ops::Range<usize>>,
}

/// Why texts cannot become the inputs of a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A section without its file.
    #[error("model.toml has a section [text], and no tokenizer.json stands beside it")]
    NoTokenizer,
    /// The graph has no input that token ids are for.
    #[error(
        "tokenizer.json does not fit the graph: none of its inputs is {name}; it takes {inputs}; \
         [text] in model.toml can name it"
    )]
    NoInput {
        /// The name that was looked for.
        name: String,
        /// Those that there are.
        inputs: String,
    },
    /// An input of the graph that texts say nothing of.
    #[error("tokenizer.json does not fit the graph: no text gives its input {0}")]
    Left(String),
    /// An input of the graph that is not as tokens are.
    #[error("tokenizer.json does not fit the graph: input {name} is {found}; expected {expected}")]
    Unfit {
        /// Its name.
        name: String,
        /// Its type and shape.
        found: String,
        /// What it would have to be.
        expected: &'static str,
    },
    /// A length that cannot be.
    #[error("max_length of [text] is {found}; expected {expected}")]
    Length {
        /// What is asked for.
        found: usize,
        /// What can be had.
        expected: String,
    },
    /// A graph of a fixed length whose rows are not filled up.
    #[error("padding of [text] is \"none\", and a row of the graph always has {0} tokens")]
    Unpadded(usize),
}

/// Why the texts of a request are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowsProblem {
    /// One of the rows.
    Row {
        /// Its position.
        row: usize,
        /// What is wrong with it.
        problem: TextProblem,
    },
    /// Two rows have different lengths, and are not filled up.
    Ragged {
        /// The position of the second.
        row: usize,
        /// How many tokens it has.
        found: usize,
        /// How many those before it have.
        before: usize,
    },
    /// All of them together.
    TooMany {
        /// Tokens, with what is filled up.
        tokens: usize,
        /// How many are taken at most.
        max_tokens: usize,
    },
}

impl TextRows {
    /// What `model.toml` says in its section, the tokenizer's own file and the graph's inputs, read together.
    pub fn new(tokenizer: Tokenizer, said: &TextInput, signature: &Signature) -> Result<Self, TextError> {
        let parts = parts(said, signature)?;
        let fixed = fixed_length(signature)?;
        let max_length = max_length(&tokenizer, said, fixed)?;
        let has_mask = parts.iter().any(|(part, _)| *part == Part::Mask);
        let padding = match (said.padding, fixed) {
            (Some(Padding::None), Some(fixed)) => return Err(TextError::Unpadded(fixed)),
            (_, Some(_)) => Padding::MaxLength,
            (Some(padding), None) => padding,
            (None, None) if has_mask => Padding::Bucket,
            // Who fills up to one length and gives no mask has a graph that was made for that length.
            (None, None) if tokenizer.fixed_length().is_some() => Padding::MaxLength,
            (None, None) => Padding::None,
        };
        let lengths = match (padding, fixed) {
            (_, Some(fixed)) => vec![fixed],
            (Padding::Bucket, None) => buckets(max_length),
            (Padding::MaxLength, None) => vec![max_length],
            (Padding::None, None) => Vec::new(),
        };
        Ok(Self {
            limit: Limit {
                max_length,
                is_cut: said.truncate.unwrap_or(tokenizer.max_length().is_some()),
            },
            tokenizer,
            padding,
            lengths,
            parts,
        })
    }

    /// Tries what any text may do to its tokenizer.
    pub fn try_out(&self) -> Result<(), TokenizerError> {
        self.tokenizer.try_out(self.limit.max_length)
    }

    /// What holds for its rows, whoever said so.
    #[must_use]
    pub fn settings(&self) -> TextInput {
        TextInput {
            max_length: Some(self.limit.max_length),
            truncate: Some(self.limit.is_cut),
            padding: Some(self.padding),
            ..TextInput::default()
        }
    }

    /// The lengths that rows are filled up to, the least first; none where they are not.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The tensors of these rows, one at least, all filled up to one length.
    pub fn tokenize(&self, rows: &[Texts<'_>]) -> Result<Tokenized, RowsProblem> {
        let mut tokens: Vec<Tokens> = Vec::with_capacity(rows.len());
        let mut length = 0;
        for (row, texts) in rows.iter().enumerate() {
            let found = self
                .tokenizer
                .encode(*texts, self.limit)
                .map_err(|problem| RowsProblem::Row { row, problem })?;
            if self.lengths.is_empty() && row > 0 && found.ids.len() != length {
                let (found, before) = (found.ids.len(), length);
                return Err(RowsProblem::Ragged { row, found, before });
            }
            length = length.max(found.ids.len());
            tokens.push(found);
            // Before there is room for more of them.
            check_count(rows.len(), length)?;
        }
        let length = bucket(&self.lengths, length);
        check_count(rows.len(), length)?;
        let places = tokens
            .iter()
            .map(|row| self.place(row.ids.len(), length))
            .collect();
        let tensor = |&(part, datatype): &(Part, Datatype)| {
            let values = numbers(datatype, self.values(part, &tokens, length));
            Tensor::new(vec![tokens.len(), length], values).expect("each row has as many values")
        };
        Ok(Tokenized {
            tensors: self.parts.iter().map(tensor).collect(),
            places,
        })
    }

    /// Where so many tokens stand in a row of this length.
    fn place(&self, tokens: usize, length: usize) -> std::ops::Range<usize> {
        if self.tokenizer.fills_in_front() {
            length - tokens..length
        } else {
            0..tokens
        }
    }

    fn values(&self, part: Part, tokens: &[Tokens], length: usize) -> Vec<u32> {
        let (filler_id, filler_type) = self.tokenizer.filler();
        let filler = match part {
            Part::Ids => filler_id,
            Part::Mask => 0,
            Part::Types => filler_type,
        };
        let mut values = vec![filler; tokens.len() * length];
        for (row, values) in tokens.iter().zip(values.chunks_exact_mut(length)) {
            let own = &mut values[self.place(row.ids.len(), length)];
            match part {
                Part::Ids => own.copy_from_slice(&row.ids),
                Part::Mask => own.fill(1),
                Part::Types => own.copy_from_slice(&row.types),
            }
        }
        values
    }
}

/// A few bytes of request must not become a gigabyte.
const fn check_count(rows: usize, length: usize) -> Result<(), RowsProblem> {
    let tokens = rows.saturating_mul(length);
    if tokens > MAX_TOKENS {
        let max_tokens = MAX_TOKENS;
        return Err(RowsProblem::TooMany { tokens, max_tokens });
    }
    Ok(())
}

/// What each input of the graph takes, and its type.
fn parts(said: &TextInput, signature: &Signature) -> Result<Vec<(Part, Datatype)>, TextError> {
    let named = |name: &Option<String>, usual: &str| name.clone().unwrap_or_else(|| usual.to_owned());
    let only = match signature.inputs.as_slice() {
        [only] => only.name.as_str(),
        _ => "input_ids",
    };
    let wanted = [
        (Part::Ids, named(&said.ids, only), true),
        (
            Part::Mask,
            named(&said.mask, "attention_mask"),
            said.mask.is_some(),
        ),
        (
            Part::Types,
            named(&said.types, "token_type_ids"),
            said.types.is_some(),
        ),
    ];
    for (_, name, is_needed) in &wanted {
        if *is_needed && !signature.inputs.iter().any(|input| input.name == *name) {
            let inputs: Vec<&str> = signature.inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(TextError::NoInput {
                name: name.clone(),
                inputs: inputs.join(", "),
            });
        }
    }
    let part = |input: &TensorSpec| {
        let found = wanted.iter().find(|(_, name, _)| *name == input.name);
        let Some(&(part, ..)) = found else {
            return Err(TextError::Left(input.name.clone()));
        };
        check_datatype(part, input)?;
        Ok((part, input.datatype))
    };
    signature.inputs.iter().map(part).collect()
}

fn check_datatype(part: Part, input: &TensorSpec) -> Result<(), TextError> {
    let is_integer = matches!(input.datatype, Datatype::I64 | Datatype::I32);
    let is_flag = matches!(input.datatype, Datatype::Bool | Datatype::F32 | Datatype::F16);
    let (fits, expected) = match part {
        Part::Mask => (is_integer || is_flag, "INT64, INT32, BOOL, FP32 or FP16"),
        Part::Ids | Part::Types => (is_integer, "INT64 or INT32"),
    };
    if fits {
        return Ok(());
    }
    Err(unfit(input, expected))
}

fn unfit(input: &TensorSpec, expected: &'static str) -> TextError {
    TextError::Unfit {
        name: input.name.clone(),
        found: format!("{} {:?}", input.datatype, input.written_shape()),
        expected,
    }
}

/// The length of every row where the graph takes no other.
fn fixed_length(signature: &Signature) -> Result<Option<usize>, TextError> {
    let mut fixed = None;
    for input in &signature.inputs {
        match signature.row_shape(input) {
            [None] => {}
            [Some(length)] if fixed.is_none_or(|before| before == *length) => fixed = Some(*length),
            _ => {
                return Err(unfit(
                    input,
                    "one axis for the tokens of a row, of one length in all inputs",
                ));
            }
        }
    }
    Ok(fixed)
}

fn max_length(tokenizer: &Tokenizer, said: &TextInput, fixed: Option<usize>) -> Result<usize, TextError> {
    let most = fixed.unwrap_or(LONGEST);
    // A pair has most tokens at its ends, and one at least between them.
    let least = tokenizer.added(true) + 1;
    let own = tokenizer.max_length().or_else(|| tokenizer.fixed_length());
    // What the tokenizer's file says is for every graph that it was ever used with.
    let found = said
        .max_length
        .or_else(|| own.map(|length| length.min(most)))
        .unwrap_or_else(|| MAX_LENGTH.min(most));
    if found < least || found > most {
        let expected = format!("a length from {least} to {most}");
        return Err(TextError::Length { found, expected });
    }
    Ok(found)
}

/// Numbers of a vocabulary, ones and zeros, in the type that the graph takes.
fn numbers(datatype: Datatype, numbers: Vec<u32>) -> Values {
    match datatype {
        Datatype::I32 => Values::I32(
            numbers
                .into_iter()
                .map(|number| i32::try_from(number).unwrap_or(i32::MAX))
                .collect(),
        ),
        Datatype::Bool => Values::Bool(numbers.into_iter().map(|number| number != 0).collect()),
        Datatype::F32 => Values::F32(numbers.into_iter().map(|number| number as f32).collect()),
        Datatype::F16 => Values::F16(
            numbers
                .into_iter()
                .map(|number| f16::from_f32(number as f32))
                .collect(),
        ),
        _ => Values::I64(numbers.into_iter().map(i64::from).collect()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::preprocessing::text::fixture::{changed, tokenizer};
    use crate::model::signature::Batch;

    const FREE: &[i64] = &[-1, -1];

    fn signature(inputs: &[(&str, Datatype, &[i64])]) -> Signature {
        let spec = |&(name, datatype, shape): &(&str, Datatype, &[i64])| TensorSpec {
            name: name.into(),
            datatype,
            shape: shape.iter().map(|&size| usize::try_from(size).ok()).collect(),
        };
        Signature {
            inputs: inputs.iter().map(spec).collect(),
            outputs: vec![],
            batch: Batch::Free,
        }
    }

    fn masked() -> Signature {
        signature(&[
            ("attention_mask", Datatype::I32, FREE),
            ("input_ids", Datatype::I64, FREE),
        ])
    }

    fn bare() -> Signature {
        signature(&[("tokens", Datatype::I64, FREE)])
    }

    fn rows(said: &TextInput, signature: &Signature) -> TextRows {
        TextRows::new(tokenizer(), said, signature).unwrap()
    }

    fn texts<'a>(texts: &[&'a str]) -> Vec<Texts<'a>> {
        texts.iter().copied().map(Texts::One).collect()
    }

    fn refusal(said: &TextInput, signature: &Signature) -> String {
        TextRows::new(tokenizer(), said, signature)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn rows_are_filled_up_to_a_bucket_and_masked() {
        let found = rows(&TextInput::default(), &masked());
        let found = found.tokenize(&texts(&["mill", "the mill turns"])).unwrap();
        let mask = vec![1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0];
        let ids = vec![2, 5, 3, 0, 0, 0, 0, 0, 2, 4, 5, 11, 20, 3, 0, 0];
        assert_eq!(found.tensors[0].values(), &Values::I32(mask));
        assert_eq!(found.tensors[1].values(), &Values::I64(ids));
        assert_eq!(found.tensors[1].shape(), [2, 8]);
        assert_eq!(found.places, [0..3, 0..6]);
    }

    #[test]
    fn the_file_says_what_fills_up_and_where() {
        let padding = json!({"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": null,
            "pad_id": 1, "pad_type_id": 0, "pad_token": "[UNK]"});
        let padded = TextRows::new(changed("padding", padding), &TextInput::default(), &masked()).unwrap();
        let found = padded.tokenize(&texts(&["mill"])).unwrap();
        assert_eq!(
            found.tensors[1].values(),
            &Values::I64(vec![1, 1, 1, 1, 1, 2, 5, 3])
        );
        assert_eq!(found.places.first(), Some(&(5..8)));
    }

    #[test]
    fn without_a_mask_rows_have_one_length_unless_somebody_says_otherwise() {
        let found = rows(&TextInput::default(), &bare());
        assert_eq!(
            found.tokenize(&texts(&["mill", "water"])).unwrap().tensors[0].shape(),
            [2, 3]
        );
        let ragged = RowsProblem::Ragged {
            row: 1,
            found: 4,
            before: 3,
        };
        assert_eq!(found.tokenize(&texts(&["mill", "the mill"])), Err(ragged));
        for (padding, length) in [(Padding::Bucket, 8), (Padding::MaxLength, 20)] {
            let said = TextInput {
                max_length: Some(20),
                padding: Some(padding),
                ..TextInput::default()
            };
            let found = rows(&said, &bare())
                .tokenize(&texts(&["mill", "the mill"]))
                .unwrap();
            assert_eq!(found.tensors[0].shape(), [2, length]);
        }
        let fixed = json!({"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
        let fixed = TextRows::new(changed("padding", fixed), &TextInput::default(), &bare()).unwrap();
        assert_eq!((fixed.padding, fixed.limit.max_length), (Padding::MaxLength, 12));
    }

    #[test]
    fn a_graph_of_one_length_has_rows_of_that_length() {
        let graph = signature(&[("input_ids", Datatype::I64, &[-1, 10])]);
        let found = rows(&TextInput::default(), &graph);
        assert_eq!((found.limit.max_length, found.lengths()), (10, &[10][..]));
        let none = TextInput {
            padding: Some(Padding::None),
            ..TextInput::default()
        };
        assert!(refusal(&none, &graph).contains("always has 10 tokens"));
        let longer = TextInput {
            max_length: Some(11),
            ..TextInput::default()
        };
        assert!(refusal(&longer, &graph).contains("is 11; expected a length from 4 to 10"));
    }

    #[test]
    fn what_the_file_says_of_cutting_holds_unless_the_section_says_otherwise() {
        let cutting =
            json!({"direction": "Right", "max_length": 40, "strategy": "LongestFirst", "stride": 0});
        let own = TextRows::new(
            changed("truncation", cutting.clone()),
            &TextInput::default(),
            &masked(),
        )
        .unwrap();
        assert_eq!((own.limit.max_length, own.limit.is_cut), (40, true));
        let said = TextInput {
            max_length: Some(30),
            truncate: Some(false),
            ..TextInput::default()
        };
        let told = TextRows::new(changed("truncation", cutting), &said, &masked()).unwrap();
        assert_eq!((told.limit.max_length, told.limit.is_cut), (30, false));
        let silent = rows(&TextInput::default(), &masked());
        assert_eq!((silent.limit.max_length, silent.limit.is_cut), (512, false));
    }

    #[test]
    fn inputs_that_texts_do_not_fit_are_named() {
        let named = TextInput {
            ids: Some("tokens".into()),
            mask: Some("is_real".into()),
            ..TextInput::default()
        };
        let no_mask = refusal(&named, &bare());
        assert!(
            no_mask.contains("none of its inputs is is_real; it takes tokens"),
            "{no_mask}"
        );
        let renamed = signature(&[("is_real", Datatype::Bool, FREE), ("tokens", Datatype::I32, FREE)]);
        let found = rows(&named, &renamed).tokenize(&texts(&["mill"])).unwrap();
        assert_eq!(
            found.tensors[1].values(),
            &Values::I32(vec![2, 5, 3, 0, 0, 0, 0, 0])
        );
        let more = signature(&[
            ("input_ids", Datatype::I64, FREE),
            ("pixels", Datatype::F32, FREE),
        ]);
        assert!(refusal(&TextInput::default(), &more).contains("no text gives its input pixels"));
        let floats = signature(&[("input_ids", Datatype::F32, FREE)]);
        assert!(
            refusal(&TextInput::default(), &floats).contains("input_ids is FP32 [-1, -1]; expected INT64")
        );
        let deep = signature(&[("input_ids", Datatype::I64, &[-1, -1, 3])]);
        assert!(refusal(&TextInput::default(), &deep).contains("expected one axis"));
    }

    #[test]
    fn a_few_bytes_do_not_become_a_gigabyte() {
        let found = rows(
            &TextInput {
                truncate: Some(true),
                ..TextInput::default()
            },
            &masked(),
        );
        let long = "the ".repeat(600);
        let mut many = vec![Texts::One("a"); 9_999];
        many.push(Texts::One(&long));
        assert!(matches!(found.tokenize(&many), Err(RowsProblem::TooMany { .. })));
    }

    #[test]
    fn texts_without_tokens_are_refused() {
        let bare = changed("post_processor", json!(null));
        let bare = TextRows::new(bare, &TextInput::default(), &masked()).unwrap();
        let empty = RowsProblem::Row {
            row: 1,
            problem: TextProblem::Empty,
        };
        assert_eq!(bare.tokenize(&texts(&["mill", " "])), Err(empty));
    }

    proptest! {
        /// Whoever else is in the request: the tokens of a row are the same, and all else is masked.
        #[test]
        fn rows_do_not_touch_each_other(given in prop::collection::vec("(the |mill|水|s |\\.| ){0,30}", 1..6)) {
            let found = rows(&TextInput { truncate: Some(true), max_length: Some(24), ..TextInput::default() }, &masked());
            let together = found.tokenize(&texts(&given.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
            let length = together.tensors[0].row_shape()[0];
            let (Values::I32(mask), Values::I64(ids)) = (together.tensors[0].values(), together.tensors[1].values()) else {
                panic!("types are those of the signature");
            };
            prop_assert!(found.lengths().contains(&length));
            for (row, text) in given.iter().enumerate() {
                let alone = tokenizer().encode(Texts::One(text), found.limit).unwrap();
                let place = together.places[row].clone();
                let own = &ids[row * length..][..length];
                let expected: Vec<i64> = alone.ids.iter().copied().map(i64::from).collect();
                prop_assert_eq!(&own[place.clone()], &expected);
                for (position, &flag) in mask[row * length..][..length].iter().enumerate() {
                    prop_assert_eq!(flag == 1, place.contains(&position));
                }
            }
        }
    }
}
