//! From the raw table to checked types.

use std::time::Duration;

use super::section::{ConfigErrors, Problems, Section};
use super::setting::Bytes;
use super::worker::{at_least_one, positive};
use super::{
    Config, GatewayConfig, HttpConfig, Layers, ServeConfig, ShutdownConfig, TelemetryConfig, WorkerConfig,
};

impl Config {
    /// Reads all `layers`; on failure the errors name every key that is wrong.
    pub fn check(layers: &Layers) -> Result<Self, ConfigErrors> {
        let problems = Problems::default();
        let mut root = Section::root(layers.merge()?, &problems);
        let config = Self {
            gateway: GatewayConfig::read(root.section("gateway")),
            worker: WorkerConfig::read(root.section("worker")),
            serve: ServeConfig::read(root.section("serve")),
            telemetry: TelemetryConfig::read(root.section("telemetry")),
        };
        root.finish();
        problems.into_result(config)
    }
}

impl ServeConfig {
    fn read(mut section: Section<'_>) -> Self {
        let workers = section.optional("workers");
        if workers == Some(0) {
            section.report("workers", "expected a whole number, 1 or more; found 0");
        }
        section.finish();
        Self { workers }
    }
}

impl HttpConfig {
    /// Reads its keys from a server's own section: they stand beside the others there.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            max_body: body_size(section, "max_body", 4 << 20),
            max_connections: at_least_one(section, "max_connections", 10_000),
            header_timeout: positive(section, "header_timeout", Duration::from_secs(30)),
        }
    }
}

/// The largest body that something takes, in bytes.
pub(super) fn body_size(section: &mut Section<'_>, key: &'static str, default: usize) -> usize {
    let is_possible = |&Bytes(size): &Bytes| (1..=1 << 30).contains(&size);
    let Bytes(size) = section.checked(key, Bytes(default), is_possible, "a size from \"1B\" to \"1GiB\"");
    size
}

impl ShutdownConfig {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let config = Self {
            delay: section.value("delay", Duration::ZERO),
            grace: positive(&mut section, "grace", Duration::from_secs(20)),
        };
        section.finish();
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFormat, PolicyName};
    use crate::model::engine_choice::EngineChoice;

    fn check(text: &str) -> Result<Config, Vec<String>> {
        Config::check(&Layers::new().with_text(text))
            .map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_at_all_is_a_valid_configuration() {
        let config = check("").unwrap();
        assert_eq!(config.gateway.policy, PolicyName::RoundRobin);
        assert_eq!(config.gateway.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.worker.common.batching.max_batch_size, 32);
    }

    #[test]
    fn the_shipped_file_says_the_defaults() {
        let mut shipped = check(include_str!("../../config/millrace.toml")).unwrap();
        shipped.gateway.workers.clear();
        shipped.worker.per_model.clear();
        assert_eq!(shipped, check("").unwrap());
    }

    #[test]
    fn values_are_read_with_their_units() {
        let config = check(
            r#"
            [gateway]
            policy = "weighted"
            deadline = "1500ms"
            max_body = "2MiB"
            [[gateway.workers]]
            id = "a"
            url = "http://worker-a:9000"
            weight = 3
            [worker.batching]
            max_delay = "2ms"
            [worker]
            onnxruntime_library = "/usr/lib/libonnxruntime.so"
            [worker.model.digits]
            engine = "onnxruntime"
            max_batch_size = 64
            [telemetry]
            log_format = "json"
            "#,
        )
        .unwrap();
        assert_eq!(config.gateway.policy, PolicyName::Weighted);
        assert_eq!(config.gateway.deadline, Duration::from_millis(1500));
        assert_eq!(config.gateway.http.max_body, 2 << 20);
        assert_eq!(config.gateway.workers[0].authority, "worker-a:9000");
        assert_eq!(config.gateway.workers[0].weight, 3);
        assert_eq!(config.telemetry.log_format, LogFormat::Json);
        let library = config.worker.onnxruntime.clone().unwrap();
        assert_eq!(
            config.worker.model("iris").engine,
            EngineChoice::Auto(Some(library.clone()))
        );
        assert_eq!(
            config.worker.model("digits").engine,
            EngineChoice::OnnxRuntime(library)
        );
        let digits = &config.worker.model("digits").batching;
        assert_eq!(
            (digits.max_batch_size, digits.max_delay),
            (64, Duration::from_millis(2))
        );
        assert_eq!(config.worker.model("iris").batching.max_batch_size, 32);
    }

    #[test]
    fn an_engine_without_its_library_is_refused_wherever_it_is_asked_for() {
        let errors = check(
            "[worker]\nengine = 'onnxruntime'\n[worker.model.a]\nengine = 'onnxruntime'\n[worker.model.b]\nengine = 'fast'",
        );
        let errors = errors.unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        for (error, start, part) in [
            (&errors[0], "worker.engine: ", "worker.onnxruntime_library"),
            (
                &errors[1],
                "worker.model.a.engine: ",
                "worker.onnxruntime_library",
            ),
            (&errors[2], "worker.model.b.engine: ", "tract, onnxruntime, auto"),
        ] {
            assert!(error.starts_with(start) && error.contains(part), "{error}");
        }
    }

    #[test]
    fn every_error_is_told_at_once_with_its_key() {
        let errors = check(
            r#"
            speed = 1
            [gateway]
            polcy = "random"
            policy = "fastest"
            deadline = "soon"
            max_in_flight = 0
            [[gateway.workers]]
            id = "a"
            url = "ftp://worker-a"
            [[gateway.workers]]
            id = "a"
            url = "http://worker-b:9000"
            weight = -1
            [gateway.balancing]
            key = "cookie:a"
            hot_quantile = 2
            [gateway.health]
            rise = "twice"
            [worker.batching]
            max_batch_size = 1.5
            [telemetry]
            log = "info=loud"
            "#,
        )
        .unwrap_err();
        let expected = [
            r#"gateway.workers[0].url: expected an address such as "http://worker-a:9000"; found "ftp://worker-a""#,
            "gateway.workers[1].weight: expected a whole number, 0 or more; found -1",
            r#"gateway.workers[1].id: "a" is taken by another worker"#,
            r#"gateway.policy: expected one of round_robin, random, weighted, least_request, power_of_two, peak_ewma, prequal, consistent_hash; found "fastest""#,
            r#"gateway.deadline: expected a duration such as "250ms" or "10s", at most "365d"; found "soon""#,
            "gateway.max_in_flight: expected a whole number, 1 or more; found 0",
            r#"gateway.balancing.hot_quantile: expected a share from 0 to 1; found 2"#,
            r#"gateway.balancing.key: expected "client", "header:NAME" or "field:NAME" (with dots where it lies deeper); found "cookie:a""#,
            r#"gateway.health.rise: expected a whole number, 0 or more; found "twice""#,
            "gateway.polcy: unknown key; did you mean policy?",
            "worker.batching.max_batch_size: expected a whole number, 0 or more; found 1.5",
            "speed: unknown key; known here: gateway, worker, serve, telemetry",
        ];
        for line in expected {
            assert!(
                errors.iter().any(|error| error == line),
                "{line}\nnot in\n{}",
                errors.join("\n")
            );
        }
        assert!(
            errors.iter().any(|error| error.starts_with("telemetry.log: ")),
            "{errors:?}"
        );
        assert_eq!(errors.len(), expected.len() + 1, "{}", errors.join("\n"));
    }

    #[test]
    fn admin_can_be_reached_from_elsewhere_with_a_token_only() {
        let errors = check("[gateway]\nadmin = \"0.0.0.0:8081\"").unwrap_err();
        assert!(
            errors[0].starts_with("gateway.admin: can be reached"),
            "{errors:?}"
        );
        let errors = check("[worker]\nadmin = \"[::]:9001\"\nadmin_token = \"hunter2\"").unwrap_err();
        assert!(
            errors[0].starts_with("worker.admin_token: expected at least 16"),
            "{errors:?}"
        );
        assert!(!errors[0].contains("hunter2"), "{errors:?}");
        for good in [
            "[gateway]\nadmin = \"[::1]:8081\"",
            "[gateway]\nadmin = \"0.0.0.0:8081\"\nadmin_token = \"0123456789abcdef\"",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn weights_that_are_all_zero_are_refused() {
        let worker = |id: &str, weight: u32| {
            format!("[[gateway.workers]]\nid = \"{id}\"\nurl = \"http://{id}:9000\"\nweight = {weight}\n")
        };
        let errors = check(&(worker("a", 0) + &worker("b", 0))).unwrap_err();
        assert!(
            errors[0].starts_with("gateway.workers: every weight is 0"),
            "{errors:?}"
        );
        assert!(check(&(worker("a", 0) + &worker("b", 1))).is_ok());
    }

    #[test]
    fn a_file_that_is_not_toml_is_told_with_its_line() {
        let errors = check("[gateway]\npolicy = \n").unwrap_err();
        assert!(errors[0].contains("line 2"), "{errors:?}");
    }

    #[test]
    fn environment_is_over_the_file_and_flags_are_over_both() {
        let variables = [
            ("MILLRACE_GATEWAY__POLICY", "random"),
            ("MILLRACE_GATEWAY__MAX_IN_FLIGHT", "7"),
            ("MILLRACE_WORKER__BATCHING__MAX_BATCH_SIZE", "8"),
            // Kubernetes sets these beside a service called millrace or millrace-gateway.
            ("MILLRACE_PORT", "tcp://10.0.0.1:80"),
            ("MILLRACE_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ];
        let layers = Layers::new()
            .with_text("[gateway]\npolicy = \"weighted\"\nmax_in_flight = 9")
            .with_environment(
                variables
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into_iter(),
            );
        let config = Config::check(&layers).unwrap();
        assert_eq!(config.gateway.policy, PolicyName::Random);
        assert_eq!(config.gateway.max_in_flight, 7);
        assert_eq!(config.worker.common.batching.max_batch_size, 8);

        let config = Config::check(&layers.with_flag("gateway.policy", Some("round_robin"))).unwrap();
        assert_eq!(config.gateway.policy, PolicyName::RoundRobin);
    }

    #[test]
    fn a_wrong_variable_is_told_by_its_key() {
        let variables = [("MILLRACE_GATEWAY__POLCY".to_owned(), "random".to_owned())];
        let layers = Layers::new().with_environment(variables.into_iter());
        let errors = Config::check(&layers).unwrap_err();
        assert_eq!(
            errors.0[0].to_string(),
            "gateway.polcy: unknown key; did you mean policy?"
        );
    }
}
