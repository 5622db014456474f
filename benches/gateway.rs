//! What the gateway does with every request: pick an endpoint, and find out whom a body is for.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use millrace::config::PolicyName;
use millrace::gateway::balance::{Moment, Pick, build};
use millrace::gateway::target::Target;
use rand::SeedableRng;
use rand::rngs::SmallRng;

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for name in PolicyName::ALL {
        for endpoints in [3, 16, 1000] {
            let weights: Vec<u32> = (0..endpoints).map(|index| 1 + index % 7).collect();
            let policy = build(name, &weights);
            let mut rng = SmallRng::seed_from_u64(1);
            let mut turn = 0;
            group.bench_function(BenchmarkId::new(name.as_str(), endpoints), |bencher| {
                bencher.iter(|| {
                    turn += 1;
                    policy.pick(Pick {
                        turn: black_box(turn),
                        key: None,
                        avoid: &[],
                        now: Moment::default(),
                        rng: &mut rng,
                    })
                });
            });
        }
    }
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

criterion_group!(benches, pick, target);
criterion_main!(benches);
