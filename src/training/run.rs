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

    fn metadata(&self, data: &Dataset, report: &Report) -> Metadata {
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
        Metadata {
            task: Some(task),
            description: self.description.clone(),
            features: report.features.clone(),
            classes: report.classes.clone(),
            source: Some(source),
            training,
            metrics: metrics(&report.metrics),
        }
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
    let metadata = request.metadata(&data, &report);
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

/// The figures as `model.toml` keeps them: to nine digits, because the last ones of 64 bits differ between machines.
fn metrics(evaluation: &Evaluation) -> toml::Table {
    let rounded = |figure: f64| -> toml::Value { format!("{figure:.8e}").parse().unwrap_or(figure).into() };
    match evaluation {
        Evaluation::Regression { r2, rmse } => table([("r2", rounded(*r2)), ("rmse", rounded(*rmse))]),
        Evaluation::Classification {
            accuracy,
            log_loss,
            confusion,
        } => table([
            ("accuracy", rounded(*accuracy)),
            ("log_loss", rounded(*log_loss)),
            ("confusion", confusion.clone().into()),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ndarray::Array2;
    use tract_onnx::prelude::*;

    use super::*;
    use crate::model::artifact::{Artifact, GRAPH_FILE, METADATA_FILE};

    fn network() -> NeuralNetwork {
        NeuralNetwork {
            hidden: vec![8, 4],
            epochs: 3,
            batch_size: 32,
            learning_rate: 0.01,
            weight_decay: 1e-4,
            validation_fraction: 0.2,
            patience: 2,
        }
    }

    fn data(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file)
    }

    fn request(algorithm: Algorithm, repository: &Path) -> Request {
        let (file, target) = match algorithm.target_kind() {
            TargetKind::Numbers => ("diabetes.csv", "progression"),
            TargetKind::Classes => ("iris.csv", "species"),
        };
        Request {
            algorithm,
            data: data(file),
            target: target.into(),
            destination: Destination {
                repository: repository.into(),
                model: "m".into(),
                version: None,
                force: false,
            },
            test_fraction: 0.2,
            seed: 7,
            description: Some("A test.".into()),
        }
    }

    fn algorithms() -> [Algorithm; 4] {
        [
            Algorithm::LinearRegression(LinearRegression { ridge: 0.0 }),
            Algorithm::LogisticRegression(LogisticRegression {
                l2: 1.0,
                max_iterations: 1000,
            }),
            Algorithm::NeuralNetwork(network(), TargetKind::Classes),
            Algorithm::NeuralNetwork(network(), TargetKind::Numbers),
        ]
    }

    /// What tract answers for `rows`, row by row.
    fn infer(graph: &Path, rows: &Array2<f64>) -> Vec<f64> {
        let input = tract_ndarray::Array2::from_shape_fn(rows.dim(), |place| rows[place] as f32);
        let model = onnx()
            .model_for_path(graph)
            .and_then(|model| model.with_input_fact(0, f32::fact(rows.shape()).into()))
            .and_then(InferenceModelExt::into_optimized)
            .and_then(IntoRunnable::into_runnable)
            .unwrap();
        let outputs = model.run(tvec!(input.into_tensor().into())).unwrap();
        outputs[0]
            .to_plain_array_view::<f32>()
            .unwrap()
            .iter()
            .copied()
            .map(f64::from)
            .collect()
    }

    #[test]
    fn the_written_graph_computes_what_the_fitted_model_predicts() {
        let folder = tempfile::tempdir().unwrap();
        for algorithm in algorithms() {
            let request = request(algorithm, folder.path());
            let outcome = run(&request, &mut |_| ()).unwrap();

            let kind = request.algorithm.target_kind();
            let data = Dataset::read_csv(&request.data, &request.target, kind).unwrap();
            let mut generator = Generator::new(request.seed);
            let parts = split(&data.strata(), request.test_fraction, &mut generator);
            let training = data.select(&parts.train);
            let model = request
                .algorithm
                .fit(&training, &mut generator, &mut |_| ())
                .unwrap();

            let predicted = model.predict(data.rows.view());
            let computed = infer(&outcome.folder.join(GRAPH_FILE), &data.rows);
            assert_eq!(computed.len(), predicted.len());
            for (one, other) in computed.iter().zip(&predicted) {
                let allowed = (1e-5 * other.abs()).max(1e-6);
                assert!(
                    (one - other).abs() <= allowed,
                    "{}: {one} {other}",
                    request.algorithm.name()
                );
            }
        }
    }

    #[test]
    fn a_seed_is_an_artifact_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        for algorithm in algorithms() {
            let request = request(algorithm, folder.path());
            let [once, again] = [(), ()].map(|()| run(&request, &mut |_| ()).unwrap().folder);
            assert_ne!(once, again);
            for file in [GRAPH_FILE, METADATA_FILE] {
                let [once, again] = [&once, &again].map(|folder| std::fs::read(folder.join(file)).unwrap());
                assert!(once == again, "{file} of {}", request.algorithm.name());
            }
            let other = run(&Request { seed: 8, ..request }, &mut |_| ()).unwrap().folder;
            assert_ne!(
                std::fs::read(other.join(GRAPH_FILE)).unwrap(),
                std::fs::read(once.join(GRAPH_FILE)).unwrap()
            );
        }
    }

    #[test]
    fn the_metadata_says_how_the_model_came_about() {
        let folder = tempfile::tempdir().unwrap();
        let [_, logistic, ..] = algorithms();
        let outcome = run(&request(logistic, folder.path()), &mut |_| ()).unwrap();
        let metadata = Artifact::read(&outcome.folder).unwrap().metadata;
        assert_eq!(metadata.task, Some(Task::Classification));
        assert_eq!(
            metadata.features,
            ["sepal_length", "sepal_width", "petal_length", "petal_width"]
        );
        assert_eq!(metadata.classes, ["setosa", "versicolor", "virginica"]);
        let source = Source {
            data: "iris.csv".into(),
            target: "species".into(),
            rows: 150,
        };
        assert_eq!(metadata.source, Some(source));
        assert_eq!(
            metadata.training["algorithm"].as_str(),
            Some("logistic-regression")
        );
        assert_eq!(metadata.training["train_rows"].as_integer(), Some(120));
        assert_eq!(metadata.training["l2"].as_float(), Some(1.0));
        assert!(metadata.metrics["accuracy"].as_float().unwrap() > 0.9);
    }

    #[test]
    fn wrong_use_starts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let right = request(algorithms()[0].clone(), folder.path());
        let named = |model: &str| Destination {
            model: model.into(),
            ..right.destination.clone()
        };
        let version_zero = Destination {
            version: Some(0),
            ..right.destination.clone()
        };
        let penalty = Algorithm::LinearRegression(LinearRegression { ridge: -1.0 });
        for (option, wrong) in [
            (
                "--model",
                Request {
                    destination: named("../m"),
                    ..right.clone()
                },
            ),
            (
                "--as-version",
                Request {
                    destination: version_zero,
                    ..right.clone()
                },
            ),
            (
                "--test-fraction",
                Request {
                    test_fraction: 0.0,
                    ..right.clone()
                },
            ),
            (
                "--test-fraction",
                Request {
                    test_fraction: 1.0,
                    ..right.clone()
                },
            ),
            (
                "--test-fraction",
                Request {
                    test_fraction: f64::NAN,
                    ..right.clone()
                },
            ),
            (
                "--seed",
                Request {
                    seed: u64::MAX,
                    ..right.clone()
                },
            ),
            (
                "--ridge",
                Request {
                    algorithm: penalty,
                    ..right.clone()
                },
            ),
        ] {
            let error = run(&wrong, &mut |_| ()).unwrap_err();
            assert!(
                error.is_usage() && error.to_string().starts_with(option),
                "{error}"
            );
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn values_beyond_32_bits_are_told_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let huge = folder.path().join("huge.csv");
        std::fs::write(&huge, "a,t\n1,1e200\n2,2e200\n3,3.5e200\n4,4e200\n5,5e200\n").unwrap();
        let right = request(algorithms()[0].clone(), &folder.path().join("models"));
        let error = run(
            &Request {
                data: huge,
                target: "t".into(),
                ..right
            },
            &mut |_| (),
        )
        .unwrap_err();
        assert!(matches!(error, TrainingError::OutOfRange), "{error}");
        assert!(!folder.path().join("models").exists());
    }
}
