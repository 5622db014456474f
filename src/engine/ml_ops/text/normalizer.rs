//! StringNormalizer: takes stop words out, and changes the case of the rest.

use std::collections::HashSet;

use super::super::features::{refused, tensor};
use super::super::{Attributes, Fact, MlError, MlOperator, View};
use super::{fact_of_texts, view_of_texts};
use crate::model::tensor::{Datatype, Tensor, Values};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
}

/// How letters become others, one for one, as C's `towlower` and `towupper` have it.
#[derive(Clone, Copy, Debug)]
struct Letters {
    /// Turkish and Azerbaijani tell the i with a dot from the one without.
    has_dotless_i: bool,
}

impl Letters {
    fn of_locale(locale: &str) -> Self {
        Self {
            has_dotless_i: ["tr", "az"].iter().any(|language| locale.starts_with(language)),
        }
    }

    fn change(self, case: Case, text: &str) -> String {
        match case {
            Case::Lower => text.chars().map(|letter| self.lower(letter)).collect(),
            Case::Upper => text.chars().map(|letter| self.upper(letter)).collect(),
        }
    }

    fn lower(self, letter: char) -> char {
        match letter {
            'I' if self.has_dotless_i => 'ı',
            'İ' => 'i',
            _ => only(letter.to_lowercase()).unwrap_or(letter),
        }
    }

    fn upper(self, letter: char) -> char {
        match letter {
            'i' if self.has_dotless_i => 'İ',
            _ => only(letter.to_uppercase()).unwrap_or(letter),
        }
    }
}

fn only(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

/// Takes stop words out, and changes the case of the rest.
#[derive(Debug)]
pub(in super::super) struct StringNormalizer {
    letters: Letters,
    change: Option<Case>,
    /// The case in which texts are compared with stop words; none where case counts.
    compare: Option<Case>,
    /// In the case in which they are compared.
    stop_words: HashSet<String>,
}

impl StringNormalizer {
    pub(in super::super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let letters = Letters::of_locale(attributes.text("locale")?.unwrap_or("en_US"));
        let change = match attributes.text("case_change_action")?.unwrap_or("NONE") {
            "LOWER" => Some(Case::Lower),
            "UPPER" => Some(Case::Upper),
            "NONE" => None,
            other => {
                let problem = format!("expected LOWER, UPPER or NONE, found {other}");
                return Err(MlError::attribute("case_change_action", problem));
            }
        };
        let is_case_sensitive = attributes.int("is_case_sensitive")?.unwrap_or(0) != 0;
        let compare = (!is_case_sensitive).then(|| change.unwrap_or(Case::Lower));
        let stop_words = attributes.texts("stopwords")?.into_iter();
        Ok(Self {
            letters,
            change,
            compare,
            stop_words: stop_words.map(|word| in_case(letters, compare, word)).collect(),
        })
    }

    fn is_stop_word(&self, text: &str) -> bool {
        self.stop_words
            .contains(&in_case(self.letters, self.compare, text))
    }
}

fn in_case(letters: Letters, case: Option<Case>, text: &str) -> String {
    case.map_or_else(|| text.to_owned(), |case| letters.change(case, text))
}

impl MlOperator for StringNormalizer {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let shape = fact_of_texts(inputs)?;
        let is_taken = match *shape {
            [texts] | [1, texts] => texts > 0,
            // Without stop words every text stays in its place.
            [_, texts] => texts > 0 && self.stop_words.is_empty(),
            _ => false,
        };
        if !is_taken {
            let problem = format!("expected the shape [texts] or [1, texts], found {shape:?}");
            return Err(refused(problem));
        }
        Ok(vec![Fact {
            datatype: Datatype::Text,
            shape: shape.to_vec(),
        }])
    }

    fn free_axis(&self, inputs: &[Fact]) -> Option<usize> {
        let axes = inputs.first()?.shape.len();
        (!self.stop_words.is_empty()).then(|| axes.saturating_sub(1))
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let (shape, texts) = view_of_texts(inputs)?;
        let changed = |text: &String| in_case(self.letters, self.change, text);
        if self.stop_words.is_empty() {
            return tensor(shape.to_vec(), Values::Text(texts.iter().map(changed).collect()));
        }
        let rest = texts.iter().filter(|text| !self.is_stop_word(text));
        let mut rest: Vec<String> = rest.map(changed).collect();
        if rest.is_empty() {
            rest.push(String::new());
        }
        let mut shape = shape.to_vec();
        if let Some(size) = shape.last_mut() {
            *size = rest.len();
        }
        tensor(shape, Values::Text(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::node_fixture::NodeFixture;
    use super::*;
    use crate::model::tensor::Slice;

    fn normalised(node: &NodeFixture, texts: &[&str]) -> Vec<String> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let view = View {
            shape: &[texts.len()],
            values: Slice::Text(&texts),
        };
        let mut outputs = node.make("StringNormalizer").unwrap().run(&[view]).unwrap();
        match outputs.remove(0).into_values() {
            Values::Text(texts) => texts,
            other => panic!("{other:?}"),
        }
    }

    fn node(case: &str, is_case_sensitive: i64, stop_words: &[&str]) -> NodeFixture {
        let node = NodeFixture::default().text("case_change_action", case);
        node.int("is_case_sensitive", is_case_sensitive)
            .texts("stopwords", stop_words)
    }

    #[test]
    fn letters_become_others_one_for_one() {
        assert_eq!(
            normalised(&node("UPPER", 1, &[]), &["straße éa", ""]),
            ["STRAßE ÉA", ""]
        );
        assert_eq!(
            normalised(&node("LOWER", 1, &[]), &["İSTANBUL ΑΣ"]),
            ["istanbul ας".replace('ς', "σ")]
        );
        let turkish = node("LOWER", 1, &[]).text("locale", "tr_TR.UTF-8");
        assert_eq!(normalised(&turkish, &["DIŞ"]), ["dış"]);
    }

    #[test]
    fn stop_words_are_taken_out_with_or_without_their_case() {
        let week = ["monday", "Tuesday", "friday"];
        assert_eq!(
            normalised(&node("UPPER", 1, &["monday"]), &week),
            ["TUESDAY", "FRIDAY"]
        );
        assert_eq!(normalised(&node("NONE", 1, &["Monday"]), &week), week);
        assert_eq!(
            normalised(&node("NONE", 0, &["MONDAY", "tuesday"]), &week),
            ["friday"]
        );
        assert_eq!(
            normalised(&node("LOWER", 0, &["TUESDAY"]), &week),
            ["monday", "friday"]
        );
    }

    #[test]
    fn of_nothing_one_empty_text_is_left() {
        assert_eq!(normalised(&node("NONE", 1, &["a"]), &["a", "a"]), [""]);
    }
}
