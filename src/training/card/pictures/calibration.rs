//! Whether probabilities are what they say.

use ndarray::ArrayView2;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::interval::wilson;
use super::{LONGEST_NAME, Picture, Pictures, share};
use crate::chart::{
    Area, Axis, BLUE, DARK_GREY, Drawing, FONT, Frame, LABEL_SIZE, SKY, axes, axis, draw, shortened,
};

/// Bins of equal width.
const BINS: usize = 10;

/// Rows whose probability lies in one part of 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bin {
    pub(super) rows: u32,
    /// Rows for which it came true.
    pub(super) hits: u32,
    /// Sum of the probabilities.
    pub(super) told: f64,
}

/// Puts what was `told` and whether it came true into [`BINS`] bins; what is no probability is left out.
pub(super) fn bins(told: impl IntoIterator<Item = (f64, bool)>) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    for (probability, is_hit) in told {
        if !probability.is_finite() {
            continue;
        }
        let place = (probability * BINS as f64).clamp(0.0, (BINS - 1) as f64) as usize;
        let bin = &mut bins[place];
        bin.rows += 1;
        bin.hits += u32::from(is_hit);
        bin.told += probability;
    }
    bins
}

/// The mean difference between what was told and what came true, a row of each bin counting the same.
pub(super) fn expected_error(bins: &[Bin]) -> f64 {
    let rows: u32 = bins.iter().map(|bin| bin.rows).sum();
    let differences = bins.iter().map(|bin| (f64::from(bin.hits) - bin.told).abs());
    differences.sum::<f64>() / f64::from(rows.max(1))
}

/// Of two classes the probability of the second; of several that of the class that was found.
pub(super) fn pictures(names: &[String], labels: &[usize], probabilities: ArrayView2<'_, f64>) -> Pictures {
    let (told, what): (Vec<(f64, bool)>, String) = if probabilities.ncols() == 2 {
        let rows = probabilities.column(1).to_vec().into_iter().zip(labels);
        let name = shortened(names.get(1).map_or("", String::as_str), LONGEST_NAME);
        (
            rows.map(|(told, &label)| (told, label == 1)).collect(),
            format!("of {name}"),
        )
    } else {
        let rows = probabilities.outer_iter().zip(labels).map(|(row, &label)| {
            let likeliest = super::super::likeliest(row);
            (row[likeliest], label == likeliest)
        });
        (rows.collect(), "of the predicted class".to_owned())
    };
    let bins = bins(told);
    let error = expected_error(&bins);
    let svg = draw((860, 700), "Calibration", |below| {
        let (top, bottom) = below.split_vertically(470);
        draw_shares(&top, &bins)?;
        draw_counts(&bottom, &bins, &what)
    })?;
    let caption = format!(
        "Above: of the rows whose probability {what} lies in a tenth, the share for which it came true, with its 95 % interval; on the \
         grey line probabilities are what they say. Below: how many rows that were. The mean difference between the two (the \
         expected calibration error) is {error:.3}."
    );
    Ok(vec![Picture {
        file: "calibration.svg",
        title: "Calibration",
        caption,
        svg,
    }])
}

fn draw_shares(area: &Area<'_>, bins: &[Bin]) -> Drawing {
    let of_share = |name| Axis::new(name, -0.01..1.01).written(&share);
    // What the numbers below are stands below the other chart.
    let (x, y) = (of_share("").numbers(11), of_share("share that came true"));
    let mut chart = axes(area, &Frame::default(), &x, &y)?;
    let ideal = [(0.0, 0.0), (1.0, 1.0)];
    chart.draw_series([PathElement::new(ideal, DARK_GREY.mix(0.5).stroke_width(2))])?;
    let filled = bins.iter().filter(|bin| bin.rows > 0);
    let mut points = Vec::new();
    for bin in filled {
        let rows = f64::from(bin.rows);
        let told = bin.told / rows;
        let (least, most) = wilson(bin.hits, bin.rows);
        let interval = [(told, least), (told, most)];
        chart.draw_series([PathElement::new(interval, SKY.stroke_width(3))])?;
        points.push((told, f64::from(bin.hits) / rows));
    }
    chart.draw_series(LineSeries::new(points.clone(), BLUE.stroke_width(2)))?;
    chart.draw_series(points.iter().map(|&point| Circle::new(point, 5, BLUE.filled())))?;
    Ok(())
}

fn draw_counts(area: &Area<'_>, bins: &[Bin], what: &str) -> Drawing {
    let most = bins.iter().map(|bin| bin.rows).max().unwrap_or(0);
    let range = axis([0.0, f64::from(most)], 0.18);
    let name = format!("probability {what}");
    let x = Axis::new(&name, -0.01..1.01).numbers(11).written(&share);
    let y = Axis::new("rows", 0.0..range.end).numbers(4);
    let mut chart = axes(area, &Frame::default(), &x, &y)?;
    let style = (FONT, LABEL_SIZE)
        .into_text_style(area)
        .pos(Pos::new(HPos::Center, VPos::Bottom));
    for (place, bin) in (0_u32..).map(f64::from).zip(bins) {
        let (left, right) = ((place + 0.1) / BINS as f64, (place + 0.9) / BINS as f64);
        let rows = f64::from(bin.rows);
        chart.draw_series([Rectangle::new([(left, 0.0), (right, rows)], BLUE.filled())])?;
        let middle = ((place + 0.5) / BINS as f64, rows);
        let count = if bin.rows > 0 {
            bin.rows.to_string()
        } else {
            String::new()
        };
        let count = EmptyElement::at(middle) + Text::new(count, (0, -4), style.clone());
        chart.draw_series([count])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_row_is_in_the_bin_of_its_probability() {
        let told = [
            (0.0, false),
            (0.05, true),
            (0.1, true),
            (0.55, false),
            (1.0, true),
            (f64::NAN, true),
        ];
        let bins = bins(told);
        let rows: Vec<u32> = bins.iter().map(|bin| bin.rows).collect();
        assert_eq!(rows, [2, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!((bins[0].hits, bins[5].hits, bins[9].hits), (1, 0, 1));
        // 0.95 in the first bin, 0.9 in the second, 0.55 in the sixth, 0 in the last: over five rows.
        assert!((expected_error(&bins) - 2.4 / 5.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn no_row_is_lost_and_the_error_is_a_share(told in prop::collection::vec((0.0_f64..=1.0, any::<bool>()), 0..80)) {
            let bins = bins(told.iter().copied());
            prop_assert_eq!(bins.iter().map(|bin| bin.rows as usize).sum::<usize>(), told.len());
            prop_assert!((0.0..=1.0).contains(&expected_error(&bins)));
            for (place, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.rows > 0) {
                let mean = bin.told / f64::from(bin.rows) * 10.0;
                prop_assert!(mean >= place as f64 - 1e-9 && mean <= place as f64 + 1.0 + 1e-9);
            }
        }
    }
}
