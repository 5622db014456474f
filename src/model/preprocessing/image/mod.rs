//! Images as rows: what `[image]` in `model.toml` declares.

mod declaration;

pub use self::declaration::{Channels, ImageInput, ImageLayout};
