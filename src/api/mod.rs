//! Wire types and the error table; serde only.
