//! How a model's rows and answers are understood: the graph's signature and `model.toml` read together.

use std::collections::HashMap;

use super::artifact::{Metadata, Task};
use super::dictionary::Dictionary;
use super::preprocessing::image::{ImageInput, ImageRows};
use super::signature::{Signature, TensorSpec};
use super::tensor::Datatype;

/// What clients send to a model and what they get.
#[derive(Clone, Debug)]
pub struct Schema {
    /// The graph's own tensors.
    pub signature: Signature,
    /// How a row is written.
    pub layout: Layout,
    /// What the outputs mean.
    pub answer: Answer,
    /// Whether values may be missing: they become not-a-number in floating-point inputs and an empty text in those of
    /// texts.
    pub missing_values: bool,
    /// For each input, how its rows are written as objects where they are.
    dictionaries: Vec<Option<Dictionary>>,
}

/// How a row is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// A flat list of so many values for the only input, or an object by the names of the features.
    Features {
        /// Values of one row.
        count: usize,
        /// Their names; empty where nobody named them.
        names: Names,
    },
    /// A value of the only input: a text, a number, or nested lists.
    Single,
    /// One value for each of several inputs, as a list in their order or an object by their names.
    Inputs(Names),
    /// An image, or nested lists of the only input's values.
    Image(Box<ImageRows>),
}

/// Names of what a row consists of, with their positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    ordered: Vec<String>,
    positions: HashMap<String, usize>,
}

/// What the outputs mean. Positions are those of the signature's outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This output holds one number a row.
    Regression {
        /// Shape `[N]` or `[N, 1]`, a floating-point type.
        output: usize,
    },
    /// One output holds the probabilities of the classes.
    Classification {
        /// Shape `[N, C]`, a floating-point type.
        probabilities: usize,
        /// An output with the class of each row, where the graph has one and `model.toml` does not name the
        /// classes: `[N]` or `[N, 1]`.
        label: Option<usize>,
        /// The names of the classes; empty where only the graph knows them.
        classes: Vec<String>,
    },
    /// All outputs as they are.
    Generic,
}

/// A `model.toml` that does not fit its graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model.toml does not fit the graph: {0}")]
pub struct SchemaError(String);

impl Names {
    /// These names, in this order.
    fn new(ordered: Vec<String>) -> Result<Self, SchemaError> {
        let mut positions = HashMap::with_capacity(ordered.len());
        for (position, name) in ordered.iter().enumerate() {
            if positions.insert(name.clone(), position).is_some() {
                return Err(SchemaError(format!("the name {name:?} is given twice")));
            }
        }
        Ok(Self { ordered, positions })
    }

    /// In their order.
    #[must_use]
    pub fn ordered(&self) -> &[String] {
        &self.ordered
    }

    /// Where `name` stands. `guess` is looked at first: members mostly come in order.
    #[must_use]
    pub fn position(&self, name: &str, guess: usize) -> Option<usize> {
        if self.ordered.get(guess).is_some_and(|guessed| guessed == name) {
            return Some(guess);
        }
        self.positions.get(name).copied()
    }
}

impl Schema {
    /// Reads a signature and what `model.toml` says together.
    pub fn new(signature: Signature, metadata: &Metadata) -> Result<Self, SchemaError> {
        let layout = match &metadata.image {
            Some(declared) => image_layout(&signature, declared, &metadata.features)?,
            None => layout(&signature, &metadata.features)?,
        };
        let answer = answer(&signature, metadata)?;
        if metadata.missing_values && !signature.inputs.iter().any(takes_missing) {
            let problem = "it says missing_values, and no input is of floating-point numbers or texts";
            return Err(SchemaError(problem.to_owned()));
        }
        Ok(Self {
            dictionaries: vec![None; signature.inputs.len()],
            signature,
            layout,
            answer,
            missing_values: metadata.missing_values,
        })
    }

    /// The same, for requests whose images have so many pixels together at most.
    #[must_use]
    pub fn with_max_image_pixels(mut self, max_pixels: usize) -> Self {
        if let Layout::Image(rows) = &mut self.layout {
            rows.limit(max_pixels);
        }
        self
    }

    /// The same, with inputs whose rows are objects. Their keys stand in the graph, so that `model.toml` does not name them.
    pub fn with_dictionaries(mut self, dictionaries: &[Dictionary]) -> Result<Self, SchemaError> {
        for dictionary in dictionaries {
            let is_named = |input: &TensorSpec| input.name == dictionary.input;
            if let Some(position) = self.signature.inputs.iter().position(is_named) {
                self.dictionaries[position] = Some(dictionary.clone());
            }
        }
        if let ([Some(_)], Layout::Features { names, .. }) = (self.dictionaries.as_slice(), &self.layout) {
            if !names.ordered().is_empty() {
                let problem = "it names features, and the graph itself has the keys of its input";
                return Err(SchemaError(problem.to_owned()));
            }
            self.layout = Layout::Single;
        }
        Ok(self)
    }

    /// How the rows of the input at this position are written as objects; none where they are not.
    #[must_use]
    pub fn dictionary(&self, input: usize) -> Option<&Dictionary> {
        self.dictionaries.get(input)?.as_ref()
    }

    /// The same, with `classes` that the graph itself names, unless `model.toml` names them. Its own label then stays
    /// the prediction: it need not be the class of the largest score.
    #[must_use]
    pub fn or_classes(mut self, named: &[String]) -> Self {
        if let Answer::Classification {
            probabilities,
            classes,
            ..
        } = &mut self.answer
            && classes.is_empty()
            && let Some(output) = self.signature.outputs.get(*probabilities)
            && self.signature.row_shape(output) == [Some(named.len())]
        {
            *classes = named.to_vec();
        }
        self
    }

    /// Names of the values of one row; empty where nobody named them.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        match &self.layout {
            Layout::Features { names, .. } | Layout::Inputs(names) => names.ordered().to_vec(),
            Layout::Image(_) => Vec::new(),
            Layout::Single => self
                .dictionary(0)
                .map_or_else(Vec::new, |dictionary| dictionary.keys.names()),
        }
    }

    /// Names of the classes; empty where there are none.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        match &self.answer {
            Answer::Classification { classes, .. } => classes,
            _ => &[],
        }
    }

    /// What the answers mean, in one word.
    #[must_use]
    pub const fn task(&self) -> &'static str {
        match self.answer {
            Answer::Regression { .. } => "regression",
            Answer::Classification { .. } => "classification",
            Answer::Generic => "generic",
        }
    }
}

fn layout(signature: &Signature, features: &[String]) -> Result<Layout, SchemaError> {
    let [input] = signature.inputs.as_slice() else {
        let names: Vec<String> = if features.is_empty() {
            signature.inputs.iter().map(|input| input.name.clone()).collect()
        } else {
            features.to_vec()
        };
        expect_count("features", names.len(), signature.inputs.len())?;
        return Names::new(names).map(Layout::Inputs);
    };
    match (signature.row_shape(input), features) {
        (&[Some(count)], []) => Ok(Layout::Features {
            count,
            names: Names::default(),
        }),
        (&[Some(count)], names) => {
            expect_count("features", names.len(), count)?;
            Ok(Layout::Features {
                count,
                names: Names::new(names.to_vec())?,
            })
        }
        (_, []) => Ok(Layout::Single),
        (shape, names) => Err(SchemaError(format!(
            "{} features are named, and a row of the graph has the shape {}",
            names.len(),
            written(shape)
        ))),
    }
}

fn image_layout(
    signature: &Signature,
    declared: &ImageInput,
    features: &[String],
) -> Result<Layout, SchemaError> {
    let [input] = signature.inputs.as_slice() else {
        let count = signature.inputs.len();
        return Err(SchemaError(format!(
            "[image] is for a model whose only input is images, and the graph has {count} inputs"
        )));
    };
    if !features.is_empty() {
        let problem = "it names features, and [image] says that the only input is images";
        return Err(SchemaError(problem.to_owned()));
    }
    ImageRows::new(declared, input.datatype, signature.row_shape(input))
        .map(|rows| Layout::Image(Box::new(rows)))
        .map_err(SchemaError)
}

/// Whether there is a value of this input that stands for a missing one.
fn takes_missing(input: &TensorSpec) -> bool {
    input.datatype.is_float() || input.datatype == Datatype::Text
}

fn expect_count(what: &str, named: usize, taken: usize) -> Result<(), SchemaError> {
    if named == taken {
        return Ok(());
    }
    Err(SchemaError(format!(
        "{named} {what} are named, and the graph has {taken}"
    )))
}

fn written(shape: &[Option<usize>]) -> String {
    let sizes: Vec<String> = shape
        .iter()
        .map(|size| size.map_or_else(|| "?".to_owned(), |size| size.to_string()))
        .collect();
    format!("[{}]", sizes.join(", "))
}

fn answer(signature: &Signature, metadata: &Metadata) -> Result<Answer, SchemaError> {
    let guessed = || guess(signature, &metadata.classes);
    let fitting = match metadata.task {
        None if metadata.classes.is_empty() => Some(guessed().unwrap_or(Answer::Generic)),
        None | Some(Task::Classification) => classification(signature, &metadata.classes),
        Some(Task::Regression) => regression(signature),
        Some(Task::Generic) => Some(Answer::Generic),
    };
    let Some(answer) = fitting else {
        let (task, expected) = match metadata.task {
            Some(Task::Regression) => ("regression", "one floating-point output [N] or [N, 1]"),
            _ => ("classification", "a floating-point output [N, number of classes]"),
        };
        let outputs: Vec<String> = signature.outputs.iter().map(describe).collect();
        return Err(SchemaError(format!(
            "a {task} needs {expected}; the graph puts out {}",
            outputs.join(", ")
        )));
    };
    if let Answer::Classification {
        probabilities,
        classes,
        ..
    } = &answer
        && let [Some(count)] = signature.row_shape(&signature.outputs[*probabilities])
        && !classes.is_empty()
    {
        expect_count("classes", classes.len(), *count)?;
    }
    Ok(answer)
}

fn describe(output: &TensorSpec) -> String {
    format!("{} {} {}", output.name, output.datatype, written(&output.shape))
}

/// Without a `model.toml`, one column of numbers is a regression, and labels beside probabilities, as scikit-learn's
/// exporter writes them, are a classification.
fn guess(signature: &Signature, classes: &[String]) -> Option<Answer> {
    match classification(signature, classes) {
        Some(answer @ Answer::Classification { label: Some(_), .. }) => Some(answer),
        _ => regression(signature),
    }
}

fn regression(signature: &Signature) -> Option<Answer> {
    let [output] = signature.outputs.as_slice() else {
        return None;
    };
    (output.datatype.is_float() && is_column(signature, output)).then_some(Answer::Regression { output: 0 })
}

fn classification(signature: &Signature, classes: &[String]) -> Option<Answer> {
    let find = |fits: &dyn Fn(&TensorSpec) -> bool| signature.outputs.iter().position(fits);
    let is_label = |output: &TensorSpec| {
        matches!(output.datatype, Datatype::I64 | Datatype::I32 | Datatype::Text)
            && is_column(signature, output)
    };
    let is_probabilities = |output: &TensorSpec| {
        output.datatype.is_float() && matches!(signature.row_shape(output), [size] if *size != Some(1))
    };
    let probabilities = find(&is_probabilities)?;
    let label = find(&is_label);
    let is_all = signature.outputs.len() == 1 + usize::from(label.is_some());
    is_all.then(|| Answer::Classification {
        probabilities,
        // Names from `model.toml` stand for the probabilities; the graph's own label would contradict them.
        label: if classes.is_empty() { label } else { None },
        classes: classes.to_vec(),
    })
}

fn is_column(signature: &Signature, output: &TensorSpec) -> bool {
    matches!(signature.row_shape(output), [] | [Some(1)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dictionary::Keys;
    use crate::model::preprocessing::image::Channels;
    use crate::model::signature::Batch;

    fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
        TensorSpec {
            name: name.into(),
            datatype,
            shape: shape.iter().map(|&size| usize::try_from(size).ok()).collect(),
        }
    }

    fn signature(inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Signature {
        Signature {
            inputs,
            outputs,
            batch: Batch::Free,
        }
    }

    fn with_outputs(outputs: Vec<TensorSpec>) -> Signature {
        signature(vec![spec("x", Datatype::F32, &[-1, 4])], outputs)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn answer_of(signature: Signature, metadata: &Metadata) -> Answer {
        Schema::new(signature, metadata).unwrap().answer
    }

    #[test]
    fn a_bare_column_of_floats_is_a_regression() {
        for shape in [&[-1, 1][..], &[-1]] {
            let signature = with_outputs(vec![spec("y", Datatype::F32, shape)]);
            let expected = Answer::Regression { output: 0 };
            assert_eq!(answer_of(signature, &Metadata::default()), expected);
        }
    }

    #[test]
    fn labels_beside_probabilities_are_a_classification() {
        let outputs = vec![
            spec("label", Datatype::I64, &[-1]),
            spec("probabilities", Datatype::F32, &[-1, 3]),
        ];
        let expected = Answer::Classification {
            probabilities: 1,
            label: Some(0),
            classes: vec![],
        };
        assert_eq!(answer_of(with_outputs(outputs), &Metadata::default()), expected);
    }

    #[test]
    fn several_columns_are_a_classification_only_where_classes_are_named() {
        let signature = with_outputs(vec![spec("p", Datatype::F32, &[-1, 3])]);
        assert_eq!(
            answer_of(signature.clone(), &Metadata::default()),
            Answer::Generic
        );
        let metadata = Metadata {
            classes: names(&["a", "b", "c"]),
            ..Metadata::default()
        };
        assert!(matches!(
            answer_of(signature, &metadata),
            Answer::Classification { .. }
        ));
    }

    #[test]
    fn metadata_that_does_not_fit_is_refused_with_both_counts() {
        let probabilities = || with_outputs(vec![spec("p", Datatype::F32, &[-1, 3])]);
        let refused = |metadata: Metadata| Schema::new(probabilities(), &metadata).unwrap_err().to_string();
        let classes = refused(Metadata {
            classes: names(&["a", "b"]),
            ..Metadata::default()
        });
        assert!(
            classes.contains("2 classes") && classes.contains('3'),
            "{classes}"
        );
        let features = refused(Metadata {
            features: names(&["a"]),
            ..Metadata::default()
        });
        assert!(
            features.contains("1 features") && features.contains('4'),
            "{features}"
        );
        let task = refused(Metadata {
            task: Some(Task::Regression),
            ..Metadata::default()
        });
        assert!(task.contains("p FP32 [?, 3]"), "{task}");
        let twice = refused(Metadata {
            features: names(&["a", "b", "a", "c"]),
            ..Metadata::default()
        });
        assert!(twice.contains("twice"), "{twice}");
    }

    #[test]
    fn several_inputs_are_named_by_the_graph() {
        let inputs = vec![
            spec("age", Datatype::F32, &[-1, 1]),
            spec("city", Datatype::Text, &[-1, 1]),
        ];
        let signature = signature(inputs, vec![spec("y", Datatype::F32, &[-1, 1])]);
        let schema = Schema::new(signature, &Metadata::default()).unwrap();
        assert_eq!(schema.features(), ["age", "city"]);
        assert!(matches!(schema.layout, Layout::Inputs(_)));
    }

    #[test]
    fn images_are_the_only_input_and_have_no_features() {
        let metadata = Metadata {
            image: Some(ImageInput::new(8, 8, Channels::Grey)),
            ..Metadata::default()
        };
        let input = || spec("x", Datatype::F32, &[-1, 1, 8, 8]);
        let output = || vec![spec("y", Datatype::F32, &[-1, 1])];
        let schema = Schema::new(signature(vec![input()], output()), &metadata).unwrap();
        assert!(matches!(schema.layout, Layout::Image(_)));
        assert!(schema.features().is_empty());

        let told = |inputs, metadata: &Metadata| {
            Schema::new(signature(inputs, output()), metadata)
                .unwrap_err()
                .to_string()
        };
        let two = told(vec![input(), spec("z", Datatype::F32, &[-1, 1])], &metadata);
        assert!(two.ends_with("the graph has 2 inputs"), "{two}");
        let wide = told(vec![spec("x", Datatype::F32, &[-1, 1, 8, 9])], &metadata);
        assert!(wide.ends_with("width: 8 by [image], 9 by the graph"), "{wide}");
        let named = Metadata {
            features: names(&["a"]),
            ..metadata
        };
        assert!(told(vec![input()], &named).contains("names features"));
    }

    #[test]
    fn whole_numbers_are_never_missing() {
        let metadata = Metadata {
            missing_values: true,
            ..Metadata::default()
        };
        let output = || vec![spec("y", Datatype::F32, &[-1, 1])];
        let of = |inputs| Schema::new(signature(inputs, output()), &metadata);
        let error = of(vec![spec("x", Datatype::I64, &[-1, 2])])
            .unwrap_err()
            .to_string();
        assert!(error.contains("missing_values"), "{error}");
        let mixed = vec![
            spec("x", Datatype::I64, &[-1, 1]),
            spec("t", Datatype::Text, &[-1, 1]),
        ];
        assert!(of(mixed).unwrap().missing_values);
    }

    #[test]
    fn the_keys_of_an_object_stand_in_the_graph() {
        let dictionary = Dictionary {
            input: "x".into(),
            keys: Keys::Positions(4),
            absent: String::new(),
            spells_numbers: false,
        };
        let schema = |features: &[&str]| {
            let metadata = Metadata {
                features: names(features),
                ..Metadata::default()
            };
            Schema::new(with_outputs(vec![spec("y", Datatype::F32, &[-1, 1])]), &metadata)
                .unwrap()
                .with_dictionaries(std::slice::from_ref(&dictionary))
        };
        assert_eq!(schema(&[]).unwrap().layout, Layout::Single);
        assert!(schema(&["a", "b", "c", "d"]).is_err());
    }
}
