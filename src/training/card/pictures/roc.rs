//! How well probabilities tell a class from the others, whatever the threshold.

use ndarray::ArrayView2;
use plotters::prelude::*;

use super::{LONGEST_NAME, Picture, Pictures, share};
use crate::chart::{
    Area, Axis, BLUE, DARK_GREY, Drawing, Frame, GREEN, GREY, PINK, SKY, VERMILION, VIOLET, YELLOW, axes,
    draw, legend, shortened, thinned,
};

const COLOURS: [RGBColor; 8] = [BLUE, VERMILION, GREEN, PINK, SKY, YELLOW, VIOLET, GREY];
/// Points of a curve at most.
const POINTS: usize = 300;

/// One class against all others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curve {
    pub(super) class: usize,
    /// Shares of the others and of the class that are taken for it, from (0, 0) to (1, 1), as the threshold falls.
    pub(super) points: Vec<(f64, f64)>,
    /// What lies under the points.
    pub(super) area: f64,
}

/// The curve of a class: `is_positive` says which rows are of it; none where all are, or none is.
pub(super) fn curve(class: usize, scores: &[f64], is_positive: &[bool]) -> Option<Curve> {
    let positives = is_positive.iter().filter(|&&positive| positive).count() as f64;
    let negatives = is_positive.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&one, &other| scores[other].total_cmp(&scores[one]));
    let (mut points, mut area) = (vec![(0.0, 0.0)], 0.0);
    let (mut found, mut wrong) = (0.0, 0.0);
    for ties in order.chunk_by(|&one, &other| scores[one] == scores[other]) {
        let (before, wrong_before): (f64, f64) = (found, wrong);
        let positive = ties.iter().filter(|&&row| is_positive[row]).count() as f64;
        found += positive;
        wrong += ties.len() as f64 - positive;
        area += (wrong - wrong_before) * f64::midpoint(found, before);
        points.push((wrong / negatives, found / positives));
    }
    Some(Curve {
        class,
        points,
        area: area / (positives * negatives),
    })
}

/// The curves of all classes; of two classes that of the second, since the other is the same turned round.
pub(super) fn curves(labels: &[usize], probabilities: ArrayView2<'_, f64>) -> Vec<Curve> {
    let classes = if probabilities.ncols() == 2 {
        1..2
    } else {
        0..probabilities.ncols()
    };
    let of_class = |class: usize| {
        let is_positive: Vec<bool> = labels.iter().map(|&label| label == class).collect();
        curve(class, &probabilities.column(class).to_vec(), &is_positive)
    };
    classes.filter_map(of_class).collect()
}

/// The curves, those with the smallest areas where there are many.
pub(super) fn pictures(names: &[String], labels: &[usize], probabilities: ArrayView2<'_, f64>) -> Pictures {
    let mut curves = curves(labels, probabilities);
    let count = curves.len();
    if curves.is_empty() {
        return Ok(Vec::new());
    }
    curves.sort_by(|one, other| one.area.total_cmp(&other.area));
    curves.truncate(COLOURS.len());
    let svg = draw((940, 640), "ROC curves, each class against the others", |below| {
        let (chart, right) = below.split_horizontally(620);
        draw_curves(&chart, &curves)?;
        let label = |curve: &Curve| {
            let name = names.get(curve.class).map_or("", String::as_str);
            format!("{}: area {:.3}", shortened(name, LONGEST_NAME), curve.area)
        };
        let labels: Vec<String> = curves.iter().map(label).collect();
        let named = labels.iter().map(String::as_str);
        legend(
            &right.margin(20, 0, 0, 0),
            1,
            named.zip(COLOURS.map(|colour| colour.filled())),
        )
    })?;
    let which = if count > curves.len() {
        format!(
            " Of {count} classes the {} with the smallest areas are shown.",
            curves.len()
        )
    } else {
        String::new()
    };
    let caption = format!(
        "The share of a class that is found against the share of the others that is wrongly taken for it, as the threshold of its \
         probability falls. The area is how often a row of the class has a higher probability of it than a row of another: 1 is \
         perfect, 0.5 is chance (grey).{which}"
    );
    Ok(vec![Picture {
        file: "roc.svg",
        title: "ROC curves",
        caption,
        svg,
    }])
}

fn draw_curves(area: &Area<'_>, curves: &[Curve]) -> Drawing {
    let frame = Frame {
        left: 64,
        right: 20,
        ..Frame::default()
    };
    let of_share = |name| Axis::new(name, -0.01..1.01).written(&share);
    let x = of_share("false positive rate: share of the others");
    let y = of_share("true positive rate: share of the class");
    let mut chart = axes(area, &frame, &x, &y)?;
    let chance = [(0.0, 0.0), (1.0, 1.0)];
    chart.draw_series([PathElement::new(chance, DARK_GREY.mix(0.5).stroke_width(2))])?;
    for (place, (curve, colour)) in curves.iter().zip(COLOURS).enumerate() {
        // The first ones are broader, so that one that lies under another is still seen.
        let width = 6_usize.saturating_sub(place).max(2) as u32;
        let points = thinned(&curve.points, POINTS);
        chart.draw_series(LineSeries::new(points, colour.stroke_width(width)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::super::super::super::dataset::Target;
    use super::super::super::super::evaluation::Evaluation;
    use super::*;

    fn classes(count: usize, labels: &[usize]) -> Target {
        let names = (0..count).map(|class| class.to_string()).collect();
        Target::Classes {
            names,
            labels: labels.to_vec(),
        }
    }

    proptest! {
        /// Scores on few steps, so that there are ties.
        #[test]
        fn the_areas_under_the_points_are_the_figure_of_the_evaluation(
            count in 2_usize..4, rows in prop::collection::vec((0_usize..4, prop::collection::vec(0_u8..6, 4)), 4..60),
        ) {
            let labels: Vec<usize> = rows.iter().map(|(label, _)| label % count).collect();
            let scores = Array2::from_shape_fn((rows.len(), count), |(row, class)| f64::from(rows[row].1[class]));
            let curves = curves(&labels, scores.view());
            let Evaluation::Classification { roc_auc, .. } = Evaluation::of(scores.view(), &classes(count, &labels)) else {
                panic!("classes")
            };
            if let Some(expected) = roc_auc {
                let mean = curves.iter().map(|curve| curve.area).sum::<f64>() / curves.len() as f64;
                prop_assert!((mean - expected).abs() < 1e-9, "{} {}", mean, expected);
            }
            for curve in &curves {
                let under: f64 = curve.points.windows(2)
                    .map(|pair| (pair[1].0 - pair[0].0) * f64::midpoint(pair[0].1, pair[1].1)).sum();
                prop_assert!((under - curve.area).abs() < 1e-9);
                prop_assert_eq!((curve.points[0], *curve.points.last().unwrap()), ((0.0, 0.0), (1.0, 1.0)));
                prop_assert!(curve.points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
            }
        }
    }

    #[test]
    fn a_class_without_rows_has_no_curve() {
        let probabilities = Array2::from_elem((3, 3), 0.3);
        let curves = curves(&[0, 1, 1], probabilities.view());
        let classes: Vec<usize> = curves.iter().map(|curve| curve.class).collect();
        assert_eq!(classes, [0, 1]);
    }

    #[test]
    fn classes_are_named_with_their_areas() {
        let names = ["no <b>".to_owned(), "yes & no".to_owned()];
        let probabilities = Array2::from_shape_vec((2, 2), vec![0.9, 0.1, 0.2, 0.8]).unwrap();
        let [picture] = &pictures(&names, &[0, 1], probabilities.view()).unwrap()[..] else {
            panic!("one picture")
        };
        assert!(
            picture.svg.contains("yes &amp; no: area 1.000"),
            "{}",
            picture.svg
        );
    }
}
