//! Columns of texts as weighted counts of their words: TF-IDF (Spärck Jones 1972, <https://doi.org/10.1108/eb026526>), with the
//! smoothed weights and the Euclidean norm of scikit-learn's `TfidfVectorizer`.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::ArrayViewMut2;
use regex_automata::meta::Regex;

use super::super::TrainingError;

/// A word: letters and digits of any script.
pub(super) const WORD: &str = r"[\p{L}\p{N}]+";
/// Words that a column has at the most: those that most texts have.
const MAX_WORDS: usize = 5_000;
/// A word of a single text tells nothing of others.
const MIN_TEXTS: usize = 2;

/// The words that count, and how much each does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Words {
    /// In the order of their letters.
    pub(super) vocabulary: Vec<String>,
    /// `ln((1 + n) / (1 + texts with the word)) + 1`, one a word.
    pub(super) weights: Vec<f64>,
}

impl Words {
    pub(super) fn fit(column: &str, texts: &[String]) -> Result<Self, TrainingError> {
        let regex = word_regex()?;
        let mut found = BTreeMap::<String, usize>::new();
        for text in texts {
            let distinct: BTreeSet<String> = words(&regex, text).collect();
            for word in distinct {
                *found.entry(word).or_default() += 1;
            }
        }
        let mut kept: Vec<(String, usize)> = found
            .into_iter()
            .filter(|(_, texts)| *texts >= MIN_TEXTS)
            .collect();
        // Stable, so that words of as many texts stay in the order of their letters.
        kept.sort_by_key(|(_, texts)| std::cmp::Reverse(*texts));
        kept.truncate(MAX_WORDS);
        kept.sort();
        if kept.is_empty() {
            return Err(TrainingError::NoWords {
                column: column.to_owned(),
            });
        }
        let all = texts.len() as f64;
        let weight = |texts: usize| ((1.0 + all) / (1.0 + texts as f64)).ln() + 1.0;
        Ok(Self {
            weights: kept.iter().map(|(_, texts)| weight(*texts)).collect(),
            vocabulary: kept.into_iter().map(|(word, _)| word).collect(),
        })
    }

    /// Writes the weighted counts of each text's words, of length 1 as a whole, into its row of `places`; zeros where it has none of
    /// them.
    pub(super) fn write(
        &self,
        texts: &[String],
        mut places: ArrayViewMut2<'_, f64>,
    ) -> Result<(), TrainingError> {
        let regex = word_regex()?;
        for (text, mut place) in texts.iter().zip(places.rows_mut()) {
            for word in words(&regex, text) {
                if let Ok(position) = self.vocabulary.binary_search(&word) {
                    place[position] += self.weights[position];
                }
            }
            let length = place.dot(&place).sqrt();
            if length > 0.0 {
                place /= length;
            }
        }
        Ok(())
    }
}

fn word_regex() -> Result<Regex, TrainingError> {
    Regex::new(WORD).map_err(|error| TrainingError::Fit(error.to_string()))
}

fn words<'a>(regex: &'a Regex, text: &str) -> impl Iterator<Item = String> + use<'a> {
    let text = text.to_lowercase();
    let found: Vec<String> = regex
        .find_iter(&text)
        .map(|found| text[found.range()].to_owned())
        .collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2};

    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn words_of_several_texts_count_and_rare_ones_more() {
        let words = Words::fit("c", &texts(&["Red sky, red sun", "red Sky!", "RED rain"])).unwrap();
        assert_eq!(words.vocabulary, ["red", "sky"]);
        let weights = [1.0, (4.0_f64 / 3.0).ln() + 1.0];
        assert_eq!(words.weights, weights);
        let mut place = Array2::zeros((1, 2));
        words
            .write(&texts(&["red, red … sky of green"]), place.view_mut())
            .unwrap();
        let expected = Array1::from(vec![2.0 * weights[0], weights[1]]);
        let expected = &expected / expected.dot(&expected).sqrt();
        assert!(
            (&place.row(0) - &expected)
                .iter()
                .all(|difference| difference.abs() < 1e-12)
        );
    }

    #[test]
    fn a_text_of_strange_words_is_nothing() {
        let words = Words::fit("c", &texts(&["a b", "a b"])).unwrap();
        let mut place = Array2::zeros((1, 2));
        words.write(&texts(&["x y z"]), place.view_mut()).unwrap();
        assert_eq!(place, Array2::<f64>::zeros((1, 2)));
    }

    #[test]
    fn texts_that_share_no_word_are_told() {
        let error = Words::fit("notes", &texts(&["a", "b", ""]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("notes"), "{error}");
    }
}
