//! `[image]` in `model.toml`: the model's only input is images, and this is how they become numbers.

use serde::{Deserialize, Serialize};

/// The table `[image]` of `model.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageInput {
    /// Pixels from left to right that an image is resized to; as many as it has where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Pixels from top to bottom that an image is resized to; as many as it has where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<usize>,
    /// What a pixel consists of.
    pub channels: Channels,
    /// The order of a row's axes.
    #[serde(default, skip_serializing_if = "ImageLayout::is_default")]
    pub layout: ImageLayout,
    /// What pixel values, 0 to 255, are multiplied with first.
    #[serde(default = "to_one", skip_serializing_if = "is_to_one")]
    pub scale: f64,
    /// What is then taken off, for each channel; nothing where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f64>,
    /// What it is then divided by, for each channel; nothing where empty. `(value - mean) / std` is torchvision's
    /// `Normalize`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f64>,
}

/// What a pixel consists of; a number in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Channels {
    /// `1`: how bright it is.
    Grey,
    /// `3`: red, green and blue.
    Colour,
}

/// The order of a row's axes, by the letters of a batch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageLayout {
    /// Channels, height, width, as PyTorch has them.
    #[default]
    Nchw,
    /// Height, width, channels, as Keras has them.
    Nhwc,
}

impl ImageInput {
    /// Images of this size whose pixel values become 0 to 1, with the channels in front.
    #[must_use]
    pub const fn new(width: usize, height: usize, channels: Channels) -> Self {
        Self {
            width: Some(width),
            height: Some(height),
            channels,
            layout: ImageLayout::Nchw,
            scale: to_one(),
            mean: Vec::new(),
            std: Vec::new(),
        }
    }
}

impl Channels {
    /// How many there are.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Colour => 3,
        }
    }
}

impl TryFrom<u8> for Channels {
    type Error = String;

    fn try_from(count: u8) -> Result<Self, Self::Error> {
        match count {
            1 => Ok(Self::Grey),
            3 => Ok(Self::Colour),
            other => Err(format!(
                "{other} channels; expected 1 (grey) or 3 (red, green, blue)"
            )),
        }
    }
}

impl From<Channels> for u8 {
    fn from(channels: Channels) -> Self {
        match channels {
            Channels::Grey => 1,
            Channels::Colour => 3,
        }
    }
}

impl ImageLayout {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The scale that makes the largest pixel value a 1.
const fn to_one() -> f64 {
    1.0 / 255.0
}

fn is_to_one(scale: &f64) -> bool {
    *scale == to_one()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::artifact::Metadata;

    fn read(table: &str) -> Result<ImageInput, String> {
        let metadata: Result<Metadata, _> = toml::from_str(&format!("[image]\n{table}"));
        let metadata = metadata.map_err(|error| error.to_string())?;
        metadata.image.ok_or_else(|| "no image".to_owned())
    }

    #[test]
    fn what_is_left_out_is_what_pytorch_does() {
        assert_eq!(
            read("width = 28\nheight = 28\nchannels = 1").unwrap(),
            ImageInput::new(28, 28, Channels::Grey)
        );
        let free = read("channels = 3").unwrap();
        assert_eq!((free.width, free.height), (None, None));
        assert_eq!(free.scale * 255.0, 1.0);
    }

    #[test]
    fn it_survives_a_round_trip() {
        let declared = ImageInput {
            layout: ImageLayout::Nhwc,
            scale: 1.0,
            mean: vec![123.7, 116.8, 103.9],
            std: vec![58.4, 57.1, 57.4],
            ..ImageInput::new(224, 200, Channels::Colour)
        };
        let metadata = Metadata {
            image: Some(declared),
            ..Metadata::default()
        };
        let text = toml::to_string(&metadata).unwrap();
        assert!(text.contains("layout = \"nhwc\""), "{text}");
        assert_eq!(toml::from_str::<Metadata>(&text).unwrap(), metadata);
    }

    #[test]
    fn what_it_does_not_know_is_told() {
        let told = |table: &str| read(table).unwrap_err();
        assert!(
            told("channels = 4").contains("expected 1 (grey) or 3"),
            "{}",
            told("channels = 4")
        );
        assert!(told("channels = 1\nhight = 28").contains("hight"));
        assert!(told("channels = 1\nlayout = \"chwn\"").contains("nhwc"));
        assert!(told("width = 28").contains("channels"));
    }
}
