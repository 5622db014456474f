//! Which places of a picture the model goes by.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::explain::{Explanation, PictureEffects};
use super::heat_map::shade;
use super::{Picture, Pictures};
use crate::chart::{Area, CAPTION_SIZE, DARK_GREY, Drawing, FONT, LABEL_SIZE, draw, short};

/// Pixels of the longer side of a picture.
const SIDE: usize = 400;

/// The picture of one row, and beside it what each of its places counts for.
pub(super) fn pictures(explanation: &Explanation, effects: &PictureEffects) -> Pictures {
    let grid = &effects.grid;
    let step = (SIDE / grid.height.max(grid.width)).max(1);
    let (width, height) = (grid.width * step, grid.height * step);
    let most = effects
        .changes
        .iter()
        .map(|change| change.abs())
        .fold(0.0, f64::max);
    let svg = draw(
        (2 * width as u32 + 130, height as u32 + 120),
        "One example",
        |below| {
            let (left, right) = below.split_horizontally(width as u32 + 60);
            let ink = |row: usize, column: usize| effects.colour(row, column);
            paint(&left, "What the model sees", (grid.height, grid.width, step), ink)?;
            let effect = |row: usize, column: usize| {
                shade(effects.changes[[row, column]] / most.max(f64::MIN_POSITIVE))
            };
            paint(&right, "What it goes by", (grid.height, grid.width, step), effect)?;
            let style = (FONT, LABEL_SIZE)
                .into_text_style(below)
                .pos(Pos::new(HPos::Center, VPos::Center));
            let scale = format!(
                "blue speaks for it, orange against it; full colour: {}",
                short(most)
            );
            below.draw_text(&scale, &style, (width as i32 + 60, height as i32 + 72))?;
            Ok(())
        },
    )?;
    let part = match effects.patch {
        1 => "one pixel".to_owned(),
        side => format!("{side} × {side} pixels"),
    };
    let caption = format!(
        "{} On the right, what the {} loses when {part} around each place have the mean of the training part in the place of their \
         own values.",
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

fn paint(
    area: &Area<'_>,
    caption: &str,
    (height, width, step): (usize, usize, usize),
    colour: impl Fn(usize, usize) -> RGBColor,
) -> Drawing {
    let (left, top) = (40, 42);
    let style = (FONT, CAPTION_SIZE)
        .into_text_style(area)
        .pos(Pos::new(HPos::Left, VPos::Center));
    area.draw_text(caption, &style, (left, 22))?;
    let step = step as i32;
    for row in 0..height {
        for column in 0..width {
            let corner = (left + column as i32 * step, top + row as i32 * step);
            let opposite = (corner.0 + step, corner.1 + step);
            area.draw(&Rectangle::new([corner, opposite], colour(row, column).filled()))?;
        }
    }
    let opposite = (left + width as i32 * step, top + height as i32 * step);
    area.draw(&Rectangle::new([(left - 1, top - 1), opposite], DARK_GREY))?;
    Ok(())
}
