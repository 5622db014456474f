//! The command line of `millrace train`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use crate::training::dataset::ImageShape;

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
    /// Ordinary least squares, with `--ridge` for an L2 and `--lasso` for an L1 penalty
    LinearRegression(LinearRegressionArgs),
    /// Multinomial maximum likelihood with an L2 penalty
    LogisticRegression(LogisticRegressionArgs),
    /// Support vector machines for classes or numbers, by the dual problem
    Svm(SvmArgs),
    /// A multi-layer perceptron, fitted by back-propagation with Adam
    NeuralNetwork(NeuralNetworkArgs),
    /// Convolutions with max-pooling on images, and dense layers behind them
    ConvolutionalNetwork(ConvolutionalNetworkArgs),
    /// Tokens learnt on the data, self-attention over their embeddings, softmax
    TextClassifier(TextClassifierArgs),
    /// LSTM or GRU layers that forecast a series: the target column, in the order of the file
    RecurrentNetwork(RecurrentNetworkArgs),
}

impl Algorithm {
    /// How long and how fast it learns, where it does so by epochs.
    #[must_use]
    pub const fn schedule(&self) -> Option<&ScheduleArgs> {
        match self {
            Self::LinearRegression(_) | Self::LogisticRegression(_) | Self::Svm(_) => None,
            Self::NeuralNetwork(it) => Some(&it.schedule),
            Self::ConvolutionalNetwork(it) => Some(&it.schedule),
            Self::TextClassifier(it) => Some(&it.schedule),
            Self::RecurrentNetwork(it) => Some(&it.schedule),
        }
    }
}

/// What every algorithm takes.
#[derive(Clone, Debug, Args)]
pub struct DataArgs {
    /// The data: CSV with a header line, or Parquet (a file that is named *.parquet); for a convolutional network also a folder
    /// with a folder of PNG and JPEG files for each class
    #[arg(long)]
    pub data: PathBuf,
    /// The column to predict; every other column is a feature. A folder of images has none: the folder of an image is its class
    #[arg(long)]
    pub target: Option<String>,
    /// Columns of categories, each of which becomes one column of zeros and ones
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    pub categorical: Vec<String>,
    /// Columns of texts, each of which becomes the weighted counts of its words (TF-IDF)
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    pub text: Vec<String>,
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
    /// Seeds the choice of the rows held out; without one --seed does. With it, fits that differ in --seed are judged on the same
    /// rows
    #[arg(long, value_name = "SEED")]
    pub split_seed: Option<u64>,
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
    /// Weight λ₁ of the L1 penalty λ₁·‖w‖₁, which makes coefficients 0; with --ridge it is an elastic net
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub lasso: f64,
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

/// Arguments of `millrace train svm`.
#[derive(Debug, Args)]
pub struct SvmArgs {
    /// What every algorithm takes.
    #[command(flatten)]
    pub data: DataArgs,
    /// What the target column holds
    #[arg(long, value_enum, default_value = "classification")]
    pub task: SvmTask,
    /// What rows are compared by
    #[arg(long, value_enum, default_value = "rbf")]
    pub kernel: KernelChoice,
    /// What an error costs, beside a wide margin; a row's weight multiplies it
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub c: f64,
    /// How fast likeness falls with distance (rbf), or the factor of the product (polynomial): a number, or 1 / (columns ·
    /// variance)
    #[arg(
        long,
        default_value = "scale",
        value_name = "scale|NUMBER",
        allow_negative_numbers = true
    )]
    pub gamma: GammaChoice,
    /// The power of the polynomial kernel
    #[arg(long, default_value_t = 3)]
    pub degree: u16,
    /// What the polynomial kernel adds to the product
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub coef0: f64,
    /// Errors up to this cost nothing, in the target's unit (regression)
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    pub epsilon: f64,
    /// By how much the conditions of the minimum may be violated
    #[arg(long, default_value_t = 1e-6, allow_negative_numbers = true)]
    pub tolerance: f64,
    /// Learn probabilities, by five more fits of each pair of classes (the default)
    #[arg(long, overrides_with = "no_probabilities")]
    pub probabilities: bool,
    /// Only decide between the classes
    #[arg(long, overrides_with = "probabilities")]
    pub no_probabilities: bool,
}

/// What a support vector machine predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SvmTask {
    /// Classes, pair by pair
    Classification,
    /// A number
    Regression,
}

/// What rows are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelChoice {
    /// x·v
    Linear,
    /// exp(−gamma |x − v|²)
    Rbf,
    /// (gamma x·v + coef0)^degree
    Polynomial,
}

/// The value of `--gamma`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GammaChoice {
    /// By the columns
    Scale,
    /// This number
    Number(f64),
}

impl FromStr for GammaChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "scale" {
            return Ok(Self::Scale);
        }
        let number = text.parse().map(Self::Number);
        number.map_err(|_| "expected `scale` or a number".to_owned())
    }
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

/// Arguments of `millrace train convolutional-network`.
#[derive(Debug, Args)]
pub struct ConvolutionalNetworkArgs {
    /// What every algorithm takes.
    #[command(flatten)]
    pub data: DataArgs,
    /// What the columns beside the target are: pixels in rows from the top, channel by channel; 28x28 for grey images, 3x32x32
    /// for red, green and blue
    #[arg(long, value_name = "HEIGHTxWIDTH")]
    pub shape: ImageShape,
    /// Channels that each convolution puts out, from the input on; behind each, height and width are halved
    #[arg(long, value_delimiter = ',', default_value = "16,32")]
    pub channels: Vec<usize>,
    /// Units of the hidden dense layers behind the convolutions
    #[arg(long, value_delimiter = ',', default_value = "64")]
    pub hidden: Vec<usize>,
    /// The share of what the convolutions found that is left out by chance in each step
    #[arg(long, default_value_t = 0.25, allow_negative_numbers = true)]
    pub dropout: f64,
    /// Move each image by up to so many pixels, by chance, before it is learnt from
    #[arg(long, default_value_t = 0, value_name = "PIXELS")]
    pub shift: usize,
    /// The value of the brightest pixel, so that a server can make such values of files of images; without one the largest of
    /// the training part
    #[arg(long, allow_negative_numbers = true)]
    pub pixel_max: Option<f64>,
    /// How long and how fast it learns.
    #[command(flatten)]
    pub schedule: ScheduleArgs,
}

/// Arguments of `millrace train text-classifier`.
#[derive(Debug, Args)]
pub struct TextClassifierArgs {
    /// What every algorithm takes.
    #[command(flatten)]
    pub data: DataArgs,
    /// At most so many tokens (words and parts of words), learnt on the training part
    #[arg(long, default_value_t = 4000)]
    pub vocabulary: usize,
    /// Tokens of one text at most; what is longer is cut
    #[arg(long, default_value_t = 128)]
    pub max_length: usize,
    /// Values of a token's embedding
    #[arg(long, default_value_t = 64)]
    pub width: usize,
    /// Heads of the attention, among which the width is divided
    #[arg(long, default_value_t = 4)]
    pub heads: usize,
    /// Blocks of attention
    #[arg(long, default_value_t = 1)]
    pub layers: usize,
    /// The share of units that are dropped by chance while it learns
    #[arg(long, default_value_t = 0.3, allow_negative_numbers = true)]
    pub dropout: f64,
    /// The share of tokens that become unknown ones while it learns
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    pub token_dropout: f64,
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
    /// Threads that each step is divided among; small nets gain nothing from a second one [default: RAYON_NUM_THREADS, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}
