//! What `millrace evaluate` and `millrace predict` share: the model, the file, and how far it is.

use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;
use crate::cli::FileArgs;
use crate::engine::load_library;
use crate::model::engine_choice::{EngineChoice, RuntimeLibrary};
use crate::model::name::parse_version;
use crate::offline::{OfflineError, OfflineModel};
use crate::training::dataset::Table;

/// Loads the model and reads the file.
pub(super) fn open(arguments: &FileArgs) -> Result<(OfflineModel, Table), Failure> {
    let (name, version) = match arguments.model.split_once('/') {
        None => (arguments.model.as_str(), None),
        Some((name, version)) => (name, Some(number(version)?)),
    };
    let library = arguments
        .onnxruntime_library
        .clone()
        .map(|path| RuntimeLibrary { path, threads: 1 });
    if let Some(library) = &library {
        load_library(library).map_err(|error| Failure::usage(format!("--onnxruntime-library: {error}")))?;
    }
    let engine = EngineChoice::Auto(library);
    let model = OfflineModel::open(&arguments.repository, name, version, engine).map_err(failure)?;
    let table = Table::read(&arguments.data).map_err(Failure::failed)?;
    Ok((model, table))
}

fn number(version: &str) -> Result<u64, Failure> {
    parse_version(version).ok_or_else(|| {
        Failure::usage(format!(
            "--model must be NAME or NAME/VERSION with a positive integer as version, not {version:?}"
        ))
    })
}

/// Asking for what is not there is wrong use; the rest is failure.
pub(super) fn failure(error: OfflineError) -> Failure {
    match error {
        OfflineError::UnknownModel { .. }
        | OfflineError::UnknownVersion { .. }
        | OfflineError::UnknownOutput { .. }
        | OfflineError::SeveralOutputs { .. }
        | OfflineError::NoTarget { .. }
        | OfflineError::KeepWithoutRolling
        | OfflineError::RollingWithoutSeries { .. }
        | OfflineError::SeveralSeries { .. } => Failure::usage(error),
        other => Failure::failed(other),
    }
}

/// A bar of rows on standard error, where that is a terminal.
pub(super) fn bar(rows: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{pos} of {len} rows {bar:30} {per_sec}, {eta} left")
        .expect("the template is well formed");
    ProgressBar::new(rows as u64).with_style(style)
}
