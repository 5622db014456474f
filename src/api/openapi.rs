//! The description of the native API, in OpenAPI 3.1; both processes serve it.

/// The document, as JSON.
pub const DOCUMENT: &str = include_str!("openapi.json");
