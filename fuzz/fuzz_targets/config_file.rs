//! The configuration: a file, and behind its first NUL the environment, one NAME=VALUE a line. It becomes checked settings,
//! the same ones each time and in a form that admin can show, or errors that each say something.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::config::{Config, Layers, read_worker_list};

fuzz_target!(|input: &str| {
    let (file, environment) = input.split_once('\0').unwrap_or((input, ""));
    let variables = environment.lines().filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let layers = Layers::new().with_text(file).with_environment(variables);
    match Config::check(&layers) {
        Ok(config) => {
            assert_eq!(Config::check(&layers).as_ref(), Ok(&config));
            serde_json::to_string(&config.gateway).expect("admin can show it");
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            assert!(errors.0.iter().all(|error| !error.problem.is_empty()));
        }
    }
    if let Err(errors) = read_worker_list(file) {
        assert!(!errors.0.is_empty());
    }
});
