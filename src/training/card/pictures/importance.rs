//! What the model goes by: features that are shuffled over all rows held out, or taken out of one.

use super::super::explain::{Effect, Explanation, Importance};
use super::super::grid::Grid;
use super::bars::{Bar, bars};
use super::heat_map::{Cell, HeatMap};
use super::{Drawn, Picture, Pictures};
use crate::chart::short;

const TITLE: &str = "Permutation importance";

/// The features that cost most when they are shuffled; none where that was not tried.
pub(super) fn picture(importance: &Importance) -> Pictures {
    if importance.features.is_empty() {
        return Ok(Vec::new());
    }
    let figure = importance.figure;
    let svg = match &importance.grid {
        Some(grid) => table(grid, importance)?,
        None => ranking(importance)?,
    };
    let caption = format!(
        "How much {figure} on {} rows held out falls when the values of one feature are shuffled among them: mean and standard \
         deviation of {} shuffles. A feature whose information stands in others as well seems to matter less than it does.",
        importance.rows, importance.shuffles
    );
    Ok(vec![Picture {
        file: "importance.svg",
        title: TITLE,
        caption,
        svg,
    }])
}

fn ranking(importance: &Importance) -> Drawn {
    let bar = |effect: &Effect| Bar {
        name: effect.name.clone(),
        value: effect.change,
        deviation: effect.deviation,
    };
    let mut all: Vec<Bar> = importance.features.iter().map(bar).collect();
    all.sort_by(|one, other| other.value.total_cmp(&one.value));
    let unit = format!("loss of {} when shuffled", importance.figure);
    bars(TITLE, &unit, &all)
}

/// Pixels at their places.
fn table(grid: &Grid, importance: &Importance) -> Drawn {
    let sizes = importance.features.iter().map(|effect| effect.change.abs());
    let most = sizes.fold(f64::MIN_POSITIVE, f64::max);
    let cell = |row: usize, column: usize| {
        let change = importance.features[grid.place(0, row, column)].change;
        Cell {
            shade: change / most,
            text: short((change * 1e3).round() / 1e3),
        }
    };
    let numbered = |count: usize| (0..count).map(|place| place.to_string()).collect();
    HeatMap {
        title: &format!("Permutation importance: loss of {}", importance.figure),
        rows: ("row", numbered(grid.height)),
        columns: ("column", numbered(grid.width)),
        cells: (0..grid.height)
            .map(|row| (0..grid.width).map(|column| cell(row, column)).collect())
            .collect(),
    }
    .draw()
}

/// The features that mattered for one row.
pub(super) fn of_example(explanation: &Explanation, effects: &[Effect]) -> Pictures {
    let bar = |effect: &Effect| Bar {
        name: effect.name.clone(),
        value: effect.change,
        deviation: 0.0,
    };
    let all: Vec<Bar> = effects.iter().map(bar).collect();
    let svg = bars(
        "One example",
        &format!("share in the {}", explanation.output),
        &all,
    )?;
    let caption = format!(
        "{} Each bar is what the {} loses when one feature has the usual value of the training part (the mean, or the most frequent \
         category) in the place of its own.",
        explanation.words(),
        explanation.output
    );
    Ok(vec![Picture {
        file: "example.svg",
        title: "One example",
        caption,
        svg,
    }])
}
