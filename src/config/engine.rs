//! `engine`, `onnxruntime_library` and `onnxruntime_threads`

use super::section::Section;
use super::worker::at_least_one;
use crate::model::engine_choice::{EngineChoice, RuntimeLibrary};

/// The library of the second engine, where there is one.
pub(super) fn read_library(section: &mut Section<'_>) -> Option<RuntimeLibrary> {
    let path = section.optional("onnxruntime_library");
    let threads = at_least_one(section, "onnxruntime_threads", 1);
    path.map(|path| RuntimeLibrary { path, threads })
}

/// The engine that a section asks for. Only what there is can be asked for.
pub(super) fn read_choice(
    section: &mut Section<'_>,
    default: &EngineChoice,
    library: Option<&RuntimeLibrary>,
) -> EngineChoice {
    let Some(name) = section.optional::<String>("engine") else {
        return default.clone();
    };
    match (name.as_str(), library) {
        ("tract", _) => return EngineChoice::Tract,
        ("auto", _) => return EngineChoice::Auto(library.cloned()),
        ("onnxruntime", Some(library)) => return EngineChoice::OnnxRuntime(library.clone()),
        ("onnxruntime", None) => section.report(
            "engine",
            "\"onnxruntime\" needs worker.onnxruntime_library, the path of libonnxruntime.so",
        ),
        _ => section.report(
            "engine",
            format!("expected one of tract, onnxruntime, auto; found {name:?}"),
        ),
    }
    default.clone()
}
