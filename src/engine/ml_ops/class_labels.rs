//! The names of classes: whole numbers or texts.

use super::{Attributes, MlError};
use crate::model::tensor::{Datatype, Values};

/// The labels of all classes, in the order of the classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClassLabels {
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Texts.
    Texts(Vec<String>),
}

impl ClassLabels {
    /// Reads them from `classlabels_strings` or from `ints`. Where both are there, texts win, as in ONNX Runtime.
    pub(crate) fn read(attributes: Attributes<'_>, ints: &'static str) -> Result<Self, MlError> {
        let found = attributes.texts("classlabels_strings")?;
        if !found.is_empty() {
            return Ok(Self::Texts(found.into_iter().map(str::to_owned).collect()));
        }
        match attributes.ints(ints)? {
            [] => Err(MlError::MissingAttribute(ints)),
            found => Ok(Self::Ints(found.to_vec())),
        }
    }

    /// These values as labels; none where labels are not of their type.
    pub(crate) fn of_values(values: Values) -> Option<Self> {
        match values {
            Values::I64(labels) => Some(Self::Ints(labels)),
            Values::I32(labels) => Some(Self::Ints(labels.into_iter().map(i64::from).collect())),
            Values::Text(labels) => Some(Self::Texts(labels)),
            _ => None,
        }
    }

    /// The labels as texts.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Ints(labels) => labels.iter().map(i64::to_string).collect(),
            Self::Texts(labels) => labels.clone(),
        }
    }

    /// How many classes there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ints(labels) => labels.len(),
            Self::Texts(labels) => labels.len(),
        }
    }

    /// The element type of an output of labels.
    pub(super) const fn datatype(&self) -> Datatype {
        match self {
            Self::Ints(_) => Datatype::I64,
            Self::Texts(_) => Datatype::Text,
        }
    }

    /// The label of each of `classes`, which are positions in the list.
    pub(super) fn of_classes(&self, classes: &[usize]) -> Values {
        match self {
            Self::Ints(labels) => Values::I64(classes.iter().map(|&class| labels[class]).collect()),
            Self::Texts(labels) => Values::Text(classes.iter().map(|&class| labels[class].clone()).collect()),
        }
    }
}
