//! How many requests a worker has at once. Those beyond that wait here for the first one that is free, in the order in which
//! they came, where a worker's own queue would have bound them to that worker.

pub mod lane;
pub mod limit;
mod line;
mod pick;
mod slot;

pub use self::lane::Lane;
pub use self::limit::Limit;
pub use self::pick::{NoPick, pick_with_room};
pub use self::slot::Slot;
