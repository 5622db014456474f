//! The command line: one clap tree for the four roles and their helpers.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    Train(TrainArgs),
    /// Read a configuration as a start would and report every error in it
    Check(CheckArgs),
    /// Try the balancing policies on a fleet that is not there yet: latencies and load per policy
    Simulate(SimulateArgs),
    /// Ask one process whether it is ready; exit code 0 or 1
    Health(HealthArgs),
    /// Load one graph within bounds of memory and time; workers start this for each file
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
    /// The graph
    pub graph: PathBuf,
    /// How to load it, as JSON
    #[arg(long)]
    pub options: String,
    /// Bytes of address space that this may take
    #[arg(long)]
    pub max_memory: u64,
    /// Milliseconds that this may take
    #[arg(long)]
    pub timeout_ms: u64,
}

/// Arguments of `millrace health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The process to ask; a bare address means its /readyz
    #[arg(long, default_value = "http://127.0.0.1:8080/readyz")]
    pub url: String,
    /// How long to wait for the answer
    #[arg(long, default_value = "2s")]
    pub timeout: String,
}

/// Arguments of `millrace train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// What to fit, and how
    #[command(subcommand)]
    pub algorithm: Algorithm,
}

/// The algorithms of `millrace train`.
#[derive(Debug, Subcommand)]
pub enum Algorithm {
    /// Ordinary least squares, with `--ridge` for an L2 penalty
    LinearRegression(LinearRegressionArgs),
    /// Multinomial maximum likelihood with an L2 penalty
    LogisticRegression(LogisticRegressionArgs),
    /// A multi-layer perceptron, fitted by back-propagation with Adam
    NeuralNetwork(NeuralNetworkArgs),
}

/// What every algorithm takes.
#[derive(Clone, Debug, Args)]
pub struct DataArgs {
    /// The data: CSV with a header line
    #[arg(long)]
    pub data: PathBuf,
    /// The column to predict; every other column is a feature
    #[arg(long)]
    pub target: String,
    /// The name of the model in the repository
    #[arg(long)]
    pub model: String,
    /// The model repository to write to
    #[arg(long, default_value = "models")]
    pub repository: PathBuf,
    /// Version to write; without one the next free number is taken
    #[arg(long)]
    pub as_version: Option<u64>,
    /// Replace the version named by --as-version where it exists
    #[arg(long, requires = "as_version")]
    pub force: bool,
    /// The share of rows that is held out and only used for the figures
    #[arg(long, default_value_t = 0.2, allow_negative_numbers = true)]
    pub test_fraction: f64,
    /// Seeds every random choice: the same seed gives the same artifact
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// One line for people, kept in model.toml
    #[arg(long)]
    pub description: Option<String>,
    /// Write the exact parameters, the split and the figures to this file, as JSON
    #[arg(long)]
    pub report: Option<PathBuf>,
}

/// Arguments of `millrace train linear-regression`.
#[derive(Debug, Args)]
pub struct LinearRegressionArgs {
    /// What every algorithm takes.
    #[command(flatten)]
    pub data: DataArgs,
    /// Weight λ of the L2 penalty on the standardised coefficients; 0 is ordinary least squares
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub ridge: f64,
}

/// Arguments of `millrace train logistic-regression`.
#[derive(Debug, Args)]
pub struct LogisticRegressionArgs {
    /// What every algorithm takes.
    #[command(flatten)]
    pub data: DataArgs,
    /// Weight λ of the L2 penalty ½·λ·‖w‖² on the standardised coefficients (scikit-learn's 1/C)
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub l2: f64,
    /// At most so many steps of the optimiser
    #[arg(long, default_value_t = 1000)]
    pub max_iterations: u64,
}

/// What a neural network predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetworkTask {
    /// Classes, by softmax and cross-entropy
    Classification,
    /// A number, by squared error
    Regression,
}

/// Arguments of `millrace train neural-network`.
#[derive(Debug, Args)]
pub struct NeuralNetworkArgs {
    /// What every algorithm takes.
    #[command(flatten)]
    pub data: DataArgs,
    /// What the target column holds
    #[arg(long, value_enum, default_value = "classification")]
    pub task: NetworkTask,
    /// Units of the hidden layers, from the input on
    #[arg(long, value_delimiter = ',', default_value = "64,32")]
    pub hidden: Vec<usize>,
    /// At most so many passes over the training part
    #[arg(long, default_value_t = 200)]
    pub epochs: usize,
    /// Rows of one gradient step
    #[arg(long, default_value_t = 32)]
    pub batch_size: usize,
    /// Step size of Adam
    #[arg(long, default_value_t = 1e-3, allow_negative_numbers = true)]
    pub learning_rate: f64,
    /// Decoupled weight decay
    #[arg(long, default_value_t = 1e-4, allow_negative_numbers = true)]
    pub weight_decay: f64,
    /// The share of the training part that decides when to stop
    #[arg(long, default_value_t = 0.15, allow_negative_numbers = true)]
    pub validation_fraction: f64,
    /// Stop after so many passes without a better validation loss
    #[arg(long, default_value_t = 20)]
    pub patience: usize,
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
