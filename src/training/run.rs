//! One training run from the data file to the artifact.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::Array2;

use super::TrainingError;
use super::algorithm::{Algorithm, Baseline, Context, Fitted};
use super::artifact::{Destination, Draft};
use super::card;
use super::cross_validation::{folds, mean_and_deviation};
use super::dataset::{Dataset, Roles};
use super::encoding::Unknown;
use super::evaluation::Evaluation;
use super::network::Epoch;
use super::options::{integer, table};
use super::random::Generator;
use super::report::{Candidate, Report};
use super::score;
use super::split::Split;
use crate::model::artifact::{GRAPH_FILE, Metadata, Source, TOKENIZER_FILE, Task};
use crate::model::name::is_model_name;

/// What to fit on what, and where to write it.
pub struct Request {
    /// The algorithm; several, where the best of them by cross-validation is wanted.
    pub candidates: Vec<Box<dyn Algorithm>>,
    /// The data file.
    pub data: PathBuf,
    /// Which of its columns is what.
    pub roles: Roles,
    /// What becomes of categories that the training part did not have.
    pub unknown: Unknown,
    /// Whether all classes count the same, however many rows they have.
    pub balance_classes: bool,
    /// How many parts the training part is divided into to see how good a fit is on unseen rows; none to leave that out.
    pub cross_validate: Option<usize>,
    /// Where the artifact goes.
    pub destination: Destination,
    /// The share of rows held out.
    pub test_fraction: f64,
    /// Seeds every random choice.
    pub seed: u64,
    /// Seeds the choice of the rows held out, where that is not to change with `seed`.
    pub split_seed: Option<u64>,
    /// One line for people.
    pub description: Option<String>,
    /// The command that asks for the same, for the card.
    pub command: Option<String>,
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

/// How far a run is, for whoever watches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// An epoch of a net ended.
    Epoch(Epoch),
    /// A part of a cross-validation begins.
    Fold {
        /// The candidate, counted from 1.
        candidate: usize,
        /// How many there are.
        candidates: usize,
        /// The part, counted from 1.
        fold: usize,
        /// How many there are.
        folds: usize,
    },
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
        let seeds = [("--seed", self.seed), ("--split-seed", self.split_seed())];
        for (option, seed) in seeds {
            check(i64::try_from(seed).is_ok(), option, "below 2⁶³", &seed)?;
        }
        if let Some(folds) = self.cross_validate {
            check(folds >= 2, "--cross-validate", "at least 2", &folds)?;
        }
        self.candidates.iter().try_for_each(|candidate| candidate.check())
    }

    /// The seed of the choice of the rows held out.
    pub(super) fn split_seed(&self) -> u64 {
        self.split_seed.unwrap_or(self.seed)
    }

    fn metadata(&self, report: &Report, fitted: &Fitted, rows: usize) -> Metadata {
        let mut training = table([
            ("algorithm", report.algorithm.into()),
            ("seed", integer(self.seed)),
            ("test_fraction", self.test_fraction.into()),
            ("train_rows", integer(report.train_rows.len() as u64)),
            ("test_rows", integer(report.test_rows.len() as u64)),
        ]);
        if let Some(seed) = self.split_seed {
            training.insert("split_seed".to_owned(), integer(seed));
        }
        if self.balance_classes {
            training.insert("class_weights".to_owned(), "balanced".into());
        }
        training.extend(report.options.clone());
        let task = fitted.inputs.task.unwrap_or(match report.metrics {
            Evaluation::Regression { .. } => Task::Regression,
            Evaluation::Forecast { .. } => Task::Forecast,
            Evaluation::Classification { .. } => Task::Classification,
        });
        let source = Source {
            data: self
                .data
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            target: self.roles.target.clone(),
            rows,
        };
        Metadata {
            task: Some(task),
            description: self.description.clone(),
            classes: report.classes.clone(),
            source: Some(source),
            training,
            metrics: metrics(&report.metrics, &report.baselines),
            ..fitted.inputs.clone()
        }
    }
}

/// Reads the data, fits on one part, computes the figures on the other, and writes the artifact. `observe` is told how far
/// it is. Once `stop` is set, a fit that goes on by epochs ends with the best so far, and the search for the best
/// candidate with those tried so far.
pub fn run(
    request: &Request,
    observe: &mut dyn FnMut(Progress),
    stop: &AtomicBool,
) -> Result<Outcome, TrainingError> {
    request.check()?;
    let first = request.candidates.first().ok_or(TrainingError::NoCandidate)?;
    request.destination.remove_leftovers();
    let version = request.destination.choose_version()?;
    let mut roles = request.roles.clone();
    first.complete_roles(&mut roles);
    let read = first.read(&request.data, &roles)?;
    let rows = read.rows();
    let data = first.prepare(read)?;

    let mut generator = Generator::new(request.seed);
    let mut parts = first.split(&data, request.test_fraction, &mut generator);
    if let Some(seed) = request.split_seed {
        // The fit goes on with the generator where it would be without this, so that the same two seeds are as one.
        parts = first.split(&data, request.test_fraction, &mut Generator::new(seed));
    }
    let mut training = data.select(&parts.train);
    let held_out = data.select(&parts.test);
    if request.balance_classes {
        training.balance_classes();
    }
    let mut fitting = Fitting {
        request,
        roles: &roles,
        draft: request.destination.draft(version)?,
        observe,
        stop,
    };
    let (chosen, candidates) = fitting.choose(&training)?;
    let algorithm = &request.candidates[chosen];
    let mut curve = Vec::new();
    let fitted = fitting.fit(algorithm.as_ref(), &training, &mut generator, &mut curve)?;
    let predictions = fitting.predict(&fitted, &held_out)?;
    let report = Report {
        algorithm: algorithm.name(),
        options: algorithm.options(),
        seed: request.seed,
        features: data.names(),
        classes: data.target.class_names().to_vec(),
        train_rows: parts.train,
        test_rows: parts.test,
        parameters: fitted.parameters.clone(),
        metrics: evaluation(&fitted, &predictions, &held_out),
        baselines: algorithm.baselines(&training, &held_out)?,
        candidates,
        epochs: curve,
    };
    let draft = fitting.draft;
    let subject = card::Subject {
        request,
        roles: &roles,
        report: &report,
        inputs: &fitted.graph.inputs,
        training: &training,
        held_out: &held_out,
        predictions: predictions.view(),
        predict: &|data| score::predict(&draft.graph_path(), &fitted.inputs, data),
        graph_size: graph_size(&draft),
    };
    card::write(&subject, &draft)?;
    draft.write_metadata(&request.metadata(&report, &fitted, rows))?;
    let folder = draft.publish()?;
    Ok(Outcome {
        version,
        folder,
        report,
    })
}

fn graph_size(draft: &Draft) -> usize {
    let size = std::fs::metadata(draft.graph_path()).map_or(u64::MAX, |file| file.len());
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// What every fit of one run shares.
struct Fitting<'a> {
    request: &'a Request,
    roles: &'a Roles,
    draft: Draft,
    observe: &'a mut dyn FnMut(Progress),
    stop: &'a AtomicBool,
}

impl Fitting<'_> {
    /// The best candidate by cross-validation, and what each came to; the first where nothing is to be compared.
    fn choose(&mut self, training: &Dataset) -> Result<(usize, Vec<Candidate>), TrainingError> {
        let Some(count) = self.request.cross_validate else {
            return Ok((0, Vec::new()));
        };
        let request = self.request;
        let mut results: Vec<Candidate> = Vec::new();
        for (position, algorithm) in request.candidates.iter().enumerate() {
            match self.cross_validate(algorithm.as_ref(), training, (position, count)) {
                Ok(result) => results.push(result),
                Err(TrainingError::Interrupted) if !results.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        // Whoever ended the search wants the fit that it found.
        self.stop.store(false, Ordering::Relaxed);
        let mut best = 0;
        for (position, result) in results.iter().enumerate() {
            if result.mean > results[best].mean {
                best = position;
            }
        }
        Ok((best, results))
    }

    fn cross_validate(
        &mut self,
        algorithm: &dyn Algorithm,
        training: &Dataset,
        (position, count): (usize, usize),
    ) -> Result<Candidate, TrainingError> {
        let mut scores = Vec::with_capacity(count);
        let mut name = "";
        for (fold, Split { train, test }) in self.divide(algorithm, training, count)?.into_iter().enumerate()
        {
            if self.stop.load(Ordering::Relaxed) {
                return Err(TrainingError::Interrupted);
            }
            (self.observe)(Progress::Fold {
                candidate: position + 1,
                candidates: self.request.candidates.len(),
                fold: fold + 1,
                folds: count,
            });
            // The same chance for every candidate, so that only their options differ.
            let mut generator = Generator::new(self.request.seed);
            let part = training.select(&train);
            let fitted = self.fit(algorithm, &part, &mut generator, &mut Vec::new())?;
            let unseen = training.select(&test);
            let predictions = self.predict(&fitted, &unseen)?;
            let (figure, score) = evaluation(&fitted, &predictions, &unseen).score();
            name = figure;
            scores.push(score);
        }
        let (mean, deviation) = mean_and_deviation(&scores);
        Ok(Candidate {
            options: algorithm.options(),
            figure: name,
            mean,
            deviation,
            scores,
        })
    }

    fn divide(
        &self,
        algorithm: &dyn Algorithm,
        training: &Dataset,
        count: usize,
    ) -> Result<Vec<Split>, TrainingError> {
        let rows = training.rows();
        let expected = "at most the rows of the training part";
        TrainingError::check(count <= rows, "--cross-validate", expected, &count)?;
        let mut generator = Generator::new(self.request.seed);
        if let Some(splits) = algorithm.divide(training, count) {
            return Ok(splits);
        }
        let parts = folds(&training.target.strata(), count, &mut generator);
        let without = |part: &Vec<usize>| (0..rows).filter(|row| part.binary_search(row).is_err()).collect();
        Ok(parts
            .into_iter()
            .map(|test| Split {
                train: without(&test),
                test,
            })
            .collect())
    }

    fn fit(
        &mut self,
        algorithm: &dyn Algorithm,
        training: &Dataset,
        generator: &mut Generator,
        curve: &mut Vec<Epoch>,
    ) -> Result<Fitted, TrainingError> {
        let observe = &mut self.observe;
        let mut context = Context {
            generator,
            observe: &mut |epoch| {
                curve.push(epoch);
                observe(Progress::Epoch(epoch));
            },
            stop: self.stop,
            missing: self.roles.missing,
            unknown: self.request.unknown,
        };
        let fitted = algorithm.fit(training, &mut context)?;
        if !fitted.graph.is_finite() {
            return Err(TrainingError::OutOfRange);
        }
        Ok(fitted)
    }

    /// Writes the graph and lets it predict, so that every figure is that of the file.
    fn predict(&self, fitted: &Fitted, data: &Dataset) -> Result<Array2<f64>, TrainingError> {
        let request = self.request;
        let properties = [
            ("features", json_list(&data.names())),
            ("classes", json_list(data.target.class_names())),
        ];
        let description = request.description.as_deref().unwrap_or_default();
        let graph = fitted
            .graph
            .encode(&request.destination.model, description, &properties);
        self.draft.write(GRAPH_FILE, &graph)?;
        if let Some(tokenizer) = &fitted.tokenizer {
            self.draft.write(TOKENIZER_FILE, tokenizer)?;
        }
        score::predict(&self.draft.graph_path(), &fitted.inputs, data)
    }
}

fn evaluation(fitted: &Fitted, predictions: &Array2<f64>, data: &Dataset) -> Evaluation {
    let evaluation = Evaluation::of(predictions.view(), &data.target);
    match fitted.inputs.task {
        // A label is all there is of a class where the answer is no classification.
        Some(Task::Generic) => evaluation.without_probabilities(),
        _ => evaluation,
    }
}

fn json_list(names: &[String]) -> String {
    serde_json::json!(names).to_string()
}

/// The figures as `model.toml` keeps them: to six digits, because the last ones of 32 bits differ between machines.
fn metrics(evaluation: &Evaluation, baselines: &[Baseline]) -> toml::Table {
    let rounded = |figure: f64| -> toml::Value { format!("{figure:.5e}").parse().unwrap_or(figure).into() };
    let mut metrics = match evaluation {
        Evaluation::Regression { r2, rmse, mae } => table([
            ("r2", rounded(*r2)),
            ("rmse", rounded(*rmse)),
            ("mae", rounded(*mae)),
        ]),
        Evaluation::Forecast { rmse, rmse_by_step } => {
            let by_step = rmse_by_step.iter().map(|&rmse| rounded(rmse)).collect();
            table([
                ("rmse", rounded(*rmse)),
                ("rmse_by_step", toml::Value::Array(by_step)),
            ])
        }
        Evaluation::Classification {
            accuracy,
            log_loss,
            roc_auc,
            confusion,
        } => {
            let mut metrics = table([
                ("accuracy", rounded(*accuracy)),
                ("confusion", confusion.clone().into()),
            ]);
            metrics.extend(log_loss.map(|loss| ("log_loss".to_owned(), rounded(loss))));
            metrics.extend(roc_auc.map(|area| ("roc_auc".to_owned(), rounded(area))));
            metrics
        }
    };
    metrics.extend(baselines.iter().map(|baseline| {
        let name = format!("{}_{}", baseline.figure, baseline.name.replace([' ', '-'], "_"));
        (name, rounded(baseline.value))
    }));
    metrics
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::dataset::{Missing, TargetKind};
    use super::super::linear_regression::LinearRegression;
    use super::super::logistic_regression::LogisticRegression;
    use super::super::network::Schedule;
    use super::super::neural_network::NeuralNetwork;
    use super::*;
    use crate::model::artifact::{Artifact, METADATA_FILE};
    use crate::model::card::CARD_FILE;

    fn network(task: TargetKind) -> NeuralNetwork {
        NeuralNetwork {
            task,
            hidden: vec![8, 4],
            schedule: Schedule {
                epochs: 3,
                batch_size: 32,
                learning_rate: 0.01,
                weight_decay: 1e-4,
                validation_fraction: 0.2,
                patience: 2,
            },
        }
    }

    fn data(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file)
    }

    fn request(algorithm: Box<dyn Algorithm>, repository: &Path) -> Request {
        let (file, target) = match algorithm.target_kind() {
            TargetKind::Numbers => ("diabetes.csv", "progression"),
            TargetKind::Classes => ("iris.csv", "species"),
        };
        Request {
            candidates: vec![algorithm],
            data: data(file),
            roles: Roles {
                target: target.into(),
                ..Roles::default()
            },
            unknown: Unknown::Refuse,
            balance_classes: false,
            cross_validate: None,
            destination: Destination {
                repository: repository.into(),
                model: "m".into(),
                version: None,
                force: false,
            },
            test_fraction: 0.2,
            seed: 7,
            split_seed: None,
            description: Some("A test.".into()),
            command: None,
        }
    }

    fn least_squares(ridge: f64) -> Box<dyn Algorithm> {
        Box::new(LinearRegression { ridge, lasso: 0.0 })
    }

    fn maximum_likelihood(l2: f64) -> Box<dyn Algorithm> {
        Box::new(LogisticRegression {
            l2,
            max_iterations: 1000,
        })
    }

    fn algorithms() -> [Box<dyn Algorithm>; 4] {
        [
            least_squares(0.0),
            maximum_likelihood(1.0),
            Box::new(network(TargetKind::Classes)),
            Box::new(network(TargetKind::Numbers)),
        ]
    }

    fn run(request: &Request) -> Result<Outcome, TrainingError> {
        super::run(request, &mut |_| (), &AtomicBool::new(false))
    }

    #[test]
    fn a_seed_is_an_artifact_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        for algorithm in algorithms() {
            let mut request = request(algorithm, folder.path());
            let [once, again] = [(), ()].map(|()| run(&request).unwrap().folder);
            assert_ne!(once, again);
            for file in [GRAPH_FILE, METADATA_FILE, CARD_FILE] {
                let [once, again] = [&once, &again].map(|folder| std::fs::read(folder.join(file)).unwrap());
                assert!(once == again, "{file} of {}", request.candidates[0].name());
            }
            request.seed = 8;
            let other = run(&request).unwrap().folder;
            assert_ne!(
                std::fs::read(other.join(GRAPH_FILE)).unwrap(),
                std::fs::read(once.join(GRAPH_FILE)).unwrap()
            );
        }
    }

    #[test]
    fn a_split_of_its_own_seed_stays_while_the_fit_changes() {
        let folder = tempfile::tempdir().unwrap();
        let mut request = request(Box::new(network(TargetKind::Classes)), folder.path());
        let once = run(&request).unwrap();
        request.split_seed = Some(request.seed);
        let same = run(&request).unwrap();
        request.seed = 8;
        let other = run(&request).unwrap();
        let graph = |outcome: &Outcome| std::fs::read(outcome.folder.join(GRAPH_FILE)).unwrap();
        assert!(graph(&once) == graph(&same) && graph(&once) != graph(&other));
        assert_eq!(once.report.test_rows, other.report.test_rows);
        request.split_seed = Some(9);
        assert_ne!(once.report.test_rows, run(&request).unwrap().report.test_rows);
        let metadata = Artifact::read(&other.folder).unwrap().metadata;
        assert_eq!(metadata.training["split_seed"].as_integer(), Some(7));
    }

    #[test]
    fn the_metadata_says_how_the_model_came_about() {
        let folder = tempfile::tempdir().unwrap();
        let outcome = run(&request(maximum_likelihood(1.0), folder.path())).unwrap();
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
        assert!(metadata.metrics["roc_auc"].as_float().unwrap() > 0.9);
    }

    #[test]
    fn the_best_candidate_by_cross_validation_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut request = request(maximum_likelihood(1e6), folder.path());
        request.candidates.push(maximum_likelihood(1.0));
        request.cross_validate = Some(3);
        let outcome = run(&request).unwrap();
        let [strict, usual] = outcome.report.candidates.as_slice() else {
            panic!("two candidates")
        };
        assert!(
            strict.mean < usual.mean && usual.scores.len() == 3,
            "{strict:?} {usual:?}"
        );
        assert_eq!(outcome.report.options["l2"].as_float(), Some(1.0));
        // The rows held out are seen by no candidate, and the same as without a search.
        request.cross_validate = None;
        request.candidates.remove(0);
        assert_eq!(run(&request).unwrap().report.metrics, outcome.report.metrics);
    }

    #[test]
    fn whoever_ends_a_search_gets_the_best_so_far() {
        let folder = tempfile::tempdir().unwrap();
        let mut request = request(maximum_likelihood(1.0), folder.path());
        request.candidates.push(maximum_likelihood(0.1));
        request.cross_validate = Some(3);
        let stop = AtomicBool::new(false);
        let mut observe = |progress| {
            if let Progress::Fold { candidate: 2, .. } = progress {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let outcome = super::run(&request, &mut observe, &stop).unwrap();
        assert_eq!(outcome.report.candidates.len(), 1);
        assert_eq!(outcome.report.options["l2"].as_float(), Some(1.0));
    }

    #[test]
    fn whoever_ends_a_net_gets_its_best_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let request = request(Box::new(network(TargetKind::Classes)), folder.path());
        let stop = AtomicBool::new(false);
        let outcome = super::run(&request, &mut |_| stop.store(true, Ordering::Relaxed), &stop).unwrap();
        assert_eq!(outcome.report.epochs.len(), 1);
        stop.store(true, Ordering::Relaxed);
        let error = super::run(&request, &mut |_| (), &stop).unwrap_err();
        assert!(matches!(error, TrainingError::Interrupted), "{error}");
    }

    const PENGUINS: &str = "\
island,bill,species
Dream,39.1,Adelie
,40.2,Adelie
Dream,,Adelie
Torgersen,38.0,Adelie
Dream,37.2,Adelie
Biscoe,47.5,Gentoo
Biscoe,,Gentoo
Biscoe,49.1,Gentoo
,46.0,Gentoo
Biscoe,50.3,Gentoo
";

    /// Categories and gaps go through the graph as they stand in the file.
    #[test]
    fn records_with_categories_and_gaps_are_learnt() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("penguins.csv");
        std::fs::write(&file, PENGUINS).unwrap();
        let mut request = request(maximum_likelihood(0.1), &folder.path().join("models"));
        request.data = file;
        request.roles = Roles {
            target: "species".into(),
            categorical: vec!["island".into()],
            missing: Missing::Median,
            ..Roles::default()
        };
        request.unknown = Unknown::Zero;
        let outcome = run(&request).unwrap();
        let Evaluation::Classification { accuracy, .. } = outcome.report.metrics else {
            panic!("classes")
        };
        assert_eq!(accuracy, 1.0);
        let metadata = Artifact::read(&outcome.folder).unwrap().metadata;
        assert!(metadata.missing_values);
        assert_eq!(metadata.features, ["island", "bill"]);
    }

    /// Words of texts go through the graph as they stand in the file, beside other columns.
    #[test]
    fn texts_beside_numbers_are_learnt() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weather.csv");
        let rows = (0..40).map(|row| match row % 4 {
            0 => format!("A Red sky,{row},fair\n"),
            1 => format!("no rain (red sun),{row},fair\n"),
            2 => format!("Grey sky; rain,{row},foul\n"),
            _ => format!("rain! Grey sun,{row},foul\n"),
        });
        std::fs::write(&file, format!("note,day,t\n{}", rows.collect::<String>())).unwrap();
        let mut request = request(maximum_likelihood(0.01), &folder.path().join("models"));
        request.data = file;
        request.roles = Roles {
            target: "t".into(),
            text: vec!["note".into()],
            ..Roles::default()
        };
        let outcome = run(&request).unwrap();
        let Evaluation::Classification { accuracy, .. } = outcome.report.metrics else {
            panic!("classes")
        };
        assert_eq!(accuracy, 1.0);
    }

    #[test]
    fn weighted_classes_are_found_more_often() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rare.csv");
        // Nine rows of ten are common, and the two classes overlap.
        let rows = (0..200).map(|row| match row % 10 {
            0 => format!("{},rare\n", f64::from(row % 7) + 2.0),
            _ => format!("{},common\n", f64::from(row % 7)),
        });
        std::fs::write(&file, format!("x,t\n{}", rows.collect::<String>())).unwrap();
        let mut request = request(maximum_likelihood(1.0), &folder.path().join("models"));
        request.data = file;
        request.roles.target = "t".into();
        let found = [false, true].map(|balance| {
            request.balance_classes = balance;
            let Evaluation::Classification { confusion, .. } = run(&request).unwrap().report.metrics else {
                panic!("classes")
            };
            confusion[1][1]
        });
        assert!(found[1] > found[0], "{found:?}");
    }

    #[test]
    fn wrong_use_starts_nothing() {
        type Change = (&'static str, fn(&mut Request));
        let folder = tempfile::tempdir().unwrap();
        let changes: [Change; 9] = [
            ("--model", |request| request.destination.model = "../m".into()),
            ("--as-version", |request| request.destination.version = Some(0)),
            ("--test-fraction", |request| request.test_fraction = 0.0),
            ("--test-fraction", |request| request.test_fraction = 1.0),
            ("--test-fraction", |request| request.test_fraction = f64::NAN),
            ("--seed", |request| request.seed = u64::MAX),
            ("--split-seed", |request| request.split_seed = Some(u64::MAX)),
            ("--ridge", |request| {
                request.candidates = vec![least_squares(-1.0)];
            }),
            ("--cross-validate", |request| request.cross_validate = Some(1)),
        ];
        for (option, change) in changes {
            let mut wrong = request(least_squares(0.0), folder.path());
            change(&mut wrong);
            let error = run(&wrong).unwrap_err();
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
        let mut request = request(least_squares(0.0), &folder.path().join("models"));
        request.data = huge;
        request.roles.target = "t".into();
        let error = run(&request).unwrap_err();
        assert!(matches!(error, TrainingError::OutOfRange), "{error}");
        let left = std::fs::read_dir(folder.path().join("models/m")).unwrap();
        assert_eq!(left.count(), 0);
    }
}
