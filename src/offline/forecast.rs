//! Forecasts of a series that stands in a file: of what comes after its end, or from each of its rows on.

use super::model::ROWS_AT_ONCE;
use super::series::Windows;
use super::sheet::{Sheet, own, written};
use super::{OfflineError, OfflineModel, Predicted, Wanted};
use crate::training::dataset::{Place, Table};

/// A column of a table that holds a series, and how a model forecasts it.
pub(super) struct Series<'a> {
    table: &'a Table,
    column: usize,
    windows: &'a Windows,
}

/// Whether the table holds the series itself, and no windows with a column for each of their values.
pub(super) fn is_series(model: &OfflineModel, windows: &Windows, table: &Table, wanted: &Wanted<'_>) -> bool {
    if wanted.rolling || wanted.column.is_some() {
        return true;
    }
    let names = model.schema.features();
    if names.is_empty() {
        return table.columns().len() < windows.window;
    }
    names.iter().any(|name| table.position(name).is_none())
}

impl<'a> Series<'a> {
    /// The series that the model forecasts, in the column that is wanted.
    pub(super) fn of(
        model: &OfflineModel,
        windows: &'a Windows,
        table: &'a Table,
        wanted: &Wanted<'_>,
    ) -> Result<Self, OfflineError> {
        if wanted.keep && !wanted.rolling {
            return Err(OfflineError::KeepWithoutRolling);
        }
        let column = Windows::column(model, table, wanted.column)?;
        if table.rows() < windows.window {
            return Err(OfflineError::ShortSeries {
                model: model.name.clone(),
                needed: windows.window,
                what: "a forecast",
                found: table.rows(),
            });
        }
        Ok(Self {
            table,
            column,
            windows,
        })
    }

    /// What comes after the last row: a line for each step.
    pub(super) fn after_the_end(
        &self,
        model: &mut OfflineModel,
        sheet: &mut Sheet<'_, '_>,
    ) -> Result<Predicted, OfflineError> {
        let rows = self.table.rows();
        // What lies before the window is of no consequence, gaps in it neither.
        let window = self.values(rows - self.windows.window)?;
        let forecast = self
            .windows
            .forecast(model, &[&window], &[self.table.place(rows - 1)])?;
        sheet.line(&["step".to_owned(), "forecast".to_owned()])?;
        for (step, &value) in (1..).zip(forecast.iter()) {
            sheet.line(&[i32::to_string(&step), written(value)])?;
        }
        Ok(Predicted::default())
    }

    /// What would have been forecast at each row, from the window that ends with it: a line for each row, with no values where
    /// the window would begin before the series does.
    pub(super) fn rolling(
        &self,
        model: &mut OfflineModel,
        keep: bool,
        sheet: &mut Sheet<'_, '_>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Predicted, OfflineError> {
        let Windows { window, horizon, .. } = *self.windows;
        let series = self.values(0)?;
        let mut header = if keep {
            self.table.columns().to_vec()
        } else {
            Vec::new()
        };
        header.extend((1..=horizon).map(|step| format!("forecast_{step}")));
        sheet.line(&header)?;
        let kept = |row| if keep { own(self.table, row) } else { Vec::new() };
        let without_window = window - 1;
        for row in 0..without_window {
            let mut line = kept(row);
            line.extend(std::iter::repeat_n(String::new(), horizon));
            sheet.line(&line)?;
        }
        let windows: Vec<&[f64]> = series.windows(window).collect();
        for (chunk, windows) in windows.chunks(ROWS_AT_ONCE).enumerate() {
            let first = without_window + chunk * ROWS_AT_ONCE;
            let rows = first..first + windows.len();
            let places: Vec<Place> = rows.clone().map(|row| self.table.place(row)).collect();
            let forecasts = self.windows.forecast(model, windows, &places)?;
            for (row, forecast) in rows.clone().zip(forecasts.outer_iter()) {
                let mut line = kept(row);
                line.extend(forecast.iter().copied().map(written));
                sheet.line(&line)?;
            }
            progress(rows.end);
        }
        Ok(Predicted { without_window })
    }

    /// The values from a row on.
    fn values(&self, first: usize) -> Result<Vec<f64>, OfflineError> {
        let values = (first..self.table.rows()).map(|row| self.table.number(row, self.column));
        Ok(values.collect::<Result<_, _>>()?)
    }
}
