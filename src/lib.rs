//! millrace serves trained models behind a load-balancing gateway.
//!
//! # The way of one request
//!
//! A request enters the [`gateway`]: it gets an id and a deadline, passes admission, a balancing policy picks one
//! endpoint of an immutable snapshot, and the request is sent there on a pooled connection. The [`worker`] decodes
//! it ([`api`]), validates it against the model's signature ([`model`]), queues it, batches it with what else waits,
//! and runs the batch on an [`engine`] that owns its thread. The answer goes back the same way; if the worker broke
//! off before answering, the gateway tries another endpoint within its retry budget.
//!
//! # The map
//!
//! | module | what it holds | uses |
//! |---|---|---|
//! | [`cli`], [`commands`] | the command line; wiring of parts into a process | everything below |
//! | [`config`] | TOML and environment → checked types | model (names) |
//! | [`api`] | wire types and the error table, serde only | model (tensors) |
//! | [`gateway`] | admission, policies, health, discovery, retry, forwarding, admin | api, config, model (names), moment, telemetry, http |
//! | [`worker`] | validation, batching, the registry of models | api, config, model, moment, engine, telemetry, http, system |
//! | [`model`] | signature, tensor, repository, artifact; no HTTP | — |
//! | [`engine`] | runs a graph | model, system |
//! | [`supervisor`] | starts and watches worker processes | config, http |
//! | [`simulation`] | the balancing core over simulated workers on virtual time | config, gateway (balancing, retry budget), worker (load), api, chart, moment |
//! | [`training`] | fits models and writes artifacts | model, engine, chart |
//! | [`offline`] | whole files through a model, without a server | training (tables, figures), worker (validation), api, engine, model |
//! | [`telemetry`] | every metric declared once; logging | config |
//! | [`http`] | what both servers share: accept loop, drain, bodies, request ids | api, config |
//! | [`chart`] | what all pictures have in common | — |
//! | [`moment`] | the time of the pure cores | — |
//! | [`system`] | the four calls of the operating system that need `unsafe` | — |
//!
//! A test (`tests/integration/architecture.rs`) reads the `use crate::` lines and keeps it so.

pub mod api;
pub mod chart;
pub mod cli;
pub mod commands;
pub mod config;
pub mod engine;
pub mod gateway;
pub mod http;
pub mod model;
pub mod moment;
pub mod offline;
pub mod simulation;
pub mod supervisor;
pub mod system;
pub mod telemetry;
pub mod training;
pub mod worker;
