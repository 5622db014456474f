//! Bars that go to both sides of zero, a name a bar.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Drawn, LONGEST_NAME};
use crate::chart::{
    BLUE, DESCRIPTION_SIZE, FONT, LABEL_SIZE, VERMILION, axis, draw, is_drawable, short, shortened,
};

/// More are not drawn.
pub(super) const MAX_BARS: usize = 20;
const BAR_HEIGHT: u32 = 26;

/// One bar.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    /// Half of the line through its end, which shows how sure it is.
    pub(super) deviation: f64,
}

/// At most [`MAX_BARS`] bars from above, in their order; `unit` is what they measure.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar]) -> Drawn {
    let drawable = bars
        .iter()
        .filter(|bar| is_drawable(bar.value) && is_drawable(bar.deviation));
    let bars: Vec<&Bar> = drawable.take(MAX_BARS).collect();
    let height = 110 + BAR_HEIGHT * bars.len() as u32;
    let ends = bars
        .iter()
        .flat_map(|bar| [bar.value - bar.deviation, bar.value + bar.deviation]);
    // Room at both sides for the figures.
    let range = axis(ends.chain([0.0]), 0.16);
    draw((860, height), title, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_right(20)
            .margin_bottom(6)
            .x_label_area_size(46)
            .y_label_area_size(190)
            .build_cartesian_2d(range.clone(), bars.len() as f64..0.0)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .disable_y_mesh()
            .x_desc(unit)
            .x_labels(6)
            .y_labels(0)
            .x_label_formatter(&|value| short(*value))
            .label_style((FONT, LABEL_SIZE))
            .axis_desc_style((FONT, DESCRIPTION_SIZE))
            .draw()?;
        let (left, right) = (
            Pos::new(HPos::Right, VPos::Center),
            Pos::new(HPos::Left, VPos::Center),
        );
        let text = |pos| (FONT, LABEL_SIZE).into_text_style(area).pos(pos);
        for (place, bar) in (0_u32..).map(f64::from).zip(&bars) {
            let (above, middle, below) = (place + 0.18, place + 0.5, place + 0.82);
            let colour = if bar.value < 0.0 { VERMILION } else { BLUE };
            let shape = Rectangle::new([(0.0, above), (bar.value, below)], colour.filled());
            chart.draw_series([shape])?;
            let reach = [
                (bar.value - bar.deviation, middle),
                (bar.value + bar.deviation, middle),
            ];
            if bar.deviation > 0.0 {
                chart.draw_series([PathElement::new(reach, BLACK.stroke_width(2))])?;
            }
            let name = shortened(&bar.name, LONGEST_NAME + 4);
            let name = EmptyElement::at((range.start, middle)) + Text::new(name, (-8, 0), text(left));
            chart.draw_series([name])?;
            let (end, offset, pos) = if bar.value < 0.0 {
                (reach[0], -7, left)
            } else {
                (reach[1], 7, right)
            };
            let figure = EmptyElement::at(end) + Text::new(short(bar.value), (offset, 0), text(pos));
            chart.draw_series([figure])?;
        }
        let zero = [(0.0, 0.0), (0.0, bars.len() as f64)];
        chart.draw_series([PathElement::new(zero, BLACK)])?;
        Ok(())
    })
}
