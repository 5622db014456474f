//! Rows that are images: files of PNG or JPEG in a text, or nested lists of the numbers that the graph takes.

use std::borrow::Cow;

use super::Validation;
use super::column::Column;
use super::refusal::Place;
use crate::api::datum::{Datum, shortened};
use crate::api::error::ApiError;
use crate::model::preprocessing::image::ImageRows;
use crate::model::schema::{Layout, Schema};

/// The member of an object that brings a file, as clients of TensorFlow Serving write it.
const FILE_MEMBER: &str = "b64";

/// Whether there are files to read in these rows, which takes much longer than reading lists.
#[must_use]
pub fn brings_files(inputs: &[Datum<'_>], schema: &Schema) -> bool {
    let is_file = |datum: &Datum<'_>| matches!(datum, Datum::Text(_) | Datum::Object(_));
    matches!(schema.layout, Layout::Image(_)) && inputs.iter().any(is_file)
}

impl Validation<'_> {
    /// A row of a model whose only input is images.
    pub(super) fn image(
        &self,
        rows: &ImageRows,
        datum: &Datum<'_>,
        place: Place<'_>,
        column: &mut Column<'_>,
    ) -> Result<(), ApiError> {
        let text = match datum {
            Datum::Text(text) => text,
            Datum::Object(members) => file_of(members, place)?,
            Datum::List(_) if rows.has_channel_in_front() && depth(datum) == 2 => {
                // Only one channel: clients need not write the list around it.
                column.settle(0, 1, place)?;
                return self.nested(datum, place, 1, column);
            }
            Datum::List(_) => return self.nested(datum, place, 0, column),
            other => {
                let found = other.describe();
                return Err(ApiError::invalid_input(format!(
                    "{place} is {found}; an image is the base64 of a PNG or JPEG file, or nested lists of numbers"
                )));
            }
        };
        let image = rows
            .read(text, column.image_budget())
            .map_err(|error| ApiError::invalid_input(format!("{place} {error}")))?;
        column.push_image(rows, &image, place)
    }
}

/// The text of the file that an object brings.
fn file_of<'d>(members: &'d [(Cow<'_, str>, Datum<'_>)], place: Place<'_>) -> Result<&'d str, ApiError> {
    let told = |found: String| {
        ApiError::invalid_input(format!(
            "{place} {found}; an image as an object is {{\"{FILE_MEMBER}\": the base64 of a PNG or JPEG file}}"
        ))
    };
    match members {
        [(name, Datum::Text(text))] if name == FILE_MEMBER => Ok(text),
        [(name, other)] if name == FILE_MEMBER => Err(told(format!("has {} in it", other.describe()))),
        [(name, _), ..] if name != FILE_MEMBER => Err(told(format!("has the member {:?}", shortened(name)))),
        _ => Err(told(format!("has {} members", members.len()))),
    }
}

/// How deeply lists are nested, by the first of each.
fn depth(datum: &Datum<'_>) -> usize {
    match datum {
        Datum::List(items) => 1 + items.first().map_or(0, depth),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use base64::prelude::{BASE64_STANDARD, Engine};
    use image::{GrayImage, ImageFormat, Luma};
    use proptest::prelude::*;

    use super::*;
    use crate::model::artifact::Metadata;
    use crate::model::preprocessing::image::{Channels, ImageInput, ImageLayout};
    use crate::model::signature::{Batch, Signature, TensorSpec};
    use crate::model::tensor::{Datatype, Tensor, Values};
    use crate::worker::validation::tensors_of;

    /// A model that takes grey images as bytes, of the size 2 x 2 or, where `is_free`, of any size.
    fn schema(layout: ImageLayout, is_free: bool) -> Schema {
        let size = (!is_free).then_some(2);
        let row = match layout {
            ImageLayout::Nchw => [Some(1), size, size],
            ImageLayout::Nhwc => [size, size, Some(1)],
        };
        let spec = |name: &str, shape| TensorSpec {
            name: name.into(),
            datatype: Datatype::U8,
            shape,
        };
        let signature = Signature {
            inputs: vec![spec("x", [&[None], &row[..]].concat())],
            outputs: vec![spec("y", vec![None])],
            batch: Batch::Free,
        };
        let declared = ImageInput {
            width: None,
            height: None,
            layout,
            scale: 1.0,
            ..ImageInput::new(1, 1, Channels::Grey)
        };
        let metadata = Metadata {
            image: Some(declared),
            ..Metadata::default()
        };
        Schema::new(signature, &metadata)
            .unwrap()
            .with_max_image_pixels(10_000)
    }

    fn small() -> Schema {
        schema(ImageLayout::Nchw, false)
    }

    fn png(width: u32, height: u32, grey: u8) -> String {
        let mut file = Cursor::new(Vec::new());
        let image = GrayImage::from_pixel(width, height, Luma([grey]));
        image.write_to(&mut file, ImageFormat::Png).unwrap();
        BASE64_STANDARD.encode(file.into_inner())
    }

    fn check(schema: &Schema, inputs: &str) -> Result<Tensor, String> {
        let inputs: Vec<Datum<'_>> = serde_json::from_str(inputs).unwrap();
        let mut tensors = tensors_of(&inputs, "m", schema).map_err(|error| error.message.into_owned())?;
        Ok(tensors.remove(0))
    }

    fn refusal(inputs: &str) -> String {
        check(&small(), inputs).unwrap_err()
    }

    #[test]
    fn a_row_is_a_file_or_numbers_and_both_mix() {
        let file = png(6, 4, 9);
        let inputs = format!(
            r#"["{file}", "data:image/png;base64,{file}", {{"b64": "{file}"}}, [[[1, 2], [3, 4]]], [[5, 6], [7, 8]]]"#
        );
        let tensor = check(&small(), &inputs).unwrap();
        assert_eq!(tensor.shape(), [5, 1, 2, 2]);
        let expected = [&[9; 12][..], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
        assert_eq!(tensor.values(), &Values::U8(expected));
    }

    #[test]
    fn the_only_channel_may_be_left_out_wherever_it_stands() {
        let flat = "[[[1, 2], [3, 4]]]";
        let last = schema(ImageLayout::Nhwc, false);
        assert_eq!(check(&last, flat).unwrap().shape(), [1, 2, 2, 1]);
        assert_eq!(check(&last, "[[[[1], [2]], [[3], [4]]]]"), check(&last, flat));
        assert_eq!(
            refusal("[[[1, 2], [3]]]"),
            "inputs[0][1] has 1 value; model m takes 2"
        );
        assert_eq!(
            refusal("[[[[1, 2]]]]"),
            "inputs[0][0] has 1 value; model m takes 2"
        );
    }

    #[test]
    fn images_of_one_request_have_one_size_where_they_keep_their_own() {
        let free = schema(ImageLayout::Nchw, true);
        let rows = |second: &str| format!(r#"["{}", "{second}"]"#, png(3, 2, 1));
        let alike = check(&free, &rows(&png(3, 2, 5))).unwrap();
        assert_eq!(alike.shape(), [2, 1, 2, 3]);
        assert_eq!(
            check(&free, &rows(&png(4, 2, 5))).unwrap_err(),
            "inputs[1] is an image of 4 x 2 pixels, and the row before it has another size: rows of one request have \
             one shape"
        );
    }

    #[test]
    fn what_is_no_image_is_told_with_its_row() {
        let good = png(2, 2, 0);
        for (row, told) in [
            (
                "7",
                "is the number 7; an image is the base64 of a PNG or JPEG file",
            ),
            ("null", "is null; an image is"),
            (r#""hello""#, "is not base64"),
            (
                r#""R0lGODlhAQABAA==""#,
                "is a GIF image; expected a PNG or JPEG image",
            ),
            (
                r#"{"b64": 7}"#,
                "has the number 7 in it; an image as an object is {\"b64\": ",
            ),
            (r#"{"image": "x"}"#, r#"has the member "image"; an image as"#),
            (r#"{"b64": "x", "b64": "y"}"#, "has 2 members"),
            ("{}", "has 0 members"),
            (r#"["text"]"#, "[0]"),
            (&format!("{:?}", &good[..good.len() / 8 * 4]), "cut off"),
        ] {
            let message = refusal(&format!(r#"["{good}", {row}]"#));
            assert!(
                message.starts_with("inputs[1]") && message.contains(told),
                "{row}: {message}"
            );
        }
    }

    #[test]
    fn one_request_has_so_many_pixels_and_no_more() {
        let file = png(60, 60, 0);
        let message = refusal(&format!(r#"["{file}", "{file}", "{file}"]"#));
        assert_eq!(
            message,
            "inputs[2] is an image of 60 x 60 pixels; the images of one request may have 10000 together, and those \
             before it have 7200 (max_image_pixels)"
        );
    }

    #[test]
    fn only_files_take_long() {
        let of = |inputs: &str| {
            let inputs: Vec<Datum<'_>> = serde_json::from_str(inputs).unwrap();
            brings_files(&inputs, &small())
        };
        assert!(of(r#"[[[1]], "abc"]"#));
        assert!(of(r#"[{"b64": ""}]"#));
        assert!(!of("[[[1]], 7, null]"));
    }

    proptest! {
        #[test]
        fn whatever_a_row_says_it_is_a_row_or_a_told_error(
            text in prop_oneof![".{0,40}", "[A-Za-z0-9+/]{0,80}", "data:.{0,20};base64,[A-Za-z0-9]{0,40}"],
            as_object in any::<bool>(),
        ) {
            let row = Datum::Text(text.into());
            let row = if as_object { Datum::Object(vec![("b64".into(), row)]) } else { row };
            for schema in [small(), schema(ImageLayout::Nhwc, true)] {
                if let Err(error) = tensors_of(std::slice::from_ref(&row), "m", &schema) {
                    prop_assert!(error.message.starts_with("inputs[0] "), "{}", error.message);
                }
            }
        }
    }
}
