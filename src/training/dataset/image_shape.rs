//! The shape of images whose pixels are a row.

use std::fmt;
use std::str::FromStr;

/// What the values of a row are: channel by channel, rows of pixels from the top, each from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Values of a pixel: 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
}

impl ImageShape {
    /// Values of an image.
    #[must_use]
    pub const fn values(self) -> usize {
        self.channels
            .saturating_mul(self.height)
            .saturating_mul(self.width)
    }
    /// A name for each value: `pixel_row_column`, with the channel in front where there are several.
    pub(super) fn names(self) -> Vec<String> {
        let (plane, values) = (self.height * self.width, self.values());
        let name = |value: usize| {
            let (channel, pixel) = (value / plane, value % plane);
            let (row, column) = (pixel / self.width, pixel % self.width);
            match self.channels {
                1 => format!("pixel_{row}_{column}"),
                _ => format!("pixel_{channel}_{row}_{column}"),
            }
        };
        (0..values).map(name).collect()
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.channels != 1 {
            write!(formatter, "{}x", self.channels)?;
        }
        write!(formatter, "{}x{}", self.height, self.width)
    }
}

/// `28x28` for grey images, `3x32x32` for those of three channels.
impl FromStr for ImageShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sizes: Option<Vec<usize>> = text
            .split('x')
            .map(|size| size.parse().ok().filter(|&size| size > 0))
            .collect();
        let (channels, height, width) = match sizes.as_deref() {
            Some(&[height, width]) => (1, height, width),
            Some(&[channels, height, width]) => (channels, height, width),
            _ => return Err("expected HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH, such as 3x32x32".to_owned()),
        };
        Ok(Self {
            channels,
            height,
            width,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_written_as_it_is_read() {
        for (text, values) in [("28x28", 784), ("3x32x16", 1536), ("2x1x1", 2)] {
            let shape: ImageShape = text.parse().unwrap();
            assert_eq!((shape.to_string().as_str(), shape.values()), (text, values));
        }
        let grey: ImageShape = "1x8x9".parse().unwrap();
        assert_eq!(grey.to_string(), "8x9");
    }

    #[test]
    fn what_is_no_shape_is_told() {
        for text in ["", "8", "8x", "0x8", "8x8x", "1x2x3x4", "-1x8", "8X8", "8x8.5"] {
            let told = text.parse::<ImageShape>().unwrap_err();
            assert!(told.contains("HEIGHTxWIDTH"), "{text}");
        }
    }
}
