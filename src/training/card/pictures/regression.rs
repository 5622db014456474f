//! Predicted numbers against true ones, and what is left between them.

use plotters::prelude::*;

use super::{LONGEST_NAME, Picture, Pictures};
use crate::chart::{
    Area, Axis, BLUE, DARK_GREY, Drawing, Frame, axes, axis, draw, is_drawable, shortened, thinned,
};

/// Dots at most.
const DOTS: usize = 1_500;
/// Bars of a histogram.
const BARS: usize = 20;

/// Both pictures of a column that is called `target`.
pub(super) fn pictures(target: &str, truth: &[f64], predicted: &[f64]) -> Pictures {
    let target = shortened(target, LONGEST_NAME);
    let pairs: Vec<(f64, f64)> = truth
        .iter()
        .copied()
        .zip(predicted.iter().copied())
        .filter(|(truth, predicted)| is_drawable(*truth) && is_drawable(*predicted))
        .collect();
    let against = draw((680, 640), "Predicted against true", |below| {
        draw_against(below, &target, &pairs)
    })?;
    let residuals = draw((1280, 520), "Residuals: true minus predicted", |below| {
        let (left, right) = below.split_horizontally(600);
        draw_histogram(&left, &target, &pairs)?;
        draw_residuals(&right, &target, &pairs)
    })?;
    Ok(vec![
        Picture {
            file: "predicted.svg",
            title: "Predicted against true",
            caption: "One dot a row held out; on the grey line the prediction is the truth.".to_owned(),
            svg: against,
        },
        Picture {
            file: "residuals.svg",
            title: "Residuals",
            caption: "What is left between truth and prediction: how often it is how large, and how it goes with the prediction. A \
                      bend or a funnel on the right is something that the model did not learn."
                .to_owned(),
            svg: residuals,
        },
    ])
}

fn draw_against(area: &Area<'_>, target: &str, pairs: &[(f64, f64)]) -> Drawing {
    let all = pairs.iter().flat_map(|&(truth, predicted)| [truth, predicted]);
    let range = axis(all, 0.04);
    let (across, up) = (format!("true {target}"), format!("predicted {target}"));
    let (x, y) = (Axis::new(&across, range.clone()), Axis::new(&up, range.clone()));
    let mut chart = axes(area, &Frame::default(), &x, &y)?;
    let ideal = [(range.start, range.start), (range.end, range.end)];
    chart.draw_series([PathElement::new(ideal, DARK_GREY.mix(0.5).stroke_width(2))])?;
    dots(pairs, |dots| {
        chart.draw_series(dots)?;
        Ok(())
    })
}

/// Dots that can be told apart where they lie upon each other.
fn dots(points: &[(f64, f64)], draw: impl FnOnce(Vec<Circle<(f64, f64), i32>>) -> Drawing) -> Drawing {
    let dot = |point| Circle::new(point, 4, BLUE.mix(0.55).filled());
    draw(thinned(points, DOTS).into_iter().map(dot).collect())
}

/// How many of the values lie in each of [`BARS`] parts of their range.
fn histogram(values: &[f64]) -> Vec<(f64, f64, u32)> {
    let range = axis(values.iter().copied(), 0.0);
    let width = (range.end - range.start) / BARS as f64;
    let mut counts = vec![0_u32; BARS];
    for value in values {
        let place = ((value - range.start) / width).clamp(0.0, (BARS - 1) as f64) as usize;
        counts[place] += 1;
    }
    let part = |(place, count): (usize, u32)| {
        let left = range.start + place as f64 * width;
        (left, left + width, count)
    };
    counts.into_iter().enumerate().map(part).collect()
}

fn residuals(pairs: &[(f64, f64)]) -> Vec<f64> {
    pairs.iter().map(|(truth, predicted)| truth - predicted).collect()
}

fn draw_histogram(area: &Area<'_>, target: &str, pairs: &[(f64, f64)]) -> Drawing {
    let residuals = residuals(pairs);
    let parts = histogram(&residuals);
    let most = parts.iter().map(|&(_, _, count)| count).max().unwrap_or(0);
    let range = axis(residuals.iter().copied(), 0.03);
    let frame = Frame {
        caption: "How large they are",
        left: 64,
        has_upright_lines: false,
        ..Frame::default()
    };
    let name = format!("residual of {target}");
    let highest = axis([0.0, f64::from(most)], 0.06).end;
    let (x, y) = (Axis::new(&name, range), Axis::new("rows", 0.0..highest));
    let mut chart = axes(area, &frame, &x, &y)?;
    let bars = parts.into_iter().map(|(left, right, count)| {
        let mut bar = Rectangle::new([(left, 0.0), (right, f64::from(count))], BLUE.filled());
        bar.set_margin(0, 0, 1, 1);
        bar
    });
    chart.draw_series(bars)?;
    let zero = [(0.0, 0.0), (0.0, f64::from(most))];
    chart.draw_series([PathElement::new(zero, DARK_GREY.stroke_width(2))])?;
    Ok(())
}

fn draw_residuals(area: &Area<'_>, target: &str, pairs: &[(f64, f64)]) -> Drawing {
    let points: Vec<(f64, f64)> = pairs
        .iter()
        .map(|&(truth, predicted)| (predicted, truth - predicted))
        .collect();
    let x = axis(points.iter().map(|&(predicted, _)| predicted), 0.04);
    let y = axis(points.iter().map(|&(_, residual)| residual).chain([0.0]), 0.06);
    let frame = Frame {
        caption: "How they go with the prediction",
        ..Frame::default()
    };
    let (across, up) = (format!("predicted {target}"), format!("residual of {target}"));
    let mut chart = axes(area, &frame, &Axis::new(&across, x.clone()), &Axis::new(&up, y))?;
    let zero = [(x.start, 0.0), (x.end, 0.0)];
    chart.draw_series([PathElement::new(zero, DARK_GREY.stroke_width(2))])?;
    dots(&points, |dots| {
        chart.draw_series(dots)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_histogram_counts_every_value_once(values in prop::collection::vec(-1e6_f64..1e6, 1..200)) {
            let parts = histogram(&values);
            prop_assert_eq!(parts.iter().map(|part| part.2 as usize).sum::<usize>(), values.len());
            prop_assert!(parts.windows(2).all(|pair| (pair[0].1 - pair[1].0).abs() <= 1e-6));
        }
    }

    #[test]
    fn predictions_that_are_no_numbers_break_no_picture() {
        for predicted in [[f64::NAN, f64::INFINITY], [1e308, -1e308], [0.0, 0.0]] {
            let pictures = pictures("y", &[1.0, 2.0], &predicted).unwrap();
            assert!(pictures.iter().all(|picture| !picture.svg.contains("NaN")));
        }
    }
}
