//! A declaration held against the graph that it stands beside: which shape a row has, and which number a pixel becomes.

use half::{bf16, f16};

use super::budget::{Budget, MAX_PIXELS};
use super::declaration::{Channels, ImageInput, ImageLayout};
use super::encoded::decode_text;
use super::error::ImageError;
use super::raster::Raster;
use crate::model::tensor::{Datatype, Values};

/// Values that a pixel can have in a channel.
const LEVELS: usize = 256;

/// How images become rows of one graph.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRows {
    channels: Channels,
    layout: ImageLayout,
    form: Form,
    /// What images are resized to; none where they keep what they have.
    width: Option<usize>,
    height: Option<usize>,
    /// What each value of each channel becomes: all of the first channel, then those of the next.
    numbers: Values,
    max_pixels: usize,
}

/// The axes that a row of the graph has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Height, width and channels.
    Full,
    /// Height and width, where a pixel is one number.
    Plane,
    /// All values in one list.
    Flat,
}

impl ImageRows {
    /// Holds `declared` against rows of this type and shape; a text says what contradicts them. A size that is not
    /// declared is the graph's own, where it has one.
    pub fn new(
        declared: &ImageInput,
        datatype: Datatype,
        row_shape: &[Option<usize>],
    ) -> Result<Self, String> {
        let channels = declared.channels;
        check_size("width", declared.width)?;
        check_size("height", declared.height)?;
        let (form, height, width) = match (row_shape, declared.layout) {
            (&[depth, height, width], ImageLayout::Nchw) | (&[height, width, depth], ImageLayout::Nhwc) => {
                agreed("channels", Some(channels.count()), depth)?;
                (Form::Full, height, width)
            }
            (&[height, width], _) if channels == Channels::Grey => (Form::Plane, height, width),
            (&[values], _) => {
                let (Some(width), Some(height)) = (declared.width, declared.height) else {
                    let problem = "a row of the graph is a list, so [image] must say width and height";
                    return Err(problem.to_owned());
                };
                let asked = width
                    .checked_mul(height)
                    .and_then(|pixels| pixels.checked_mul(channels.count()));
                agreed("values", asked, values)?;
                (Form::Flat, Some(height), Some(width))
            }
            _ => {
                return Err(format!(
                    "a row of the graph has {} axes; [image] with {} channels asks for 3, in the order of its layout",
                    row_shape.len(),
                    channels.count()
                ));
            }
        };
        Ok(Self {
            channels,
            layout: declared.layout,
            form,
            width: agreed("width", declared.width, width)?,
            height: agreed("height", declared.height, height)?,
            numbers: numbers(declared, datatype)?,
            max_pixels: MAX_PIXELS,
        })
    }

    /// Sets how many pixels the images of one request may have together.
    pub const fn limit(&mut self, max_pixels: usize) {
        self.max_pixels = max_pixels;
    }

    /// What the images of one request may cost.
    #[must_use]
    pub const fn budget(&self) -> Budget {
        Budget::new(self.max_pixels)
    }

    /// Whether a row has an axis in front for its only channel, which clients leave out as they like.
    #[must_use]
    pub fn has_channel_in_front(&self) -> bool {
        self.form == Form::Full && self.layout == ImageLayout::Nchw && self.channels == Channels::Grey
    }

    /// The image in a text, of the size that the model takes.
    pub fn read(&self, text: &str, budget: &mut Budget) -> Result<Raster, ImageError> {
        let image = Raster::read(&decode_text(text)?, self.channels, budget)?;
        let or_its_own =
            |size: Option<usize>, own: u32| size.map_or(own, |size| u32::try_from(size).unwrap_or(u32::MAX));
        let width = or_its_own(self.width, image.width);
        let height = or_its_own(self.height, image.height);
        budget.take_made(width, height)?;
        Ok(image.resized(width, height))
    }

    /// The shape of a row that such an image becomes.
    #[must_use]
    pub fn shape(&self, image: &Raster) -> Vec<usize> {
        let (width, height, depth) = (image.width as usize, image.height as usize, self.channels.count());
        match (self.form, self.layout) {
            (Form::Full, ImageLayout::Nchw) => vec![depth, height, width],
            (Form::Full, ImageLayout::Nhwc) => vec![height, width, depth],
            (Form::Plane, _) => vec![height, width],
            (Form::Flat, _) => vec![depth * height * width],
        }
    }

    /// Adds an image to the values of the rows before it, in the order of [`shape`](Self::shape).
    pub fn append(&self, image: &Raster, values: &mut Values) {
        let depth = self.channels.count();
        match self.layout {
            ImageLayout::Nchw => {
                for channel in 0..depth {
                    let pixels = image.values.iter().skip(channel).step_by(depth);
                    let positions = pixels.map(|&value| channel * LEVELS + usize::from(value));
                    values.extend_from(&self.numbers, positions);
                }
            }
            ImageLayout::Nhwc => {
                let values_of_channels = image.values.iter().enumerate();
                let positions = values_of_channels
                    .map(|(position, &value)| position % depth * LEVELS + usize::from(value));
                values.extend_from(&self.numbers, positions);
            }
        }
    }
}

fn check_size(what: &str, size: Option<usize>) -> Result<(), String> {
    match size {
        Some(0) => Err(format!("the {what} of [image] is 0")),
        Some(size) if u32::try_from(size).is_err() => Err(format!("the {what} of [image] is {size}")),
        _ => Ok(()),
    }
}

/// What the declaration and the graph say of the same size, if they do not contradict each other.
fn agreed(what: &str, declared: Option<usize>, graph: Option<usize>) -> Result<Option<usize>, String> {
    match (declared, graph) {
        (Some(declared), Some(graph)) if declared != graph => {
            Err(format!("{what}: {declared} by [image], {graph} by the graph"))
        }
        _ => Ok(declared.or(graph)),
    }
}

/// What each of the 256 values becomes in each channel: `(value * scale - mean) / std`.
fn numbers(declared: &ImageInput, datatype: Datatype) -> Result<Values, String> {
    let of_channels = |what: &str, given: &[f64], default: f64| {
        let count = declared.channels.count();
        match given {
            [] => Ok(vec![default; count]),
            given if given.len() == count && given.iter().all(|number| number.is_finite()) => {
                Ok(given.to_vec())
            }
            given => Err(format!(
                "{what} has {} numbers; expected one for each of {count} channels",
                given.len()
            )),
        }
    };
    let means = of_channels("mean", &declared.mean, 0.0)?;
    let deviations = of_channels("std", &declared.std, 1.0)?;
    let levels = || (0..LEVELS).map(|level| level as f64);
    let of_channel = |(mean, deviation): (&f64, &f64)| {
        let (mean, deviation) = (*mean, *deviation);
        levels().map(move |level| (level * declared.scale - mean) / deviation)
    };
    let numbers: Vec<f64> = std::iter::zip(&means, &deviations).flat_map(of_channel).collect();
    typed(&numbers, datatype).ok_or_else(|| {
        let largest = numbers[LEVELS - 1];
        format!(
            "a pixel of 255 becomes {largest}, and the graph takes {datatype}: {}",
            datatype.value_in_words()
        )
    })
}

/// The numbers in a type that holds all of them; none where it does not.
fn typed(numbers: &[f64], datatype: Datatype) -> Option<Values> {
    if !numbers.iter().all(|number| number.is_finite()) {
        return None;
    }
    Some(match datatype {
        Datatype::F16 => Values::F16(floats(numbers, f16::from_f64, f16::is_finite)?),
        Datatype::BF16 => Values::BF16(floats(numbers, bf16::from_f64, bf16::is_finite)?),
        Datatype::F32 => Values::F32(floats(numbers, |number| number as f32, f32::is_finite)?),
        Datatype::F64 => Values::F64(numbers.to_vec()),
        Datatype::U8 => Values::U8(whole(numbers)?),
        Datatype::U16 => Values::U16(whole(numbers)?),
        Datatype::U32 => Values::U32(whole(numbers)?),
        Datatype::U64 => Values::U64(whole(numbers)?),
        Datatype::I8 => Values::I8(whole(numbers)?),
        Datatype::I16 => Values::I16(whole(numbers)?),
        Datatype::I32 => Values::I32(whole(numbers)?),
        Datatype::I64 => Values::I64(whole(numbers)?),
        Datatype::Bool | Datatype::Text => return None,
    })
}

fn floats<T: Copy>(numbers: &[f64], of: fn(f64) -> T, is_finite: fn(T) -> bool) -> Option<Vec<T>> {
    let number = |&number: &f64| Some(of(number)).filter(|&number| is_finite(number));
    numbers.iter().map(number).collect()
}

fn whole<T: TryFrom<i64>>(numbers: &[f64]) -> Option<Vec<T>> {
    // Whole floats up to here are exactly the integers that they look like.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = |&number: &f64| {
        let is_whole = number.fract() == 0.0 && number.abs() <= EXACT;
        is_whole
            .then_some(number as i64)
            .and_then(|number| T::try_from(number).ok())
    };
    numbers.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine};

    use super::super::raster::testing::{colours, png, png_of};
    use super::*;

    const FREE: Option<usize> = None;

    fn rows(declared: &ImageInput, row_shape: &[Option<usize>]) -> Result<ImageRows, String> {
        ImageRows::new(declared, Datatype::F32, row_shape)
    }

    fn free(channels: Channels) -> ImageInput {
        ImageInput {
            width: None,
            height: None,
            ..ImageInput::new(1, 1, channels)
        }
    }

    fn row(rows: &ImageRows, file: &[u8]) -> (Vec<usize>, Values) {
        let image = rows
            .read(&BASE64_STANDARD.encode(file), &mut rows.budget())
            .unwrap();
        let mut values = Values::with_capacity(rows.numbers.datatype(), 0);
        rows.append(&image, &mut values);
        (rows.shape(&image), values)
    }

    #[test]
    fn the_layout_orders_the_values() {
        let file = png_of(colours(2, 1));
        let values = |layout, shape: &[usize]| {
            let declared = ImageInput {
                layout,
                scale: 1.0,
                ..free(Channels::Colour)
            };
            let sizes: Vec<_> = shape.iter().map(|&size| Some(size)).collect();
            let (found, values) = row(&rows(&declared, &sizes).unwrap(), &file);
            assert_eq!(found, shape);
            values
        };
        assert_eq!(
            values(ImageLayout::Nchw, &[3, 1, 2]),
            Values::F32(vec![0., 5., 0., 0., 0., 3.])
        );
        assert_eq!(
            values(ImageLayout::Nhwc, &[1, 2, 3]),
            Values::F32(vec![0., 0., 0., 5., 0., 3.])
        );
    }

    #[test]
    fn numbers_are_as_torchvision_normalises_them() {
        let declared = ImageInput {
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            ..free(Channels::Colour)
        };
        let rows = rows(&declared, &[Some(3), FREE, FREE]).unwrap();
        let white = image::RgbImage::from_pixel(1, 1, image::Rgb([255, 255, 0]));
        let (_, Values::F32(values)) = row(&rows, &png_of(white)) else {
            panic!()
        };
        for (value, expected) in std::iter::zip(values, [2.248_908_3, 2.428_571_4, -1.804_444_4]) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
    }

    #[test]
    fn a_size_is_declared_or_the_graphs_or_the_images_own() {
        let shape = |declared: &ImageInput, row_shape: &[Option<usize>]| {
            row(&rows(declared, row_shape).unwrap(), &png(9, 7)).0
        };
        let grey = free(Channels::Grey);
        let small = ImageInput::new(4, 5, Channels::Grey);
        assert_eq!(shape(&grey, &[Some(1), FREE, FREE]), [1, 7, 9]);
        assert_eq!(shape(&grey, &[Some(1), Some(6), FREE]), [1, 6, 9]);
        assert_eq!(shape(&small, &[Some(1), FREE, FREE]), [1, 5, 4]);
        assert_eq!(shape(&small, &[Some(5), Some(4)]), [5, 4]);
        assert_eq!(shape(&small, &[Some(20)]), [20]);
        assert_eq!(shape(&small, &[FREE]), [20]);
    }

    #[test]
    fn what_contradicts_the_graph_is_told() {
        let told =
            |declared: &ImageInput, row_shape: &[Option<usize>]| rows(declared, row_shape).unwrap_err();
        let grey = ImageInput::new(8, 8, Channels::Grey);
        let colour = ImageInput::new(8, 8, Channels::Colour);
        assert_eq!(
            told(&grey, &[Some(1), Some(8), Some(9)]),
            "width: 8 by [image], 9 by the graph"
        );
        assert_eq!(
            told(&grey, &[Some(3), FREE, FREE]),
            "channels: 1 by [image], 3 by the graph"
        );
        assert!(told(&colour, &[Some(8), Some(8)]).contains("2 axes"));
        assert!(told(&colour, &[Some(64)]).contains("values: 192"));
        assert!(told(&free(Channels::Grey), &[Some(64)]).contains("must say width and height"));
        assert!(told(&ImageInput::new(0, 8, Channels::Grey), &[Some(1), FREE, FREE]).contains("width"));
        let mean = ImageInput {
            mean: vec![0.5],
            ..colour.clone()
        };
        assert_eq!(
            told(&mean, &[Some(3), FREE, FREE]),
            "mean has 1 numbers; expected one for each of 3 channels"
        );
        let std = ImageInput {
            std: vec![0.0],
            ..grey
        };
        assert!(told(&std, &[Some(1), FREE, FREE]).contains("becomes inf"));
    }

    #[test]
    fn a_graph_of_bytes_takes_whole_pixels() {
        let scaled = ImageInput::new(1, 1, Channels::Grey);
        let row_shape = [Some(1), Some(1), Some(1)];
        let error = ImageRows::new(&scaled, Datatype::U8, &row_shape).unwrap_err();
        assert!(error.contains("UINT8: a whole number"), "{error}");
        let raw = ImageInput { scale: 1.0, ..scaled };
        let rows = ImageRows::new(&raw, Datatype::U8, &row_shape).unwrap();
        let grey = image::GrayImage::from_pixel(3, 3, image::Luma([200]));
        assert_eq!(row(&rows, &png_of(grey)).1, Values::U8(vec![200]));
        let signed = ImageInput {
            mean: vec![128.0],
            ..raw
        };
        assert!(ImageRows::new(&signed, Datatype::I8, &row_shape).is_ok());
    }

    #[test]
    fn images_that_grow_are_held_to_the_limit() {
        let declared = ImageInput::new(100, 100, Channels::Grey);
        let mut rows = rows(&declared, &[Some(1), FREE, FREE]).unwrap();
        rows.limit(25_000);
        let text = BASE64_STANDARD.encode(png(1, 1));
        let mut budget = rows.budget();
        assert!(rows.read(&text, &mut budget).is_ok());
        assert!(rows.read(&text, &mut budget).is_ok());
        let error = rows.read(&text, &mut budget).unwrap_err().to_string();
        assert!(
            error.contains("one image too many: the model takes 100 x 100 pixels"),
            "{error}"
        );
    }
}
