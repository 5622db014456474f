//! Forecasts of a series by a recurrent net, fitted by back-propagation through time.
//!
//! The target column is the series, in the order of the file. Its windows ([`windows`]) are the rows: T values that are
//! known, and the H values after them. All steps are forecast at once, from the net's last state.

mod baselines;
mod cell;
mod forecaster;
mod net;
mod transform;
mod windows;

use ndarray::Axis;

pub use self::cell::Cell;
pub use self::transform::Transform;

use self::baselines::{Part, autoregression, least_squares, seasonal_naive};
use self::forecaster::Forecaster;
use self::net::RecurrentNet;
use self::windows::{expanding, last_part, windows};
use super::TrainingError;
use super::algorithm::{Algorithm, Baseline, Context, Fitted};
use super::dataset::{Dataset, Roles, Target, TargetKind};
use super::network::{Goal, Samples, Schedule, check_size, matrix, train};
use super::options::integer;
use super::random::Generator;
use super::split::Split;
use super::standardise::Standardiser;
use crate::model::artifact::Metadata;

/// More steps of one window through all layers than this cannot be followed back: the search for gradients calls itself once
/// for each operation on the way.
const MAX_STEPS: usize = 1024;

/// How a recurrent net is built and fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentNetwork {
    /// What carries the state.
    pub cell: Cell,
    /// Values that a forecast is made from.
    pub window: usize,
    /// Values that are forecast.
    pub horizon: usize,
    /// Values after which the series is about where it was, for the forecast that a net is compared with.
    pub season: usize,
    /// Units of each layer.
    pub units: usize,
    /// Layers.
    pub layers: usize,
    /// What is done to the values before they are learnt.
    pub transform: Transform,
    /// Whether a linear autoregression stands beside the recurrent layers, which then learn what it leaves. They saturate,
    /// and it does not: values beyond those of the training part are forecast as well as it can.
    pub linear_part: bool,
    /// How long and how fast it learns.
    pub schedule: Schedule,
}

impl Algorithm for RecurrentNetwork {
    fn name(&self) -> &'static str {
        "recurrent-network"
    }

    fn options(&self) -> toml::Table {
        let mut options = self.schedule.options();
        options.insert("cell".to_owned(), self.cell.name().into());
        options.insert("transform".to_owned(), self.transform.name().into());
        options.insert("linear_part".to_owned(), self.linear_part.into());
        for (name, value) in [
            ("window", self.window),
            ("horizon", self.horizon),
            ("season", self.season),
            ("units", self.units),
            ("layers", self.layers),
        ] {
            options.insert(name.to_owned(), integer(value as u64));
        }
        options
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Numbers
    }

    fn check(&self) -> Result<(), TrainingError> {
        for (option, value) in [
            ("--window", self.window),
            ("--horizon", self.horizon),
            ("--season", self.season),
            ("--units", self.units),
            ("--layers", self.layers),
        ] {
            TrainingError::check(value > 0, option, "at least 1", &value)?;
        }
        let steps = self.window.saturating_mul(self.layers);
        let expected = "so short that window × layers is at most 1024";
        TrainingError::check(steps <= MAX_STEPS, "--window", expected, &self.window)?;
        self.schedule.check()
    }

    fn complete_roles(&self, roles: &mut Roles) {
        roles.is_target_alone = true;
    }

    fn prepare(&self, data: Dataset) -> Result<Dataset, TrainingError> {
        let Target::Numbers(series) = &data.target else {
            return Err(TrainingError::wrong_target());
        };
        let refused = series.iter().find(|&&value| !self.transform.takes(value));
        if let Some(value) = refused {
            return Err(TrainingError::Option {
                option: "--transform",
                expected: "none for a series with values below 0",
                found: format!("{}: a value is {value}", self.transform.name()),
            });
        }
        windows(series.view(), self.window, self.horizon)
    }

    fn split(&self, data: &Dataset, fraction: f64, _: &mut Generator) -> Split {
        last_part(data.rows(), fraction, self.horizon - 1)
    }

    fn divide(&self, training: &Dataset, parts: usize) -> Option<Vec<Split>> {
        Some(expanding(training.rows(), parts, self.horizon - 1))
    }

    fn fit(&self, data: &Dataset, context: &mut Context<'_>) -> Result<Fitted, TrainingError> {
        let (forecaster, _) = self.learn(data, context)?;
        Ok(Fitted {
            graph: forecaster.graph(self.window),
            parameters: forecaster.parameters(),
            inputs: Metadata {
                features: data.names(),
                ..Metadata::default()
            },
            tokenizer: None,
        })
    }

    fn baselines(&self, training: &Dataset, held_out: &Dataset) -> Result<Vec<Baseline>, TrainingError> {
        let (training, held_out) = (Part::of(training)?, Part::of(held_out)?);
        let mut baselines = vec![
            seasonal_naive(&training, &held_out, self.season)?,
            autoregression(&training, &held_out, Transform::None)?,
        ];
        if self.transform != Transform::None {
            baselines.push(autoregression(&training, &held_out, self.transform)?);
        }
        Ok(baselines)
    }
}

impl RecurrentNetwork {
    /// The fitted net, in the series' unit and as it was fitted: on standardised values.
    fn learn(
        &self,
        data: &Dataset,
        context: &mut Context<'_>,
    ) -> Result<(Forecaster, RecurrentNet), TrainingError> {
        let is_cut_for_it = data.columns.len() == self.window && steps(&data.target) == Some(self.horizon);
        let expected = "of other options than window and horizon, which say what a row is";
        TrainingError::check(is_cut_for_it, "--grid", expected, &"one of them")?;
        let data = self.transformed(data)?;
        let Split { train: learnt, test } =
            last_part(data.rows(), self.schedule.validation_fraction, self.horizon - 1);
        if learnt.is_empty() {
            return Err(TrainingError::ShortSeries {
                window: self.window,
                horizon: self.horizon,
            });
        }
        check_size(self.parameters(), "--units")?;
        let (learnt, unseen) = (data.select(&learnt), data.select(&test));
        let goal = Goal::of(&learnt.target);
        let unit = unit_of(&learnt)?;
        let values = |part: &Dataset| Ok::<_, TrainingError>((part.matrix()? - unit.mean[0]) / unit.scale[0]);
        let samples = |part: &Dataset| Samples::new(vec![matrix(&values(part)?)?], part, &goal);
        let (training, validation) = (samples(&learnt)?, samples(&unseen)?);
        let mut linear = match (&goal, &learnt.target) {
            (Goal::Numbers(unit), Target::Steps(steps)) if self.linear_part => {
                Some(least_squares(&values(&learnt)?, &unit.apply(steps.view()))?)
            }
            _ => None,
        };
        let net = RecurrentNet::new(self, linear.as_ref(), context.generator)?;
        train(&net, (&training, &validation), &goal, &self.schedule, context)?;
        let mut head = net.head()?;
        if let Goal::Numbers(unit) = &goal {
            head.weights = &head.weights * &unit.scale;
            head.bias = &head.bias * &unit.scale + &unit.mean;
            if let Some(linear) = &mut linear {
                linear.weights = &linear.weights * &unit.scale;
                linear.bias = &linear.bias * &unit.scale;
            }
        }
        let forecaster = Forecaster {
            cell: self.cell,
            transform: self.transform,
            mean: unit.mean[0],
            scale: unit.scale[0],
            layers: net.recurrences()?,
            head,
            linear,
        };
        Ok((forecaster, net))
    }

    /// The windows with every value as it is learnt.
    fn transformed(&self, data: &Dataset) -> Result<Dataset, TrainingError> {
        let Target::Steps(steps) = &data.target else {
            return Err(TrainingError::wrong_target());
        };
        let apply = |value: f64| self.transform.apply(value);
        let target = Target::Steps(steps.mapv(apply));
        Ok(Dataset::of_numbers(
            &data.names(),
            &data.matrix()?.mapv(apply),
            target,
        ))
    }

    fn parameters(&self) -> usize {
        let gates = self.cell.gates().saturating_mul(self.units);
        let layer = |inputs: usize| {
            inputs
                .saturating_add(self.units)
                .saturating_add(2)
                .saturating_mul(gates)
        };
        let deeper = layer(self.units).saturating_mul(self.layers - 1);
        let head = self.horizon.saturating_mul(self.units.saturating_add(1));
        layer(1).saturating_add(deeper).saturating_add(head)
    }
}

fn steps(target: &Target) -> Option<usize> {
    match target {
        Target::Steps(steps) => Some(steps.ncols()),
        _ => None,
    }
}

/// One mean and deviation for all values of the windows.
fn unit_of(data: &Dataset) -> Result<Standardiser, TrainingError> {
    let values = data.matrix()?.into_iter().collect::<ndarray::Array1<f64>>();
    Ok(Standardiser::fit(values.view().insert_axis(Axis(1))))
}

#[cfg(test)]
mod tests;
