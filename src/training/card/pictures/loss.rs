//! How a net learnt, epoch by epoch.

use std::ops::Range;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::super::super::network::Epoch;
use super::{Picture, Pictures};
use crate::chart::{
    Area, BLUE, CAPTION_SIZE, DARK_GREY, DESCRIPTION_SIZE, Drawing, FONT, LABEL_SIZE, VERMILION, axis, draw,
    legend, short,
};

/// Losses over more than this factor are drawn on a logarithmic axis.
const WIDE: f64 = 20.0;

/// The curves of losses and, for classes, of the share that is found; none where nothing was learnt by epochs.
pub(super) fn picture(epochs: &[Epoch]) -> Pictures {
    let Some(last) = epochs.last() else {
        return Ok(Vec::new());
    };
    let accuracies: Option<Vec<f64>> = epochs.iter().map(|epoch| epoch.validation_accuracy).collect();
    let size = if accuracies.is_some() {
        (1280, 520)
    } else {
        (860, 520)
    };
    let svg = draw(size, "How the net learnt", |below| {
        let (top, charts) = below.split_vertically(40);
        let names = [
            ("training part", BLUE.filled()),
            ("validation part", VERMILION.filled()),
            ("best epoch", DARK_GREY.filled()),
        ];
        legend(&top, 3, names)?;
        match &accuracies {
            Some(accuracies) => {
                let (left, right) = charts.split_horizontally(size.0 / 2);
                draw_losses(&left, epochs, last.best)?;
                draw_accuracies(&right, accuracies, last.best)
            }
            None => draw_losses(&charts, epochs, last.best),
        }
    })?;
    let caption = format!(
        "The loss after each epoch on the rows that the net learns from and on those that decide when it stops. It ended after \
         epoch {} and kept the weights of epoch {}. While an epoch goes on the net improves, so that the first points of the \
         training part lie high.",
        last.number, last.best
    );
    Ok(vec![Picture {
        file: "loss.svg",
        title: "How the net learnt",
        caption,
        svg,
    }])
}

fn draw_losses(area: &Area<'_>, epochs: &[Epoch], best: usize) -> Drawing {
    let training: Vec<f64> = epochs.iter().map(|epoch| epoch.training_loss).collect();
    let validation: Vec<f64> = epochs.iter().map(|epoch| epoch.validation_loss).collect();
    let all = || training.iter().chain(&validation).copied();
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    let lines = [(&training[..], BLUE), (&validation[..], VERMILION)];
    if least > 0.0 && most / least > WIDE {
        let range = least / 1.15..most * 1.15;
        let name = ("Loss", "loss (logarithmic)");
        return curves(area, name, range.clone().log_scale(), (range, &lines), best);
    }
    let range = axis(all().chain([0.0]), 0.04);
    let range = 0.0..range.end;
    curves(area, ("Loss", "loss"), range.clone(), (range, &lines), best)
}

fn draw_accuracies(area: &Area<'_>, accuracies: &[f64], best: usize) -> Drawing {
    let range = axis(accuracies.iter().copied(), 0.08);
    let range = range.start.max(0.0)..range.end.min(1.005);
    let lines = [(accuracies, VERMILION)];
    let name = ("Classes that are found", "share of the validation part");
    curves(area, name, range.clone(), (range, &lines), best)
}

/// One chart: a value an epoch, from 1 on.
fn curves<Y>(
    area: &Area<'_>,
    (caption, unit): (&str, &str),
    y: Y,
    (range, lines): (Range<f64>, &[(&[f64], RGBColor)]),
    best: usize,
) -> Drawing
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let epochs = lines.iter().map(|(values, _)| values.len()).max().unwrap_or(1);
    let last = (epochs as f64).max(2.0);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, (FONT, CAPTION_SIZE))
        .margin_left(6)
        .margin_right(24)
        .margin_bottom(8)
        .x_label_area_size(48)
        .y_label_area_size(78)
        .build_cartesian_2d(1.0..last, y)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("epoch")
        .y_desc(unit)
        .x_labels(epochs.clamp(2, 10))
        .x_label_formatter(&|epoch| short(*epoch))
        .y_label_formatter(&|value| short(*value))
        .label_style((FONT, LABEL_SIZE))
        .axis_desc_style((FONT, DESCRIPTION_SIZE))
        .draw()?;
    let best = best as f64;
    let mark = [(best, range.start), (best, range.end)];
    chart.draw_series([PathElement::new(mark, DARK_GREY.stroke_width(2))])?;
    for (values, colour) in lines {
        let points = (1_u32..).map(f64::from).zip(values.iter().copied());
        chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(3)))?;
        if epochs <= 30 {
            chart.draw_series(points.map(|point| Circle::new(point, 4, colour.filled())))?;
        }
    }
    Ok(())
}
