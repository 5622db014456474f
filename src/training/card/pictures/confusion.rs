//! Which class was taken for which.

use super::super::super::evaluation::Evaluation;
use super::heat_map::{Cell, HeatMap};
use super::{Picture, Pictures};

/// With more classes nobody can read it.
const MAX_CLASSES: usize = 30;

/// The table of true and predicted classes, each row shaded by its shares.
pub(super) fn pictures(names: &[String], metrics: &Evaluation) -> Pictures {
    let Evaluation::Classification { confusion, .. } = metrics else {
        return Ok(Vec::new());
    };
    if names.len() > MAX_CLASSES {
        return Ok(Vec::new());
    }
    // What is wrong is drawn darker than its share, so that single rows are seen.
    let shaded = |(line, counts): (usize, &Vec<u32>)| {
        let total = f64::from(counts.iter().sum::<u32>().max(1));
        let cell = |(column, &count): (usize, &u32)| {
            let share = f64::from(count) / total;
            Cell {
                shade: if line == column { share } else { -share.sqrt() },
                text: count.to_string(),
            }
        };
        counts.iter().enumerate().map(cell).collect()
    };
    let svg = HeatMap {
        title: "Confusion matrix",
        rows: ("true class", names.to_vec()),
        columns: ("predicted class", names.to_vec()),
        cells: confusion.iter().enumerate().map(shaded).collect(),
    }
    .draw()?;
    Ok(vec![Picture {
        file: "confusion.svg",
        title: "Confusion matrix",
        caption: "Rows held out by their true class (lines) and the class that the model found (columns): blue where it is right, orange \
                  where it is wrong. The darker a cell, the larger its share of the line."
            .to_owned(),
        svg,
    }])
}
