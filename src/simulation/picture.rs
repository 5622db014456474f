//! Latencies and loads of several policies as a picture.

use std::error::Error;

use plotters::prelude::*;

use super::outcome::Outcome;
use crate::chart::{
    Area, BLUE, CAPTION_SIZE, DARK_GREY, DESCRIPTION_SIZE, Drawing, FONT, GREEN, GREY, LABEL_SIZE, PINK, SKY,
    VERMILION, VIOLET, YELLOW, draw, legend,
};

/// A policy's name and what came of it.
pub type Drawn<'a> = (&'a str, &'a Outcome);

const SIZE: (u32, u32) = (1280, 640);
const LEGEND_HEIGHT: u32 = 62;
const LEGEND_COLUMNS: usize = 5;
const COLOURS: [RGBColor; 9] = [GREY, DARK_GREY, YELLOW, SKY, BLUE, PINK, VERMILION, GREEN, VIOLET];
/// Nines of the last percentile that is drawn: 99.9.
const LAST_NINES: f64 = 3.0;
/// Points of a curve at most.
const POINTS: usize = 300;

/// The picture as SVG: on the left the latency at each percentile, on the right the load of each worker.
///
/// # Errors
///
/// Where the picture cannot be laid out, in the words of the library that draws.
pub fn picture(title: &str, drawn: &[Drawn<'_>]) -> Result<String, Box<dyn Error>> {
    draw(SIZE, title, |below| {
        let (top, charts) = below.split_vertically(LEGEND_HEIGHT);
        let (left, right) = charts.split_horizontally(SIZE.0 * 11 / 20);
        let named = drawn.iter().enumerate();
        let named = named.map(|(index, &(name, _))| (name, style(index)));
        legend(&top, LEGEND_COLUMNS, named)?;
        draw_latencies(&left, drawn)?;
        draw_loads(&right, drawn)
    })
}

/// The first ones are broader, so that one that lies under another is still seen.
fn style(index: usize) -> ShapeStyle {
    let width = 6_usize.saturating_sub(index).max(2);
    COLOURS[index % COLOURS.len()].stroke_width(width as u32)
}

fn draw_latencies(area: &Area<'_>, drawn: &[Drawn<'_>]) -> Drawing {
    let curves: Vec<Vec<(f64, f64)>> = drawn.iter().map(|(_, outcome)| latency_curve(outcome)).collect();
    let millis = || curves.iter().flatten().map(|&(_, millis)| millis);
    let least = millis().fold(f64::INFINITY, f64::min).clamp(1e-3, 1e6);
    let most = millis().fold(least, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption("Latency", (FONT, CAPTION_SIZE))
        .margin_left(6)
        .margin_right(24)
        .margin_bottom(8)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..LAST_NINES, (least / 1.2..most * 1.2).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("percentile of the requests")
        .y_desc("latency, ms (logarithmic)")
        .x_labels(4)
        .x_label_formatter(&|nines| percentile(*nines))
        .y_label_formatter(&|millis| format!("{millis}"))
        .label_style((FONT, LABEL_SIZE))
        .axis_desc_style((FONT, DESCRIPTION_SIZE))
        .draw()?;
    for (index, curve) in curves.into_iter().enumerate() {
        chart.draw_series(LineSeries::new(curve, style(index)))?;
    }
    Ok(())
}

/// Latencies in milliseconds by the nines of the percentile: 0 is the least latency, 1 the 90th percentile, 2 the 99th.
fn latency_curve(outcome: &Outcome) -> Vec<(f64, f64)> {
    let point = |point: usize| {
        let nines = LAST_NINES * point as f64 / POINTS as f64;
        let latency = outcome.latencies.quantile(1.0 - 10_f64.powf(-nines));
        (nines, latency.as_secs_f64().max(1e-6) * 1e3)
    };
    (0..=POINTS).map(point).collect()
}

fn percentile(nines: f64) -> String {
    // 100 - 100 · 10^-n, without the noise of its last digits.
    let percent = (1e5 - 1e5 * 10_f64.powf(-nines)).round() / 1e3;
    format!("{percent} %")
}

fn draw_loads(area: &Area<'_>, drawn: &[Drawn<'_>]) -> Drawing {
    let workers = drawn
        .iter()
        .map(|(_, outcome)| outcome.workers.len())
        .max()
        .unwrap_or(1);
    let mut chart = ChartBuilder::on(area)
        .caption("Load of each worker", (FONT, CAPTION_SIZE))
        .margin_left(6)
        .margin_right(24)
        .margin_bottom(8)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(0.5..workers as f64 + 0.5, 0.0..102.0)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("workers, from the least busy to the busiest")
        .y_desc("share of time at work, %")
        .x_labels(workers.min(10))
        .x_label_formatter(&|rank| format!("{rank:.0}"))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .label_style((FONT, LABEL_SIZE))
        .axis_desc_style((FONT, DESCRIPTION_SIZE))
        .draw()?;
    for (index, (_, outcome)) in drawn.iter().enumerate() {
        let curve = load_curve(outcome);
        if workers <= 32 {
            let dots = curve
                .iter()
                .map(|&point| Circle::new(point, 4, style(index).filled()));
            chart.draw_series(dots)?;
        }
        chart.draw_series(LineSeries::new(curve, style(index)))?;
    }
    Ok(())
}

/// Loads in percent by rank, from 1 on; of many workers some, the busiest always.
fn load_curve(outcome: &Outcome) -> Vec<(f64, f64)> {
    let mut loads: Vec<f64> = outcome
        .workers
        .iter()
        .map(|worker| worker.utilization * 100.0)
        .collect();
    loads.sort_unstable_by(f64::total_cmp);
    let step = loads.len().div_ceil(POINTS).max(1);
    let mut curve: Vec<_> = (1..).map(f64::from).zip(loads).collect();
    curve.reverse();
    curve.into_iter().step_by(step).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Histogram, WorkerOutcome};
    use super::*;

    #[test]
    fn a_picture_names_its_policies_and_axes() {
        let mut latencies = Histogram::default();
        (1..2_000).for_each(|micros| latencies.add(std::time::Duration::from_micros(micros)));
        let worker = |utilization| WorkerOutcome {
            utilization,
            ..WorkerOutcome::default()
        };
        let outcome = Outcome {
            latencies,
            workers: (0..1_000).map(|index| worker(f64::from(index) / 1e3)).collect(),
            ..Outcome::default()
        };
        let svg = picture("1,000 workers", &[("peak_ewma", &outcome), ("prequal", &outcome)]).unwrap();
        for text in [
            "1,000 workers",
            "peak_ewma",
            "prequal",
            "99.9 %",
            "ms",
            "share of time at work",
        ] {
            assert!(svg.contains(text), "{text} is missing");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn nothing_can_be_drawn_too() {
        let nothing = Outcome::default();
        assert!(picture("", &[("random", &nothing)]).is_ok());
        assert!(picture("", &[]).is_ok());
    }

    #[test]
    fn percentiles_are_written_as_people_say_them() {
        assert_eq!(
            [0.0, 1.0, 2.0, 3.0].map(percentile),
            ["0 %", "90 %", "99 %", "99.9 %"]
        );
    }
}
