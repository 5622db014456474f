//! Who may use whom. The table is the map in `src/lib.rs` and in docs/ARCHITECTURE.md; a new arrow
//! is a decision, and is made here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each module of the crate, and the modules that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("api", &["model"]),
    ("chart", &[]),
    ("cli", &["training"]),
    (
        "commands",
        &[
            "api",
            "cli",
            "config",
            "engine",
            "gateway",
            "http",
            "model",
            "moment",
            "offline",
            "simulation",
            "supervisor",
            "system",
            "telemetry",
            "training",
            "worker",
        ],
    ),
    ("config", &["model"]),
    ("engine", &["model", "system"]),
    (
        "gateway",
        &["api", "config", "http", "model", "moment", "telemetry"],
    ),
    ("http", &["api", "config"]),
    ("model", &[]),
    ("moment", &[]),
    ("offline", &["api", "engine", "model", "training", "worker"]),
    (
        "simulation",
        &["api", "chart", "config", "gateway", "moment", "worker"],
    ),
    ("supervisor", &["config", "http"]),
    ("system", &[]),
    ("telemetry", &["config"]),
    ("training", &["chart", "engine", "model"]),
    (
        "worker",
        &[
            "api",
            "config",
            "engine",
            "http",
            "model",
            "moment",
            "system",
            "telemetry",
        ],
    ),
];

/// Crates that a module must do without, because it is a pure core.
const WITHOUT: &[(&str, &[&str])] = &[
    (
        "api",
        &["tokio", "axum", "hyper", "hyper_util", "http_body", "tower"],
    ),
    (
        "model",
        &["tokio", "axum", "hyper", "hyper_util", "http_body", "tower"],
    ),
    ("gateway/balance", &["tokio", "axum", "hyper", "hyper_util"]),
    ("gateway/circuit", &["tokio", "axum", "hyper", "hyper_util"]),
    ("simulation", &["tokio", "axum", "hyper", "hyper_util"]),
    ("training", &["tokio", "axum", "hyper", "hyper_util"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file, by its path under `src/`, without comments.
fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the source can be read") {
            let path = entry.expect("the source can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(source()).expect("it lies in the source");
                let text = std::fs::read_to_string(&path).expect("the source can be read");
                files.insert(name.display().to_string(), code_of(&text));
            }
        }
    }
    files
}

fn code_of(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.trim_start().split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The module at the top to which a file belongs.
fn module_of(file: &str) -> &str {
    file.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// The first segments of all paths that start at the crate, whether used or written out.
fn used_by(code: &str) -> Vec<&str> {
    let after: Vec<_> = code.split("crate::").skip(1).collect();
    after.into_iter().flat_map(first_segments).collect()
}

/// `gateway` of `gateway::client`, or each of `{gateway, http}`.
fn first_segments(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![segment(path)];
    };
    let mut depth = 0;
    let end = group.find(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth < 0
    });
    let inside = &group[..end.unwrap_or(group.len())];
    let mut depth = 0;
    let members = inside.split(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    });
    members
        .map(|member| segment(member.trim()))
        .filter(|name| !name.is_empty())
        .collect()
}

fn segment(path: &str) -> &str {
    let end = path.find(|character: char| !character.is_alphanumeric() && character != '_');
    &path[..end.unwrap_or(path.len())]
}

#[test]
fn modules_use_only_what_the_map_allows() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        let module = module_of(&file);
        if matches!(module, "lib" | "main") {
            continue;
        }
        let allowed = MAY_USE.iter().find(|(name, _)| *name == module);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{module} is not on the map; give it its place"));
        for used in used_by(&code) {
            if used != module && !allowed.contains(&used) {
                wrong.push(format!("src/{file} uses crate::{used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_cores_do_without_runtime_and_http() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        for (core, without) in WITHOUT.iter().filter(|(core, _)| file.starts_with(core)) {
            for name in without.iter().filter(|name| mentions(&code, name)) {
                wrong.push(format!("src/{file}, part of {core}, uses {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn mentions(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_' || character == ':')
    })
}

#[test]
fn the_map_names_the_modules_that_there_are() {
    let mut modules: Vec<_> = files().keys().map(|file| module_of(file).to_owned()).collect();
    modules.dedup();
    modules.retain(|module| !matches!(module.as_str(), "lib" | "main"));
    let on_the_map: Vec<_> = MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(modules, on_the_map);
}

#[test]
fn the_reader_of_paths_reads_paths() {
    let code = "use crate::http::body;\nuse crate::{api::error::{A, B}, config,\n  model};\nlet x = crate::engine::run();";
    assert_eq!(used_by(code), ["http", "api", "config", "model", "engine"]);
    assert_eq!(
        code_of("let a = 1; // crate::worker\n/// crate::gateway"),
        "let a = 1; \n"
    );
    assert!(mentions("use tokio::time", "tokio") && !mentions("use my_tokio::time", "tokio"));
}
