//! A version of a model, loaded to be run here.

use std::path::Path;

use super::OfflineError;
use crate::api::datum::Datum;
use crate::api::error::ApiError;
use crate::engine::{Engine, EngineError, LoadOptions, contain_panics};
use crate::model::artifact::Metadata;
use crate::model::engine_choice::EngineChoice;
use crate::model::repository::{Contents, scan};
use crate::model::schema::Schema;
use crate::model::signature::TensorSpec;
use crate::model::tensor::Tensor;
use crate::training::dataset::Place;
use crate::worker::served::{LoadError, Understood};
use crate::worker::validation::{tensors_of, tokens_of};

/// Rows that run together.
pub(super) const ROWS_AT_ONCE: usize = 256;

/// A version of a model, loaded to be run here.
pub struct OfflineModel {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// How rows and answers are understood.
    pub schema: Schema,
    /// What `model.toml` says.
    pub metadata: Metadata,
    engine: Box<dyn Engine>,
}

impl OfflineModel {
    /// Loads a version of the model `name`, the newest one where none is named.
    pub fn open(
        repository: &Path,
        name: &str,
        version: Option<u64>,
        engine: EngineChoice,
    ) -> Result<Self, OfflineError> {
        let contents = scan(repository)?;
        let (version, folder) = find(&contents, name, version, repository)?;
        let unloadable = |error: LoadError| OfflineError::Unloadable {
            model: name.to_owned(),
            version,
            reason: error.to_string(),
        };
        let options = LoadOptions {
            max_batch_size: ROWS_AT_ONCE,
            engine,
        };
        let understood = Understood::read(folder, &options).map_err(unloadable)?;
        Ok(Self {
            name: name.to_owned(),
            version,
            engine: understood.graph.engine(),
            schema: understood.schema,
            metadata: understood.metadata,
        })
    }

    /// The column that it was trained to predict, where `model.toml` says so.
    pub(super) fn trained_on(&self) -> Vec<String> {
        let source = self.metadata.source.iter();
        source.map(|source| source.target.clone()).collect()
    }

    /// Its outputs with their types and shapes, for people.
    pub(super) fn outputs(&self) -> Vec<String> {
        let described = |output: &TensorSpec| {
            let shape = output.written_shape();
            format!("{} ({} {shape:?})", output.name, output.datatype)
        };
        self.schema.signature.outputs.iter().map(described).collect()
    }

    /// The names of its classes; none where neither the graph nor `model.toml` says.
    pub(super) fn class_names(&self) -> &[String] {
        match self.schema.classes() {
            [] => &self.metadata.classes,
            named => named,
        }
    }

    /// Checks and runs these rows, of which the nth stands at the nth place; one row of each output for each.
    pub fn run(&mut self, rows: &[Datum<'_>], places: &[Place]) -> Result<Vec<Tensor>, OfflineError> {
        let inputs = match self.encode(rows) {
            Ok(inputs) => inputs,
            Err(error) => return Err(self.blame(rows, places, &error.message)),
        };
        let outcome = contain_panics(|| self.engine.run(inputs));
        outcome.map_err(|error| match (error, places) {
            // One of several: which one shows when each runs alone.
            (EngineError::RefusedValues(_), [_, _, ..]) => self.find_refused(rows, places),
            (EngineError::RefusedValues(problem), _) => OfflineError::Row {
                place: first(places),
                problem,
            },
            (other, _) => OfflineError::Engine {
                place: first(places),
                problem: other.to_string(),
            },
        })
    }

    /// The tensors of these rows, as the worker makes them.
    fn encode(&self, rows: &[Datum<'_>]) -> Result<Vec<Tensor>, ApiError> {
        match tokens_of(rows, &self.name, &self.schema)? {
            Some(tokenized) => Ok(tokenized.tensors),
            None => tensors_of(rows, &self.name, &self.schema),
        }
    }

    /// The row that does not fit, by its place in the file instead of its number in the request.
    fn blame(&self, rows: &[Datum<'_>], places: &[Place], together: &str) -> OfflineError {
        for (row, &place) in rows.iter().zip(places) {
            if let Err(error) = self.encode(std::slice::from_ref(row)) {
                let problem = error.message.replacen("inputs[0]", "the row", 1);
                return OfflineError::Row { place, problem };
            }
        }
        // Each fits alone; together they do not, such as sequences of different length.
        OfflineError::Row {
            place: first(places),
            problem: together.to_owned(),
        }
    }

    fn find_refused(&mut self, rows: &[Datum<'_>], places: &[Place]) -> OfflineError {
        for (row, place) in rows.iter().zip(places) {
            if let Err(error) = self.run(std::slice::from_ref(row), std::slice::from_ref(place)) {
                return error;
            }
        }
        OfflineError::Engine {
            place: first(places),
            problem: "it refuses these rows together, and none of them alone".to_owned(),
        }
    }
}

fn first(places: &[Place]) -> Place {
    places.first().copied().unwrap_or(Place::Row(0))
}

fn find<'a>(
    contents: &'a Contents,
    name: &str,
    version: Option<u64>,
    repository: &Path,
) -> Result<(u64, &'a Path), OfflineError> {
    let Some(versions) = contents.models.get(name) else {
        return Err(OfflineError::UnknownModel {
            model: name.to_owned(),
            repository: repository.display().to_string(),
            models: contents.models.keys().cloned().collect(),
        });
    };
    let found = match version {
        Some(version) => versions.get_key_value(&version),
        None => versions.last_key_value(),
    };
    found
        .map(|(&number, files)| (number, files.folder.as_path()))
        .ok_or_else(|| OfflineError::UnknownVersion {
            model: name.to_owned(),
            version: version.unwrap_or_default(),
            versions: versions.keys().map(u64::to_string).collect(),
        })
}
