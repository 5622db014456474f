//! Every metric of a gateway.

use std::sync::OnceLock;

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Registry};

use super::metric::{CounterFamily, GaugeFamily, HistogramFamily, Metric, NumberFamily};
use super::metrics::Declare;

/// What came of a try that was answered as it should be.
pub const OK: &str = "ok";

/// Every metric of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayMetrics {
    /// Where they are scraped from.
    pub registry: Registry,
    /// Answered requests by model and code.
    pub requests: CounterFamily,
    /// From the head of a request to its answer, by model.
    pub request_duration: HistogramFamily,
    /// Requests between admission and the end of their answer.
    pub in_flight: IntGauge,
    /// Requests that wait for a worker with room.
    pub waiting: Metric<IntGauge>,
    /// How long those waited that had to.
    pub wait_duration: Metric<Histogram>,
    /// Tries on another endpoint, by the reason for which the one before it failed.
    pub retries: CounterFamily,
    /// Retries that the budget did not allow.
    pub retries_refused: Metric<IntCounter>,
    /// Predictions that were sent to a second worker, by what came of it: `won` or `lost`.
    pub hedges: CounterFamily,
    /// Those that were not although they took long, by the reason: `budget`, `loaded` or
    /// `unknown`.
    pub hedges_refused: CounterFamily,
    /// Generation of the snapshot in force; every change of policy, weights, members or health makes a new one.
    pub snapshot_generation: Metric<IntGauge>,
    /// Generation of the configuration in force; every file that was taken over makes a new one.
    pub config_generation: Metric<IntGauge>,
    /// Configurations that were read again, by outcome: `applied` or `refused`.
    pub config_reloads: CounterFamily,
    policy: GaugeFamily,
    endpoint_healthy: GaugeFamily,
    endpoint_in_flight: GaugeFamily,
    endpoint_weight: GaugeFamily,
    endpoint_outcomes: CounterFamily,
    endpoint_duration: HistogramFamily,
    connections: CounterFamily,
    link_requests: CounterFamily,
    link_writes: CounterFamily,
    ejections: CounterFamily,
    ejected: GaugeFamily,
    panic: GaugeFamily,
    source_endpoints: GaugeFamily,
    source_failures: CounterFamily,
    source_last_success: GaugeFamily,
    rollout_requests: CounterFamily,
    rollout_share: NumberFamily,
    rollout_fallbacks: CounterFamily,
    rollbacks: CounterFamily,
    shadow_copies: CounterFamily,
    shadow_max_abs_difference: NumberFamily,
    shadow_changed_classes: NumberFamily,
    shadow_latency_ratio: NumberFamily,
}

/// The metrics of one version in a rollout, looked up once.
#[derive(Clone, Debug)]
pub struct RolloutMetrics {
    /// Requests that it was chosen for.
    pub requests: Metric<IntCounter>,
    /// Its share in force.
    pub share: Metric<Gauge>,
    /// Those of its requests that went to live, because nobody could serve it.
    pub fallbacks: Metric<IntCounter>,
    rollbacks: CounterFamily,
    labels: [String; 2],
}

/// The metrics of one comparison, looked up once.
#[derive(Clone, Debug)]
pub struct ShadowMetrics {
    /// Since the comparison began.
    pub max_abs_difference: Metric<Gauge>,
    /// The same.
    pub changed_classes: Metric<Gauge>,
    /// The median of the shadow by that of live.
    pub latency_ratio: Metric<Gauge>,
    copies: CounterFamily,
    labels: [String; 2],
}

/// The metrics of one endpoint, looked up once.
#[derive(Clone, Debug)]
pub struct EndpointMetrics {
    /// 1 while it takes requests.
    pub healthy: Metric<IntGauge>,
    /// Requests that wait for its answer.
    pub in_flight: Metric<IntGauge>,
    /// Its weight under `weighted`.
    pub weight: Metric<IntGauge>,
    /// From sending a request to having its answer whole.
    pub duration: Metric<Histogram>,
    /// Of the connections to it.
    pub connections: ConnectionMetrics,
    /// Of the links to it.
    pub links: LinkMetrics,
    outcomes: CounterFamily,
    /// Of the one that nearly every request has.
    ok: OnceLock<Metric<IntCounter>>,
    ejections: CounterFamily,
    ejected: GaugeFamily,
    id: String,
}

/// The metrics of the connections to one endpoint.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    network: Metric<IntCounter>,
    local: Metric<IntCounter>,
}

/// The metrics of the links to one endpoint.
#[derive(Clone, Debug)]
pub struct LinkMetrics {
    requests: Metric<IntCounter>,
    writes: Metric<IntCounter>,
}

/// The metrics of one source of workers.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    /// Workers that it named last.
    pub endpoints: Metric<IntGauge>,
    /// Looks that failed, wholly or in part.
    pub failures: Metric<IntCounter>,
    /// When a look last told all, in seconds since 1970; 0: never.
    pub last_success: Metric<IntGauge>,
}

impl Default for GatewayMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl GatewayMetrics {
    /// All of them, at zero, in a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        let declare = Declare::for_this_process();
        let alone = |name: &str, help: &str| declare.gauge(name, help, &[]).with_label_values::<&str>(&[]);
        Self {
            requests: declare.counter(
                "millrace_gateway_requests_total",
                "Answered predictions, by model and code (ok, the error's code, or client_left).",
                &["model", "code"],
            ),
            request_duration: declare.durations(
                "millrace_gateway_request_duration_seconds",
                "Time from the head of a prediction request to its answer.",
                &["model"],
            ),
            in_flight: declare.count(
                "millrace_gateway_in_flight_requests",
                "Requests between admission and the end of their answer.",
            ),
            waiting: alone(
                "millrace_gateway_waiting_requests",
                "Requests that wait until a worker has fewer than it may have at once.",
            ),
            wait_duration: declare
                .durations(
                    "millrace_gateway_wait_duration_seconds",
                    "Time that requests waited for a worker with room, where they had to.",
                    &[],
                )
                .with_label_values::<&str>(&[]),
            retries: declare.counter(
                "millrace_gateway_retries_total",
                "Tries on another endpoint, by the reason for which the one before failed.",
                &["reason"],
            ),
            retries_refused: declare
                .counter(
                    "millrace_gateway_retries_refused_total",
                    "Retries that the budget did not allow.",
                    &[],
                )
                .with_label_values::<&str>(&[]),
            hedges: declare.counter(
                "millrace_gateway_hedges_total",
                "Predictions that were sent to a second worker because the first took long, by what came of it: won or lost.",
                &["outcome"],
            ),
            hedges_refused: declare.counter(
                "millrace_gateway_hedges_refused_total",
                "Slow predictions that were not sent to a second worker at once, by the reason: budget, loaded, or unknown (how long they take).",
                &["reason"],
            ),
            snapshot_generation: alone(
                "millrace_gateway_snapshot_generation",
                "Generation of the balancing snapshot in force.",
            ),
            config_generation: alone(
                "millrace_gateway_config_generation",
                "Generation of the configuration in force.",
            ),
            config_reloads: declare.counter(
                "millrace_gateway_config_reloads_total",
                "Configurations that were read again, by outcome: applied or refused.",
                &["outcome"],
            ),
            policy: declare.gauge(
                "millrace_gateway_policy",
                "1 for the balancing policy in force, 0 for the others.",
                &["policy"],
            ),
            endpoint_healthy: declare.gauge(
                "millrace_gateway_endpoint_healthy",
                "1 while the endpoint takes requests.",
                &["worker"],
            ),
            endpoint_in_flight: declare.gauge(
                "millrace_gateway_endpoint_in_flight_requests",
                "Requests that wait for the endpoint's answer.",
                &["worker"],
            ),
            endpoint_weight: declare.gauge(
                "millrace_gateway_endpoint_weight",
                "Weight of the endpoint.",
                &["worker"],
            ),
            endpoint_outcomes: declare.counter(
                "millrace_gateway_endpoint_outcomes_total",
                "What came of requests sent to the endpoint: answered, or how it failed.",
                &["worker", "outcome"],
            ),
            endpoint_duration: declare.durations(
                "millrace_gateway_endpoint_duration_seconds",
                "Time from sending a request to the endpoint to having its answer.",
                &["worker"],
            ),
            connections: declare.counter(
                "millrace_gateway_connections_total",
                "Connections opened to the endpoint: over the network, or to its socket within the machine (local).",
                &["worker", "over"],
            ),
            link_requests: declare.counter(
                "millrace_gateway_link_requests_total",
                "Requests that went to the endpoint on a link, which many share.",
                &["worker"],
            ),
            link_writes: declare.counter(
                "millrace_gateway_link_writes_total",
                "Writes by which those requests went out: requests over writes is how many travelled together.",
                &["worker"],
            ),
            ejections: declare.counter(
                "millrace_gateway_ejections_total",
                "Ejections of an endpoint for a model, by reason: consecutive_failures, failure_rate, outlier, trial.",
                &["worker", "model", "reason"],
            ),
            ejected: declare.gauge(
                "millrace_gateway_ejected",
                "1 while the endpoint is ejected for the model, or back on trial.",
                &["worker", "model"],
            ),
            panic: declare.gauge(
                "millrace_gateway_panic",
                "1 while fewer than half of the model's endpoints are healthy, so that ejections are ignored.",
                &["model"],
            ),
            source_endpoints: declare.gauge(
                "millrace_gateway_discovery_endpoints",
                "Workers that the source named last.",
                &["source"],
            ),
            source_failures: declare.counter(
                "millrace_gateway_discovery_failures_total",
                "Looks of the source that failed, wholly or in part.",
                &["source"],
            ),
            source_last_success: declare.gauge(
                "millrace_gateway_discovery_last_success_timestamp_seconds",
                "When a look of the source last failed in nothing, in seconds since 1970; 0: never.",
                &["source"],
            ),
            rollout_requests: declare.counter(
                "millrace_gateway_rollout_requests_total",
                "Requests that named no version, by the version that the model's rollout chose for them.",
                &["model", "version"],
            ),
            rollout_share: declare.number(
                "millrace_gateway_rollout_share",
                "Share in force of the version in the model's rollout.",
                &["model", "version"],
            ),
            rollout_fallbacks: declare.counter(
                "millrace_gateway_rollout_fallbacks_total",
                "Requests that went to live, because nobody could serve the version that was chosen for them.",
                &["model", "version"],
            ),
            rollbacks: declare.counter(
                "millrace_gateway_rollbacks_total",
                "Times that the share of a version was taken back to 0, by reason: error_rate, latency.",
                &["model", "version", "reason"],
            ),
            shadow_copies: declare.counter(
                "millrace_gateway_shadow_copies_total",
                "Copies of requests for a shadow: same, different, not_comparable, failed, dropped.",
                &["model", "version", "outcome"],
            ),
            shadow_max_abs_difference: declare.number(
                "millrace_gateway_shadow_max_abs_difference",
                "Largest absolute difference between answers of the shadow and of live.",
                &["model", "version"],
            ),
            shadow_changed_classes: declare.number(
                "millrace_gateway_shadow_changed_classes",
                "Share of the classes that the shadow gave otherwise than live.",
                &["model", "version"],
            ),
            shadow_latency_ratio: declare.number(
                "millrace_gateway_shadow_latency_ratio",
                "Median latency of the shadow, as a multiple of that of live for the same requests.",
                &["model", "version"],
            ),
            registry: declare.0,
        }
    }

    /// Shows which policy is in force.
    pub fn show_policy(&self, name: &str, all: &[&str]) {
        for other in all {
            self.policy
                .with_label_values(&[other])
                .set(i64::from(*other == name));
        }
    }

    /// Shows whether ejections for a model are ignored.
    pub fn show_panic(&self, model: &str, is_panic: bool) {
        self.panic.with_label_values(&[model]).set(i64::from(is_panic));
    }

    /// Forgets a model that nobody has any more.
    pub fn forget_model(&self, model: &str) {
        self.panic.remove(&[model]);
    }

    /// The metrics of one endpoint.
    #[must_use]
    pub fn of_endpoint(&self, id: &str) -> EndpointMetrics {
        EndpointMetrics {
            healthy: self.endpoint_healthy.with_label_values(&[id]),
            in_flight: self.endpoint_in_flight.with_label_values(&[id]),
            weight: self.endpoint_weight.with_label_values(&[id]),
            duration: self.endpoint_duration.with_label_values(&[id]),
            connections: ConnectionMetrics {
                network: self.connections.with_label_values(&[id, "network"]),
                local: self.connections.with_label_values(&[id, "local"]),
            },
            links: LinkMetrics {
                requests: self.link_requests.with_label_values(&[id]),
                writes: self.link_writes.with_label_values(&[id]),
            },
            outcomes: self.endpoint_outcomes.clone(),
            ok: OnceLock::new(),
            ejections: self.ejections.clone(),
            ejected: self.ejected.clone(),
            id: id.to_owned(),
        }
    }

    /// The metrics of one version in the rollout of a model.
    #[must_use]
    pub fn of_rollout(&self, model: &str, version: &str) -> RolloutMetrics {
        let labels = [model, version];
        RolloutMetrics {
            requests: self.rollout_requests.with_label_values(&labels),
            share: self.rollout_share.with_label_values(&labels),
            fallbacks: self.rollout_fallbacks.with_label_values(&labels),
            rollbacks: self.rollbacks.clone(),
            labels: labels.map(str::to_owned),
        }
    }

    /// The metrics of the comparison with a shadow.
    #[must_use]
    pub fn of_shadow(&self, model: &str, version: &str) -> ShadowMetrics {
        let labels = [model, version];
        ShadowMetrics {
            max_abs_difference: self.shadow_max_abs_difference.with_label_values(&labels),
            changed_classes: self.shadow_changed_classes.with_label_values(&labels),
            latency_ratio: self.shadow_latency_ratio.with_label_values(&labels),
            copies: self.shadow_copies.clone(),
            labels: labels.map(str::to_owned),
        }
    }

    /// Forgets a version that the rollout of a model no longer has; counters stay.
    pub fn forget_rollout(&self, model: &str, version: &str) {
        // That it never had a share changes nothing.
        self.rollout_share.remove(&[model, version]);
    }

    /// Forgets a comparison that no longer goes on; counters stay.
    pub fn forget_shadow(&self, model: &str, version: &str) {
        let gauges = [
            &self.shadow_max_abs_difference,
            &self.shadow_changed_classes,
            &self.shadow_latency_ratio,
        ];
        for gauge in gauges {
            // They were registered by `of_shadow`.
            gauge.remove(&[model, version]);
        }
    }

    /// The metrics of one source of workers.
    #[must_use]
    pub fn of_source(&self, source: &str) -> SourceMetrics {
        SourceMetrics {
            endpoints: self.source_endpoints.with_label_values(&[source]),
            failures: self.source_failures.with_label_values(&[source]),
            last_success: self.source_last_success.with_label_values(&[source]),
        }
    }

    /// Forgets a source that is no longer configured.
    pub fn forget_source(&self, source: &str) {
        let labels = [("source", source)];
        self.source_endpoints.forget(&labels);
        self.source_failures.forget(&labels);
        self.source_last_success.forget(&labels);
    }

    /// Forgets an endpoint that is no longer a member, so that its last state is not shown for ever.
    pub fn forget_endpoint(&self, id: &str) {
        let labels = &[id];
        // Each was registered by `of_endpoint`; that one of them is gone already changes nothing.
        self.endpoint_healthy.remove(labels);
        self.endpoint_in_flight.remove(labels);
        self.endpoint_weight.remove(labels);
    }
}

impl RolloutMetrics {
    /// Counts that the share was taken back.
    pub fn count_rollback(&self, reason: &str) {
        let [model, version] = self.labels.each_ref().map(String::as_str);
        self.rollbacks.with_label_values(&[model, version, reason]).inc();
    }
}

impl ShadowMetrics {
    /// Counts what came of a copy.
    pub fn count(&self, outcome: &str) {
        let [model, version] = self.labels.each_ref().map(String::as_str);
        self.copies.with_label_values(&[model, version, outcome]).inc();
    }
}

impl ConnectionMetrics {
    /// One was opened.
    pub fn count(&self, is_local: bool) {
        let over = if is_local { &self.local } else { &self.network };
        over.inc();
    }

    /// Those over the network, and those within the machine.
    #[cfg(test)]
    pub fn counted(&self) -> [u64; 2] {
        [self.network.get(), self.local.get()]
    }
}

impl LinkMetrics {
    /// So many requests went out together.
    pub fn count(&self, requests: u64) {
        if requests > 0 {
            self.requests.inc_by(requests);
            self.writes.inc();
        }
    }
}

impl EndpointMetrics {
    /// Counts what came of a request.
    pub fn count(&self, outcome: &str) {
        let counter = || self.outcomes.with_label_values(&[self.id.as_str(), outcome]);
        match outcome {
            OK => self.ok.get_or_init(counter).inc(),
            _ => counter().inc(),
        }
    }

    /// Counts an ejection for a model.
    pub fn count_ejection(&self, model: &str, reason: &str) {
        self.ejections
            .with_label_values(&[self.id.as_str(), model, reason])
            .inc();
    }

    /// Shows whether it is ejected for a model.
    pub fn show_ejected(&self, model: &str, is_ejected: bool) {
        self.ejected
            .with_label_values(&[self.id.as_str(), model])
            .set(i64::from(is_ejected));
    }

    /// Forgets its ejections for a model that it has no more; `reasons` are all that there are.
    pub fn forget_ejections(&self, model: &str, reasons: &[&str]) {
        let id = self.id.as_str();
        // That there was no ejection for one of the reasons changes nothing.
        self.ejected.remove(&[id, model]);
        for reason in reasons {
            self.ejections.remove(&[id, model, reason]);
        }
    }
}
