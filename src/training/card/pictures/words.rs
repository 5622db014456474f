//! Which words of a text the model goes by.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::explain::{Explanation, Parts};
use super::heat_map::shade;
use super::{Picture, Pictures};
use crate::chart::{FIXED_FONT, FONT, LABEL_SIZE, draw, short, shortened};

const WIDTH: i32 = 860;
const MARGIN: i32 = 30;
const SIZE: i32 = 18;
/// Pixels of a character of [`SIZE`] in the type of fixed width, rounded up.
const CHARACTER: i32 = 11;
const LINE: i32 = 34;

/// The text of one row, each part of it shaded by what it counts for.
pub(super) fn pictures(explanation: &Explanation, parts: &Parts) -> Pictures {
    let gap = if parts.are_words { CHARACTER } else { 2 };
    let most = parts
        .effects
        .iter()
        .map(|part| part.change.abs())
        .fold(0.0, f64::max);
    let (mut x, mut y) = (MARGIN, 30);
    let mut places = Vec::new();
    for part in &parts.effects {
        let text = shortened(&part.name, 40);
        let width = CHARACTER * text.chars().count().max(1) as i32;
        if x > MARGIN && x + width > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + LINE);
        }
        places.push((text, part.change, (x, y), width));
        x += width + gap;
    }
    let height = (y + LINE + 70) as u32;
    let svg = draw((WIDTH as u32, height), "One example", |below| {
        for (text, change, (x, y), width) in &places {
            let share = change / most.max(f64::MIN_POSITIVE);
            let colour = shade(share);
            let place = [(x - 2, y - LINE / 2 + 2), (x + width, y + LINE / 2 - 2)];
            below.draw(&Rectangle::new(place, colour.filled()))?;
            let ink = if share.abs() > 0.6 { WHITE } else { BLACK };
            let pos = Pos::new(HPos::Left, VPos::Center);
            let style = (FIXED_FONT, SIZE).into_text_style(below).color(&ink).pos(pos);
            below.draw_text(text, &style, (*x, *y))?;
        }
        let style = (FONT, LABEL_SIZE)
            .into_text_style(below)
            .pos(Pos::new(HPos::Left, VPos::Center));
        let scale = format!(
            "blue speaks for it, orange against it; full colour: {}",
            short(most)
        );
        below.draw_text(&scale, &style, (MARGIN, y + LINE + 8))?;
        Ok(())
    })?;
    let part = if parts.are_words { "word" } else { "character" };
    let caption = format!(
        "{} Each {part} is shaded by what the {} loses when it is taken out of the text.",
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
