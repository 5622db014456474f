//! The command line of `millrace train`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

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
    /// LSTM or GRU layers that forecast a series: the target column, in the order of the file
    RecurrentNetwork(RecurrentNetworkArgs),
}

/// What every algorithm takes.
#[derive(Clone, Debug, Args)]
pub struct DataArgs {
    /// The data: CSV with a header line, or Parquet (a file that is named *.parquet)
    #[arg(long)]
    pub data: PathBuf,
    /// The column to predict; every other column is a feature
    #[arg(long)]
    pub target: String,
    /// Columns of categories, each of which becomes one column of zeros and ones
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    pub categorical: Vec<String>,
    /// Columns that are left out
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    pub ignore: Vec<String>,
    /// What becomes of missing values: refused, here and at prediction, or filled with the column's mean or median (a missing
    /// category is a category of its own)
    #[arg(long, value_enum, default_value = "refuse")]
    pub missing: MissingChoice,
    /// What becomes of a category that the training part did not have: refused, or none of the categories
    #[arg(long, value_enum, default_value = "refuse")]
    pub unknown_category: UnknownChoice,
    /// How much rows of a class count: each once, or so that all classes count the same as a whole
    #[arg(long, value_enum, default_value = "none")]
    pub class_weights: ClassWeights,
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
    /// Divide the training part into so many parts, and say how good a fit on the others is on each
    #[arg(long, value_name = "K")]
    pub cross_validate: Option<usize>,
    /// Try these values of an option of the algorithm, and take the best by cross-validation (over 5 parts unless told otherwise);
    /// given several times, every combination is tried
    #[arg(long, value_name = "OPTION=VALUE,…")]
    pub grid: Vec<String>,
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

/// What becomes of missing values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MissingChoice {
    /// Refused
    Refuse,
    /// Numbers become the mean of their column
    Mean,
    /// Numbers become the median of their column
    Median,
}

/// What becomes of unknown categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnknownChoice {
    /// Refused
    Refuse,
    /// None of the categories
    Zero,
}

/// How much rows of a class count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClassWeights {
    /// Every row once
    None,
    /// So that all classes count the same
    Balanced,
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
    /// How long and how fast it learns.
    #[command(flatten)]
    pub schedule: ScheduleArgs,
}

/// What carries the state of a recurrent net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CellChoice {
    /// Long short-term memory
    Lstm,
    /// Gated recurrent unit
    Gru,
}

/// What is done to the values of a series before they are learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TransformChoice {
    /// Nothing
    None,
    /// Their square root
    Sqrt,
    /// The logarithm of 1 more
    Log,
}

/// Arguments of `millrace train recurrent-network`.
#[derive(Debug, Args)]
pub struct RecurrentNetworkArgs {
    /// What every algorithm takes.
    #[command(flatten)]
    pub data: DataArgs,
    /// What carries the state
    #[arg(long, value_enum, default_value = "lstm")]
    pub cell: CellChoice,
    /// Values that a forecast is made from
    #[arg(long, default_value_t = 24)]
    pub window: usize,
    /// Values that are forecast
    #[arg(long, default_value_t = 1)]
    pub horizon: usize,
    /// Values after which the series is about where it was: the net is compared with what was seen one season before (1: the last
    /// value again)
    #[arg(long, default_value_t = 1)]
    pub season: usize,
    /// Units of each layer
    #[arg(long, default_value_t = 32)]
    pub units: usize,
    /// Layers
    #[arg(long, default_value_t = 1)]
    pub layers: usize,
    /// What is done to the values before they are learnt, and undone in the answer
    #[arg(long, value_enum, default_value = "none")]
    pub transform: TransformChoice,
    /// Whether a linear autoregression stands beside the net, which then learns what that leaves
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub linear_part: bool,
    /// How long and how fast it learns.
    #[command(flatten)]
    pub schedule: ScheduleArgs,
}

/// How long and how fast a net learns.
#[derive(Clone, Debug, Args)]
pub struct ScheduleArgs {
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
