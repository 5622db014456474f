//! Files that stand in a text, as JSON brings them.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::ImageError;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_TEXT: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const URL_TEXT: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// The bytes of a file from its base64, plain or as a data URL. Either alphabet will do, with or without padding, and
/// lines may be broken. What a data URL says of the format is not looked at: the file itself says it.
pub fn decode_text(text: &str) -> Result<Vec<u8>, ImageError> {
    let text = text.trim_ascii();
    let text = match text.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("data:") => {
            let (kind, data) = text.split_once(',').ok_or(ImageError::NoBase64Url)?;
            if !kind.ends_with(";base64") {
                return Err(ImageError::NoBase64Url);
            }
            data
        }
        _ => text,
    };
    let text = without_breaks(text);
    let engine = if text.contains(['-', '_']) {
        &URL_TEXT
    } else {
        &STANDARD_TEXT
    };
    if text.is_empty() {
        return Err(ImageError::NotBase64("it is empty".to_owned()));
    }
    engine
        .decode(text.as_bytes())
        .map_err(|error| ImageError::NotBase64(error.to_string()))
}

/// Mail and shells break base64 into lines.
fn without_breaks(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return text.into();
    }
    text.split_ascii_whitespace().collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_way_to_write_it_is_read() {
        let bytes = [0xfb, 0xff, 0xfe, 0x00, 0x10];
        for text in [
            "+//+ABA=",
            "+//+ABA",
            "-__-ABA",
            "+//+\n  ABA=\n",
            "data:image/png;base64,+//+ABA=",
            "DATA:;base64,+//+ABA=",
        ] {
            assert_eq!(decode_text(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_base64_is_told() {
        for (text, told) in [
            ("", "it is empty"),
            ("data:image/png;base64,", "it is empty"),
            ("https://example.org/cat.png", "is not base64"),
            ("hello", "is not base64"),
            ("data:image/png,abc", "without base64"),
            ("data:image/png;base64", "without base64"),
            ("ä", "is not base64"),
        ] {
            let error = decode_text(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_file_comes_back_from_its_text(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            prop_assert_eq!(&decode_text(&BASE64_STANDARD.encode(&bytes)).unwrap(), &bytes);
            prop_assert_eq!(&decode_text(&BASE64_URL_SAFE_NO_PAD.encode(&bytes)).unwrap(), &bytes);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = decode_text(&text);
            let _ = decode_text(&format!("data:{text}"));
        }
    }
}
