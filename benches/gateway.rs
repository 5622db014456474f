//! What the gateway does with every request: pick an endpoint, and find out whom a body is for.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use millrace::config::{BalancingConfig, PolicyName};
use millrace::gateway::balance::{Candidate, Load, LoadReport, Moment, Pick, build, hash};
use millrace::gateway::circuit::{Mark, Window};
use millrace::gateway::hedging::Percentile;
use millrace::gateway::target::Target;
use millrace::http::link::frame::{self, Kind};
use millrace::http::link::{MAX_REQUEST, read_request};
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// Endpoints that are all known, with a few requests in flight at each.
fn candidates(count: u32) -> Box<[Candidate]> {
    let candidate = |index: u32| {
        let load = Load::of(Arc::default());
        (0..index % 5).for_each(|_| load.begin());
        let latency = Duration::from_micros(u64::from(1_000 + index % 13 * 100));
        load.observe(latency, Moment::default(), Duration::from_secs(2));
        let report = LoadReport {
            in_flight: Some(index % 5),
            latency_micros: Some(1_000 + index % 13 * 100),
            ..LoadReport::default()
        };
        load.report(&report, Moment::default());
        Candidate {
            id: hash(&index.to_le_bytes()),
            weight: 1 + index % 7,
            load: Arc::new(load),
        }
    };
    (0..count).map(candidate).collect()
}

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    let config = BalancingConfig::default();
    for name in PolicyName::ALL {
        for endpoints in [3, 16, 1000] {
            let policy = build(name, candidates(endpoints), &config);
            let mut rng = SmallRng::seed_from_u64(1);
            let mut turn = 0_u64;
            group.bench_function(BenchmarkId::new(name.as_str(), endpoints), |bencher| {
                bencher.iter(|| {
                    turn += 1;
                    // Signals stay recent: half a second of requests at 1,000 a second, again and again.
                    let now = Moment::from_micros(turn % 500 * 1_000);
                    policy.pick(Pick {
                        turn: black_box(turn),
                        key: Some(turn),
                        avoid: &[],
                        now,
                        rng: &mut rng,
                    })
                });
            });
        }
    }
    group.finish();
}

/// What a request costs beside the policy's pick: its place, and its answer, which enters the latency estimate, the window of
/// the breaker, the limit of concurrency and the percentile of hedging.
fn answered(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answered");
    let (load, window) = (Load::of(Arc::default()), Window::default());
    let mut micros = 0;
    let mut now = || {
        micros += 50;
        Moment::from_micros(micros)
    };
    group.bench_function("latency", |bencher| {
        bencher.iter(|| load.observe(Duration::from_millis(2), now(), Duration::from_secs(2)));
    });
    group.bench_function("success", |bencher| {
        bencher.iter(|| window.count(Mark::Success, now()));
    });
    group.bench_function("limit", |bencher| {
        bencher.iter(|| load.limit.answered(black_box(Duration::from_millis(2)), 20));
    });
    let usual = Percentile::default();
    group.bench_function("percentile", |bencher| {
        bencher.iter(|| usual.observe(black_box(Duration::from_millis(2)), 0.95));
    });
    // What a pick takes beyond the policy's: a place, which is given back.
    group.bench_function("place", |bencher| {
        bencher.iter(|| {
            let is_taken = load.try_begin(load.limit.get());
            load.end();
            is_taken
        });
    });
    group.finish();
}

fn target(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("target");
    for rows in [1, 64] {
        let row: Vec<f64> = (0..64).map(|index| f64::from(index) / 4.0).collect();
        let body = serde_json::to_vec(&serde_json::json!({"model": "digits", "inputs": vec![row; rows]}))
            .expect("numbers make JSON");
        group.bench_function(BenchmarkId::new("digits_rows", rows), |bencher| {
            bencher.iter(|| Target::of_body(black_box(&body), None));
        });
    }
    group.finish();
}

/// One request on a link: its frame as the gateway writes it, and as the worker reads it.
fn link(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("link");
    let row: Vec<f64> = (0..64).map(|index| f64::from(index) / 4.0).collect();
    let body = serde_json::json!({"inputs": [row]}).to_string();
    let message = format!(
        "POST /models/digits/predict HTTP/1.1\r\ncontent-type: application/json\r\n\
         x-forwarded-for: 127.0.0.1\r\nx-request-id: 0123456789abcdef0123456789abcdef\r\n\
         x-request-timeout-ms: 10000\r\n\r\n{body}"
    );
    let mut out = Vec::new();
    group.bench_function("put", |bencher| {
        bencher.iter(|| {
            out.clear();
            frame::put(&mut out, Kind::Message, 1, |out| {
                out.extend_from_slice(black_box(message.as_bytes()));
            });
        });
    });
    group.bench_function("take", |bencher| {
        bencher.iter_batched(
            || BytesMut::from(&out[..]),
            |mut incoming| {
                let frame = frame::take(&mut incoming, MAX_REQUEST).expect("it is a frame");
                read_request(frame.expect("it is whole").payload)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, pick, answered, target, link);
criterion_main!(benches);
