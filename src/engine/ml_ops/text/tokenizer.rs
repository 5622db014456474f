//! Tokenizer of ONNX Runtime's own domain: cuts texts into tokens, at separators or by what a token looks like.
//!
//! scikit-learn's exporter writes it in front of TfIdfVectorizer.

use super::super::features::tensor;
use super::super::{Attributes, Fact, MlError, MlOperator, View};
use super::pattern::{Memory, Pattern};
use super::{fact_of_texts, view_of_texts};
use crate::model::tensor::{Datatype, Tensor, Values};

const BEGIN_OF_TEXT: &str = "\u{2}";
const END_OF_TEXT: &str = "\u{3}";

/// How a text is cut.
#[derive(Debug)]
enum Cut {
    /// Each character is a token.
    Characters,
    /// What lies between matches of the first pattern, then of the second within that, and so on.
    Separators(Vec<Pattern>),
    /// What matches.
    Tokens(Box<Pattern>),
}

/// Cuts texts into tokens.
#[derive(Debug)]
pub(in super::super) struct Tokenizer {
    cut: Cut,
    /// Characters of a token, at least.
    min_chars: usize,
    /// Whether tokens of a text stand between marks of its begin and end.
    is_marked: bool,
    /// Fills shorter texts up to the length of the longest.
    padding: String,
}

/// What the searches of one run learn.
pub(super) struct Memories(Vec<Memory>);

impl Tokenizer {
    pub(in super::super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let min_chars = attributes
            .int("mincharnum")?
            .ok_or(MlError::MissingAttribute("mincharnum"))?;
        let min_chars = usize::try_from(min_chars).ok().filter(|&count| count > 0);
        let min_chars =
            min_chars.ok_or_else(|| MlError::attribute("mincharnum", "expected a number from 1 on"))?;
        let cut = Self::cut(attributes)?;
        if matches!(cut, Cut::Characters) && min_chars > 1 {
            return Err(MlError::attribute(
                "mincharnum",
                "no single character is that long",
            ));
        }
        Ok(Self {
            cut,
            min_chars,
            is_marked: attributes.int("mark")?.unwrap_or(0) != 0,
            padding: attributes.text("pad_value")?.unwrap_or_default().to_owned(),
        })
    }

    fn cut(attributes: Attributes<'_>) -> Result<Cut, MlError> {
        let pattern =
            |name| move |pattern| Pattern::new(pattern).map_err(|problem| MlError::attribute(name, problem));
        match attributes.texts("separators")?.as_slice() {
            [""] => Ok(Cut::Characters),
            [] => match attributes.text("tokenexp")?.unwrap_or_default() {
                "" => Err(MlError::MissingAttribute("tokenexp")),
                "." => Ok(Cut::Characters),
                token => pattern("tokenexp")(token).map(Box::new).map(Cut::Tokens),
            },
            separators => {
                let separators = separators.iter().copied().map(pattern("separators"));
                Ok(Cut::Separators(separators.collect::<Result<_, _>>()?))
            }
        }
    }

    pub(super) fn memories(&self) -> Memories {
        Memories(match &self.cut {
            Cut::Characters => Vec::new(),
            Cut::Separators(patterns) => patterns.iter().map(Pattern::memory).collect(),
            Cut::Tokens(pattern) => vec![pattern.memory()],
        })
    }

    /// The tokens of a text, without marks and padding.
    fn tokens<'t>(&self, text: &'t str, memories: &mut Memories) -> Vec<&'t str> {
        match &self.cut {
            Cut::Characters => text
                .char_indices()
                .map(|(at, letter)| &text[at..at + letter.len_utf8()])
                .collect(),
            Cut::Tokens(pattern) => self.matches(pattern, text, &mut memories.0[0]),
            Cut::Separators(patterns) => {
                let mut pieces = vec![text];
                for (pattern, memory) in patterns.iter().zip(&mut memories.0) {
                    let cut = pieces
                        .iter()
                        .flat_map(|piece| self.between(pattern, piece, memory));
                    pieces = cut.collect();
                }
                pieces
            }
        }
    }

    fn is_long_enough(&self, token: &str) -> bool {
        token.len() >= self.min_chars && token.chars().count() >= self.min_chars
    }

    /// What matches. After a match that is too short it goes on one character later.
    fn matches<'t>(&self, pattern: &Pattern, text: &'t str, memory: &mut Memory) -> Vec<&'t str> {
        let (mut tokens, mut from) = (Vec::new(), 0);
        while let Some((begin, end)) = pattern.find(text, from, memory) {
            let token = &text[begin..end];
            if self.is_long_enough(token) {
                tokens.push(token);
                from = end;
            } else {
                from = begin + next_char(text, begin);
            }
        }
        tokens
    }

    /// What lies between matches.
    fn between<'t>(&self, pattern: &Pattern, text: &'t str, memory: &mut Memory) -> Vec<&'t str> {
        let (mut pieces, mut from) = (Vec::new(), 0);
        while let Some((begin, end)) = pattern.find(text, from, memory) {
            pieces.push(&text[from..begin]);
            from = if end > begin {
                end
            } else {
                begin + next_char(text, begin)
            };
        }
        pieces.extend(text.get(from..));
        pieces.retain(|piece| self.is_long_enough(piece));
        pieces
    }

    /// The tokens of texts side by side, all filled up to the same number, and that number.
    pub(super) fn tokens_of<'t>(
        &'t self,
        texts: &'t [String],
        memories: &mut Memories,
    ) -> (Vec<&'t str>, usize) {
        let tokens: Vec<Vec<&str>> = texts.iter().map(|text| self.tokens(text, memories)).collect();
        let longest = tokens.iter().map(Vec::len).max().unwrap_or(0);
        if longest == 0 {
            return (Vec::new(), 0);
        }
        let width = longest + if self.is_marked { 2 } else { 0 };
        let mut filled = Vec::with_capacity(texts.len().saturating_mul(width));
        for (position, tokens) in tokens.into_iter().enumerate() {
            filled.extend(self.is_marked.then_some(BEGIN_OF_TEXT));
            filled.extend(tokens);
            filled.extend(self.is_marked.then_some(END_OF_TEXT));
            filled.resize((position + 1) * width, self.padding.as_str());
        }
        (filled, width)
    }
}

/// Bytes of the character at `at`; one past the end.
fn next_char(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}

impl MlOperator for Tokenizer {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let shape = fact_of_texts(inputs)?;
        if !matches!(shape.len(), 1 | 2) {
            let problem = format!("expected the shape [texts] or [rows, texts], found {shape:?}");
            return Err(MlError::input(0, problem));
        }
        Ok(vec![Fact {
            datatype: Datatype::Text,
            shape: shape.iter().copied().chain([0]).collect(),
        }])
    }

    fn free_axis(&self, inputs: &[Fact]) -> Option<usize> {
        Some(inputs.first()?.shape.len())
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (shape, texts) = view_of_texts(inputs)?;
        let (tokens, width) = self.tokens_of(texts, &mut self.memories());
        let tokens = tokens.into_iter().map(str::to_owned).collect();
        tensor(
            shape.iter().copied().chain([width]).collect(),
            Values::Text(tokens),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::node_fixture::NodeFixture;
    use super::*;

    fn node() -> NodeFixture {
        NodeFixture::default()
            .int("mincharnum", 1)
            .int("mark", 0)
            .text("pad_value", "#")
    }

    fn tokens(node: &NodeFixture, texts: &[&str]) -> (Vec<String>, usize) {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let tokenizer = Tokenizer::from_node(node.attributes()).unwrap();
        let (tokens, width) = tokenizer.tokens_of(&texts, &mut tokenizer.memories());
        (tokens.into_iter().map(str::to_owned).collect(), width)
    }

    #[test]
    fn shorter_texts_are_filled_up() {
        let words = node().text("tokenexp", "[a-z]+");
        let (found, width) = tokens(&words, &["a bc d", "", "e"]);
        assert_eq!(
            (found, width),
            (
                ["a", "bc", "d", "#", "#", "#", "e", "#", "#"]
                    .map(str::to_owned)
                    .to_vec(),
                3
            )
        );
        assert_eq!(tokens(&words, &["", "1"]).1, 0);
    }

    #[test]
    fn texts_are_marked_before_they_are_filled_up() {
        let marked = node().int("mark", 1).texts("separators", &[""]);
        let (found, width) = tokens(&marked, &["né", "x"]);
        assert_eq!((found.concat().as_str(), width), ("\u{2}né\u{3}\u{2}x\u{3}#", 4));
    }

    #[test]
    fn separators_cut_one_after_the_other() {
        let cut = node().texts("separators", &[" ", "[.,]"]);
        assert_eq!(tokens(&cut, &["a.b cd,,"]).0, ["a", "b", "cd"].map(str::to_owned));
        // What may be empty stands between any two characters, and goes past one each time.
        assert_eq!(tokens(&node().texts("separators", &["x*"]), &["ab"]).1, 0);
        let long = node().int("mincharnum", 2).texts("separators", &["-"]);
        assert_eq!(tokens(&long, &["a-bc-dé-f"]).0, ["bc", "dé"]);
    }

    #[test]
    fn a_match_that_is_too_short_is_passed_over() {
        let long = node().int("mincharnum", 2).text("tokenexp", "é?[a-z]*");
        assert_eq!(tokens(&long, &["é1bcd e"]).0, ["bcd"]);
    }

    #[test]
    fn attributes_that_do_not_fit_are_refused() {
        for broken in [
            node(),
            node().text("tokenexp", "("),
            node().text("tokenexp", ".").int("mincharnum", 2),
            node().text("tokenexp", "a").int("mincharnum", 0),
        ] {
            assert!(Tokenizer::from_node(broken.attributes()).is_err(), "{broken:?}");
        }
    }
}
