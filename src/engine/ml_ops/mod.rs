//! The operators of the `ai.onnx.ml` domain, as their published definitions have them
//! (<https://onnx.ai/onnx/operators/index.html#ai-onnx-ml>), and some of the others: those of
//! texts, and what engines lack.
//!
//! They are pure: attributes make an operator, and an operator makes values of values. What lies around them, be it an
//! engine's graph or a test, brings tensors in and takes them out.

mod attributes;
mod class_labels;
mod columns;
mod cumulative_sum;
mod encoders;
mod features;
mod linear;
#[cfg(test)]
mod node_fixture;
mod numeric;
mod post_transform;
mod svm;
mod take;
mod tensor_proto;
mod text;
mod tree_ensemble;

use std::fmt::Debug;

pub(crate) use self::attributes::Attributes;
pub(crate) use self::class_labels::ClassLabels;
pub(crate) use self::tensor_proto::tensor_values;
use crate::model::tensor::{Datatype, Slice, Tensor, Values};

/// The domain of these operators.
pub(crate) const ML_DOMAIN: &str = "ai.onnx.ml";

/// A tensor that comes into an operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct View<'a> {
    /// Its size along each axis.
    pub(crate) shape: &'a [usize],
    /// Its values in row-major order, as many as the shape asks for.
    pub(crate) values: Slice<'a>,
}

/// What is known of a tensor before it has values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    /// Its element type.
    pub(crate) datatype: Datatype,
    /// Its size along each axis.
    pub(crate) shape: Vec<usize>,
}

/// One node of a graph: what its attributes say, made ready to run. It holds no state between runs.
pub(crate) trait MlOperator: Debug + Send + Sync {
    /// Element type and shape of each output, for inputs of these types and shapes; or why it cannot take them.
    fn outputs(&self, inputs: &[Fact]) -> Result<Vec<Fact>, MlError>;

    /// The axis of its outputs whose size only values tell, whatever [`MlOperator::outputs`] says of it; none for most.
    fn free_axis(&self, _: &[Fact]) -> Option<usize> {
        None
    }

    /// Runs it. The outputs are of the types and shapes that [`MlOperator::outputs`] says.
    fn run(&self, inputs: &[View<'_>]) -> Result<Vec<Tensor>, MlError>;
}

/// Why an operator could not be made of its attributes, or does not take what it is given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MlError {
    /// An attribute is not there, and the definition has no default for it.
    #[error("attribute {0} is missing")]
    MissingAttribute(&'static str),
    /// An attribute does not fit its definition, or the other attributes.
    #[error("attribute {name}: {problem}")]
    Attribute {
        /// Which one.
        name: &'static str,
        /// What was expected and what is there.
        problem: String,
    },
    /// An input does not fit the definition, or the attributes.
    #[error("input {position}: {problem}")]
    Input {
        /// Which one.
        position: usize,
        /// What was expected and what came.
        problem: String,
    },
}

impl MlError {
    fn attribute(name: &'static str, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self::Attribute { name, problem }
    }

    fn input(position: usize, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self::Input { position, problem }
    }
}

/// An output of operators that score rows.
fn scored(shape: Vec<usize>, values: Values) -> Tensor {
    Tensor::new(shape, values).expect("every row has as many scores as the operator says")
}

/// The domain of operators that stand for several nodes of a file.
pub(crate) const OWN_DOMAIN: &str = "millrace";

/// The types of all operators here, and their domains.
pub(crate) const OPERATORS: [(&str, &str); 21] = [
    ("ArrayFeatureExtractor", ML_DOMAIN),
    ("Binarizer", ML_DOMAIN),
    ("CategoryMapper", ML_DOMAIN),
    ("CumSum", ""),
    ("FeatureVectorizer", ML_DOMAIN),
    ("Imputer", ML_DOMAIN),
    ("LabelEncoder", ML_DOMAIN),
    ("LinearClassifier", ML_DOMAIN),
    ("LinearRegressor", ML_DOMAIN),
    ("Normalizer", ML_DOMAIN),
    ("OneHotEncoder", ML_DOMAIN),
    ("SVMClassifier", ML_DOMAIN),
    ("SVMRegressor", ML_DOMAIN),
    ("Scaler", ML_DOMAIN),
    ("StringNormalizer", ""),
    ("TextVectorizer", OWN_DOMAIN),
    ("TfIdfVectorizer", ""),
    ("Tokenizer", "com.microsoft"),
    ("TreeEnsemble", ML_DOMAIN),
    ("TreeEnsembleClassifier", ML_DOMAIN),
    ("TreeEnsembleRegressor", ML_DOMAIN),
];

/// What a Cast makes values, and the operator for those of which one side is texts. Others are left to the engine.
pub(crate) fn text_cast(attributes: Attributes<'_>) -> Result<(Datatype, impl MlOperator + use<>), MlError> {
    let cast = text::TextCast::from_node(attributes)?;
    Ok((cast.to(), cast))
}

/// The operator of type `op_type` with these attributes; none if there is no such operator here.
pub(crate) fn operator(
    op_type: &str,
    attributes: Attributes<'_>,
) -> Option<Result<Box<dyn MlOperator>, MlError>> {
    fn boxed<O: MlOperator + 'static>(made: Result<O, MlError>) -> Result<Box<dyn MlOperator>, MlError> {
        made.map(|operator| Box::new(operator) as Box<dyn MlOperator>)
    }
    Some(match op_type {
        "ArrayFeatureExtractor" => boxed(Ok(columns::ArrayFeatureExtractor)),
        "Binarizer" => boxed(numeric::Binarizer::from_node(attributes)),
        "CategoryMapper" => boxed(encoders::Lookup::category_mapper(attributes)),
        "CumSum" => boxed(cumulative_sum::CumSum::from_node(attributes)),
        "FeatureVectorizer" => boxed(columns::FeatureVectorizer::from_node(attributes)),
        "Imputer" => boxed(numeric::Imputer::from_node(attributes)),
        "LabelEncoder" => boxed(encoders::Lookup::label_encoder(attributes)),
        "LinearClassifier" => boxed(linear::LinearClassifier::from_node(attributes)),
        "LinearRegressor" => boxed(linear::LinearRegressor::from_node(attributes)),
        "Normalizer" => boxed(numeric::Normalizer::from_node(attributes)),
        "OneHotEncoder" => boxed(encoders::OneHotEncoder::from_node(attributes)),
        "Scaler" => boxed(numeric::Scaler::from_node(attributes)),
        "SVMClassifier" => boxed(svm::SvmClassifier::from_node(attributes)),
        "SVMRegressor" => boxed(svm::SvmRegressor::from_node(attributes)),
        "StringNormalizer" => boxed(text::StringNormalizer::from_node(attributes)),
        "TextVectorizer" => boxed(text::TextVectorizer::from_node(attributes)),
        "TfIdfVectorizer" => boxed(text::TfIdfVectorizer::from_node(attributes)),
        "Tokenizer" => boxed(text::Tokenizer::from_node(attributes)),
        "TreeEnsemble" => boxed(tree_ensemble::TreeEnsemble::from_node(attributes)),
        "TreeEnsembleClassifier" => boxed(tree_ensemble::TreeEnsembleClassifier::from_node(attributes)),
        "TreeEnsembleRegressor" => boxed(tree_ensemble::TreeEnsembleRegressor::from_node(attributes)),
        _ => return None,
    })
}
