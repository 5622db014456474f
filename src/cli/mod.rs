//! The command line: one clap tree for the four roles and their helpers.

mod train;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::train::*;

/// Serves trained models behind a load-balancing gateway.
#[derive(Debug, Parser)]
#[command(
    name = "millrace",
    version,
    about,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The roles of the binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a gateway and worker processes on this machine, models from `models/`
    Serve(ServeArgs),
    /// Run only the gateway; it balances over workers that run elsewhere
    Gateway(GatewayArgs),
    /// Run one process that hosts models behind REST endpoints
    Worker(WorkerArgs),
    /// Fit a model on a data file and write it into a model repository
    Train(Box<TrainArgs>),
    /// Compute the figures of a model on new data
    Evaluate(EvaluateArgs),
    /// Predict every row of a file, in order
    Predict(PredictArgs),
    /// Read a configuration as a start would and report every error in it
    Check(CheckArgs),
    /// Try the balancing policies on a fleet that is not there yet: latencies and load per policy
    Simulate(SimulateArgs),
    /// Ask one process whether it is ready; exit code 0 or 1
    Health(HealthArgs),
    /// Load versions within bounds of memory and time, as told on standard input; workers start this for what they load
    #[command(hide = true)]
    Trial(TrialArgs),
}

/// What `serve` and `gateway` both take for their gateway.
#[derive(Debug, Args)]
pub struct FrontArgs {
    /// Address of the gateway
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Address of the admin listener
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// Balancing policy
    #[arg(long)]
    pub policy: Option<String>,
}

/// Arguments of `millrace serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file (TOML); without one the defaults hold
    #[arg(long, short)]
    pub config: Option<PathBuf>,
    /// Number of worker processes [default: one per core, at least 2]
    #[arg(long)]
    pub workers: Option<usize>,
    /// Model repository
    #[arg(long)]
    pub models: Option<PathBuf>,
    /// What the gateway in it takes.
    #[command(flatten)]
    pub front: FrontArgs,
}

/// Arguments of `millrace gateway`.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Configuration file (TOML)
    #[arg(long, short)]
    pub config: Option<PathBuf>,
    /// What the gateway in it takes.
    #[command(flatten)]
    pub front: FrontArgs,
}

/// Arguments of `millrace worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Configuration file (TOML)
    #[arg(long, short)]
    pub config: Option<PathBuf>,
    /// Address to listen on
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Model repository
    #[arg(long)]
    pub models: Option<PathBuf>,
    /// Started by `millrace serve`: say the bound address on standard output, put this label before each log line,
    /// and drain when standard input closes
    #[arg(long, hide = true)]
    pub supervised_as: Option<String>,
}

/// What takes a file through a model.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The model, and its version where it is not the newest
    #[arg(long, value_name = "NAME[/VERSION]")]
    pub model: String,
    /// The data: CSV with a header line, or Parquet (a file that is named *.parquet)
    #[arg(long)]
    pub data: PathBuf,
    /// The model repository
    #[arg(long, default_value = "models")]
    pub repository: PathBuf,
    /// The column that holds the text or picture, for a model that takes one, where there are others beside it; or the series, for
    /// a model that forecasts one [default: the one that it was trained on]
    #[arg(long)]
    pub column: Option<String>,
    /// The library of ONNX Runtime, for a model that the default engine cannot run
    #[arg(long, value_name = "FILE.so")]
    pub onnxruntime_library: Option<PathBuf>,
}

/// Arguments of `millrace evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// What to take through which model.
    #[command(flatten)]
    pub file: FileArgs,
    /// The column with the truth; of a model that predicts several numbers a row one for each, in the order of its numbers, by
    /// giving this several times [default: the one that the model was trained on]
    #[arg(long, value_name = "COLUMN")]
    pub target: Vec<String>,
    /// The output that is compared with it, for a model that has several
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `millrace predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// What to take through which model.
    #[command(flatten)]
    pub file: FileArgs,
    /// Write the predictions into this CSV file, whole or not at all [default: standard output]
    #[arg(long, short, value_name = "FILE.csv")]
    pub output: Option<PathBuf>,
    /// Put the columns of the data before the predictions
    #[arg(long)]
    pub keep: bool,
    /// Of a series, the forecast from every row on instead of that of what comes after the end of the file
    #[arg(long)]
    pub rolling: bool,
}

/// Arguments of `millrace check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Configuration file (TOML)
    #[arg(long, short)]
    pub config: PathBuf,
}

/// Arguments of `millrace simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Configuration file (TOML): its [gateway.balancing], [gateway.retry] and deadline hold, and its workers' weights
    #[arg(long, short)]
    pub config: Option<PathBuf>,
    /// Number of workers [default: as many as the configuration has, or 4]
    #[arg(long)]
    pub workers: Option<usize>,
    /// Requests per second, over all gateways
    #[arg(long)]
    pub rate: f64,
    /// How requests come: poisson (each when it likes) or even (at equal distances)
    #[arg(long, value_enum, default_value = "poisson")]
    pub arrivals: ArrivalPattern,
    /// What a request takes at a worker: "2ms", "exp:2ms" (its mean), "lognormal:2ms:0.5" (median, sigma)
    #[arg(long, value_name = "DIST")]
    pub service_time: String,
    /// The share of the workers that are slow, and how many times: "1%" (10 times) or "1%x3"
    #[arg(long, value_name = "SHARE%[xFACTOR]")]
    pub slow: Option<String>,
    /// The share of the workers that answer everything at once with an error: "1%"
    #[arg(long, value_name = "SHARE%")]
    pub fail: Option<String>,
    /// Gateways, which know nothing of each other
    #[arg(long, default_value_t = 1)]
    pub gateways: usize,
    /// Requests that a worker computes side by side
    #[arg(long, default_value_t = 1)]
    pub concurrency: u32,
    /// What the network takes, one way
    #[arg(long, default_value = "50us")]
    pub network: String,
    /// How long requests come; a tenth of it is simulated before, to warm up, and not counted
    #[arg(long, default_value = "60s")]
    pub duration: String,
    /// Seeds all chance: the same seed gives the same figures
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// A policy to try (several times for several) [default: all]
    #[arg(long, value_name = "NAME")]
    pub policy: Vec<String>,
    /// Draw latencies and loads into this file (SVG)
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArrivalPattern {
    /// Each when it likes
    Poisson,
    /// At equal distances
    Even,
}

/// Arguments of `millrace trial`.
#[derive(Debug, Args)]
pub struct TrialArgs {
    /// Bytes of address space that this may take
    #[arg(long)]
    pub max_memory: u64,
    /// Milliseconds that each file may take
    #[arg(long)]
    pub timeout_ms: u64,
}

/// Arguments of `millrace health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The process to ask; a bare address means its /readyz. Of several, the first at which somebody listens; else where a
    /// gateway listens by default, or a worker
    #[arg(long, default_values = ["http://127.0.0.1:8080/readyz", "http://127.0.0.1:9000/readyz"])]
    pub url: Vec<String>,
    /// How long to wait for the answer
    #[arg(long, default_value = "2s")]
    pub timeout: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_has_no_clashes() {
        Cli::command().debug_assert();
    }
}
