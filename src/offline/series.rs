//! A series instead of rows: a column in the order of time, cut into the windows that a forecast is made from.

use ndarray::Array2;

use super::answers::numbers;
use super::rows::nest;
use super::{OfflineError, OfflineModel};
use crate::api::datum::Datum;
use crate::model::schema::{Answer, Layout};
use crate::training::dataset::{Place, Table, few};

/// What a model makes a forecast from, and what that is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Windows {
    /// Values that it takes.
    pub(super) window: usize,
    /// Values that it forecasts.
    pub(super) horizon: usize,
    /// The shape in which it takes them.
    sizes: Vec<usize>,
    output: usize,
}

impl Windows {
    /// Those of a model whose task is to forecast; none of another.
    pub(super) fn of(model: &OfflineModel) -> Result<Option<Self>, OfflineError> {
        let Answer::Forecast { output } = model.schema.answer else {
            return Ok(None);
        };
        let signature = &model.schema.signature;
        let sizes: Option<Vec<usize>> = match (&model.schema.layout, signature.inputs.as_slice()) {
            (Layout::Features { count, .. }, _) => Some(vec![*count]),
            (Layout::Single, [input]) => signature.row_shape(input).iter().copied().collect(),
            _ => None,
        };
        let horizon = signature.row_shape(&signature.outputs[output]);
        match (sizes, horizon) {
            (Some(sizes), &[Some(horizon)]) if sizes.iter().filter(|&&size| size != 1).count() <= 1 => {
                Ok(Some(Self {
                    window: sizes.iter().product(),
                    horizon,
                    sizes,
                    output,
                }))
            }
            _ => Err(OfflineError::NotASeries {
                model: model.name.clone(),
                reason: "its rows are no window of one series, or its windows or forecasts have no fixed length",
            }),
        }
    }

    /// The column that holds the series: the one that is asked for, that the model was trained on, or the only one.
    pub(super) fn column(
        model: &OfflineModel,
        table: &Table,
        asked: Option<&str>,
    ) -> Result<usize, OfflineError> {
        let trained_on = model.trained_on();
        let name = asked.or_else(|| trained_on.first().map(String::as_str));
        match (name.and_then(|name| table.position(name)), table.columns()) {
            (Some(position), _) => Ok(position),
            (None, [_]) if asked.is_none() => Ok(0),
            (None, columns) => Err(OfflineError::UnknownSeries {
                model: model.name.clone(),
                column: name.map_or_else(String::new, |name| format!(" {name}")),
                columns: few(columns),
            }),
        }
    }

    /// What comes after each of `windows`, each of which ends at one of `places`.
    pub(super) fn forecast(
        &self,
        model: &mut OfflineModel,
        windows: &[&[f64]],
        places: &[Place],
    ) -> Result<Array2<f64>, OfflineError> {
        let row = |window: &&[f64]| nest(window.iter().copied().map(Datum::Float).collect(), &self.sizes);
        let data: Vec<Datum<'_>> = windows.iter().map(row).collect();
        let outputs = model.run(&data, places)?;
        let forecasts = numbers(&outputs[self.output]);
        forecasts
            .filter(|forecasts| forecasts.dim() == (windows.len(), self.horizon))
            .ok_or_else(|| OfflineError::NotASeries {
                model: model.name.clone(),
                reason: "it answers with other values than it declares",
            })
    }
}
