//! The loader: any bytes become a graph that runs, or an error with a text; what the engine's code panics about is
//! contained. (What asks for too much memory or time is held back by the process that tries a file, and is no finding.)
#![no_main]

use std::fs;
use std::sync::{LazyLock, Once};

use libfuzzer_sys::fuzz_target;
use millrace::engine::{LoadOptions, load};
use millrace::model::engine_choice::EngineChoice;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder can be made"));
static QUIET: Once = Once::new();

fuzz_target!(|file: &[u8]| {
    // libFuzzer takes every panic for a finding, also those that are caught.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let path = FOLDER.path().join("model.onnx");
    fs::write(&path, file).expect("the file can be written");
    let options = LoadOptions {
        max_batch_size: 2,
        engine: EngineChoice::Tract,
    };
    if let Err(error) = load(&path, &options) {
        assert!(!error.to_string().is_empty());
    }
});
