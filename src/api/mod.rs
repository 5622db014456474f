//! Wire types and the error table; serde only, so that clients, gateway and worker can share them.

pub mod datum;
pub mod error;
pub mod error_shape;
pub mod headers;
pub mod load_report;
pub mod models;
pub mod openapi;
pub mod plain;
pub mod predict;
pub mod v2;
