//! Simple forecasts that a net must better, on the same windows.

use ndarray::{Array1, Array2};

use super::super::TrainingError;
use super::super::algorithm::Baseline;
use super::super::dataset::{Dataset, Target};
use super::super::feed_forward::Dense;
use super::super::linear_regression::LinearRegression;
use super::Transform;
use super::windows::series;

/// Lags of a smooth series all but determine each other. So small a penalty changes no forecast that is otherwise well
/// defined, and chooses one that is not.
const RIDGE: f64 = 1e-6;

/// Windows (n × T), and the values after each (n × H).
pub(super) struct Part {
    known: Array2<f64>,
    steps: Array2<f64>,
}

impl Part {
    pub(super) fn of(data: &Dataset) -> Result<Self, TrainingError> {
        let Target::Steps(steps) = &data.target else {
            return Err(TrainingError::wrong_target());
        };
        Ok(Self {
            known: data.matrix()?,
            steps: steps.clone(),
        })
    }

    fn baseline(&self, name: &'static str, forecast: &Array2<f64>) -> Baseline {
        let squares = (forecast - &self.steps).mapv(|error| error * error);
        Baseline {
            name,
            figure: "rmse",
            value: squares.mean().unwrap_or(0.0).sqrt(),
        }
    }
}

/// What was seen one season ago, at the last time whose value is known. A season of 1 repeats the last value.
pub(super) fn seasonal_naive(
    training: &Part,
    held_out: &Part,
    season: usize,
) -> Result<Baseline, TrainingError> {
    let mut values = series(&training.known, &training.steps).to_vec();
    let start = values.len();
    let expected = "at most the values of the training part";
    TrainingError::check(season <= start, "--season", expected, &season)?;
    // What is held out is forecast from where the training part ends.
    values.extend(held_out.steps.column(0));
    let forecast = Array2::from_shape_fn(held_out.steps.dim(), |(row, step)| {
        values[start + row + step - season * (step / season + 1)]
    });
    Ok(held_out.baseline("seasonal-naive forecast", &forecast))
}

/// Least squares from a window to each of the steps, one regression a step, on transformed values.
pub(super) fn autoregression(
    training: &Part,
    held_out: &Part,
    transform: Transform,
) -> Result<Baseline, TrainingError> {
    let apply = |values: &Array2<f64>| values.mapv(|value| transform.apply(value));
    let (known, steps, unseen) = (
        apply(&training.known),
        apply(&training.steps),
        apply(&held_out.known),
    );
    let Dense { weights, bias } = least_squares(&known, &steps)?;
    let forecast = (unseen.dot(&weights) + &bias).mapv(|value| transform.invert(value));
    let name = match transform {
        Transform::None => "linear autoregression",
        Transform::Sqrt => "linear autoregression of square roots",
        Transform::Log => "linear autoregression of logarithms",
    };
    Ok(held_out.baseline(name, &forecast))
}

/// The affine map from windows (n × T) to steps (n × H) with the least squared error.
pub(super) fn least_squares(known: &Array2<f64>, steps: &Array2<f64>) -> Result<Dense, TrainingError> {
    let mut weights = Array2::zeros((known.ncols(), steps.ncols()));
    let mut bias = Array1::zeros(steps.ncols());
    for (step, values) in steps.columns().into_iter().enumerate() {
        let fitted = LinearRegression {
            ridge: RIDGE,
            lasso: 0.0,
        }
        .fit_rows(known, values, &[])?;
        // Of columns as they are, and not standardised.
        let own = &fitted.layers[0].weights.column(0) / &fitted.standardiser.scale;
        bias[step] = fitted.layers[0].bias[0] - fitted.standardiser.mean.dot(&own);
        weights.column_mut(step).assign(&own);
    }
    Ok(Dense { weights, bias })
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::super::windows::{last_part, windows};
    use super::*;

    fn parts(series: impl Fn(usize) -> f64) -> (Part, Part) {
        let series = Array1::from_shape_fn(100, series);
        let data = windows(series.view(), 4, 5).unwrap();
        let split = last_part(data.rows(), 0.3, 4);
        let part = |rows: &[usize]| Part::of(&data.select(rows)).unwrap();
        (part(&split.train), part(&split.test))
    }

    #[test]
    fn what_comes_again_is_forecast_from_its_season() {
        let (training, held_out) = parts(|time| (time % 7) as f64);
        for (season, is_exact) in [(7, true), (14, true), (3, false)] {
            let rmse = seasonal_naive(&training, &held_out, season).unwrap().value;
            assert_eq!(rmse == 0.0, is_exact, "season {season}: {rmse}");
        }
        let error = seasonal_naive(&training, &held_out, 90).unwrap_err();
        assert!(
            error.is_usage() && error.to_string().starts_with("--season"),
            "{error}"
        );
    }

    /// A season that is shorter than the horizon may only repeat what was known.
    #[test]
    fn a_season_of_1_repeats_the_last_value() {
        let (training, held_out) = parts(|time| time as f64);
        let rmse = seasonal_naive(&training, &held_out, 1).unwrap().value;
        // Steps 1 to 5 are off by 1 to 5.
        assert!((rmse - 11_f64.sqrt()).abs() < 1e-12, "{rmse}");
    }

    #[test]
    fn a_wave_is_a_linear_recurrence() {
        let wave = |time: usize| 2.0 + (time as f64 * 0.7).sin();
        let (training, held_out) = parts(wave);
        let baseline = autoregression(&training, &held_out, Transform::None).unwrap();
        assert!(baseline.value < 1e-6, "{baseline:?}");
        let (training, held_out) = parts(|time| wave(time).powi(2));
        let of_roots = autoregression(&training, &held_out, Transform::Sqrt).unwrap();
        assert!(of_roots.value < 1e-5, "{of_roots:?}");
    }
}
