//! Loading the library, once for the whole process.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::engine::{EngineError, contain_panics};
use crate::model::engine_choice::RuntimeLibrary;
use crate::system::return_large_blocks;

/// Why a library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// There is no such file, or it may not be read.
    #[error("{}: {error}; expected the file libonnxruntime.so", path.display())]
    Unreadable {
        /// What was configured.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The system's loader does not take it.
    #[error("{} cannot be loaded: {reason}", path.display())]
    Unloadable {
        /// What was configured.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// It is another library.
    #[error("{} is not ONNX Runtime", .0.display())]
    Other(PathBuf),
    /// It is an old one.
    #[error("{} is ONNX Runtime {found}; expected 1.{} or newer", path.display(), ort::MINOR_VERSION)]
    TooOld {
        /// What was configured.
        path: PathBuf,
        /// What it calls itself.
        found: String,
    },
    /// It broke down while it was loaded.
    #[error("{} cannot be used: {error}", path.display())]
    Broken {
        /// What was configured.
        path: PathBuf,
        /// How.
        error: Box<EngineError>,
    },
}

/// Loads ONNX Runtime. A process has one: a second call keeps the library of the first.
pub fn load_library(library: &RuntimeLibrary) -> Result<(), LibraryError> {
    // Made absolute, because a bare name would be looked for in the system's folders.
    let path = library
        .path
        .canonicalize()
        .map_err(|error| LibraryError::Unreadable {
            path: library.path.clone(),
            error,
        })?;
    contain_panics(|| Ok(load(&path))).unwrap_or_else(|error| {
        let error = Box::new(error);
        Err(LibraryError::Broken { path, error })
    })
}

fn load(path: &Path) -> Result<(), LibraryError> {
    // The library has the allocator of the C library, and glibc keeps what a model that is gone has left.
    return_large_blocks();
    let broken = |error: ort::Error| LibraryError::Broken {
        path: path.to_owned(),
        error: Box::new(EngineError::Failed(error.to_string())),
    };
    ort::init_from(path)
        .map_err(refused)?
        .with_name("millrace")
        .with_telemetry(false)
        // Into our log. Every error also comes back from the call that failed, and is told there.
        .with_logger(Arc::new(|level, _, _, place, message| match level {
            LogLevel::Warning => tracing::warn!(place, "ONNX Runtime: {message}"),
            _ => tracing::debug!(place, "ONNX Runtime: {message}"),
        }))
        .commit();
    let environment = Environment::current().map_err(broken)?;
    environment.set_log_level(LogLevel::Warning);
    Ok(())
}

fn refused(error: LoadDynamicError) -> LibraryError {
    match error {
        LoadDynamicError::Dlopen { error, path } => LibraryError::Unloadable {
            path,
            reason: error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string),
        },
        LoadDynamicError::MissingApi { path } => LibraryError::Other(path),
        LoadDynamicError::BadVersion { version_str, path } => LibraryError::TooOld {
            path,
            found: version_str,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_library_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        let library = RuntimeLibrary {
            path: path.clone(),
            threads: 1,
        };
        let missing = load_library(&library).unwrap_err();
        assert!(matches!(missing, LibraryError::Unreadable { .. }), "{missing}");
        std::fs::write(&path, "no library").unwrap();
        let text = load_library(&library).unwrap_err();
        assert!(matches!(text, LibraryError::Unloadable { .. }), "{text}");
        assert!(text.to_string().contains("libonnxruntime.so"), "{text}");
    }
}
