//! TfIdfVectorizer: counts the n-grams of each row.

use std::collections::HashMap;

use super::super::features::{only, refused, tensor};
use super::super::{Attributes, Fact, MlError, MlOperator, View};
use crate::model::tensor::{Datatype, Slice, Tensor, Values};

/// Columns of the output, at most: a file of a few bytes can name the column 2^40.
const MAX_COLUMNS: usize = 1 << 28;

/// A token in the order of its first appearance in the pool. Tokens outside of it have none.
type Token = Option<u32>;

/// The tokens of all n-grams.
#[derive(Debug)]
enum Vocabulary {
    Texts(HashMap<String, u32>),
    Ints(HashMap<i64, u32>),
}

/// What a count becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The count.
    Frequency,
    /// The weight of what is there at all.
    Presence,
    /// The count times the weight.
    Weighted,
}

/// The n-grams that are counted: a tree, along whose edges stand tokens.
#[derive(Debug, Default)]
struct Tree {
    edges: HashMap<(u32, u32), u32>,
    /// For each node, the column of the n-gram that ends there.
    columns: Vec<Option<usize>>,
}

impl Tree {
    /// Adds an n-gram; says whether it was new.
    fn insert(&mut self, tokens: impl Iterator<Item = u32>, column: usize) -> bool {
        let mut node = 0;
        for token in tokens {
            let next = self.columns.len() as u32;
            node = *self.edges.entry((node, token)).or_insert(next);
            if node == next {
                self.columns.push(None);
            }
        }
        self.columns[node as usize].replace(column).is_none()
    }
}

/// Counts the n-grams of each row.
#[derive(Debug)]
pub(in super::super) struct TfIdfVectorizer {
    vocabulary: Vocabulary,
    tree: Tree,
    min_length: usize,
    max_length: usize,
    /// Tokens between two of an n-gram, at most; they are as many between any two of it.
    max_skip: usize,
    mode: Mode,
    /// One for each column, or none.
    weights: Vec<f32>,
    width: usize,
}

impl TfIdfVectorizer {
    pub(in super::super) fn from_node(attributes: Attributes<'_>) -> Result<Self, MlError> {
        let mode = match attributes
            .text("mode")?
            .ok_or(MlError::MissingAttribute("mode"))?
        {
            "TF" => Mode::Frequency,
            "IDF" => Mode::Presence,
            "TFIDF" => Mode::Weighted,
            other => {
                return Err(MlError::attribute(
                    "mode",
                    format!("expected TF, IDF or TFIDF, found {other}"),
                ));
            }
        };
        let counts = sizes(attributes, "ngram_counts")?;
        let columns = sizes(attributes, "ngram_indexes")?;
        let min_length = size(attributes, "min_gram_length")?;
        let max_length = size(attributes, "max_gram_length")?;
        if min_length == 0 || min_length > max_length || max_length > counts.len() {
            let problem = format!(
                "expected a length from min_gram_length ({min_length}, 1 at least) to {}, for which there are ngram_counts, found {max_length}",
                counts.len()
            );
            return Err(MlError::attribute("max_gram_length", problem));
        }
        let width = columns.iter().max().map_or(0, |&column| column.saturating_add(1));
        if !(1..=MAX_COLUMNS).contains(&width) {
            let problem = format!("expected from 1 to {MAX_COLUMNS} columns, found {width}");
            return Err(MlError::attribute("ngram_indexes", problem));
        }
        let weights = attributes.floats("weights")?;
        if !weights.is_empty() && weights.len() != columns.len() {
            let (ngrams, found) = (columns.len(), weights.len());
            let problem = format!("expected one for each of {ngrams} n-grams, found {found}");
            return Err(MlError::attribute("weights", problem));
        }
        let (vocabulary, pool) = pool(attributes)?;
        Ok(Self {
            vocabulary,
            tree: tree(&pool, &counts, &columns, min_length..=max_length)?,
            min_length,
            max_length,
            max_skip: size(attributes, "max_skip_count")?,
            mode,
            weights: if mode == Mode::Frequency || weights.is_empty() {
                Vec::new()
            } else {
                by_column(weights, &columns, width)
            },
            width,
        })
    }

    /// Columns of the output.
    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// The token that this text is.
    pub(super) fn token(&self, text: &str) -> Token {
        match &self.vocabulary {
            Vocabulary::Texts(known) => known.get(text).copied(),
            Vocabulary::Ints(_) => None,
        }
    }

    /// Whether its tokens are texts.
    pub(super) const fn takes_texts(&self) -> bool {
        matches!(self.vocabulary, Vocabulary::Texts(_))
    }

    /// Puts what one row of tokens comes to into `into`, which is a row of zeros of its width.
    pub(super) fn count(&self, tokens: &[Token], into: &mut [f32]) {
        let mut shortest = self.min_length;
        if shortest == 1 {
            for token in tokens {
                self.follow(std::iter::once(*token), 1, into);
            }
            shortest = 2;
        }
        if shortest <= self.max_length {
            let distances = (1..=self.max_skip.saturating_add(1))
                .take_while(|distance| distance * (shortest - 1) < tokens.len());
            for distance in distances {
                for begin in 0..tokens.len() - distance * (shortest - 1) {
                    let tokens = tokens[begin..].iter().step_by(distance).copied();
                    self.follow(tokens.take(self.max_length), shortest, into);
                }
            }
        }
        self.weigh(into);
    }

    /// Counts every n-gram of `shortest` tokens or more that `tokens` begin with.
    fn follow(&self, tokens: impl Iterator<Item = Token>, shortest: usize, into: &mut [f32]) {
        let mut node = 0;
        for (position, token) in tokens.enumerate() {
            let Some(next) = token.and_then(|token| self.tree.edges.get(&(node, token))) else {
                return;
            };
            node = *next;
            if let Some(column) = self.tree.columns[node as usize].filter(|_| position + 1 >= shortest) {
                into[column] += 1.0;
            }
        }
    }

    fn weigh(&self, counts: &mut [f32]) {
        if self.mode == Mode::Presence {
            counts.iter_mut().for_each(|count| *count = count.min(1.0));
        }
        counts
            .iter_mut()
            .zip(&self.weights)
            .for_each(|(count, weight)| *count *= weight);
    }

    fn tokens(&self, values: Slice<'_>) -> Result<Vec<Token>, MlError> {
        match (&self.vocabulary, values) {
            (Vocabulary::Texts(known), Slice::Text(texts)) => {
                Ok(texts.iter().map(|text| known.get(text).copied()).collect())
            }
            (Vocabulary::Ints(known), Slice::I64(ints)) => {
                Ok(ints.iter().map(|int| known.get(int).copied()).collect())
            }
            (Vocabulary::Ints(known), Slice::I32(ints)) => {
                Ok(ints.iter().map(|&int| known.get(&int.into()).copied()).collect())
            }
            (_, other) => Err(self.refuse(other.datatype())),
        }
    }

    fn refuse(&self, found: Datatype) -> MlError {
        let expected = if self.takes_texts() {
            "texts"
        } else {
            "INT64 or INT32"
        };
        refused(format!("expected {expected}, found {found}"))
    }
}

/// The weights of n-grams in the order of the pool, brought into the order of the columns that those are counted in.
fn by_column(weights: &[f32], columns: &[usize], width: usize) -> Vec<f32> {
    let mut of_columns = vec![1.0; width];
    for (&weight, &column) in weights.iter().zip(columns) {
        of_columns[column] = weight;
    }
    of_columns
}

fn size(attributes: Attributes<'_>, name: &'static str) -> Result<usize, MlError> {
    let found = attributes.int(name)?.ok_or(MlError::MissingAttribute(name))?;
    usize::try_from(found)
        .map_err(|_| MlError::attribute(name, format!("expected a number from 0 on, found {found}")))
}

fn sizes(attributes: Attributes<'_>, name: &'static str) -> Result<Vec<usize>, MlError> {
    let found = attributes.ints(name)?;
    if found.is_empty() {
        return Err(MlError::MissingAttribute(name));
    }
    let size = |&size: &i64| {
        usize::try_from(size)
            .map_err(|_| MlError::attribute(name, format!("expected numbers from 0 on, found {size}")))
    };
    found.iter().map(size).collect()
}

/// The vocabulary, and the pool of all n-grams one after the other.
fn pool(attributes: Attributes<'_>) -> Result<(Vocabulary, Vec<u32>), MlError> {
    fn numbered<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> (HashMap<K, u32>, Vec<u32>) {
        let mut known = HashMap::new();
        let pool = keys.map(|key| {
            let next = known.len() as u32;
            *known.entry(key).or_insert(next)
        });
        let pool = pool.collect();
        (known, pool)
    }
    let texts = attributes.texts("pool_strings")?;
    if !texts.is_empty() {
        let (known, pool) = numbered(texts.into_iter().map(str::to_owned));
        return Ok((Vocabulary::Texts(known), pool));
    }
    match attributes.ints("pool_int64s")? {
        [] => Err(MlError::MissingAttribute("pool_strings or pool_int64s")),
        ints => {
            let (known, pool) = numbered(ints.iter().copied());
            Ok((Vocabulary::Ints(known), pool))
        }
    }
}

/// The n-grams of the lengths that are counted. `counts` says where those of each length begin in the pool.
fn tree(
    pool: &[u32],
    counts: &[usize],
    columns: &[usize],
    lengths: std::ops::RangeInclusive<usize>,
) -> Result<Tree, MlError> {
    let mut tree = Tree {
        columns: vec![None],
        ..Tree::default()
    };
    let mut columns = columns.iter();
    let ends = counts.iter().skip(1).copied().chain([pool.len()]);
    for (length, (&begin, end)) in (1..).zip(counts.iter().zip(ends)) {
        let items = pool
            .get(begin..end)
            .filter(|items| items.len().is_multiple_of(length));
        let items = items.ok_or_else(|| {
            let problem = format!(
                "{begin} to {end} are no whole {length}-grams of a pool of {}",
                pool.len()
            );
            MlError::attribute("ngram_counts", problem)
        })?;
        for ngram in items.chunks_exact(length) {
            let Some(&column) = columns.next() else {
                return Err(MlError::attribute(
                    "ngram_indexes",
                    "expected one for each n-gram of the pool",
                ));
            };
            if lengths.contains(&length) && !tree.insert(ngram.iter().copied(), column) {
                return Err(MlError::attribute(
                    "ngram_counts",
                    format!("one of the {length}-grams is there twice"),
                ));
            }
        }
    }
    Ok(tree)
}

impl MlOperator for TfIdfVectorizer {
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError> {
        let input = only(inputs)?;
        let is_taken = match self.vocabulary {
            Vocabulary::Texts(_) => input.datatype == Datatype::Text,
            Vocabulary::Ints(_) => matches!(input.datatype, Datatype::I64 | Datatype::I32),
        };
        if !is_taken {
            return Err(self.refuse(input.datatype));
        }
        let shape = match *input.shape {
            [] | [_] => vec![self.width],
            [rows, _] => vec![rows, self.width],
            _ => {
                return Err(refused(format!(
                    "expected the shape [tokens] or [rows, tokens], found {:?}",
                    input.shape
                )));
            }
        };
        Ok(vec![Fact {
            datatype: Datatype::F32,
            shape,
        }])
    }

    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError> {
        let input = only(inputs)?;
        let tokens = self.tokens(input.values)?;
        let (rows, length) = match *input.shape {
            [rows, length] => (rows, length),
            _ => (1, tokens.len()),
        };
        let mut counted = vec![0.0; rows.saturating_mul(self.width)];
        for (row, into) in counted.chunks_exact_mut(self.width).enumerate() {
            self.count(&tokens[row * length..(row + 1) * length], into);
        }
        let shape = if input.shape.len() == 2 {
            vec![rows, self.width]
        } else {
            vec![self.width]
        };
        tensor(shape, Values::F32(counted))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::node_fixture::NodeFixture;
    use super::*;

    /// The pool of the operator's published examples: 2, 3, 5, 4 and the pairs 5 6, 7 8, 6 7.
    fn node(min: i64, max: i64, skip: i64) -> NodeFixture {
        let node = NodeFixture::default()
            .ints("ngram_counts", &[0, 4])
            .ints("ngram_indexes", &[0, 1, 2, 3, 4, 5, 6]);
        let node = node
            .ints("pool_int64s", &[2, 3, 5, 4, 5, 6, 7, 8, 6, 7])
            .text("mode", "TF");
        node.int("min_gram_length", min)
            .int("max_gram_length", max)
            .int("max_skip_count", skip)
    }

    fn counted(node: &NodeFixture, row: &[i64]) -> Vec<f32> {
        match node
            .run("TfIdfVectorizer", row.len(), Values::I64(row.to_vec()))
            .unwrap()
            .remove(0)
        {
            Values::F32(counts) => counts,
            other => panic!("{other:?}"),
        }
    }

    /// The published examples.
    const ROW: [i64; 12] = [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8];

    #[test]
    fn n_grams_are_counted_as_the_examples_say() {
        assert_eq!(counted(&node(2, 2, 0), &ROW), [0., 0., 0., 0., 1., 1., 1.]);
        assert_eq!(counted(&node(2, 2, 5), &ROW), [0., 0., 0., 0., 1., 3., 1.]);
        assert_eq!(counted(&node(1, 2, 5), &ROW), [0., 3., 1., 0., 1., 3., 1.]);
        assert_eq!(counted(&node(1, 1, 0), &[9]), [0.; 7]);
    }

    #[test]
    fn weights_are_those_of_the_n_grams_wherever_these_are_counted() {
        let moved = node(1, 1, 0)
            .text("mode", "TFIDF")
            .ints("ngram_indexes", &[1, 0, 2, 3, 4, 5, 6])
            .floats("weights", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let in_place = counted(
            &node(1, 1, 0)
                .text("mode", "TFIDF")
                .floats("weights", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
            &[2, 3, 3],
        );
        let [first, second, ..] = in_place[..] else {
            panic!("{in_place:?}");
        };
        assert!(first != second && first + second > 0.0);
        assert_eq!(counted(&moved, &[2, 3, 3])[..2], [second, first]);
    }

    #[test]
    fn weights_stand_by_their_columns() {
        let weighted = |mode| {
            let weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
            counted(
                &node(1, 1, 0).text("mode", mode).floats("weights", &weights),
                &[3, 3, 5],
            )
        };
        assert_eq!(weighted("TFIDF"), [0., 4., 3., 0., 0., 0., 0.]);
        assert_eq!(weighted("IDF"), [0., 2., 3., 0., 0., 0., 0.]);
        assert_eq!(weighted("TF"), [0., 2., 1., 0., 0., 0., 0.]);
    }

    #[test]
    fn attributes_that_do_not_fit_are_refused() {
        for broken in [
            node(0, 1, 0),
            node(2, 1, 0),
            node(1, 3, 0),
            node(1, 2, -1),
            node(1, 2, 0).ints("ngram_indexes", &[0, 1]),
            node(1, 2, 0).ints("ngram_indexes", &[1 << 40]),
            node(1, 2, 0).ints("ngram_counts", &[0, 3]),
            node(1, 2, 0).ints("ngram_counts", &[4, 0]),
            node(1, 2, 0).floats("weights", &[1.0]),
            node(1, 2, 0).ints("pool_int64s", &[2, 2, 5, 4, 5, 6, 7, 8, 6, 7]),
            node(1, 2, 0).without("pool_int64s"),
            node(1, 2, 0).text("mode", "BM25"),
        ] {
            assert!(broken.make("TfIdfVectorizer").is_err(), "{broken:?}");
        }
    }

    /// What the definition says, without a tree and without stopping early.
    fn by_hand(row: &[i64], ngrams: &[&[i64]], min: usize, max: usize, skip: usize) -> Vec<f32> {
        let count = |ngram: &&[i64]| -> usize {
            if ngram.len() < min || ngram.len() > max {
                return 0;
            }
            let distances = if ngram.len() == 1 { 1..=1 } else { 1..=skip + 1 };
            let begins_at = |begin: usize, distance: usize| {
                (0..ngram.len())
                    .all(|position| row.get(begin + position * distance) == Some(&ngram[position]))
            };
            distances
                .map(|distance| (0..row.len()).filter(|&begin| begins_at(begin, distance)).count())
                .sum()
        };
        ngrams.iter().map(|ngram| count(ngram) as f32).collect()
    }

    proptest! {
        #[test]
        fn the_tree_counts_what_the_definition_counts(
            row in prop::collection::vec(2_i64..9, 1..30), min in 1_i64..3, more in 0_i64..2, skip in 0_i64..40,
        ) {
            let max = (min + more).min(2);
            let ngrams: [&[i64]; 7] = [&[2], &[3], &[5], &[4], &[5, 6], &[7, 8], &[6, 7]];
            let expected = by_hand(&row, &ngrams, min as usize, max as usize, skip as usize);
            prop_assert_eq!(counted(&node(min, max, skip), &row), expected);
        }
    }

    #[test]
    fn an_endless_skip_ends() {
        assert_eq!(
            counted(&node(2, 2, i64::MAX), &[7, 8]),
            [0., 0., 0., 0., 0., 1., 0.]
        );
    }
}
