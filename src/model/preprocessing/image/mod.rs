//! Images as rows: `[image]` in `model.toml` declares what a model takes, and files of PNG and JPEG become that.
//!
//! A file is not believed: its size is read first and held against a [`Budget`] of pixels, before there is room for a
//! single one of them.

mod budget;
mod declaration;
mod encoded;
mod error;
mod jpeg;
mod raster;
mod rows;

pub use self::budget::{Budget, MAX_PIXELS};
pub use self::declaration::{Channels, ImageInput, ImageLayout};
pub use self::encoded::decode_text;
pub use self::error::ImageError;
pub use self::raster::Raster;
pub use self::rows::ImageRows;
