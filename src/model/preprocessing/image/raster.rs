//! From the bytes of a file to pixels of the channels and the size that a model takes.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::budget::Budget;
use super::declaration::Channels;
use super::error::ImageError;
use super::jpeg;

/// Room that a reader has beside the pixels: rows of them, tables, profiles of colours.
const ROOM: u64 = 1 << 20;
/// The largest pixel there is: four channels of 16 bits.
const MAX_PIXEL_BYTES: u64 = 8;

/// Pixels in rows from the top, each from the left, of 0 to 255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Values of a pixel.
    pub channels: Channels,
    /// All values, pixel by pixel.
    pub values: Vec<u8>,
}

impl Raster {
    /// Reads a PNG or JPEG file: upright, where it says how it was held, on white where it is transparent, with its
    /// colours weighed as Rec. 601 does where a model takes grey. The first frame counts.
    pub fn read(bytes: &[u8], channels: Channels, budget: &mut Budget) -> Result<Self, ImageError> {
        let format = format_of(bytes)?;
        let image = decode(bytes, format, budget)?;
        let image = match channels {
            Channels::Grey => grey(image),
            Channels::Colour => on_white(image),
        };
        Ok(Self::of_image(image, channels))
    }

    /// The same image of another size; it may be distorted. Each new pixel is the mean of those under it, weighed
    /// by a triangle, as Pillow's `BILINEAR` does.
    #[must_use]
    pub fn resized(self, width: u32, height: u32) -> Self {
        // The filter goes down first and keeps all that it made of that: a flat and wide image must not grow tall first.
        if self.height < height && self.width > width {
            let (flat, width) = (self.height, width);
            return self.resized(width, flat).resized(width, height);
        }
        if (self.width, self.height) == (width, height) {
            return self;
        }
        let channels = self.channels;
        let image = self
            .into_image()
            .resize_exact(width, height, FilterType::Triangle);
        Self::of_image(image, channels)
    }

    /// An image that is in grey, or in colour, already.
    fn of_image(image: DynamicImage, channels: Channels) -> Self {
        Self {
            width: image.width(),
            height: image.height(),
            channels,
            values: match channels {
                Channels::Grey => image.into_luma8().into_raw(),
                Channels::Colour => image.into_rgb8().into_raw(),
            },
        }
    }

    fn into_image(self) -> DynamicImage {
        let image = match self.channels {
            Channels::Grey => GrayImage::from_raw(self.width, self.height, self.values).map(Into::into),
            Channels::Colour => RgbImage::from_raw(self.width, self.height, self.values).map(Into::into),
        };
        image.expect("it has as many values as its size and its channels ask for")
    }
}

/// The format that a file begins like, if it is one that is read.
fn format_of(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => Ok(format),
        Ok(other) => Err(ImageError::Foreign(foreign_name(other))),
        Err(_) if is_heif(bytes) => Err(ImageError::Foreign("a HEIC image")),
        Err(_) if is_svg(bytes) => Err(ImageError::Foreign("an SVG image")),
        Err(_) if bytes.starts_with(b"%PDF") => Err(ImageError::Foreign("a PDF file")),
        Err(_) => Err(ImageError::Unknown(bytes.len())),
    }
}

const fn foreign_name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Gif => "a GIF image",
        ImageFormat::WebP => "a WebP image",
        ImageFormat::Tiff => "a TIFF image",
        ImageFormat::Bmp => "a BMP image",
        ImageFormat::Ico => "an ICO image",
        ImageFormat::Avif => "an AVIF image",
        ImageFormat::Pnm => "a PNM image",
        _ => "an image of another format",
    }
}

/// What phones write unless told otherwise.
fn is_heif(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"ftyp".as_slice())
}

fn is_svg(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    text.starts_with(b"<svg") || text.starts_with(b"<?xml") || text.starts_with(b"<!DOCTYPE svg")
}

/// The pixels of a file, upright. Its size is held against the budget before there is room for any of them.
fn decode(bytes: &[u8], format: ImageFormat, budget: &mut Budget) -> Result<DynamicImage, ImageError> {
    let name = if format == ImageFormat::Png { "PNG" } else { "JPEG" };
    let told = |error| damage(name, &error);
    // The reader of PNG makes room for a row, and for profiles, as soon as it has seen the size.
    let claimed = png_size(bytes);
    if let Some((width, height)) = claimed {
        budget.take_read(width, height)?;
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits(claimed.unwrap_or_default()));
    let mut decoder = reader.into_decoder().map_err(told)?;
    if format == ImageFormat::Jpeg {
        let (width, height) = decoder.dimensions();
        budget.take_read(width, height)?;
        if !jpeg::is_whole(bytes) {
            return Err(ImageError::CutOff(name));
        }
        decoder.set_limits(limits((width, height))).map_err(told)?;
    }
    let orientation = decoder.orientation().map_err(told)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(told)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// The size that a PNG file claims, in the first of its chunks; none where it is none.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    let sizes = header.get(4..)?.strip_prefix(b"IHDR")?;
    let (width, rest) = sizes.split_first_chunk()?;
    let (height, _) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*width), u32::from_be_bytes(*height)))
}

/// What reading an image of this size may allocate.
fn limits((width, height): (u32, u32)) -> Limits {
    let pixels = u64::from(width).saturating_mul(u64::from(height));
    let mut limits = Limits::default();
    limits.max_alloc = Some(pixels.saturating_mul(MAX_PIXEL_BYTES).saturating_add(ROOM));
    limits
}

fn damage(format: &'static str, error: &image::ImageError) -> ImageError {
    match error {
        image::ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::CutOff(format)
        }
        image::ImageError::Limits(_) => ImageError::Damaged {
            format,
            reason: "it asks for more memory than its pixels need".to_owned(),
        },
        other => {
            // What stands around it only says the format once more.
            let inner = std::error::Error::source(other).map(ToString::to_string);
            ImageError::Damaged {
                format,
                reason: inner.unwrap_or_else(|| other.to_string()),
            }
        }
    }
}

/// In grey, on white where it is transparent.
fn grey(image: DynamicImage) -> DynamicImage {
    if !image.color().has_color() && !image.color().has_alpha() {
        return image;
    }
    let colour = on_white(image).into_rgb8();
    let values = colour.as_raw().as_chunks().0.iter().copied().map(luma);
    GrayImage::from_raw(colour.width(), colour.height(), values.collect())
        .expect("there is a value for each pixel")
        .into()
}

/// How bright a pixel is, weighed as Rec. 601 does, to the bit as Pillow's `convert("L")` does.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + (1 << 15)) >> 16) as u8
}

/// On white where it is transparent.
fn on_white(image: DynamicImage) -> DynamicImage {
    if !image.color().has_alpha() {
        return image;
    }
    let image = image.into_rgba8();
    let pixels = image.as_raw().as_chunks().0.iter();
    let values = pixels
        .flat_map(|&[red, green, blue, alpha]| [red, green, blue].map(|value| over_white(value, alpha)));
    RgbImage::from_raw(image.width(), image.height(), values.collect())
        .expect("there are three values for each pixel")
        .into()
}

fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
pub(super) mod testing {
    use image::Rgb;
    use image::codecs::jpeg::JpegEncoder;

    use super::*;

    /// An image that differs from pixel to pixel.
    pub(in super::super) fn colours(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 5) as u8, (y * 7) as u8, ((x + y) * 3) as u8])
        })
    }

    pub(in super::super) fn png_of(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        image.into().write_to(&mut file, ImageFormat::Png).unwrap();
        file.into_inner()
    }

    pub(in super::super) fn png(width: u32, height: u32) -> Vec<u8> {
        png_of(colours(width, height))
    }

    pub(in super::super) fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let mut file = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut file, 95);
        colours(width, height).write_with_encoder(encoder).unwrap();
        file
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayAlphaImage, ImageBuffer, Luma, LumaA, Rgb, Rgba, RgbaImage};
    use proptest::prelude::*;

    use super::super::budget::MAX_PIXELS;
    use super::testing::{colours, jpeg, png, png_of};
    use super::*;

    fn read(bytes: &[u8], channels: Channels) -> Result<Raster, ImageError> {
        Raster::read(bytes, channels, &mut Budget::new(MAX_PIXELS))
    }

    fn refusal(bytes: &[u8]) -> String {
        read(bytes, Channels::Colour).unwrap_err().to_string()
    }

    fn single(image: impl Into<DynamicImage>, channels: Channels) -> Vec<u8> {
        read(&png_of(image), channels).unwrap().values
    }

    /// The same file with this chunk before its pixels.
    fn with_chunk(png: &[u8], kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let head = 8 + 25;
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        let named = [kind, data].concat();
        let check = crc(&named).to_be_bytes();
        [&png[..head], &length, &named, &check, &png[head..]].concat()
    }

    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
            })
        })
    }

    /// What cameras write of how they were held.
    fn exif(orientation: u8) -> Vec<u8> {
        let mut exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0".to_vec();
        exif[19] = orientation;
        exif
    }

    #[test]
    fn a_png_is_read_to_the_bit_and_a_jpeg_nearly() {
        let image = colours(20, 10);
        let from_png = read(&png(20, 10), Channels::Colour).unwrap();
        assert_eq!((from_png.width, from_png.height), (20, 10));
        assert_eq!(&from_png.values, image.as_raw());
        let from_jpeg = read(&jpeg(20, 10), Channels::Colour).unwrap();
        let off = from_jpeg
            .values
            .iter()
            .zip(image.as_raw())
            .map(|(a, b)| a.abs_diff(*b));
        let mean = off.map(f64::from).sum::<f64>() / 600.0;
        assert!(mean < 4.0, "{mean}");
    }

    #[test]
    fn colours_become_grey_as_rec_601_weighs_them() {
        for (colour, expected) in [
            ([255, 0, 0], 76),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([255; 3], 255),
        ] {
            let image = RgbImage::from_pixel(1, 1, Rgb(colour));
            assert_eq!(single(image, Channels::Grey), [expected], "{colour:?}");
        }
        let grey = GrayImage::from_pixel(1, 1, Luma([7]));
        assert_eq!(single(grey.clone(), Channels::Grey), [7]);
        assert_eq!(single(grey, Channels::Colour), [7, 7, 7]);
    }

    #[test]
    fn what_is_transparent_is_white() {
        let image = RgbaImage::from_fn(3, 1, |x, _| Rgba([200, 100, 0, [0, 128, 255][x as usize]]));
        assert_eq!(
            single(image, Channels::Colour),
            [255, 255, 255, 227, 177, 127, 200, 100, 0]
        );
        let image = GrayAlphaImage::from_pixel(1, 1, LumaA([0, 51]));
        assert_eq!(single(image, Channels::Grey), [204]);
    }

    #[test]
    fn more_bits_and_fewer_become_eight() {
        let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_pixel(1, 1, Luma([0x8080_u16]));
        assert_eq!(single(deep, Channels::Grey), [0x80]);
        // One bit a pixel: eight of them, black and white in turns.
        let mut file = png_of(GrayImage::new(8, 1));
        let head = [&b"IHDR"[..], &[0, 0, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0]].concat();
        file.truncate(8);
        file.extend([0, 0, 0, 13]);
        file.extend(&head);
        file.extend(crc(&head).to_be_bytes());
        let pixels = [
            &b"IDAT"[..],
            &[0x78, 1, 1, 2, 0, 0xfd, 0xff, 0, 0xaa, 0, 0xac, 0, 0xab],
        ]
        .concat();
        file.extend([0, 0, 0, 13]);
        file.extend(&pixels);
        file.extend(crc(&pixels).to_be_bytes());
        file.extend(b"\0\0\0\0IEND\xaeB`\x82");
        assert_eq!(
            read(&file, Channels::Grey).unwrap().values,
            [255, 0, 255, 0, 255, 0, 255, 0]
        );
    }

    #[test]
    fn an_image_stands_as_its_camera_was_held() {
        let image = colours(3, 2);
        let turned = image::imageops::rotate90(&image);
        let from_png = with_chunk(&png_of(image), b"eXIf", &exif(6));
        let found = read(&from_png, Channels::Colour).unwrap();
        assert_eq!((found.width, found.height), (2, 3));
        assert_eq!(&found.values, turned.as_raw());

        let plain = jpeg(30, 20);
        let segment = [b"Exif\0\0", &exif(8)[..]].concat();
        let length = u16::try_from(segment.len() + 2).unwrap().to_be_bytes();
        let held = [&plain[..2], &[0xff, 0xe1], &length, &segment, &plain[2..]].concat();
        let found = read(&held, Channels::Colour).unwrap();
        assert_eq!((found.width, found.height), (20, 30));
    }

    #[test]
    fn a_resized_image_is_the_mean_of_what_was_there() {
        let image = GrayImage::from_fn(4, 2, |x, _| Luma([if x < 2 { 0 } else { 200 }]));
        let raster = read(&png_of(image), Channels::Grey).unwrap();
        assert_eq!(raster.clone().resized(4, 2), raster);
        let small = raster.clone().resized(2, 1);
        assert_eq!((small.width, small.height), (2, 1));
        assert!(
            small.values[0] < 40 && small.values[1] > 160,
            "{:?}",
            small.values
        );
        let large = raster.resized(8, 6);
        assert_eq!(large.values.len(), 48);
        assert_eq!((large.values[0], large.values[7]), (0, 200));
    }

    #[test]
    fn a_bomb_is_refused_before_there_is_room_for_it() {
        let mut bomb = png(1, 1);
        bomb[16..24].copy_from_slice(&[0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50]);
        // Its check sum is wrong now: nothing but the size was looked at.
        assert_eq!(
            refusal(&bomb),
            "is an image of 50000 x 50000 pixels; the images of one request may have 16777216 together \
             (max_image_pixels)"
        );

        let mut bomb = jpeg(8, 8);
        let frame = bomb.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        bomb[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
        assert!(refusal(&bomb).contains("65535 x 65535"), "{}", refusal(&bomb));

        let mut budget = Budget::new(150);
        assert!(Raster::read(&png(10, 10), Channels::Grey, &mut budget).is_ok());
        let second = Raster::read(&png(10, 10), Channels::Grey, &mut budget).unwrap_err();
        assert!(
            second.to_string().contains("those before it have 100"),
            "{second}"
        );
    }

    #[test]
    fn a_profile_that_grows_when_unpacked_is_refused() {
        use std::io::Write;
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&vec![0; 64 << 20]).unwrap();
        let profile = [&b"name\0\0"[..], &packed.finish().unwrap()].concat();
        let file = with_chunk(&png(4, 4), b"iCCP", &profile);
        assert!(file.len() < 100_000);
        // The reader goes on without it, or says so; either way there never was room for it.
        if let Err(error) = read(&file, Channels::Colour) {
            assert!(error.to_string().contains("more memory"), "{error}");
        }
    }

    #[test]
    fn a_flat_and_wide_image_does_not_grow_tall_first() {
        let wide = Raster {
            width: 1 << 20,
            height: 1,
            channels: Channels::Grey,
            values: vec![9; 1 << 20],
        };
        let square = wide.resized(64, 64);
        assert_eq!(square.values, vec![9; 64 * 64]);
    }

    #[test]
    fn other_formats_are_told_by_their_names() {
        for (bytes, told) in [
            (
                &b"GIF89a\x01\0"[..],
                "is a GIF image; expected a PNG or JPEG image",
            ),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "is a WebP image"),
            (b"\n<svg xmlns='a'/>", "is an SVG image"),
            (b"<?xml version='1.0'?><svg/>", "is an SVG image"),
            (b"\0\0\0\x18ftypheic", "is a HEIC image"),
            (b"II*\0", "is a TIFF image"),
            (b"%PDF-1.7", "is a PDF file"),
            (
                b"no image",
                "is the base64 of 8 bytes that are neither a PNG nor a JPEG image",
            ),
        ] {
            assert!(refusal(bytes).contains(told), "{}", refusal(bytes));
        }
    }

    #[test]
    fn no_beginning_of_a_file_is_taken_for_the_whole() {
        for file in [png(16, 16), jpeg(16, 16)] {
            // Behind its pixels a PNG has a chunk of 12 bytes that only says so.
            for end in 0..file.len() - 12 {
                assert!(
                    read(&file[..end], Channels::Colour).is_err(),
                    "{end} of {}",
                    file.len()
                );
            }
        }
        let half = &png(16, 16)[..60];
        assert_eq!(
            refusal(half),
            "is a PNG image that is cut off: its end is missing"
        );
        let file = jpeg(16, 16);
        let half = &file[..file.len() - 30];
        assert_eq!(
            refusal(half),
            "is a JPEG image that is cut off: its end is missing"
        );
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_an_image_or_a_told_error(
            is_png in any::<bool>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        ) {
            let mut file = if is_png { png(12, 9) } else { jpeg(12, 9) };
            for (place, byte) in changes {
                let place = place.index(file.len());
                file[place] = byte;
            }
            for channels in [Channels::Grey, Channels::Colour] {
                match Raster::read(&file, channels, &mut Budget::new(10_000)) {
                    Ok(image) => prop_assert_eq!(
                        image.values.len(),
                        image.width as usize * image.height as usize * channels.count()
                    ),
                    Err(error) => prop_assert!(error.to_string().starts_with("is "), "{}", error),
                }
            }
        }

        #[test]
        fn random_bytes_are_a_told_error(bytes in prop::collection::vec(any::<u8>(), 0..200), is_png in any::<bool>()) {
            let head: &[u8] = if is_png { b"\x89PNG\r\n\x1a\n" } else { b"\xff\xd8\xff" };
            prop_assert!(read(&bytes, Channels::Grey).is_err());
            prop_assert!(read(&[head, &bytes].concat(), Channels::Grey).is_err());
        }
    }
}
