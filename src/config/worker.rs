//! `[worker]`

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::admin_token::AdminToken;
use super::engine::{read_choice, read_library};
use super::section::Section;
use super::setting::Bytes;
use super::{HttpConfig, RepositoryConfig, ServingConfig, ShutdownConfig, VersionPolicy};
use crate::model::engine_choice::{EngineChoice, RuntimeLibrary};
use crate::model::name::is_model_name;
use crate::model::preprocessing::image::MAX_PIXELS;

/// How one worker process serves.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where operators connect, if they may.
    pub admin: Option<SocketAddr>,
    /// What operators must present; needed where `admin` is not on loopback.
    pub admin_token: Option<AdminToken>,
    /// The model repository.
    pub models: PathBuf,
    /// How it is followed.
    pub repository: RepositoryConfig,
    /// The model of a request that names none.
    pub default_model: Option<String>,
    /// The longest that a request may take; a client can ask for less.
    pub deadline: Duration,
    /// Threads for connections; engines have threads of their own.
    pub threads: usize,
    /// What it accepts.
    pub http: HttpConfig,
    /// How it ends.
    pub shutdown: ShutdownConfig,
    /// What loading a model may take.
    pub loading: LoadingConfig,
    /// ONNX Runtime's library; without it nothing of it is loaded.
    pub onnxruntime: Option<RuntimeLibrary>,
    /// How a model is served that has nothing of its own.
    pub common: ModelConfig,
    /// How single models are served, complete: what a model leaves out it has from `common`.
    pub per_model: BTreeMap<String, ModelConfig>,
    /// Versions and labels of the models that the configuration names.
    pub models_serving: BTreeMap<String, ServingConfig>,
}

/// How one model is served.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// What runs its graph.
    pub engine: EngineChoice,
    /// How its requests are batched.
    pub batching: BatchingConfig,
    /// Pixels that the images of one request may have together, as they come and as the model takes them.
    pub max_image_pixels: usize,
}

/// What it may take to load one model version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadingConfig {
    /// Address space of the process that tries it, in bytes.
    pub max_memory: usize,
    /// How long that may take.
    pub timeout: Duration,
}

/// How requests for one model version are batched.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchingConfig {
    /// Rows that run together at most.
    pub max_batch_size: usize,
    /// How long the first request of a batch may wait for others. Zero takes what queued up while the engine was
    /// busy, and never adds delay.
    pub max_delay: Duration,
    /// Requests that may wait; more are refused as `overloaded`.
    pub queue: usize,
    /// Engines that run batches of one model version side by side, each on its own thread.
    pub instances: usize,
}

impl WorkerConfig {
    /// How one model is served.
    #[must_use]
    pub fn model(&self, name: &str) -> &ModelConfig {
        self.per_model.get(name).unwrap_or(&self.common)
    }

    /// The versions and labels of one model.
    #[must_use]
    pub fn serving_of(&self, model: &str) -> &ServingConfig {
        static COMMON: ServingConfig = ServingConfig {
            versions: VersionPolicy::All,
            labels: BTreeMap::new(),
        };
        self.models_serving.get(model).unwrap_or(&COMMON)
    }

    pub(super) fn read(mut section: Section<'_>) -> Self {
        let onnxruntime = read_library(&mut section);
        let common = ModelConfig::read_common(&mut section, onnxruntime.as_ref());
        let admin = section.optional("admin");
        let models = section.value("models", PathBuf::from("models"));
        let (per_model, models_serving) = per_model(section.section("model"), &common, onnxruntime.as_ref());
        let config = Self {
            listen: section.value("listen", SocketAddr::from((Ipv4Addr::LOCALHOST, 9000))),
            admin,
            admin_token: AdminToken::read(&mut section, admin),
            models,
            repository: RepositoryConfig::read(section.section("repository")),
            default_model: default_model(&mut section),
            deadline: positive(&mut section, "deadline", Duration::from_secs(10)),
            threads: at_least_one(&mut section, "threads", 1),
            http: HttpConfig::read(&mut section),
            shutdown: ShutdownConfig::read(section.section("shutdown")),
            loading: LoadingConfig::read(section.section("loading")),
            per_model,
            models_serving,
            onnxruntime,
            common,
        };
        section.finish();
        config
    }
}

/// `[worker.model.NAME]`
fn per_model(
    mut section: Section<'_>,
    common: &ModelConfig,
    library: Option<&RuntimeLibrary>,
) -> (BTreeMap<String, ModelConfig>, BTreeMap<String, ServingConfig>) {
    let (mut models, mut serving) = (BTreeMap::new(), BTreeMap::new());
    for (name, mut model) in section.named() {
        if !is_model_name(&name) {
            section.report(
                &name,
                "expected the name of a model: letters, digits, '.', '_' and '-'",
            );
        }
        serving.insert(name.clone(), ServingConfig::read(&mut model));
        models.insert(name, ModelConfig::read(model, common, library));
    }
    (models, serving)
}

impl Default for LoadingConfig {
    fn default() -> Self {
        Self {
            max_memory: 4 << 30,
            timeout: Duration::from_secs(120),
        }
    }
}

impl LoadingConfig {
    fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let is_enough = |Bytes(memory): &Bytes| *memory >= 64 << 20;
        let Bytes(max_memory) = section.checked(
            "max_memory",
            Bytes(default.max_memory),
            is_enough,
            "64MiB or more",
        );
        let config = Self {
            max_memory,
            timeout: positive(&mut section, "timeout", default.timeout),
        };
        section.finish();
        config
    }
}

impl ModelConfig {
    /// What holds for all models, from `[worker]` and its sub-tables.
    fn read_common(worker: &mut Section<'_>, library: Option<&RuntimeLibrary>) -> Self {
        let engine = read_choice(worker, &EngineChoice::Auto(library.cloned()), library);
        let max_image_pixels = at_least_one(worker, "max_image_pixels", MAX_PIXELS);
        let mut batching = worker.section("batching");
        let config = Self {
            engine,
            max_image_pixels,
            batching: BatchingConfig::read(&mut batching, &BatchingConfig::default()),
        };
        batching.finish();
        config
    }

    /// What differs for one model, from `[worker.model.NAME]`.
    fn read(mut section: Section<'_>, common: &Self, library: Option<&RuntimeLibrary>) -> Self {
        let config = Self {
            engine: read_choice(&mut section, &common.engine, library),
            max_image_pixels: at_least_one(&mut section, "max_image_pixels", common.max_image_pixels),
            batching: BatchingConfig::read(&mut section, &common.batching),
        };
        section.finish();
        config
    }
}

impl Default for BatchingConfig {
    fn default() -> Self {
        Self {
            max_batch_size: 32,
            max_delay: Duration::ZERO,
            queue: 1024,
            instances: 1,
        }
    }
}

impl BatchingConfig {
    fn read(section: &mut Section<'_>, common: &Self) -> Self {
        let delay_fits = |delay: &Duration| *delay <= Duration::from_secs(10);
        Self {
            max_batch_size: at_least_one(section, "max_batch_size", common.max_batch_size),
            max_delay: section.checked(
                "max_delay",
                common.max_delay,
                delay_fits,
                "a duration up to \"10s\"",
            ),
            queue: at_least_one(section, "queue", common.queue),
            instances: at_least_one(section, "instances", common.instances),
        }
    }
}

pub(super) fn at_least_one(section: &mut Section<'_>, key: &'static str, default: usize) -> usize {
    section.checked(key, default, |&number| number >= 1, "a whole number, 1 or more")
}

pub(super) fn positive(section: &mut Section<'_>, key: &'static str, default: Duration) -> Duration {
    section.checked(
        key,
        default,
        |duration| !duration.is_zero(),
        "a duration longer than zero",
    )
}

pub(super) fn default_model(section: &mut Section<'_>) -> Option<String> {
    let name: String = section.optional("default_model")?;
    if !is_model_name(&name) {
        section.report(
            "default_model",
            format!("expected the name of a model; found {name:?}"),
        );
    }
    Some(name)
}
