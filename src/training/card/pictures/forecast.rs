//! Forecasts against what came.

use ndarray::ArrayView2;
use plotters::prelude::*;

use super::super::super::evaluation::Evaluation;
use super::super::super::report::Report;
use super::{LONGEST_NAME, Picture, Pictures};
use crate::chart::{
    Area, Axis, BLUE, DARK_GREY, Drawing, Frame, GREEN, GREY, PINK, SKY, VERMILION, VIOLET, YELLOW, axes,
    axis, draw, is_drawable, legend, shortened,
};

/// Windows that are drawn at most: the last ones.
const WINDOWS: usize = 160;
const BASELINES: [RGBColor; 6] = [GREY, GREEN, PINK, SKY, YELLOW, VIOLET];

/// Values of `target`, n × steps: what came, and what was forecast.
pub(super) fn pictures(
    target: &str,
    truth: ArrayView2<'_, f64>,
    forecast: ArrayView2<'_, f64>,
    report: &Report,
) -> Pictures {
    let Evaluation::Forecast { rmse_by_step, .. } = &report.metrics else {
        return Ok(Vec::new());
    };
    let target = shortened(target, LONGEST_NAME);
    let lines = Lines::of(truth, forecast);
    let steps = truth.ncols();
    let later = format!("forecast, {steps} steps ahead");
    let mut names = vec![
        ("what came", DARK_GREY.filled()),
        ("forecast, 1 step ahead", BLUE.filled()),
    ];
    if steps > 1 {
        names.push((later.as_str(), VERMILION.filled()));
    }
    let stretch = draw((1280, 540), "Forecasts against what came", |below| {
        let (top, chart) = below.split_vertically(40);
        legend(&top, 3, names)?;
        draw_stretch(&chart, &target, &lines)
    })?;
    let baselines = report.baselines.iter().map(|baseline| baseline.name.to_owned());
    let labels: Vec<String> = ["this model, by step".to_owned()]
        .into_iter()
        .chain(baselines)
        .collect();
    let by_step = draw((860, 520), "Error by steps ahead", |below| {
        let rows = labels.len().div_ceil(2) as u32;
        let (top, chart) = below.split_vertically(16 + 24 * rows);
        let colours = [BLUE].into_iter().chain(BASELINES).map(|colour| colour.filled());
        legend(&top, 2, labels.iter().map(String::as_str).zip(colours))?;
        draw_errors(&chart, &target, rmse_by_step, report)
    })?;
    let caption = format!(
        "The last {} windows held out. Each forecast stands where what it foresees came.",
        lines.windows
    );
    Ok(vec![
        Picture {
            file: "forecast.svg",
            title: "Forecasts against what came",
            caption,
            svg: stretch,
        },
        Picture {
            file: "forecast-error.svg",
            title: "Error by steps ahead",
            caption: "Root of the mean squared error of this model for each step ahead, and of simple forecasts over all steps \
                      together (lines), on the same windows."
                .to_owned(),
            svg: by_step,
        },
    ])
}

/// The three lines of the last windows, by the place at which each value came.
struct Lines {
    truth: Vec<(f64, f64)>,
    next: Vec<(f64, f64)>,
    last: Vec<(f64, f64)>,
    windows: usize,
}

impl Lines {
    /// Windows of one series that move on by one step lie over each other; others stand side by side.
    fn of(truth: ArrayView2<'_, f64>, forecast: ArrayView2<'_, f64>) -> Self {
        let steps = truth.ncols();
        let first = truth.nrows().saturating_sub(WINDOWS);
        let windows = first..truth.nrows();
        let moves_by_one = steps < 2
            || windows
                .clone()
                .skip(1)
                .all(|row| (0..steps - 1).all(|step| truth[[row, step]] == truth[[row - 1, step + 1]]));
        let stride = if moves_by_one { 1 } else { steps };
        let at = |row: usize, step: usize| ((row - first) * stride + step + 1) as f64;
        let line = |values: ArrayView2<'_, f64>, step: usize| -> Vec<(f64, f64)> {
            windows
                .clone()
                .map(|row| (at(row, step), values[[row, step]]))
                .collect()
        };
        let mut came = line(truth, 0);
        if moves_by_one {
            let end = truth.nrows().saturating_sub(1);
            came.extend((1..steps).map(|step| (at(end, step), truth[[end, step]])));
        } else {
            came = windows
                .clone()
                .flat_map(|row| (0..steps).map(move |step| (row, step)))
                .map(|(row, step)| (at(row, step), truth[[row, step]]))
                .collect();
        }
        Self {
            truth: came,
            next: line(forecast, 0),
            last: if steps > 1 {
                line(forecast, steps - 1)
            } else {
                Vec::new()
            },
            windows: truth.nrows() - first,
        }
    }
}

fn draw_stretch(area: &Area<'_>, target: &str, lines: &Lines) -> Drawing {
    let all = || lines.truth.iter().chain(&lines.next).chain(&lines.last);
    let x = axis(all().map(|point| point.0), 0.01);
    let y = axis(all().map(|point| point.1), 0.06);
    let x = Axis::new("step of the stretch that is shown", x).numbers(10);
    let mut chart = axes(area, &Frame::default(), &x, &Axis::new(target, y))?;
    let drawable = |line: &[(f64, f64)]| -> Vec<(f64, f64)> {
        line.iter()
            .copied()
            .filter(|point| is_drawable(point.1))
            .collect()
    };
    chart.draw_series(LineSeries::new(drawable(&lines.truth), DARK_GREY.stroke_width(4)))?;
    chart.draw_series(LineSeries::new(drawable(&lines.last), VERMILION.stroke_width(2)))?;
    chart.draw_series(LineSeries::new(drawable(&lines.next), BLUE.stroke_width(2)))?;
    Ok(())
}

fn draw_errors(area: &Area<'_>, target: &str, by_step: &[f64], report: &Report) -> Drawing {
    let baselines = report.baselines.iter().map(|baseline| baseline.value);
    let range = axis(by_step.iter().copied().chain(baselines).chain([0.0]), 0.08);
    let steps = by_step.len() as f64;
    let frame = Frame {
        has_upright_lines: false,
        ..Frame::default()
    };
    let name = format!("RMSE of {target}");
    let x = Axis::new("steps ahead", 0.4..steps + 0.6)
        .numbers(by_step.len().min(12))
        .written(&|value| format!("{value:.0}"));
    let mut chart = axes(area, &frame, &x, &Axis::new(&name, 0.0..range.end))?;
    let bars = (1_u32..)
        .map(f64::from)
        .zip(by_step)
        .map(|(step, &rmse)| Rectangle::new([(step - 0.35, 0.0), (step + 0.35, rmse)], BLUE.filled()));
    chart.draw_series(bars)?;
    for (baseline, colour) in report.baselines.iter().zip(BASELINES) {
        let line = [(0.4, baseline.value), (steps + 0.6, baseline.value)];
        chart.draw_series([PathElement::new(line, colour.stroke_width(4))])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn forecasts_stand_where_what_they_foresee_came() {
        let truth = array![[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]];
        let lines = Lines::of(truth.view(), truth.view());
        assert_eq!(lines.truth, [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 4.0)]);
        assert_eq!(lines.next, [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]);
        assert_eq!(lines.last, [(2.0, 2.0), (3.0, 3.0), (4.0, 4.0)]);
    }

    #[test]
    fn windows_that_do_not_overlap_stand_side_by_side() {
        let truth = array![[1.0, 2.0], [7.0, 8.0]];
        let lines = Lines::of(truth.view(), truth.view());
        assert_eq!(lines.truth, [(1.0, 1.0), (2.0, 2.0), (3.0, 7.0), (4.0, 8.0)]);
        assert_eq!(lines.last, [(2.0, 2.0), (4.0, 8.0)]);
    }
}
