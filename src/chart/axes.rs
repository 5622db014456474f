//! A chart with its two axes: lines behind it, numbers beside it, and what they are.

use std::error::Error;
use std::ops::Range;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::{Area, CAPTION_SIZE, DESCRIPTION_SIZE, FONT, LABEL_SIZE, short};

/// A chart of numbers over numbers.
pub type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Numbers beside an axis where nobody says how many.
const NUMBERS: usize = 6;
/// Pixels below a chart, for numbers and for what they are.
const BELOW: u32 = 48;
/// Pixels below a chart for numbers alone.
const BELOW_WITHOUT_NAME: u32 = 26;
/// Pixels to the left of a chart.
const LEFT: u32 = 78;

/// One axis of a chart.
pub struct Axis<'a> {
    /// What it shows; empty where that stands beside another chart.
    pub name: &'a str,
    /// What it shows goes from where to where.
    pub range: Range<f64>,
    /// About how many numbers stand beside it.
    pub numbers: usize,
    /// How they are written.
    pub written: &'a dyn Fn(&f64) -> String,
}

impl<'a> Axis<'a> {
    /// An axis with a few short numbers.
    #[must_use]
    pub fn new(name: &'a str, range: Range<f64>) -> Self {
        Self {
            name,
            range,
            numbers: NUMBERS,
            written: &|value| short(*value),
        }
    }

    /// With about so many numbers.
    #[must_use]
    pub fn numbers(self, numbers: usize) -> Self {
        Self { numbers, ..self }
    }

    /// With numbers that are written so.
    #[must_use]
    pub fn written(self, written: &'a dyn Fn(&f64) -> String) -> Self {
        Self { written, ..self }
    }
}

/// What of a chart is not as it usually is.
pub struct Frame<'a> {
    /// A title of its own; empty where the picture's will do.
    pub caption: &'a str,
    /// Pixels to the left of it.
    pub left: u32,
    /// Pixels to the right of it.
    pub right: u32,
    /// Whether there are lines upwards from the numbers below.
    pub has_upright_lines: bool,
}

impl Default for Frame<'_> {
    fn default() -> Self {
        Self {
            caption: "",
            left: LEFT,
            right: 24,
            has_upright_lines: true,
        }
    }
}

/// Draws the axes of a chart, which is then drawn between them.
pub fn axes<'a, 'b>(
    area: &'a Area<'b>,
    frame: &Frame<'_>,
    x: &Axis<'_>,
    y: &Axis<'_>,
) -> Result<Chart<'a, 'b>, Box<dyn Error>> {
    let below = if x.name.is_empty() {
        BELOW_WITHOUT_NAME
    } else {
        BELOW
    };
    let mut builder = ChartBuilder::on(area);
    if !frame.caption.is_empty() {
        builder.caption(frame.caption, (FONT, CAPTION_SIZE));
    }
    let mut chart = builder
        .margin(8)
        .margin_right(frame.right)
        .x_label_area_size(below)
        .y_label_area_size(frame.left)
        .build_cartesian_2d(x.range.clone(), y.range.clone())?;
    let mut mesh = chart.configure_mesh();
    if !frame.has_upright_lines {
        mesh.disable_x_mesh();
    }
    if !x.name.is_empty() {
        mesh.x_desc(x.name);
    }
    mesh.light_line_style(WHITE)
        .y_desc(y.name)
        .x_labels(x.numbers)
        .y_labels(y.numbers)
        .x_label_formatter(x.written)
        .y_label_formatter(y.written)
        .label_style((FONT, LABEL_SIZE))
        .axis_desc_style((FONT, DESCRIPTION_SIZE))
        .draw()?;
    Ok(chart)
}
