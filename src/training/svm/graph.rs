//! The machines as nodes of a graph: `Scaler`, then `SVMClassifier` or `SVMRegressor`.

use ndarray::{Array1, Array2, ArrayView2, Axis, array, s};
use serde_json::{Value, json};

use super::super::fitted::FittedModel;
use super::super::onnx::{Attribute, BATCH, Domain, Element, Graph, Size};
use super::super::standardise::Standardiser;
use super::classifier::{Classifier, Pair};
use super::kernel::Kernel;
use super::platt::Sigmoid;
use super::regressor::Regressor;

/// Vectors that stand class by class, how many there are of each class, and (classes − 1) × vectors coefficients.
type Vectors = (Array2<f64>, Vec<usize>, Array2<f64>);
type Attributes = Vec<(&'static str, Attribute)>;

impl FittedModel for Regressor {
    fn predict(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        self.scores(rows).insert_axis(Axis(1))
    }

    fn add_to(&self, graph: &mut Graph, features: &str) {
        let standardised = scaler(graph, &self.standardiser, features);
        let mut attributes = kernel_attributes(self.vectors.kernel());
        let (vectors, coefficients) = match self.vectors.kernel() {
            // Of products a single vector is the sum: shorter, faster, and with less rounding.
            Kernel::Linear => {
                let sum = self.coefficients.dot(&self.vectors.rows());
                (sum.insert_axis(Axis(0)), array![1.0])
            }
            _ => (self.vectors.rows().to_owned(), self.coefficients.clone()),
        };
        attributes.extend([
            ("n_supports", Attribute::Int(vectors.nrows() as i64)),
            ("support_vectors", floats(&vectors)),
            ("coefficients", floats(&coefficients)),
            ("rho", Attribute::Floats(vec![self.bias as f32])),
        ]);
        graph.node_of(
            Domain::Ml,
            "SVMRegressor",
            &[&standardised],
            &["predictions"],
            attributes,
        );
        graph.output("predictions", Element::F32, &[BATCH, Size::Fixed(1)]);
    }

    fn parameters(&self) -> Value {
        json!({
            "standardisation": standardisation(&self.standardiser),
            "kernel": kernel_parameters(self.vectors.kernel()),
            "support": self.places,
            "support_vectors": nested(self.vectors.rows()),
            "dual_coefficients": [self.coefficients.to_vec()],
            "intercepts": [self.bias],
        })
    }
}

impl FittedModel for Classifier {
    fn predict(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut answers = Array2::zeros((rows.nrows(), self.names.len()));
        for (scores, mut answer) in self.scores(rows).outer_iter().zip(answers.outer_iter_mut()) {
            answer.assign(&Array1::from(self.decide(&scores.to_vec())));
        }
        answers
    }

    fn add_to(&self, graph: &mut Graph, features: &str) {
        let standardised = scaler(graph, &self.standardiser, features);
        let classes = self.names.len();
        let mut attributes = self.attributes();
        if !self.has_probabilities() {
            // The operator's scores are those of pairs of classes; what they come to is the label.
            graph.node_of(
                Domain::Ml,
                "SVMClassifier",
                &[&standardised],
                &["label", "scores"],
                attributes,
            );
            graph.output("label", Element::Text, &[BATCH]);
            return;
        }
        let output = match self.pairs.as_slice() {
            [
                Pair {
                    sigmoid: Some(sigmoid),
                    ..
                },
            ] => {
                graph.node_of(
                    Domain::Ml,
                    "SVMClassifier",
                    &[&standardised],
                    &["label", "scores"],
                    attributes,
                );
                pair_probabilities(graph, *sigmoid)
            }
            pairs => {
                let of = |part: fn(&Sigmoid) -> f64| -> Vec<f32> {
                    pairs
                        .iter()
                        .filter_map(|pair| pair.sigmoid.as_ref())
                        .map(|it| part(it) as f32)
                        .collect()
                };
                attributes.push(("prob_a", Attribute::Floats(of(|sigmoid| sigmoid.a))));
                attributes.push(("prob_b", Attribute::Floats(of(|sigmoid| sigmoid.b))));
                let outputs = ["label", "probabilities"];
                graph.node_of(
                    Domain::Ml,
                    "SVMClassifier",
                    &[&standardised],
                    &outputs,
                    attributes,
                );
                outputs[1].to_owned()
            }
        };
        graph.output(&output, Element::F32, &[BATCH, Size::Fixed(classes)]);
    }

    fn parameters(&self) -> Value {
        let sigmoid = |sigmoid: Sigmoid| json!({"a": sigmoid.a, "b": sigmoid.b});
        let mut parameters = json!({
            "standardisation": standardisation(&self.standardiser),
            "kernel": kernel_parameters(self.support.vectors.kernel()),
            "support": self.support.places,
            "support_vectors": nested(self.support.vectors.rows()),
            "vectors_per_class": self.support.per_class,
            "dual_coefficients": nested(self.support.coefficients.view()),
            "intercepts": self.pairs.iter().map(|pair| pair.bias).collect::<Vec<_>>(),
        });
        if self.has_probabilities() {
            let sigmoids = self.pairs.iter().filter_map(|pair| pair.sigmoid).map(sigmoid);
            parameters["sigmoids"] = sigmoids.collect();
        }
        parameters
    }
}

impl Classifier {
    fn attributes(&self) -> Attributes {
        let kernel = self.support.vectors.kernel();
        let (vectors, per_class, coefficients) = match kernel {
            Kernel::Linear => self.sums(),
            _ => self.vectors(),
        };
        let biases = self.pairs.iter().map(|pair| pair.bias as f32).collect();
        let per_class = per_class.iter().map(|&count| count as i64).collect();
        let mut attributes = kernel_attributes(kernel);
        attributes.extend([
            ("classlabels_strings", Attribute::Texts(self.names.clone())),
            ("vectors_per_class", Attribute::Ints(per_class)),
            ("support_vectors", floats(&vectors)),
            ("coefficients", floats(&coefficients)),
            ("rho", Attribute::Floats(biases)),
        ]);
        attributes
    }

    fn vectors(&self) -> Vectors {
        let support = &self.support;
        (
            support.vectors.rows().to_owned(),
            support.per_class.clone(),
            support.coefficients.clone(),
        )
    }

    /// Of products, one vector a pair is the sum of all: it stands with the first class of the pair, and counts in that pair
    /// only. Shorter, faster, and with less rounding.
    fn sums(&self) -> Vectors {
        let support = &self.support;
        let starts = support.starts();
        let classes = self.names.len();
        let width = support.vectors.rows().ncols();
        let mut sums = Array2::zeros((self.pairs.len(), width));
        let mut coefficients = Array2::zeros((classes - 1, self.pairs.len()));
        for (place, pair) in self.pairs.iter().enumerate() {
            for (class, against) in [(pair.first, pair.second - 1), (pair.second, pair.first)] {
                let range = starts[class]..starts[class + 1];
                let weights = support.coefficients.slice(s![against, range.clone()]);
                let sum = weights.dot(&support.vectors.rows().slice(s![range, ..]));
                let mut row = sums.row_mut(place);
                row += &sum;
            }
            coefficients[[pair.second - 1, place]] = 1.0;
        }
        let per_class = (0..classes).map(|class| classes - 1 - class).collect();
        (sums, per_class, coefficients)
    }
}

/// The probabilities of two classes, from the scores −f and f of the operator, by a softmax of 0 and a f + b.
///
/// The operator can do this as well, by the iteration that couples more classes; it ends where it is within 0.0025, and so
/// the order of likely rows is lost.
fn pair_probabilities(graph: &mut Graph, Sigmoid { a, b }: Sigmoid) -> String {
    let weights = graph.matrix("sigmoid.a", array![[0.0, 0.0], [0.0, a]].view());
    let bias = graph.vector("sigmoid.b", array![0.0, b].view());
    let exponents = graph.node("Gemm", &["scores", &weights, &bias], "exponents", vec![]);
    graph.node(
        "Softmax",
        &[&exponents],
        "probabilities",
        vec![("axis", Attribute::Int(-1))],
    )
}

fn scaler(graph: &mut Graph, standardiser: &Standardiser, features: &str) -> String {
    let attributes = vec![
        ("offset", floats(&standardiser.mean)),
        ("scale", floats(&standardiser.scale.mapv(f64::recip))),
    ];
    let output = "standardised";
    graph.node_of(Domain::Ml, "Scaler", &[features], &[output], attributes);
    output.to_owned()
}

fn kernel_attributes(kernel: Kernel) -> Attributes {
    let (name, gamma, coef0, degree) = match kernel {
        Kernel::Linear => ("LINEAR", 0.0, 0.0, 0.0),
        Kernel::Rbf { gamma } => ("RBF", gamma, 0.0, 0.0),
        Kernel::Polynomial { gamma, coef0, degree } => ("POLY", gamma, coef0, f32::from(degree)),
    };
    vec![
        ("kernel_type", Attribute::Text(name.to_owned())),
        (
            "kernel_params",
            Attribute::Floats(vec![gamma as f32, coef0 as f32, degree]),
        ),
    ]
}

fn kernel_parameters(kernel: Kernel) -> Value {
    match kernel {
        Kernel::Linear => json!({"type": "linear"}),
        Kernel::Rbf { gamma } => json!({"type": "rbf", "gamma": gamma}),
        Kernel::Polynomial { gamma, coef0, degree } => {
            json!({"type": "polynomial", "gamma": gamma, "coef0": coef0, "degree": degree})
        }
    }
}

fn standardisation(standardiser: &Standardiser) -> Value {
    json!({"mean": standardiser.mean.to_vec(), "scale": standardiser.scale.to_vec()})
}

fn floats<'a>(values: impl IntoIterator<Item = &'a f64>) -> Attribute {
    Attribute::Floats(values.into_iter().map(|&value| value as f32).collect())
}

fn nested(matrix: ArrayView2<'_, f64>) -> Vec<Vec<f64>> {
    matrix.outer_iter().map(|row| row.to_vec()).collect()
}
