//! What the pictures of this program have in common: paper, type, colours, legends, and numbers beside axes.
//!
//! A picture is SVG on white paper of its own, so that it reads on light and on dark pages. Everything is laid out in whole
//! pixels: figures that differ in their last digits make the same picture, but for the rare one that falls on an edge.

mod axes;
mod numbers;

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;

pub use self::axes::{Axis, Chart, Frame, axes};
pub use self::numbers::{axis, clean, is_drawable, short, shortened, thinned};

/// A part of a picture.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What comes of drawing; an error is in the words of the library that draws.
pub type Drawing = Result<(), Box<dyn Error>>;

/// The type of all texts.
pub const FONT: &str = "sans-serif";
/// The type of texts whose width must be known: every character is 0.6 of its size wide.
pub const FIXED_FONT: &str = "monospace";
/// Pixels of the title above everything.
pub const TITLE_SIZE: u32 = 19;
/// Pixels of the title of one chart among several.
pub const CAPTION_SIZE: u32 = 18;
/// Pixels of what an axis shows.
pub const DESCRIPTION_SIZE: u32 = 16;
/// Pixels of numbers and names beside axes.
pub const LABEL_SIZE: u32 = 15;

// Colours that people with any vision tell apart (Okabe and Ito 2008), two greys and a violet.
/// What others are compared with.
pub const GREY: RGBColor = RGBColor(153, 153, 153);
/// Lines of reference.
pub const DARK_GREY: RGBColor = RGBColor(80, 80, 80);
/// Too light for thin lines.
pub const YELLOW: RGBColor = RGBColor(240, 200, 40);
/// A light blue.
pub const SKY: RGBColor = RGBColor(86, 180, 233);
/// The first choice.
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
/// A reddish purple.
pub const PINK: RGBColor = RGBColor(204, 121, 167);
/// An orange red: the opposite of blue.
pub const VERMILION: RGBColor = RGBColor(213, 94, 0);
/// A bluish green.
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
/// A violet.
pub const VIOLET: RGBColor = RGBColor(120, 60, 160);

/// A picture of this size in pixels under a title, as SVG.
pub fn draw(
    size: (u32, u32),
    title: &str,
    paint: impl FnOnce(&Area<'_>) -> Drawing,
) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let below = root.titled(title, (FONT, TITLE_SIZE))?;
        paint(&below)?;
        root.present()?;
    }
    Ok(svg)
}

/// Names of lines in `columns` columns over the width of `area`, from the left, a row every 24 pixels.
pub fn legend<'n>(
    area: &Area<'_>,
    columns: usize,
    entries: impl IntoIterator<Item = (&'n str, ShapeStyle)>,
) -> Drawing {
    let (width, _) = area.dim_in_pixel();
    let step = (width as usize).saturating_sub(80) / columns.max(1);
    for (index, (name, style)) in entries.into_iter().enumerate() {
        let x = (70 + index % columns.max(1) * step) as i32;
        let y = (18 + index / columns.max(1) * 24) as i32;
        area.draw(&PathElement::new([(x, y), (x + 30, y)], style.stroke_width(4)))?;
        area.draw(&Text::new(name.to_owned(), (x + 38, y - 9), (FONT, 17)))?;
    }
    Ok(())
}
