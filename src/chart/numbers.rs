//! Numbers and names as pictures show them.

use std::ops::Range;

/// Beyond this, differences could overflow.
const LARGEST: f64 = 1e300;

/// Whether a value has a place on an axis: finite, and not so large that differences could overflow.
#[must_use]
pub fn is_drawable(value: f64) -> bool {
    value.abs() <= LARGEST
}

/// A range that shows all drawable `values`, with a margin of this share of it on each side; never empty, always finite.
#[must_use]
pub fn axis(values: impl IntoIterator<Item = f64>, margin: f64) -> Range<f64> {
    let drawable = values.into_iter().filter(|value| is_drawable(*value));
    let (least, most) = drawable.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    if least > most {
        return 0.0..1.0;
    }
    let width = most - least;
    let magnitude = least.abs().max(most.abs());
    if width <= magnitude * 1e-9 {
        let around = if magnitude > 0.0 { magnitude / 2.0 } else { 1.0 };
        return least - around..most + around;
    }
    least - margin * width..most + margin * width
}

/// A number to at most four significant digits, without zeros that say nothing.
#[must_use]
pub fn short(value: f64) -> String {
    let magnitude = value.abs();
    // What is so near zero beside an axis stands for it.
    if magnitude < 1e-12 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&magnitude) {
        return trimmed_exponent(&format!("{value:.2e}"));
    }
    let after_point = (3 - magnitude.log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.after_point$}");
    trimmed(&text).to_owned()
}

fn trimmed(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

fn trimmed_exponent(text: &str) -> String {
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{}e{exponent}", trimmed(digits)),
        None => text.to_owned(),
    }
}

/// A name on one line, at most `longest` characters of it; what stands in no picture or page is left out.
#[must_use]
pub fn shortened(name: &str, longest: usize) -> String {
    let clean = clean(name);
    if clean.chars().count() <= longest {
        return clean;
    }
    let kept: String = clean.chars().take(longest.saturating_sub(1)).collect();
    kept + "…"
}

/// A text on one line, without the characters that XML forbids.
#[must_use]
pub fn clean(text: &str) -> String {
    let is_shown =
        |character: &char| !character.is_control() && !matches!(character, '\u{fffe}' | '\u{ffff}');
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(is_shown).collect()
}

/// At most about `most` of the points, evenly chosen; the first and the last always.
#[must_use]
pub fn thinned<T: Copy>(points: &[T], most: usize) -> Vec<T> {
    let step = points.len().div_ceil(most.max(1)).max(1);
    let mut kept: Vec<T> = points.iter().copied().step_by(step).collect();
    if let Some(&last) = points.last()
        && !(points.len() - 1).is_multiple_of(step)
    {
        kept.push(last);
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_axis_shows_every_drawable_value_and_has_a_width(values in prop::collection::vec(prop::num::f64::ANY, 0..20)) {
            let axis = axis(values.iter().copied(), 0.05);
            prop_assert!(axis.start < axis.end && (axis.end - axis.start).is_finite(), "{:?}", axis);
            for value in values.into_iter().filter(|value| is_drawable(*value)) {
                prop_assert!(axis.contains(&value) || value == axis.end, "{} {:?}", value, axis);
            }
        }

        #[test]
        fn a_short_number_reads_back_to_three_digits(value in prop::num::f64::NORMAL) {
            let read: f64 = short(value).parse().unwrap();
            prop_assert!((read - value).abs() <= 6e-3 * value.abs() || value.abs() < 1e-12, "{} {}", value, read);
        }

        #[test]
        fn names_fit_and_stay_on_one_line(name: String, longest in 1_usize..30) {
            let short = shortened(&name, longest);
            prop_assert!(short.chars().count() <= longest);
            prop_assert!(!short.contains(char::is_control));
        }

        #[test]
        fn thinned_points_keep_both_ends(count in 1_usize..500, most in 1_usize..50) {
            let points: Vec<usize> = (0..count).collect();
            let kept = thinned(&points, most);
            prop_assert!(kept.len() <= most + 1 && kept[0] == 0 && kept.last() == Some(&(count - 1)));
        }
    }

    #[test]
    fn numbers_are_written_without_noise() {
        for (value, expected) in [
            (0.1 + 0.2, "0.3"),
            (0.0, "0"),
            (-2.50, "-2.5"),
            (1234.56, "1235"),
            (0.012_345_6, "0.01235"),
            (1e-5, "1e-5"),
            (2.5e7, "2.5e7"),
            (100.0, "100"),
            (1.0, "1"),
        ] {
            assert_eq!(short(value), expected);
        }
    }
}
