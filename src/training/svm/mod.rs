//! Support vector machines: classes by C-support vector classification, numbers by ε-support vector regression.
//!
//! [`smo`] solves the dual problem of one machine, whose kernel values [`kernel`] computes and keeps. [`classifier`] has one
//! machine for each pair of classes, with the probabilities of [`platt`]; [`regressor`] has one for the number. [`graph`]
//! writes either as the operators of `ai.onnx.ml`. Why not by linfa: `docs/adr/0018-support-vector-machines-by-our-own-smo.md`.

mod classifier;
mod graph;
mod kernel;
mod platt;
mod regressor;
mod smo;

use ndarray::ArrayView2;

pub use self::classifier::Classifier;
pub use self::kernel::Kernel;
use self::kernel::Samples;
pub use self::regressor::Regressor;
use super::TrainingError;
use super::algorithm::{Algorithm, Columns, Context, Fitted, fit_columns};
use super::dataset::{Dataset, Target, TargetKind};
use super::options::{integer, table};
use super::standardise::Standardiser;
use crate::model::artifact::Task;

/// Minimises ½‖w‖² + C Σ cᵢ ξᵢ, cᵢ the weight of a row (1 unless classes are weighted), in the space of the kernel, the
/// columns of X standardised.
///
/// For two classes y = ±1, ξᵢ is what is missing in yᵢ (w·φ(xᵢ) + b) ≥ 1; more classes vote pair by pair. For numbers,
/// ξᵢ is what |yᵢ − w·φ(xᵢ) − b| is above ε. So it is that of scikit-learn's `SVC` and `SVR` on standardised columns.
#[derive(Clone, Debug, PartialEq)]
pub struct SupportVectorMachine {
    /// Classes or numbers.
    pub task: TargetKind,
    /// What rows are compared by.
    pub kernel: KernelType,
    /// C, above 0: what an error costs.
    pub c: f64,
    /// Of the polynomial and the RBF kernel.
    pub gamma: Gamma,
    /// Of the polynomial kernel, at least 1.
    pub degree: u16,
    /// Of the polynomial kernel.
    pub coef0: f64,
    /// ε, at least 0 and in the target's unit: errors up to here cost nothing. For numbers only.
    pub epsilon: f64,
    /// By how much the conditions of the minimum may be violated, in units of the margin (classes) or the target (numbers).
    pub tolerance: f64,
    /// Whether probabilities of the classes are learnt, by five more fits of each pair.
    pub probabilities: bool,
}

/// The kernels there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelType {
    /// `x·v`
    Linear,
    /// `exp(−gamma |x − v|²)`
    Rbf,
    /// `(gamma x·v + coef0)^degree`
    Polynomial,
}

/// How fast likeness falls with distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gamma {
    /// 1 / (F · variance of all values of the standardised columns), as scikit-learn's `scale`.
    Scale,
    /// This, above 0.
    Number(f64),
}

impl Algorithm for SupportVectorMachine {
    fn name(&self) -> &'static str {
        "svm"
    }

    fn options(&self) -> toml::Table {
        let mut options = table([
            ("kernel", self.kernel.name().into()),
            ("c", self.c.into()),
            ("tolerance", self.tolerance.into()),
        ]);
        let mut add = |key: &str, value: toml::Value| options.insert(key.to_owned(), value);
        if self.kernel != KernelType::Linear {
            add("gamma", self.gamma.option());
        }
        if self.kernel == KernelType::Polynomial {
            add("degree", integer(u64::from(self.degree)));
            add("coef0", self.coef0.into());
        }
        match self.task {
            TargetKind::Classes => add("probabilities", self.probabilities.into()),
            TargetKind::Numbers => add("epsilon", self.epsilon.into()),
        };
        options
    }

    fn target_kind(&self) -> TargetKind {
        self.task
    }

    fn check(&self) -> Result<(), TrainingError> {
        let check = TrainingError::check;
        let is_positive = |number: f64| number.is_finite() && number > 0.0;
        let above = "a finite number above 0";
        check(is_positive(self.c), "--c", above, &self.c)?;
        check(is_positive(self.tolerance), "--tolerance", above, &self.tolerance)?;
        if let Gamma::Number(gamma) = self.gamma {
            check(
                is_positive(gamma),
                "--gamma",
                "`scale` or a finite number above 0",
                &gamma,
            )?;
        }
        check(self.degree > 0, "--degree", "at least 1", &self.degree)?;
        check(self.coef0.is_finite(), "--coef0", "a finite number", &self.coef0)?;
        let holds = self.epsilon.is_finite() && self.epsilon >= 0.0;
        check(holds, "--epsilon", "a finite number, 0 or above", &self.epsilon)
    }

    fn fit(&self, data: &Dataset, context: &mut Context<'_>) -> Result<Fitted, TrainingError> {
        match &data.target {
            Target::Classes { names, labels } => {
                let mut fitted = fit_columns(data, context, |columns, context| {
                    self.fit_classes(columns, (names, labels), context)
                })?;
                if !self.probabilities {
                    // A classification answers with probabilities; this one puts out labels and nothing else.
                    fitted.inputs.task = Some(Task::Generic);
                }
                Ok(fitted)
            }
            Target::Numbers(values) => fit_columns(data, context, |columns, context| {
                self.fit_numbers(columns, &values.to_vec(), context)
            }),
            Target::Steps(_) => Err(TrainingError::wrong_target()),
        }
    }
}

impl SupportVectorMachine {
    fn fit_classes(
        &self,
        columns: &Columns<'_>,
        (names, labels): (&[String], &[usize]),
        context: &mut Context<'_>,
    ) -> Result<Classifier, TrainingError> {
        let standardiser = Standardiser::fit(columns.rows.view());
        let samples = self.samples(&standardiser, columns.rows.view());
        let rows = classifier::Rows {
            samples: &samples,
            labels,
            bounds: self.bounds(columns.data),
        };
        Classifier::fit(&rows, names, standardiser, self.rules(), context)
    }

    fn fit_numbers(
        &self,
        columns: &Columns<'_>,
        target: &[f64],
        context: &Context<'_>,
    ) -> Result<Regressor, TrainingError> {
        let standardiser = Standardiser::fit(columns.rows.view());
        let samples = self.samples(&standardiser, columns.rows.view());
        let rows = regressor::Rows {
            samples: &samples,
            target,
            bounds: self.bounds(columns.data),
        };
        Regressor::fit(&rows, standardiser, (self.epsilon, self.tolerance), context)
    }

    fn samples(&self, standardiser: &Standardiser, rows: ArrayView2<'_, f64>) -> Samples {
        let rows = standardiser.apply(rows);
        Samples::new(self.kernel(rows.view()), rows)
    }

    fn kernel(&self, rows: ArrayView2<'_, f64>) -> Kernel {
        let gamma = self.gamma.of(rows);
        match self.kernel {
            KernelType::Linear => Kernel::Linear,
            KernelType::Rbf => Kernel::Rbf { gamma },
            KernelType::Polynomial => Kernel::Polynomial {
                gamma,
                coef0: self.coef0,
                degree: self.degree,
            },
        }
    }

    /// C of each row.
    fn bounds(&self, data: &Dataset) -> Vec<f64> {
        data.weights.iter().map(|weight| self.c * weight).collect()
    }

    fn rules(&self) -> classifier::Rules {
        classifier::Rules {
            tolerance: self.tolerance,
            probabilities: self.probabilities,
        }
    }
}

impl KernelType {
    fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Rbf => "rbf",
            Self::Polynomial => "polynomial",
        }
    }
}

impl Gamma {
    fn of(self, rows: ArrayView2<'_, f64>) -> f64 {
        match self {
            Self::Number(gamma) => gamma,
            Self::Scale => {
                let variance = rows.var(0.0);
                // Where all columns are constant every gamma says the same.
                if variance > 0.0 {
                    1.0 / (rows.ncols() as f64 * variance)
                } else {
                    1.0
                }
            }
        }
    }

    fn option(self) -> toml::Value {
        match self {
            Self::Scale => "scale".into(),
            Self::Number(gamma) => gamma.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use ndarray::{Array1, Array2, Axis};
    use proptest::prelude::*;

    use super::super::dataset::Missing;
    use super::super::encoding::Unknown;
    use super::super::fitted::FittedModel;
    use super::super::random::Generator;
    use super::super::score;
    use super::*;
    use crate::model::artifact::Metadata;

    fn options(task: TargetKind, kernel: KernelType) -> SupportVectorMachine {
        SupportVectorMachine {
            task,
            kernel,
            c: 1.0,
            gamma: Gamma::Scale,
            degree: 3,
            coef0: 1.0,
            epsilon: 0.1,
            tolerance: 1e-9,
            probabilities: true,
        }
    }

    const KERNELS: [KernelType; 3] = [KernelType::Linear, KernelType::Rbf, KernelType::Polynomial];

    fn with_context<T>(run: impl FnOnce(&mut Context<'_>) -> T) -> T {
        run(&mut Context {
            generator: &mut Generator::new(1),
            observe: &mut |_| (),
            stop: &AtomicBool::new(false),
            missing: Missing::Refuse,
            unknown: Unknown::Refuse,
        })
    }

    fn columns(data: &Dataset) -> Columns<'_> {
        Columns {
            rows: data.matrix().unwrap(),
            names: data.names(),
            data,
        }
    }

    fn classifier(options: &SupportVectorMachine, data: &Dataset) -> Classifier {
        let Target::Classes { names, labels } = &data.target else {
            panic!("classes")
        };
        with_context(|context| options.fit_classes(&columns(data), (names, labels), context)).unwrap()
    }

    fn regressor(options: &SupportVectorMachine, data: &Dataset) -> Regressor {
        let Target::Numbers(target) = &data.target else {
            panic!("numbers")
        };
        with_context(|context| options.fit_numbers(&columns(data), &target.to_vec(), context)).unwrap()
    }

    fn dataset(rows: &Array2<f64>, target: Target) -> Dataset {
        let names: Vec<String> = (0..rows.ncols()).map(|column| format!("x{column}")).collect();
        Dataset::of_numbers(&names, rows, target)
    }

    /// Rows around as many centres as there are classes, which overlap.
    fn clouds(classes: usize, rows: usize) -> Dataset {
        let mut generator = Generator::new(3);
        let labels: Vec<usize> = (0..rows).map(|row| row % classes).collect();
        let matrix = Array2::from_shape_fn((rows, 2), |(row, column)| {
            let angle = 6.3 * labels[row] as f64 / classes as f64;
            let centre = if column == 0 {
                angle.cos()
            } else {
                100.0 + angle.sin()
            };
            centre + generator.uniform(1.2)
        });
        let names = ["a", "b", "c", "d"][..classes]
            .iter()
            .map(|&name| name.to_owned());
        let names = names.collect();
        dataset(&matrix, Target::Classes { names, labels })
    }

    fn wave(rows: usize) -> Dataset {
        let matrix = Array2::from_shape_fn((rows, 1), |(row, _)| row as f64 / 8.0);
        let target = Target::Numbers(matrix.column(0).mapv(|x| 50.0 + 10.0 * x.sin()));
        dataset(&matrix, target)
    }

    /// What the engine makes of the graph.
    fn served(options: &SupportVectorMachine, data: &Dataset) -> Array2<f64> {
        let fitted = with_context(|context| options.fit(data, context)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, fitted.graph.encode("m", "", &[])).unwrap();
        score::predict(&path, &Metadata::default(), data).unwrap()
    }

    fn largest_difference(one: &Array2<f64>, other: &Array2<f64>) -> f64 {
        (one - other).fold(0.0, |largest, difference| difference.abs().max(largest))
    }

    #[test]
    fn the_graph_answers_as_the_machines_do() {
        for kernel in KERNELS {
            let two = clouds(2, 60);
            let options = options(TargetKind::Classes, kernel);
            let predicted = classifier(&options, &two).predict(two.matrix().unwrap().view());
            assert!(largest_difference(&served(&options, &two), &predicted) < 1e-5);
            // The operator couples pairs by an iteration that ends where it is near.
            let four = clouds(4, 80);
            let predicted = classifier(&options, &four).predict(four.matrix().unwrap().view());
            assert!(largest_difference(&served(&options, &four), &predicted) < 0.01);
            let numbers = wave(40);
            let options = self::options(TargetKind::Numbers, kernel);
            let predicted = regressor(&options, &numbers).predict(numbers.matrix().unwrap().view());
            assert!(largest_difference(&served(&options, &numbers), &predicted) < 1e-3);
        }
    }

    #[test]
    fn without_probabilities_the_label_is_what_most_pairs_say() {
        for classes in [2, 3, 4] {
            let data = clouds(classes, 60);
            let mut options = options(TargetKind::Classes, KernelType::Rbf);
            options.probabilities = false;
            let predicted = classifier(&options, &data).predict(data.matrix().unwrap().view());
            assert_eq!(served(&options, &data), predicted);
        }
    }

    #[test]
    fn a_wave_is_followed_within_the_tube() {
        let data = wave(60);
        let options = SupportVectorMachine {
            c: 1000.0,
            gamma: Gamma::Number(10.0),
            epsilon: 0.5,
            ..options(TargetKind::Numbers, KernelType::Rbf)
        };
        let model = regressor(&options, &data);
        let Target::Numbers(target) = &data.target else {
            panic!("numbers")
        };
        for (guess, truth) in model.scores(data.matrix().unwrap().view()).iter().zip(target) {
            assert!((guess - truth).abs() < 0.5 + 1e-6, "{guess} {truth}");
        }
        // Rows inside the tube have no say.
        assert!(model.places.len() < 30, "{}", model.places.len());
    }

    /// A line from 0 to 20 and ε = 1: the flattest line within the tube goes from 1 to 19.
    #[test]
    fn the_flattest_line_in_the_tube_is_the_hand_calculation() {
        let rows = Array2::from_shape_fn((3, 1), |(row, _)| row as f64);
        let data = dataset(&rows, Target::Numbers(Array1::from(vec![0.0, 10.0, 20.0])));
        let options = SupportVectorMachine {
            c: 1e3,
            epsilon: 1.0,
            ..options(TargetKind::Numbers, KernelType::Linear)
        };
        let scores = regressor(&options, &data).scores(rows.view());
        for (score, expected) in scores.iter().zip([1.0, 10.0, 19.0]) {
            assert!((score - expected).abs() < 1e-8, "{scores}");
        }
    }

    #[test]
    fn targets_within_one_tube_are_a_constant() {
        let rows = Array2::from_shape_fn((6, 1), |(row, _)| row as f64);
        let data = dataset(&rows, Target::Numbers(Array1::linspace(1.0, 1.1, 6)));
        let options = options(TargetKind::Numbers, KernelType::Rbf);
        let scores = served(&options, &data);
        assert!(scores.iter().all(|score| (score - 1.05).abs() < 1e-6), "{scores}");
    }

    #[test]
    fn a_class_without_rows_is_never_taken() {
        let mut data = clouds(2, 20);
        let Target::Classes { names, .. } = &mut data.target else {
            panic!("classes")
        };
        names.push("nowhere".into());
        let answers = served(&options(TargetKind::Classes, KernelType::Rbf), &data);
        for row in answers.rows() {
            assert!(row[2] < row[0].max(row[1]), "{row}");
        }
    }

    #[test]
    fn a_weight_of_two_is_the_row_twice() {
        // Rows on both sides of the mean, so that repeating them does not move the standardisation.
        let fit = |rows: Vec<f64>, labels: Vec<usize>, weights: Vec<f64>| {
            let rows = Array2::from_shape_vec((rows.len(), 1), rows).unwrap();
            let names = vec!["a".to_owned(), "b".to_owned()];
            let mut data = dataset(&rows, Target::Classes { names, labels });
            data.weights = weights.into();
            let mut options = options(TargetKind::Classes, KernelType::Rbf);
            options.gamma = Gamma::Number(0.5);
            classifier(&options, &data)
                .scores(Array2::from_shape_vec((2, 1), vec![0.3, -2.0]).unwrap().view())
        };
        let weighted = fit(
            vec![-1.0, 1.0, -1.0, 1.0],
            vec![0, 1, 1, 0],
            vec![2.0, 2.0, 1.0, 1.0],
        );
        let repeated = fit(
            vec![-1.0, 1.0, -1.0, 1.0, -1.0, 1.0],
            vec![0, 1, 1, 0, 0, 1],
            vec![1.0; 6],
        );
        assert!(
            largest_difference(&weighted, &repeated) < 1e-7,
            "{weighted} {repeated}"
        );
        let plain = fit(vec![-1.0, 1.0, -1.0, 1.0], vec![0, 1, 1, 0], vec![1.0; 4]);
        assert!(largest_difference(&weighted, &plain) > 0.1, "{weighted} {plain}");
    }

    #[test]
    fn a_seed_is_a_model() {
        let data = clouds(3, 60);
        let options = options(TargetKind::Classes, KernelType::Rbf);
        assert_eq!(classifier(&options, &data), classifier(&options, &data));
    }

    #[test]
    fn options_without_a_meaning_are_refused() {
        type Change = fn(&mut SupportVectorMachine);
        let changes: [(&str, Change); 8] = [
            ("--c", |options| options.c = 0.0),
            ("--c", |options| options.c = f64::INFINITY),
            ("--gamma", |options| options.gamma = Gamma::Number(-1.0)),
            ("--gamma", |options| options.gamma = Gamma::Number(f64::NAN)),
            ("--degree", |options| options.degree = 0),
            ("--coef0", |options| options.coef0 = f64::NAN),
            ("--epsilon", |options| options.epsilon = -0.1),
            ("--tolerance", |options| options.tolerance = 0.0),
        ];
        for (option, change) in changes {
            let mut wrong = options(TargetKind::Classes, KernelType::Rbf);
            change(&mut wrong);
            let error = wrong.check().unwrap_err();
            assert!(
                error.is_usage() && error.to_string().starts_with(option),
                "{error}"
            );
        }
        options(TargetKind::Classes, KernelType::Rbf).check().unwrap();
    }

    #[test]
    fn the_scale_of_gamma_is_that_of_the_columns() {
        let rows = Array2::from_shape_vec((2, 2), vec![1.0, 0.0, -1.0, 0.0]).unwrap();
        // A variance of 1/2 over two columns, one of them constant.
        assert_eq!(Gamma::Scale.of(rows.view()), 1.0);
        assert_eq!(Gamma::Scale.of(Array2::zeros((2, 2)).view()), 1.0);
        assert_eq!(Gamma::Number(0.3).of(rows.view()), 0.3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// In which order the rows stand changes no score.
        #[test]
        fn the_order_of_rows_does_not_matter(seed: u64, kernel in 0_usize..3) {
            let mut order: Vec<usize> = (0..40).collect();
            Generator::new(seed).shuffle(&mut order);
            let mut options = options(TargetKind::Classes, KERNELS[kernel]);
            options.probabilities = false;
            let data = clouds(3, 40);
            let rows = data.matrix().unwrap();
            let scores = classifier(&options, &data).scores(rows.view());
            let shuffled = classifier(&options, &data.select(&order)).scores(rows.view());
            prop_assert!(largest_difference(&scores, &shuffled) < 1e-5);

            let options = self::options(TargetKind::Numbers, KERNELS[kernel]);
            let data = wave(40);
            let rows = data.matrix().unwrap();
            let column = |scores: Array1<f64>| scores.insert_axis(Axis(1));
            let scores = column(regressor(&options, &data).scores(rows.view()));
            let shuffled = column(regressor(&options, &data.select(&order)).scores(rows.view()));
            prop_assert!(largest_difference(&scores, &shuffled) < 1e-5);
        }
    }
}
