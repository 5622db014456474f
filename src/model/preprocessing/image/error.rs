//! What is told of an image that cannot be taken.

/// Why a text is no image that a model takes. The texts follow on the place of the row: "inputs[0] is …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It is not even base64.
    #[error("is not base64 ({0}); an image is the base64 of a PNG or JPEG file, or nested lists of numbers")]
    NotBase64(String),
    /// A data URL of another kind.
    #[error("is a data URL without base64; expected \"data:image/png;base64,…\"")]
    NoBase64Url,
    /// A known format that is not read.
    #[error("is {0}; expected a PNG or JPEG image")]
    Foreign(&'static str),
    /// No format that anybody knows.
    #[error("is the base64 of {0} bytes that are neither a PNG nor a JPEG image")]
    Unknown(usize),
    /// More pixels than may be read.
    #[error("is an image of {width} x {height} pixels; the images of one request may have {limit} together\
             {} (max_image_pixels)", after(*.before))]
    TooLarge {
        /// Pixels from left to right that the file claims.
        width: u32,
        /// Pixels from top to bottom that the file claims.
        height: u32,
        /// Pixels of a request.
        limit: usize,
        /// Those of the images before it.
        before: usize,
    },
    /// More pixels than may be kept.
    #[error(
        "is one image too many: the model takes {width} x {height} pixels of each, and the images of one request \
             may have {limit} together (max_image_pixels)"
    )]
    OneTooMany {
        /// Pixels from left to right that the model takes.
        width: u32,
        /// Pixels from top to bottom that the model takes.
        height: u32,
        /// Pixels of a request.
        limit: usize,
    },
    /// The file ends too early.
    #[error("is a {0} image that is cut off: its end is missing")]
    CutOff(&'static str),
    /// The file breaks the rules of its format.
    #[error("is a {format} image that cannot be read: {reason}")]
    Damaged {
        /// Which format.
        format: &'static str,
        /// What its reader said.
        reason: String,
    },
}

fn after(before: usize) -> String {
    if before == 0 {
        return String::new();
    }
    format!(", and those before it have {before}")
}
