//! One training run from the data file to the artifact.

use std::path::PathBuf;

use super::TrainingError;
use super::artifact::Destination;
use super::dataset::{Dataset, Target, TargetKind};
use super::evaluation::Evaluation;
use super::fitted::FittedModel;
use super::linear_regression::LinearRegression;
use super::logistic_regression::LogisticRegression;
use super::neural_network::{Epoch, NeuralNetwork};
use super::random::Generator;
use super::report::Report;
use super::split::split;
use crate::model::artifact::{Metadata, Source, Task};
use crate::model::name::is_model_name;

/// An algorithm with its options.
#[derive(Clone, Debug, PartialEq)]
pub enum Algorithm {
    /// Least squares.
    LinearRegression(LinearRegression),
    /// Penalised maximum likelihood.
    LogisticRegression(LogisticRegression),
    /// Back-propagation; the target says whether numbers or classes are learnt.
    NeuralNetwork(NeuralNetwork, TargetKind),
}

impl Algorithm {
    /// The name on the command line and in `model.toml`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::LinearRegression(_) => "linear-regression",
            Self::LogisticRegression(_) => "logistic-regression",
            Self::NeuralNetwork(..) => "neural-network",
        }
    }

    fn target_kind(&self) -> TargetKind {
        match self {
            Self::LinearRegression(_) => TargetKind::Numbers,
            Self::LogisticRegression(_) => TargetKind::Classes,
            Self::NeuralNetwork(_, kind) => *kind,
        }
    }

    fn check(&self) -> Result<(), TrainingError> {
        match self {
            Self::LinearRegression(options) => options.check(),
            Self::LogisticRegression(options) => options.check(),
            Self::NeuralNetwork(options, _) => options.check(),
        }
    }

    /// The options, as `model.toml` keeps them.
    fn options(&self) -> toml::Table {
        match self {
            Self::LinearRegression(options) => table([("ridge", options.ridge.into())]),
            Self::LogisticRegression(options) => table([
                ("l2", options.l2.into()),
                ("max_iterations", integer(options.max_iterations)),
            ]),
            Self::NeuralNetwork(options, _) => table([
                ("hidden", toml::Value::Array(hidden(options))),
                ("epochs", integer(options.epochs as u64)),
                ("batch_size", integer(options.batch_size as u64)),
                ("learning_rate", options.learning_rate.into()),
                ("weight_decay", options.weight_decay.into()),
                ("validation_fraction", options.validation_fraction.into()),
                ("patience", integer(options.patience as u64)),
            ]),
        }
    }

    fn fit(
        &self,
        data: &Dataset,
        generator: &mut Generator,
        observe: &mut dyn FnMut(Epoch),
    ) -> Result<Box<dyn FittedModel>, TrainingError> {
        match (self, &data.target) {
            (Self::LinearRegression(options), Target::Numbers(values)) => Ok(Box::new(options.fit(
                &data.rows,
                values.view(),
                &data.features,
            )?)),
            (Self::LogisticRegression(options), Target::Classes { names, labels }) => {
                Ok(Box::new(options.fit(&data.rows, labels, names.len())?))
            }
            (Self::NeuralNetwork(options, _), _) => Ok(Box::new(options.fit(data, generator, observe)?)),
            _ => unreachable!("the data set was read with the target kind of the algorithm"),
        }
    }
}

/// What to fit on what, and where to write it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The data: CSV with a header.
    pub data: PathBuf,
    /// The column to predict.
    pub target: String,
    /// Where the artifact goes.
    pub destination: Destination,
    /// The share of rows held out.
    pub test_fraction: f64,
    /// Seeds every random choice.
    pub seed: u64,
    /// One line for people.
    pub description: Option<String>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The version written.
    pub version: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// Everything about the fit.
    pub report: Report,
}

impl Request {
    fn check(&self) -> Result<(), TrainingError> {
        let check = TrainingError::check;
        let Destination { model, version, .. } = &self.destination;
        check(
            is_model_name(model),
            "--model",
            "letters, digits, `.`, `_` and `-`, starting with a letter or digit",
            &format!("{model:?}"),
        )?;
        check(*version != Some(0), "--as-version", "at least 1", &0)?;
        let fraction = self.test_fraction;
        check(
            fraction > 0.0 && fraction < 1.0,
            "--test-fraction",
            "a share between 0 and 1, both excluded",
            &fraction,
        )?;
        check(
            i64::try_from(self.seed).is_ok(),
            "--seed",
            "below 2⁶³",
            &self.seed,
        )?;
        self.algorithm.check()
    }

    fn metadata(&self, data: &Dataset, report: &Report) -> Result<Metadata, TrainingError> {
        let mut training = table([
            ("algorithm", report.algorithm.into()),
            ("seed", integer(self.seed)),
            ("test_fraction", self.test_fraction.into()),
            ("train_rows", integer(report.train_rows.len() as u64)),
            ("test_rows", integer(report.test_rows.len() as u64)),
        ]);
        training.extend(report.options.clone());
        let task = match data.target {
            Target::Numbers(_) => Task::Regression,
            Target::Classes { .. } => Task::Classification,
        };
        let source = Source {
            data: self
                .data
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            target: self.target.clone(),
            rows: data.rows.nrows(),
        };
        Ok(Metadata {
            task: Some(task),
            description: self.description.clone(),
            features: report.features.clone(),
            classes: report.classes.clone(),
            source: Some(source),
            training,
            metrics: toml::Table::try_from(&report.metrics)
                .map_err(|error| TrainingError::Fit(error.to_string()))?,
        })
    }
}

/// Reads the data, fits on one part, computes the figures on the other, and writes the artifact. `observe` is told of
/// each epoch of an algorithm that has epochs.
pub fn run(request: &Request, observe: &mut dyn FnMut(Epoch)) -> Result<Outcome, TrainingError> {
    request.check()?;
    let version = request.destination.choose_version()?;
    let data = Dataset::read_csv(&request.data, &request.target, request.algorithm.target_kind())?;

    let mut generator = Generator::new(request.seed);
    let parts = split(&data.strata(), request.test_fraction, &mut generator);
    let model = request
        .algorithm
        .fit(&data.select(&parts.train), &mut generator, observe)?;
    let graph = model.graph();
    if !graph.is_finite() {
        return Err(TrainingError::OutOfRange);
    }

    let held_out = data.select(&parts.test);
    let classes = match &data.target {
        Target::Numbers(_) => Vec::new(),
        Target::Classes { names, .. } => names.clone(),
    };
    let report = Report {
        algorithm: request.algorithm.name(),
        options: request.algorithm.options(),
        seed: request.seed,
        features: data.features.clone(),
        classes,
        train_rows: parts.train,
        test_rows: parts.test,
        parameters: model.parameters(),
        metrics: Evaluation::of(model.predict(held_out.rows.view()).view(), &held_out.target),
    };
    let metadata = request.metadata(&data, &report)?;
    let properties = [
        ("features", json_list(&report.features)),
        ("classes", json_list(&report.classes)),
    ];
    let description = request.description.as_deref().unwrap_or_default();
    let graph = graph.encode(&request.destination.model, description, &properties);
    let folder = request.destination.write(version, &graph, &metadata)?;
    Ok(Outcome {
        version,
        folder,
        report,
    })
}

fn json_list(names: &[String]) -> String {
    serde_json::json!(names).to_string()
}

fn table<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Table {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// TOML's integers are signed; what does not fit was refused by the checks or is beyond any memory.
fn integer(number: u64) -> toml::Value {
    toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn hidden(options: &NeuralNetwork) -> Vec<toml::Value> {
    options
        .hidden
        .iter()
        .map(|&units| integer(units as u64))
        .collect()
}
