//! A classifier of texts: tokens learnt on the data, their embeddings, blocks of self-attention, softmax.

mod graph;
mod net;
mod ngrams;
#[cfg(test)]
mod tests;
mod vocabulary;

use serde_json::json;

use self::graph::graph;
use self::net::{Dropped, Sizes, Transformer};
use self::ngrams::NgramRegression;
use self::vocabulary::Vocabulary;
use super::TrainingError;
use super::algorithm::{Algorithm, Baseline, Context, Fitted};
use super::dataset::{Column, ColumnKind, Dataset, Roles, Target, TargetKind, Values};
use super::network::{Goal, Samples, Schedule, check_size, train};
use super::options::{integer, table};
use super::split::{Split, split};
use crate::model::artifact::Metadata;
use crate::model::preprocessing::text::{Padding, TextInput};

/// How a classifier of texts is built and fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct TextClassifier {
    /// Tokens at most.
    pub vocabulary: usize,
    /// Tokens of one text at most; what is longer is cut.
    pub max_length: usize,
    /// Values of a token's embedding.
    pub width: usize,
    /// Heads of the attention, among which the width is divided.
    pub heads: usize,
    /// Blocks of attention.
    pub layers: usize,
    /// The share of units that are dropped by chance while it learns.
    pub dropout: f64,
    /// The share of tokens that become unknown ones while it learns.
    pub token_dropout: f64,
    /// How long and how fast it learns.
    pub schedule: Schedule,
}

impl Algorithm for TextClassifier {
    fn name(&self) -> &'static str {
        "text-classifier"
    }

    fn options(&self) -> toml::Table {
        let mut options = self.schedule.options();
        options.extend(table([
            ("vocabulary", integer(self.vocabulary as u64)),
            ("max_length", integer(self.max_length as u64)),
            ("width", integer(self.width as u64)),
            ("heads", integer(self.heads as u64)),
            ("layers", integer(self.layers as u64)),
            ("dropout", self.dropout.into()),
            ("token_dropout", self.token_dropout.into()),
        ]));
        options
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Classes
    }

    fn check(&self) -> Result<(), TrainingError> {
        let check = TrainingError::check;
        let at_least_one = [
            ("--max-length", self.max_length),
            ("--width", self.width),
            ("--heads", self.heads),
            ("--layers", self.layers),
        ];
        for (option, value) in at_least_one {
            check(value > 0, option, "at least 1", &value)?;
        }
        check(
            self.vocabulary > 2,
            "--vocabulary",
            "at least 3",
            &self.vocabulary,
        )?;
        check(
            self.width.is_multiple_of(self.heads),
            "--width",
            "a multiple of --heads",
            &self.width,
        )?;
        for (option, share) in [
            ("--dropout", self.dropout),
            ("--token-dropout", self.token_dropout),
        ] {
            let holds = (0.0..1.0).contains(&share);
            check(holds, option, "a share from 0 to below 1", &share)?;
        }
        self.schedule.check()
    }

    /// Without a column that is said to hold texts, the only one beside the target does.
    fn complete_roles(&self, roles: &mut Roles) {
        if roles.text.is_empty() {
            roles.others = ColumnKind::Texts;
        }
    }

    fn fit(&self, data: &Dataset, context: &mut Context<'_>) -> Result<Fitted, TrainingError> {
        let texts = texts(data)?;
        let Split { train: learnt, test } = split(
            &data.target.strata(),
            self.schedule.validation_fraction,
            context.generator,
        );
        let part = |rows: &[usize]| -> Vec<String> { rows.iter().map(|&row| texts[row].clone()).collect() };
        let vocabulary = Vocabulary::learn(&part(&learnt), self.vocabulary, self.max_length)?;
        let goal = Goal::of(&data.target);
        let samples = |rows: &[usize]| {
            let inputs = vocabulary.encode(&part(rows))?;
            Samples::new(inputs.to_vec(), &data.select(rows), &goal)
        };
        let sizes = Sizes {
            tokens: vocabulary.tokens(),
            length: vocabulary.max_length,
            width: self.width,
            heads: self.heads,
            layers: self.layers,
            classes: goal.outputs(),
        };
        check_size(sizes.parameters(), "--width")?;
        let dropped = Dropped {
            units: self.dropout,
            tokens: self.token_dropout,
        };
        let net = Transformer::new(sizes, dropped, context.generator)?;
        train(
            &net,
            (&samples(&learnt)?, &samples(&test)?),
            &goal,
            &self.schedule,
            context,
        )?;
        Ok(Fitted {
            graph: graph(&net)?,
            parameters: json!({"tokens": sizes.tokens, "max_length": sizes.length, "numbers": sizes.parameters()}),
            inputs: Metadata {
                text: Some(TextInput {
                    max_length: Some(sizes.length),
                    truncate: Some(true),
                    padding: Some(Padding::Bucket),
                    ..TextInput::default()
                }),
                ..Metadata::default()
            },
            tokenizer: Some(vocabulary.file()?),
        })
    }

    fn baselines(&self, training: &Dataset, held_out: &Dataset) -> Result<Vec<Baseline>, TrainingError> {
        let (Target::Classes { names, labels }, Target::Classes { labels: truth, .. }) =
            (&training.target, &held_out.target)
        else {
            return Err(TrainingError::wrong_target());
        };
        let weights = training.weights.as_slice().unwrap_or_default();
        let regression = NgramRegression::fit(texts(training)?, (labels, names.len()), weights);
        Ok(vec![Baseline {
            name: "logistic regression on character n-grams",
            figure: "accuracy",
            value: regression.accuracy(texts(held_out)?, truth),
        }])
    }
}

/// The one column that there is, if it holds texts and each says something.
fn texts(data: &Dataset) -> Result<&[String], TrainingError> {
    let [
        Column {
            name,
            values: Values::Texts(texts),
        },
    ] = data.columns.as_slice()
    else {
        return Err(TrainingError::OneText {
            columns: data.names(),
        });
    };
    let empty = texts.iter().filter(|text| text.trim().is_empty()).count();
    if empty > 0 {
        return Err(TrainingError::EmptyTexts {
            column: name.clone(),
            count: empty,
        });
    }
    Ok(texts)
}
