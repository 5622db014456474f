//! A convolutional network on images, fitted by back-propagation: 3 × 3 convolutions with ReLU and 2 × 2 max-pooling, then
//! dense layers (LeCun et al. 1998, <https://doi.org/10.1109/5.726791>).

mod fitted;
mod net;
mod patches;
mod pooling;
mod shift;

use std::path::Path;

use ndarray::{Array2, Axis};

use self::fitted::FittedNetwork;
use self::net::ImageNet;
use self::patches::PLACES;
use self::pooling::WINDOW;
use super::TrainingError;
use super::algorithm::{Algorithm, Context, Fitted};
use super::dataset::{Dataset, ImageShape, Missing, Roles, TargetKind, images};
use super::network::{Goal, Samples, Schedule, check_size, matrix, train};
use super::options::{integer, integers, table};
use super::split::{Split, split};
use super::standardise::Standardiser;
use crate::model::artifact::Metadata;
use crate::model::preprocessing::image::{Channels, ImageInput};

/// How a convolutional network is built and fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvolutionalNetwork {
    /// What the columns of a row are: pixels in rows from the top, channel by channel.
    pub shape: ImageShape,
    /// Channels that each convolution puts out, from the input on.
    pub channels: Vec<usize>,
    /// Units of the hidden dense layers behind them.
    pub hidden: Vec<usize>,
    /// The share of what the convolutions found that is left out by chance in each step, so that nothing relies on one value.
    pub dropout: f64,
    /// Each image is moved by up to so many pixels before it is learnt from.
    pub shift: usize,
    /// The value that the brightest pixel has; that of the training part where nobody says it.
    pub pixel_max: Option<f64>,
    /// How long and how fast it learns.
    pub schedule: Schedule,
}

impl Algorithm for ConvolutionalNetwork {
    fn name(&self) -> &'static str {
        "convolutional-network"
    }

    fn options(&self) -> toml::Table {
        let mut options = self.schedule.options();
        options.extend(table([
            ("shape", self.shape.to_string().into()),
            ("channels", integers(&self.channels)),
            ("hidden", integers(&self.hidden)),
            ("dropout", self.dropout.into()),
            ("shift", integer(self.shift as u64)),
        ]));
        options.extend(
            self.pixel_max
                .map(|largest| ("pixel_max".to_owned(), largest.into())),
        );
        options
    }

    fn target_kind(&self) -> TargetKind {
        TargetKind::Classes
    }

    fn check(&self) -> Result<(), TrainingError> {
        let check = TrainingError::check;
        let channels = "one or more layers of at least 1 channel, such as 16,32";
        check_layers("--channels", channels, &self.channels)?;
        check_layers(
            "--hidden",
            "one or more layers of at least 1 unit, such as 64",
            &self.hidden,
        )?;
        let smallest = self.shape.height.min(self.shape.width);
        check(
            self.features() > 0,
            "--channels",
            "so few layers that something is left of an image, of which each halves height and width",
            &format!("{} layers for {}", self.channels.len(), self.shape),
        )?;
        check(
            (0.0..1.0).contains(&self.dropout),
            "--dropout",
            "a share, 0 or above and below 1",
            &self.dropout,
        )?;
        check(
            self.shift < smallest,
            "--shift",
            "fewer pixels than an image has in a row or a column",
            &self.shift,
        )?;
        if let Some(largest) = self.pixel_max {
            check(
                largest.is_finite() && largest > 0.0,
                "--pixel-max",
                "a finite number above 0",
                &largest,
            )?;
        }
        self.schedule.check()
    }

    fn read(&self, path: &Path, roles: &Roles) -> Result<Dataset, TrainingError> {
        if !path.is_dir() {
            return Ok(Dataset::read(path, roles, self.target_kind())?);
        }
        TrainingError::check(
            self.pixel_max == Some(images::LARGEST),
            "--pixel-max",
            "255, as in every file of images",
            &self
                .pixel_max
                .map_or_else(|| "none".to_owned(), |largest| largest.to_string()),
        )?;
        Ok(images::read(path, self.shape)?)
    }

    fn fit(&self, data: &Dataset, context: &mut Context<'_>) -> Result<Fitted, TrainingError> {
        self.check_columns(data, context.missing)?;
        let rows = data.matrix()?;
        let network = self.fit_rows(&rows, data, context)?;
        Ok(Fitted {
            graph: network.graph(),
            parameters: network.parameters(),
            inputs: Metadata {
                image: self.declaration(&rows),
                ..Metadata::default()
            },
            tokenizer: None,
        })
    }
}

impl ConvolutionalNetwork {
    fn check_columns(&self, data: &Dataset, missing: Missing) -> Result<(), TrainingError> {
        let (asked, there) = (self.shape.values(), data.columns.len());
        TrainingError::check(
            asked == there,
            "--shape",
            "a shape of as many values as the data has columns beside the target",
            &format!("{}, which has {asked}, where there are {there}", self.shape),
        )?;
        TrainingError::check(
            missing == Missing::Refuse,
            "--missing",
            "refuse where the columns are pixels",
            &"another choice",
        )
    }

    fn fit_rows(
        &self,
        rows: &Array2<f64>,
        data: &Dataset,
        context: &mut Context<'_>,
    ) -> Result<FittedNetwork, TrainingError> {
        let Split { train: learnt, test } = split(
            &data.target.strata(),
            self.schedule.validation_fraction,
            context.generator,
        );
        let rows_of = |part: &[usize]| rows.select(Axis(0), part);
        let pixels = Standardiser::fit(as_one_column(rows_of(&learnt)).view());
        let goal = Goal::of(&data.target.select(&learnt));
        let samples = |part: &[usize]| {
            let standardised = pixels.apply(rows_of(part).view());
            Samples::new(vec![matrix(&standardised)?], &data.select(part), &goal)
        };
        let (training, validation) = (samples(&learnt)?, samples(&test)?);
        check_size(self.parameters(goal.outputs()), "--channels and --hidden")?;
        let net = ImageNet::new(self, goal.outputs(), context.generator)?;
        train(&net, (&training, &validation), &goal, &self.schedule, context)?;
        Ok(FittedNetwork {
            shape: self.shape,
            pixels,
            convolutions: net.convolutions()?,
            dense: net.dense.layers()?,
        })
    }

    /// Values that the last convolution leaves of an image.
    fn features(&self) -> usize {
        let layers = self.channels.len();
        let left = |size: usize| (0..layers).fold(size, |size, _| size / WINDOW);
        let channels = self.channels.last().copied().unwrap_or(self.shape.channels);
        left(self.shape.height)
            .saturating_mul(left(self.shape.width))
            .saturating_mul(channels)
    }

    fn parameters(&self, classes: usize) -> usize {
        let layer = |fan_in: usize, fan_out: usize| fan_in.saturating_add(1).saturating_mul(fan_out);
        let mut parameters = 0_usize;
        let mut channels = self.shape.channels;
        for &more in &self.channels {
            parameters = parameters.saturating_add(layer(channels.saturating_mul(PLACES), more));
            channels = more;
        }
        let mut fan_in = self.features();
        for &fan_out in self.hidden.iter().chain([&classes]) {
            parameters = parameters.saturating_add(layer(fan_in, fan_out));
            fan_in = fan_out;
        }
        parameters
    }

    /// How files of images become what the graph takes; none where they cannot.
    fn declaration(&self, rows: &Array2<f64>) -> Option<ImageInput> {
        let ImageShape {
            channels,
            height,
            width,
        } = self.shape;
        let channels = Channels::try_from(u8::try_from(channels).ok()?).ok()?;
        let (smallest, largest) = rows
            .iter()
            .fold((0.0_f64, 0.0_f64), |(smallest, largest), &value| {
                (smallest.min(value), largest.max(value))
            });
        let largest = self.pixel_max.unwrap_or(largest);
        // Black is 0 in a file; data that goes below counts in a unit that nobody named.
        (smallest == 0.0 && largest > 0.0).then(|| ImageInput {
            scale: largest / images::LARGEST,
            ..ImageInput::new(width, height, channels)
        })
    }
}

fn as_one_column(rows: Array2<f64>) -> Array2<f64> {
    let values = rows.into_iter().collect::<Vec<_>>();
    Array2::from_shape_vec((values.len(), 1), values).expect("one column has as many rows as values")
}

fn check_layers(option: &'static str, expected: &'static str, layers: &[usize]) -> Result<(), TrainingError> {
    let written: Vec<String> = layers.iter().map(usize::to_string).collect();
    let has_units = !layers.is_empty() && layers.iter().all(|&units| units > 0);
    TrainingError::check(has_units, option, expected, &written.join(","))
}

#[cfg(test)]
mod testing {
    use candle_core::{Device, Tensor};

    use super::super::random::Generator;

    /// Numbers of -1 to 1.
    pub(super) fn random(shape: &[usize], seed: u64) -> Tensor {
        let mut generator = Generator::new(seed);
        let count = shape.iter().product();
        let values: Vec<f32> = std::iter::repeat_with(|| generator.uniform(1.0) as f32)
            .take(count)
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// The largest difference.
    pub(super) fn worst(one: &Tensor, other: &Tensor) -> f32 {
        let difference = one.sub(other).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use candle_core::{Device, Tensor};

    use super::super::dataset::Target;
    use super::super::encoding::Unknown;
    use super::super::evaluation::Evaluation;
    use super::super::feed_forward::softmax;
    use super::super::logistic_regression::LogisticRegression;
    use super::super::random::Generator;
    use super::super::score;
    use super::*;

    fn options() -> ConvolutionalNetwork {
        ConvolutionalNetwork {
            shape: "7x6".parse().unwrap(),
            channels: vec![4, 6],
            hidden: vec![8],
            dropout: 0.1,
            shift: 0,
            pixel_max: None,
            schedule: Schedule {
                epochs: 40,
                batch_size: 16,
                learning_rate: 0.01,
                weight_decay: 0.0,
                validation_fraction: 0.2,
                patience: 10,
            },
        }
    }

    fn short() -> ConvolutionalNetwork {
        let mut options = options();
        options.schedule.epochs = 2;
        options
    }

    /// Bars of three pixels, lying or standing, anywhere on a noisy ground, in `channels` channels of which the last has
    /// the bar. Where a bar may be, a pixel is as bright in both classes, so that sums of pixels say nothing.
    fn bars(rows: usize, channels: usize, seed: u64) -> Dataset {
        let mut generator = Generator::new(seed);
        let mut labels = Vec::new();
        let mut images = Array2::zeros((rows, channels * 42));
        for (row, mut image) in images.outer_iter_mut().enumerate() {
            image.mapv_inplace(|_: f64| 3.0 + generator.uniform(3.0));
            let is_lying = row % 2 == 0;
            let (height, width) = if is_lying { (1, 3) } else { (3, 1) };
            let (top, left) = (1 + generator.below(5), 1 + generator.below(4));
            for (down, right) in (0..height).flat_map(|down| (0..width).map(move |right| (down, right))) {
                let (row, column) = (top + down - height / 2, left + right - width / 2);
                image[(channels - 1) * 42 + row * 6 + column] = 14.0;
            }
            labels.push(usize::from(is_lying));
        }
        let names: Vec<String> = (0..images.ncols()).map(|column| format!("p{column}")).collect();
        let target = Target::Classes {
            names: vec!["standing".into(), "lying".into()],
            labels,
        };
        Dataset::of_numbers(&names, &images, target)
    }

    fn context<R>(seed: u64, use_it: impl FnOnce(&mut Context<'_>) -> R) -> R {
        use_it(&mut Context {
            generator: &mut Generator::new(seed),
            observe: &mut |_| (),
            stop: &AtomicBool::new(false),
            missing: Missing::Refuse,
            unknown: Unknown::Refuse,
        })
    }

    fn fit(algorithm: &dyn Algorithm, data: &Dataset, seed: u64) -> Result<Fitted, TrainingError> {
        context(seed, |context| algorithm.fit(data, context))
    }

    /// What the written file answers.
    fn answers(fitted: &Fitted, data: &Dataset) -> Array2<f64> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, fitted.graph.encode("m", "", &[])).unwrap();
        score::predict(&path, &Metadata::default(), data).unwrap()
    }

    fn accuracy(algorithm: &dyn Algorithm, training: &Dataset, unseen: &Dataset) -> f64 {
        let fitted = fit(algorithm, training, 1).unwrap();
        match Evaluation::of(answers(&fitted, unseen).view(), &unseen.target) {
            Evaluation::Classification { accuracy, .. } => accuracy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bars_anywhere_are_told_apart_which_no_linear_model_can() {
        let (training, unseen) = (bars(300, 1, 1), bars(200, 1, 2));
        let linear = LogisticRegression {
            l2: 1.0,
            max_iterations: 1000,
        };
        assert!(accuracy(&linear, &training, &unseen) < 0.75);
        assert!(accuracy(&options(), &training, &unseen) > 0.97);
    }

    #[test]
    fn moved_images_and_weighted_classes_are_learnt_from_too() {
        let (mut training, unseen) = (bars(300, 1, 1), bars(200, 1, 2));
        let fewer: Vec<usize> = (0..300).filter(|row| row % 2 == 0 || row % 6 == 1).collect();
        training = training.select(&fewer);
        training.balance_classes();
        let moved = ConvolutionalNetwork {
            shift: 1,
            ..options()
        };
        assert!(accuracy(&moved, &training, &unseen) > 0.9);
    }

    /// The same by candle's own convolution and pooling, whose ways forward are right.
    fn expected(network: &FittedNetwork, rows: &Array2<f64>) -> Array2<f64> {
        let ImageShape {
            channels,
            height,
            width,
        } = network.shape;
        let standardised = matrix(&network.pixels.apply(rows.view())).unwrap();
        let mut values = standardised.reshape(((), channels, height, width)).unwrap();
        for convolution in &network.convolutions {
            let kernels = Tensor::from_slice(&convolution.kernels, &convolution.shape, &Device::Cpu).unwrap();
            let bias = Tensor::from_slice(&convolution.bias, (1, (), 1, 1), &Device::Cpu).unwrap();
            let seen = values.conv2d(&kernels, 1, 1, 1, 1).unwrap();
            values = seen.broadcast_add(&bias).unwrap().relu().unwrap();
            values = values.max_pool2d(2).unwrap();
        }
        let features = values.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
        let mut values = Array2::from_shape_fn((rows.nrows(), features[0].len()), |(row, column)| {
            f64::from(features[row][column])
        });
        for (place, layer) in network.dense.iter().enumerate() {
            if place > 0 {
                values.mapv_inplace(|value| value.max(0.0));
            }
            values = values.dot(&layer.weights) + &layer.bias;
        }
        softmax(values)
    }

    #[test]
    fn the_graph_computes_what_was_fitted() {
        for channels in [1, 3] {
            let data = bars(60, channels, 3);
            let algorithm = ConvolutionalNetwork {
                shape: ImageShape {
                    channels,
                    ..options().shape
                },
                ..short()
            };
            let rows = data.matrix().unwrap();
            let network = context(4, |context| algorithm.fit_rows(&rows, &data, context)).unwrap();
            let answers = answers(&fit(&algorithm, &data, 4).unwrap(), &data);
            let expected = expected(&network, &rows);
            assert_eq!(answers.dim(), (60, 2));
            for (one, other) in answers.iter().zip(&expected) {
                assert!(
                    (one - other).abs() <= 1e-4 * other.abs().max(1e-2),
                    "{one} {other}"
                );
            }
            assert!(answers.outer_iter().any(|row| row != answers.row(0)));
        }
    }

    #[test]
    fn a_seed_is_a_model() {
        let data = bars(60, 1, 3);
        let algorithm = ConvolutionalNetwork { shift: 1, ..short() };
        let bytes = |seed| fit(&algorithm, &data, seed).unwrap().graph.encode("m", "", &[]);
        assert_eq!(bytes(9), bytes(9));
        assert_ne!(bytes(9), bytes(10));
    }

    #[test]
    fn files_of_images_are_brought_into_the_unit_of_the_data() {
        let data = bars(60, 1, 3);
        let image = |options: &ConvolutionalNetwork, data: &Dataset| {
            let fitted = fit(options, data, 1).unwrap();
            assert!(fitted.inputs.features.is_empty());
            fitted.inputs.image
        };
        let declared = image(&short(), &data).unwrap();
        assert_eq!((declared.height, declared.width), (Some(7), Some(6)));
        assert_eq!(
            (declared.channels, declared.scale),
            (Channels::Grey, 14.0 / 255.0)
        );
        let told = ConvolutionalNetwork {
            pixel_max: Some(16.0),
            ..short()
        };
        assert_eq!(image(&told, &data).unwrap().scale, 16.0 / 255.0);
        // What a value below 0 is in a file, nobody knows.
        let centred = data.matrix().unwrap() - 7.0;
        let centred = Dataset::of_numbers(&data.names(), &centred, data.target.clone());
        assert_eq!(image(&told, &centred), None);
    }

    #[test]
    fn columns_that_are_no_images_are_told() {
        let data = bars(20, 1, 3);
        let other = ConvolutionalNetwork {
            shape: "3x7x6".parse().unwrap(),
            ..short()
        };
        let told = fit(&other, &data, 1).err().unwrap();
        assert!(told.is_usage());
        assert_eq!(
            told.to_string(),
            "--shape must be a shape of as many values as the data has columns beside the target, not 3x7x6, which has \
             126, where there are 42"
        );
        let told = context(1, |context| {
            context.missing = Missing::Mean;
            short().fit(&data, context).err().unwrap()
        });
        assert!(told.to_string().starts_with("--missing must be refuse"), "{told}");
    }

    #[test]
    fn options_without_a_meaning_are_refused() {
        let with = |change: fn(&mut ConvolutionalNetwork)| {
            let mut options = options();
            change(&mut options);
            options
        };
        for (wrong, option) in [
            (with(|options| options.channels = vec![]), "--channels"),
            (with(|options| options.channels = vec![4, 0]), "--channels"),
            (with(|options| options.channels = vec![1; 3]), "--channels"),
            (with(|options| options.channels = vec![1; 200]), "--channels"),
            (with(|options| options.hidden = vec![]), "--hidden"),
            (with(|options| options.hidden = vec![0]), "--hidden"),
            (with(|options| options.dropout = 1.0), "--dropout"),
            (with(|options| options.dropout = -0.1), "--dropout"),
            (with(|options| options.dropout = f64::NAN), "--dropout"),
            (with(|options| options.shift = 6), "--shift"),
            (with(|options| options.pixel_max = Some(0.0)), "--pixel-max"),
            (
                with(|options| options.pixel_max = Some(f64::INFINITY)),
                "--pixel-max",
            ),
            (with(|options| options.schedule.epochs = 0), "--epochs"),
        ] {
            let told = wrong.check().unwrap_err();
            assert!(told.is_usage() && told.to_string().starts_with(option), "{told}");
        }
        options().check().unwrap();
    }

    #[test]
    fn a_network_beyond_any_memory_is_refused() {
        for channels in [vec![1 << 25], vec![usize::MAX, 2], vec![100_000, 100_000]] {
            let huge = ConvolutionalNetwork {
                channels,
                ..options()
            };
            let told = fit(&huge, &bars(20, 1, 3), 1).err().unwrap();
            assert!(
                told.is_usage() && told.to_string().starts_with("--channels"),
                "{told}"
            );
        }
    }
}
