//! What both servers share: the accept loop with its timeouts, the drain, bodies with limits, ids, and the one place
//! where an error becomes an answer.

pub mod accept;
pub mod authorization;
pub mod body;
pub mod compression;
pub mod deadline;
pub mod drain;
pub mod headers;
pub mod link;
pub mod local;
pub mod observe;
pub mod origin;
pub mod reply;
pub mod request_id;
pub mod routes;
mod seldom;
pub mod server;
pub mod service;
pub mod signal;
mod silence;
pub mod stream;
pub mod threads;
mod unread;
pub mod upload;
