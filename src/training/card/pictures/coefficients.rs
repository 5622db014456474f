//! The weights of a linear model.

use serde::Deserialize;

use super::super::super::encoding::Encoding;
use super::super::Subject;
use super::bars::{Bar, MAX_BARS, bars};
use super::heat_map::{Cell, HeatMap};
use super::{Picture, Pictures};
use crate::chart::short;

/// With more classes nobody can read the table.
const MAX_CLASSES: usize = 20;

/// What a report says of models that are layers on standardised columns.
#[derive(Deserialize)]
struct Parameters {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    /// Inputs × outputs.
    weights: Vec<Vec<f64>>,
}

/// The largest weights; none where the model is not a single layer on encoded columns.
pub(super) fn picture(subject: &Subject<'_>) -> Pictures {
    let Some((names, weights)) = weights(subject) else {
        return Ok(Vec::new());
    };
    let mut order: Vec<usize> = (0..names.len()).collect();
    let size = |place: usize| {
        weights[place]
            .iter()
            .map(|weight| weight.abs())
            .fold(0.0, f64::max)
    };
    order.sort_by(|&one, &other| size(other).total_cmp(&size(one)));
    order.truncate(MAX_BARS);
    let outputs = weights.first().map_or(0, Vec::len);
    let classes = &subject.report.classes;
    let (svg, meaning) = match outputs {
        0 => return Ok(Vec::new()),
        1 => {
            let value = |place: usize| weights[place][0];
            let target = &subject.request.roles.target;
            let unit = format!(
                "change of {} per standard deviation",
                crate::chart::shortened(target, 24)
            );
            (draw_bars(&unit, &names, &order, value)?, "the prediction")
        }
        2 => {
            // Only the difference of the two says something.
            let value = |place: usize| weights[place][1] - weights[place][0];
            let second = crate::chart::shortened(&classes[1], 24);
            let unit = format!("change of the log-odds of {second} per standard deviation");
            (
                draw_bars(&unit, &names, &order, value)?,
                "the log-odds of the second class",
            )
        }
        3..=MAX_CLASSES => {
            let largest = order
                .first()
                .map_or(1.0, |&place| size(place))
                .max(f64::MIN_POSITIVE);
            let cell = |&weight: &f64| Cell {
                shade: weight / largest,
                text: short((weight * 1e3).round() / 1e3),
            };
            let svg = HeatMap {
                title: "Weights: log-odds per standard deviation",
                rows: (
                    "feature",
                    order.iter().map(|&place| names[place].clone()).collect(),
                ),
                columns: ("class", classes.clone()),
                cells: order
                    .iter()
                    .map(|&place| weights[place].iter().map(cell).collect())
                    .collect(),
            };
            (svg.draw()?, "the log-odds of each class")
        }
        _ => return Ok(Vec::new()),
    };
    let of_many = if names.len() > order.len() {
        format!(" Of {} the {} largest are shown.", names.len(), order.len())
    } else {
        String::new()
    };
    Ok(vec![Picture {
        file: "weights.svg",
        title: "Weights",
        caption: format!(
            "By how much {meaning} changes when a feature grows by one standard deviation of the training part, all others being \
             the same.{of_many} Features that go together share their weight in ways that say little of each of them."
        ),
        svg,
    }])
}

fn draw_bars(unit: &str, names: &[String], order: &[usize], value: impl Fn(usize) -> f64) -> super::Drawn {
    let bar = |&place: &usize| Bar {
        name: names[place].clone(),
        value: value(place),
        deviation: 0.0,
    };
    bars("Weights", unit, &order.iter().map(bar).collect::<Vec<_>>())
}

/// What each encoded column is called, and its weight for each output.
fn weights(subject: &Subject<'_>) -> Option<(Vec<String>, Vec<Vec<f64>>)> {
    let parameters: Parameters = Deserialize::deserialize(&subject.report.parameters).ok()?;
    let [layer] = <[Layer; 1]>::try_from(parameters.layers).ok()?;
    let encoding = Encoding::fit(subject.training, subject.roles.missing, subject.request.unknown).ok()?;
    let names = encoding.names();
    let outputs = layer.weights.first()?.len();
    let is_finite = |row: &Vec<f64>| row.len() == outputs && row.iter().all(|weight| weight.is_finite());
    let fits = names.len() == layer.weights.len() && layer.weights.iter().all(is_finite);
    let classes = subject.report.classes.len();
    let is_ours = outputs == classes || (classes == 0 && outputs == 1);
    (fits && is_ours).then_some((names, layer.weights))
}
