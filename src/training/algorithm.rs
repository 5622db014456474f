//! What every way to fit a model has in common.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::TrainingError;
use super::dataset::{Dataset, Missing, Roles, TargetKind};
use super::encoding::{Encoding, Unknown};
use super::fitted::FittedModel;
use super::network::Epoch;
use super::onnx::Graph;
use super::random::Generator;
use super::split::{Split, split};
use crate::model::artifact::Metadata;

/// A way to fit a model, with its options.
pub trait Algorithm: Send + Sync {
    /// The name on the command line and in `model.toml`.
    fn name(&self) -> &'static str;

    /// The options, as `model.toml` keeps them.
    fn options(&self) -> toml::Table;

    /// What the column to predict is read as.
    fn target_kind(&self) -> TargetKind;

    /// Checks the options.
    fn check(&self) -> Result<(), TrainingError>;

    /// Adds what it knows of the columns without being told.
    fn complete_roles(&self, _roles: &mut Roles) {}

    /// Reads the data at `path`: a table, unless the algorithm takes more.
    fn read(&self, path: &Path, roles: &Roles) -> Result<Dataset, TrainingError> {
        Ok(Dataset::read(path, roles, self.target_kind())?)
    }

    /// Makes of the data as it is read what is fitted on.
    fn prepare(&self, data: Dataset) -> Result<Dataset, TrainingError> {
        Ok(data)
    }

    /// Which rows are held out: by chance, in proportion within each class, unless their order has a meaning.
    fn split(&self, data: &Dataset, fraction: f64, generator: &mut Generator) -> Split {
        split(&data.target.strata(), fraction, generator)
    }

    /// How the training part is divided for cross-validation, where the order of its rows has a meaning.
    fn divide(&self, _training: &Dataset, _parts: usize) -> Option<Vec<Split>> {
        None
    }

    /// Fits on the training part.
    fn fit(&self, data: &Dataset, context: &mut Context<'_>) -> Result<Fitted, TrainingError>;

    /// What simpler models come to on the rows held out, where comparing with them says more than the figures alone.
    fn baselines(&self, _training: &Dataset, _held_out: &Dataset) -> Result<Vec<Baseline>, TrainingError> {
        Ok(Vec::new())
    }
}

/// What a fit gets beside its data.
pub struct Context<'a> {
    /// The only source of chance.
    pub generator: &'a mut Generator,
    /// Is told of each epoch, where there are epochs.
    pub observe: &'a mut dyn FnMut(Epoch),
    /// Set when the fit is to end with what it has.
    pub stop: &'a AtomicBool,
    /// What becomes of values that are not there.
    pub missing: Missing,
    /// What becomes of categories that the training part did not have.
    pub unknown: Unknown,
}

impl Context<'_> {
    /// Whether the fit is to end with what it has.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends a fit that has nothing to show before it is done.
    pub fn go_on(&self) -> Result<(), TrainingError> {
        if self.is_stopped() {
            return Err(TrainingError::Interrupted);
        }
        Ok(())
    }
}

/// What came of a fit.
pub struct Fitted {
    /// The whole computation, from rows as clients send them.
    pub graph: Graph,
    /// The exact parameters, in 64-bit floats where they are, for a report.
    pub parameters: Value,
    /// What `model.toml` must say of the inputs.
    pub inputs: Metadata,
    /// What a text model's texts are cut into tokens by, in the format of Hugging Face's `tokenizer.json`.
    pub tokenizer: Option<Vec<u8>>,
}

/// What something simpler comes to on the rows held out.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Baseline {
    /// What it is.
    pub name: &'static str,
    /// Which figure is compared, by its name in `model.toml`: `rmse` (in the target's unit) or `accuracy`.
    pub figure: &'static str,
    /// The figure.
    pub value: f64,
}

/// Fits a model of encoded columns: `fit` gets n × width numbers and what each of them is called.
pub(super) fn fit_columns<M: FittedModel>(
    data: &Dataset,
    context: &mut Context<'_>,
    fit: impl FnOnce(&Columns<'_>, &mut Context<'_>) -> Result<M, TrainingError>,
) -> Result<Fitted, TrainingError> {
    let encoding = Encoding::fit(data, context.missing, context.unknown)?;
    let columns = Columns {
        rows: encoding.apply(data)?,
        names: encoding.names(),
        data,
    };
    let model = fit(&columns, context)?;
    let mut graph = Graph::default();
    let features = encoding.add_to(&mut graph);
    model.add_to(&mut graph, &features);
    Ok(Fitted {
        graph,
        parameters: model.parameters(),
        inputs: Metadata {
            features: data.names(),
            missing_values: context.missing != Missing::Refuse,
            ..Metadata::default()
        },
        tokenizer: None,
    })
}

/// A training part whose columns are encoded.
pub(super) struct Columns<'a> {
    /// n × width.
    pub(super) rows: ndarray::Array2<f64>,
    /// What each of the columns is.
    pub(super) names: Vec<String>,
    /// Where they come from: the target and the weights of the rows.
    pub(super) data: &'a Dataset,
}
