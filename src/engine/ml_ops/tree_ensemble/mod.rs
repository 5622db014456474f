//! Forests of decision trees: `TreeEnsembleRegressor`, `TreeEnsembleClassifier` and `TreeEnsemble`.
//!
//! A file's attributes become a [`forest::Forest`], which is checked; that becomes a [`layout::Layout`], which is
//! fast; rows walk through that, and a [`tally::Tally`] adds up what the leaves say. What becomes of the sums is the
//! only thing in which the operators differ.

mod classifier;
mod forest;
mod layout;
mod numbers;
mod regressor;
mod tally;

use std::sync::OnceLock;

pub(super) use self::classifier::TreeEnsembleClassifier;
pub(super) use self::regressor::{TreeEnsemble, TreeEnsembleRegressor};
use super::features::{self, Dimensions};
use super::{Attributes, MlError};
use crate::model::tensor::{Datatype, Tensor, Values};
use forest::Forest;
use layout::Layout;

/// The trees of one operator, for rows of both precisions. Double precision is for rows of doubles; all others are
/// compared in single precision, as ONNX Runtime does it.
#[derive(Debug)]
struct Trees {
    double: Layout<f64>,
    /// Made when the type of the rows is known.
    single: OnceLock<Layout<f32>>,
}

impl Trees {
    fn of(forest: &Forest, targets: usize) -> Result<Self, MlError> {
        Ok(Self {
            double: Layout::of(forest, targets)?,
            single: OnceLock::new(),
        })
    }

    fn single(&self) -> &Layout<f32> {
        self.single.get_or_init(|| self.double.to_single())
    }

    fn targets(&self) -> usize {
        self.double.targets
    }

    fn count(&self) -> usize {
        self.double.roots.len()
    }

    /// Makes sure that rows have all the features that branches ask for.
    fn check(&self, dimensions: Dimensions) -> Result<(), MlError> {
        let (width, least) = (dimensions.width, self.double.min_width);
        if width >= least {
            return Ok(());
        }
        let problem = format!("expected at least {least} features a row, found {width}");
        Err(features::refused(problem))
    }

    /// Checks the dimensions, and has everything ready for rows of `datatype`.
    fn prepare(&self, datatype: Datatype, dimensions: Dimensions) -> Result<(), MlError> {
        self.check(dimensions)?;
        if datatype != Datatype::F64 {
            self.single();
        }
        Ok(())
    }
}

/// The base values, of which there must be one of `counts`.
fn base_values(attributes: Attributes<'_>, counts: &[usize]) -> Result<Vec<f64>, MlError> {
    let found = numbers::list_or_tensor(attributes, "base_values", "base_values_as_tensor")?;
    if counts.contains(&found.len()) {
        return Ok(found);
    }
    let problem = format!("expected one of {counts:?} values, found {}", found.len());
    let name = "base_values";
    Err(MlError::Attribute { name, problem })
}

fn tensor(shape: Vec<usize>, values: Values) -> Tensor {
    Tensor::new(shape, values).expect("every row has as many scores as there are targets")
}
