//! One crate for all integration tests.

mod support;

mod architecture;
mod command_line;
mod compression;
mod engine;
mod gateway_admin;
mod gateway_bad_input;
mod gateway_balancing;
mod gateway_circuit;
mod gateway_concurrency;
mod gateway_discovery;
mod gateway_failures;
mod gateway_headers;
mod gateway_health;
mod gateway_hedging;
mod gateway_limits;
mod gateway_metrics;
mod gateway_policies;
mod gateway_process;
mod gateway_v2;
mod labels;
mod logging;
mod readme;
mod routes;
mod serve;
mod supervisor;
mod worker_bad_input;
mod worker_batching;
mod worker_drain;
mod worker_hostile_files;
mod worker_load;
mod worker_models;
mod worker_predict;
mod worker_repository;
mod worker_v2;
