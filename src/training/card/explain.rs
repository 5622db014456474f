//! What the model goes by, found by asking it: nothing of how it works is used, so that it is the same for every algorithm.
//!
//! Parts of one row are taken out, one after the other, and what that changes is what they count for (occlusion: Zeiler and
//! Fergus 2014, <https://arxiv.org/abs/1311.2901>). Features are shuffled over the rows held out, and what that costs is their
//! importance (Breiman 2001, <https://doi.org/10.1023/A:1010933404324>).

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView2};
use plotters::style::RGBColor;

use super::super::TrainingError;
use super::super::dataset::{Column, Dataset, Target, Values};
use super::super::evaluation::Evaluation;
use super::super::random::Generator;
use super::grid::Grid;
use super::{Subject, likeliest};
use crate::chart::shortened;

/// Each feature is shuffled so many times.
const SHUFFLES: usize = 5;
/// Rows that are predicted for it in all.
const SHUFFLED_ROWS: usize = 100_000;
/// With fewer rows the figure says nothing.
const MIN_ROWS: usize = 10;
/// With more features a picture of them says nothing.
const MAX_FEATURES: usize = 200;
/// Beyond this many bytes of graph a row takes too long to be predicted so often.
const MAX_GRAPH: usize = 4 << 20;
/// Rows that are predicted together.
const ROWS_AT_ONCE: usize = 8_192;
/// Places of a picture that are covered, at most.
const MAX_PLACES: usize = 1_100;
/// Parts of a text that are taken out, at most.
const MAX_PARTS: usize = 80;

/// What one part counts for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Effect {
    /// Of a feature, or a part of a text.
    pub(super) name: String,
    /// What goes with it.
    pub(super) change: f64,
    /// Its standard deviation, where it was tried several times; 0 otherwise.
    pub(super) deviation: f64,
}

/// What shuffled features cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Importance {
    /// The figure that falls.
    pub(super) figure: &'static str,
    /// Rows among which values were shuffled.
    pub(super) rows: usize,
    /// How many times.
    pub(super) shuffles: usize,
    /// In the order of the columns; none where it was not tried.
    pub(super) features: Vec<Effect>,
    /// How the columns lie in a picture, where they do.
    pub(super) grid: Option<Grid>,
}

/// What the prediction of one row rests on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Explanation {
    /// Which of the rows held out.
    pub(super) row: usize,
    /// The number that is looked at: the probability of the predicted class, or the prediction.
    pub(super) output: String,
    /// What it is with everything in its place.
    pub(super) value: f64,
    /// What the truth is.
    pub(super) truth: String,
    /// What each part counts for.
    pub(super) effects: Effects,
}

/// What each part of a row counts for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effects {
    /// Features, the strongest first.
    Columns(Vec<Effect>),
    /// Places of a picture.
    Picture(PictureEffects),
    /// Words or characters of a text.
    Parts(Parts),
}

/// What the places of a picture count for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PictureEffects {
    pub(super) grid: Grid,
    /// The values of the row.
    values: Vec<f64>,
    /// The side of the square that is covered around each place.
    pub(super) patch: usize,
    /// Height × width.
    pub(super) changes: Array2<f64>,
}

/// What the parts of a text count for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts {
    /// Words, or characters where there is a single word.
    pub(super) are_words: bool,
    /// In the order of the text.
    pub(super) effects: Vec<Effect>,
}

impl Explanation {
    /// Which row it is about, and what the model makes of it.
    pub(super) fn words(&self) -> String {
        let Self {
            row,
            output,
            value,
            truth,
            ..
        } = self;
        let value = crate::chart::short(*value);
        format!(
            "Row {} of those held out: the {output} is {value}, and the truth is {truth}.",
            row + 1
        )
    }
}

impl PictureEffects {
    /// The picture as it is: in its colours where it has three channels, otherwise the darker the higher.
    pub(super) fn colour(&self, row: usize, column: usize) -> RGBColor {
        let finite = || self.values.iter().copied().filter(|value| value.is_finite());
        let least = finite().fold(f64::INFINITY, f64::min);
        let most = finite().fold(f64::NEG_INFINITY, f64::max);
        let level = |channel: usize| {
            let value = self.values[self.grid.place(channel, row, column)];
            let share = (value - least) / (most - least).max(f64::MIN_POSITIVE);
            (share.clamp(0.0, 1.0) * 255.0).round() as u8
        };
        match self.grid.channels {
            3 => RGBColor(level(0), level(1), level(2)),
            _ => {
                let ink = 255 - level(0);
                RGBColor(ink, ink, ink)
            }
        }
    }
}

/// What each of the model's features counts for over the rows held out; nothing where the inputs are no table, or it would
/// take long.
pub(super) fn importance(subject: &Subject<'_>) -> Result<Importance, TrainingError> {
    let data = subject.held_out;
    let features = data.columns.len();
    let is_table = subject.inputs.iter().all(|input| input.shape.len() == 2);
    let are_texts = data
        .columns
        .iter()
        .any(|column| matches!(column.values, Values::Texts(_)));
    let rows = (SHUFFLED_ROWS / (SHUFFLES * features.max(1))).min(data.rows());
    let is_large = subject.graph_size > MAX_GRAPH;
    if !is_table || are_texts || is_large || !(2..=MAX_FEATURES).contains(&features) || rows < MIN_ROWS {
        return Ok(Importance::default());
    }
    // From all over the stretch: files are often sorted.
    let chosen: Vec<usize> = (0..rows).map(|place| place * data.rows() / rows).collect();
    let chosen_data = data.select(&chosen);
    let judge = |predictions: ArrayView2<'_, f64>| Evaluation::of(predictions, &chosen_data.target).score();
    let predictions = subject.predictions.select(ndarray::Axis(0), &chosen);
    let (figure, whole) = judge(predictions.view());
    let mut generator = Generator::new(subject.request.seed);
    let at_once = (ROWS_AT_ONCE / (rows * SHUFFLES)).max(1);
    let mut effects = Vec::with_capacity(features);
    let places: Vec<usize> = (0..features).collect();
    for places in places.chunks(at_once) {
        let copies: Vec<usize> = (0..rows * SHUFFLES * places.len())
            .map(|row| row % rows)
            .collect();
        let mut shuffled = chosen_data.select(&copies);
        for (part, &place) in places.iter().enumerate() {
            for shuffle in 0..SHUFFLES {
                let mut order: Vec<usize> = (0..rows).collect();
                generator.shuffle(&mut order);
                let start = (part * SHUFFLES + shuffle) * rows;
                let from = &chosen_data.columns[place];
                for (row, &other) in order.iter().enumerate() {
                    put(&mut shuffled.columns[place], start + row, from, other);
                }
            }
        }
        let predicted = (subject.predict)(&shuffled)?;
        for (part, &place) in places.iter().enumerate() {
            let losses: Vec<f64> = (0..SHUFFLES)
                .map(|shuffle| {
                    let start = (part * SHUFFLES + shuffle) * rows;
                    let (_, score) = judge(predicted.slice(ndarray::s![start..start + rows, ..]));
                    whole - score
                })
                .collect();
            let (change, deviation) = super::super::cross_validation::mean_and_deviation(&losses);
            effects.push(Effect {
                name: data.columns[place].name.clone(),
                change,
                deviation,
            });
        }
    }
    Ok(Importance {
        figure,
        rows,
        shuffles: SHUFFLES,
        features: effects,
        grid: Grid::of(subject.inputs, data),
    })
}

/// Puts the value of `from` at `other` into `column` at `row`; the two are of one type.
fn put(column: &mut Column, row: usize, from: &Column, other: usize) {
    match (&mut column.values, &from.values) {
        (Values::Numbers(values), Values::Numbers(others)) => values[row] = others[other],
        (Values::Categories(values), Values::Categories(others))
        | (Values::Texts(values), Values::Texts(others)) => values[row].clone_from(&others[other]),
        _ => {}
    }
}

/// What the prediction of one of the rows held out rests on; nothing where it has no parts that can be taken out.
pub(super) fn explanation(subject: &Subject<'_>) -> Result<Option<Explanation>, TrainingError> {
    let row = example(subject);
    let watched = Watched::of(subject, row);
    let effects = match subject.held_out.columns.as_slice() {
        [
            Column {
                values: Values::Texts(texts),
                ..
            },
        ] => parts(subject, &watched, &texts[row])?,
        _ => match Grid::of(subject.inputs, subject.held_out) {
            Some(grid) => places(subject, &watched, grid)?,
            None => columns(subject, &watched)?,
        },
    };
    Ok(effects.map(|effects| Explanation {
        row,
        output: watched.name,
        value: watched.value,
        truth: watched.truth,
        effects,
    }))
}

/// The row that is looked at: of classes the one that was found with the least certainty, because in others nothing that is
/// taken out changes much; of numbers the first.
fn example(subject: &Subject<'_>) -> usize {
    let Target::Classes { labels, .. } = &subject.held_out.target else {
        return 0;
    };
    let rows = subject.predictions.outer_iter().zip(labels).enumerate();
    let found = rows.filter(|(_, (row, label))| likeliest(*row) == **label);
    let certainties = found.map(|(place, (row, &label))| (place, row[label]));
    let least = certainties.min_by(|one, other| one.1.total_cmp(&other.1));
    least.map_or(0, |(place, _)| place)
}

/// The number that is watched while parts of a row are taken out.
struct Watched {
    row: usize,
    /// Its column in predictions.
    column: usize,
    name: String,
    value: f64,
    truth: String,
}

impl Watched {
    fn of(subject: &Subject<'_>, row: usize) -> Self {
        let predicted = subject.predictions.row(row);
        let target = shortened(&subject.request.roles.target, 30);
        let (column, name, truth) = match &subject.held_out.target {
            Target::Classes { names, labels } => {
                let class = likeliest(predicted);
                let name = |class: usize| shortened(names.get(class).map_or("", String::as_str), 30);
                (
                    class,
                    format!("probability of {}", name(class)),
                    name(labels[row]),
                )
            }
            Target::Numbers(values) => (0, format!("predicted {target}"), crate::chart::short(values[row])),
            Target::Steps(values) => (
                0,
                format!("forecast of {target} one step ahead"),
                crate::chart::short(values[[row, 0]]),
            ),
        };
        Self {
            row,
            column,
            name,
            value: predicted[column],
            truth,
        }
    }

    /// What is lost in each of the rows of `data`.
    fn losses(&self, subject: &Subject<'_>, data: &Dataset) -> Result<Vec<f64>, TrainingError> {
        let mut losses = Vec::with_capacity(data.rows());
        let rows: Vec<usize> = (0..data.rows()).collect();
        for part in rows.chunks(ROWS_AT_ONCE) {
            let predicted = (subject.predict)(&data.select(part))?;
            losses.extend(
                predicted
                    .column(self.column)
                    .iter()
                    .map(|value| self.value - value),
            );
        }
        if losses.iter().all(|loss| loss.is_finite()) {
            Ok(losses)
        } else {
            Err(TrainingError::Fit("a prediction is no finite number".to_owned()))
        }
    }

    /// The row so many times.
    fn copies(&self, subject: &Subject<'_>, count: usize) -> Dataset {
        subject.held_out.select(&vec![self.row; count])
    }
}

/// The usual value of a column: its mean, its most frequent category, or no text.
fn usual(column: &Column) -> Column {
    let values = match &column.values {
        Values::Numbers(values) => {
            let present = || values.iter().filter(|value| !value.is_nan());
            let count = present().count().max(1) as f64;
            Values::Numbers(vec![present().sum::<f64>() / count])
        }
        Values::Categories(values) => {
            let mut counts = BTreeMap::<&String, usize>::new();
            for value in values {
                *counts.entry(value).or_default() += 1;
            }
            // Of equals the first by its letters.
            let most = counts.iter().rev().max_by_key(|(_, count)| **count);
            Values::Categories(vec![most.map_or_else(String::new, |(&value, _)| value.clone())])
        }
        Values::Texts(_) => Values::Texts(vec![String::new()]),
    };
    Column {
        name: column.name.clone(),
        values,
    }
}

fn columns(subject: &Subject<'_>, watched: &Watched) -> Result<Option<Effects>, TrainingError> {
    let count = subject.held_out.columns.len();
    if !(2..=MAX_PLACES).contains(&count) {
        return Ok(None);
    }
    let mut data = watched.copies(subject, count);
    for (place, column) in subject.training.columns.iter().enumerate() {
        put(&mut data.columns[place], place, &usual(column), 0);
    }
    let losses = watched.losses(subject, &data)?;
    let mut effects: Vec<Effect> = subject
        .held_out
        .columns
        .iter()
        .zip(losses)
        .map(|(column, change)| Effect {
            name: column.name.clone(),
            change,
            deviation: 0.0,
        })
        .collect();
    effects.sort_by(|one, other| other.change.abs().total_cmp(&one.change.abs()));
    Ok(Some(Effects::Columns(effects)))
}

fn places(subject: &Subject<'_>, watched: &Watched, grid: Grid) -> Result<Option<Effects>, TrainingError> {
    let centres = grid.height * grid.width;
    if centres > MAX_PLACES {
        return Ok(None);
    }
    let patch = (grid.height.min(grid.width) / 8).max(1);
    let patch = if patch.is_multiple_of(2) { patch + 1 } else { patch };
    let mut data = watched.copies(subject, centres);
    let means: Vec<Column> = subject.training.columns.iter().map(usual).collect();
    for centre in 0..centres {
        for place in grid.around(centre / grid.width, centre % grid.width, patch / 2) {
            put(&mut data.columns[place], centre, &means[place], 0);
        }
    }
    let losses = watched.losses(subject, &data)?;
    let changes = Array2::from_shape_vec((grid.height, grid.width), losses)
        .map_err(|error| TrainingError::Fit(error.to_string()))?;
    let values = subject.held_out.matrix()?.row(watched.row).to_vec();
    Ok(Some(Effects::Picture(PictureEffects {
        grid,
        values,
        patch,
        changes,
    })))
}

fn parts(subject: &Subject<'_>, watched: &Watched, text: &str) -> Result<Option<Effects>, TrainingError> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let are_words = words.len() > 1;
    let (parts, glue) = if are_words {
        (words, " ")
    } else {
        (text.trim().chars().map(String::from).collect(), "")
    };
    let tried = parts.len().min(MAX_PARTS);
    if tried < 2 {
        return Ok(None);
    }
    let mut data = watched.copies(subject, tried);
    let without = |gone: usize| {
        let kept = parts.iter().enumerate().filter(|(place, _)| *place != gone);
        kept.map(|(_, part)| part.as_str()).collect::<Vec<_>>().join(glue)
    };
    for column in &mut data.columns {
        column.values = Values::Texts((0..tried).map(without).collect());
    }
    let losses = watched.losses(subject, &data)?;
    let effects = parts.iter().zip(losses).map(|(part, change)| Effect {
        name: part.clone(),
        change,
        deviation: 0.0,
    });
    Ok(Some(Effects::Parts(Parts {
        are_words,
        effects: effects.collect(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: Values) -> Column {
        Column {
            name: "c".into(),
            values,
        }
    }

    #[test]
    fn the_usual_value_is_the_mean_or_the_most_frequent_category() {
        let numbers = column(Values::Numbers(vec![1.0, f64::NAN, 3.0]));
        assert_eq!(usual(&numbers).values, Values::Numbers(vec![2.0]));
        let names = ["b", "a", "c", "a", "b"].map(str::to_owned).to_vec();
        let categories = column(Values::Categories(names));
        assert_eq!(usual(&categories).values, Values::Categories(vec!["a".into()]));
    }
}
