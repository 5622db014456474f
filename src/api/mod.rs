//! Wire types and the error table; serde only, so that clients, gateway and worker can share them.

pub mod error;
pub mod headers;
pub mod models;
