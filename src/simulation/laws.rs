//! What must hold of the balancing core, over many seeds.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::{Arrivals, Outcome, Scenario, Simulation, WorkerSpec};
use crate::config::{BalancingConfig, Concurrency, PolicyName, RetryConfig};
use crate::moment::Moment;

/// Policies that go by latency.
const LATENCY_AWARE: [PolicyName; 2] = [PolicyName::PeakEwma, PolicyName::Prequal];
/// Policies that go by what is in flight, or by latency.
const LOAD_AWARE: [PolicyName; 5] = [
    PolicyName::LeastRequest,
    PolicyName::PowerOfTwo,
    PolicyName::PeakEwma,
    PolicyName::Prequal,
    PolicyName::ConsistentHash,
];

/// Workers of 2 ms that serve one request at a time, one gateway.
fn fleet(workers: usize, rate: f64, seed: u64) -> Scenario {
    Scenario {
        workers: vec![WorkerSpec::default(); workers],
        concurrency: 1,
        queue: 1024,
        gateways: 1,
        arrivals: Arrivals::Poisson,
        rate,
        service_time: "2ms".parse().unwrap(),
        network_delay: Duration::from_micros(50),
        keys: 10_000,
        deadline: Duration::from_secs(10),
        retry: RetryConfig {
            max_attempts: 2,
            budget: 0.2,
            backoff: Duration::ZERO,
        },
        balancing: BalancingConfig::default(),
        seed,
    }
}

/// Three workers of 2 ms and one, the last, of 20 ms.
fn one_slow(rate: f64, seed: u64) -> Scenario {
    let mut scenario = fleet(4, rate, seed);
    scenario.workers[3].factor = 10.0;
    scenario
}

fn at(seconds: f64) -> Moment {
    Moment::default() + Duration::from_secs_f64(seconds)
}

/// The figures of so many seconds, the first of which are to warm up.
fn run(scenario: &Scenario, policy: PolicyName, warm_up: f64, seconds: f64) -> Outcome {
    let mut simulation = Simulation::new(scenario, policy);
    simulation.run_until(at(warm_up));
    simulation.begin_measuring();
    simulation.run_until(at(seconds));
    simulation.finish()
}

fn requests_at(outcome: &Outcome) -> Vec<u64> {
    outcome.workers.iter().map(|worker| worker.requests).collect()
}

/// The part of all requests that came to a worker.
fn share_of(outcome: &Outcome, worker: usize) -> f64 {
    let counts = requests_at(outcome);
    counts[worker] as f64 / counts.iter().sum::<u64>().max(1) as f64
}

/// A policy for each seed, all in turn.
fn policy_of(seed: u64) -> PolicyName {
    PolicyName::ALL[seed as usize % PolicyName::ALL.len()]
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    for policy in PolicyName::ALL {
        let outcome = |seed| {
            let mut scenario = one_slow(900.0, seed);
            (scenario.gateways, scenario.workers[0].is_failing) = (3, true);
            scenario.service_time = "lognormal:2ms:0.5".parse().unwrap();
            run(&scenario, policy, 0.2, 0.7)
        };
        assert_eq!(outcome(7), outcome(7), "{policy}");
        assert_ne!(outcome(7), outcome(8), "{policy}");
    }
}

#[test]
fn every_request_ends_once_and_no_count_drifts() {
    for seed in 0..200 {
        let mut scenario = one_slow(1_000.0, seed);
        scenario.arrivals = Arrivals::Even;
        scenario.gateways = 1 + seed as usize % 3;
        scenario.queue = 4;
        scenario.deadline = Duration::from_millis(30);
        scenario.workers[1].is_failing = seed % 2 == 0;
        let mut simulation = Simulation::new(&scenario, policy_of(seed));
        simulation.run_until(at(0.3));
        let outcome = simulation.finish();
        assert_eq!(outcome.requests(), 300, "{}, seed {seed}", policy_of(seed));
        for (gateway, worker) in
            (0..scenario.gateways).flat_map(|gateway| (0..4).map(move |worker| (gateway, worker)))
        {
            assert_eq!(simulation.known(gateway, worker).in_flight(), 0, "seed {seed}");
            assert_eq!(simulation.in_flight(worker), 0, "seed {seed}");
        }
    }
}

#[test]
fn shares_of_round_robin_and_weighted_are_exact() {
    for seed in 0..200 {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut scenario = fleet(rng.random_range(1..8), 900.0, seed);
        scenario.network_delay = Duration::ZERO;
        // Who is full is passed over.
        scenario.balancing.concurrency = Concurrency::Unlimited;
        for worker in &mut scenario.workers {
            worker.weight = rng.random_range(1..10);
            worker.factor = rng.random_range(1.0..10.0);
        }
        let total: u64 = scenario
            .workers
            .iter()
            .map(|worker| u64::from(worker.weight))
            .sum();
        let mut simulation = Simulation::new(&scenario, PolicyName::Weighted);
        simulation.run_until(at(0.5));
        let counts = requests_at(&simulation.outcome());
        let all: u64 = counts.iter().sum();
        for (&count, worker) in counts.iter().zip(&scenario.workers) {
            let ahead = (count * total).abs_diff(all * u64::from(worker.weight));
            assert!(ahead < total, "a whole turn off, seed {seed}: {counts:?}");
        }

        let mut simulation = Simulation::new(&scenario, PolicyName::RoundRobin);
        simulation.run_until(at(0.5));
        let counts = requests_at(&simulation.outcome());
        let spread = counts.iter().max().unwrap() - counts.iter().min().unwrap();
        assert!(spread <= 1, "seed {seed}: {counts:?}");
    }
}

#[test]
fn a_limit_holds_and_spares_those_who_wait_for_a_slow_worker() {
    for seed in 0..40 {
        let mut scenario = one_slow(900.0, seed);
        scenario.balancing.concurrency = Concurrency::Limit(3);
        let limited = run(&scenario, PolicyName::RoundRobin, 1.0, 6.0);
        assert!(
            limited.workers.iter().all(|worker| worker.most_in_flight <= 3),
            "seed {seed}"
        );
        assert_eq!(limited.failed, 0, "seed {seed}");
        let slowest = limited.latencies.quantile(1.0);
        assert!(slowest < Duration::from_millis(90), "seed {seed}: {slowest:?}");
        scenario.balancing.concurrency = Concurrency::Adaptive;
        for policy in [PolicyName::RoundRobin, PolicyName::Random] {
            let adaptive = run(&scenario, policy, 3.0, 8.0);
            let p99 = adaptive.latencies.quantile(0.99);
            assert!(p99 < Duration::from_millis(300), "{policy}, seed {seed}: {p99:?}");
        }
        scenario.balancing.concurrency = Concurrency::Unlimited;
        let unlimited = run(&scenario, PolicyName::RoundRobin, 3.0, 8.0);
        let p99 = unlimited.latencies.quantile(0.99);
        assert!(p99 > Duration::from_secs(1), "seed {seed}: {p99:?}");
    }
}

#[test]
fn nobody_is_starved_under_any_policy() {
    for seed in 0..200 {
        let mut scenario = fleet(4, 1_200.0, seed);
        scenario.service_time = "exp:2ms".parse().unwrap();
        scenario.gateways = 1 + seed as usize % 4;
        let outcome = run(&scenario, policy_of(seed), 0.2, 1.0);
        for worker in 0..4 {
            let share = share_of(&outcome, worker);
            assert!(
                share > 0.25 / 4.0,
                "{}, seed {seed}: {:?}",
                policy_of(seed),
                requests_at(&outcome)
            );
        }
    }
}

#[test]
fn a_slow_worker_gets_little_and_is_tried_again() {
    for seed in 0..6 {
        for policy in LATENCY_AWARE {
            let outcome = run(&one_slow(600.0, seed), policy, 1.0, 12.0);
            let share = share_of(&outcome, 3);
            assert!(share > 0.0 && share < 0.005, "{policy}, seed {seed}: {share}");
        }
    }
}

/// The measured systems of the issue had 23 to 42 ms at 600/s, 38 to 40 ms at 900/s.
#[test]
fn one_slow_worker_of_four_does_not_show_at_the_99th_percentile() {
    for seed in 0..6 {
        for (rate, limit) in [(600.0, 12), (900.0, 20)] {
            for policy in LATENCY_AWARE {
                let outcome = run(&one_slow(rate, seed), policy, 1.0, 7.0);
                let p99 = outcome.latencies.quantile(0.99);
                assert!(
                    p99 <= Duration::from_millis(limit),
                    "{policy} at {rate}/s, seed {seed}: {p99:?}"
                );
                assert_eq!(outcome.failed, 0, "{policy}, seed {seed}");
            }
        }
    }
}

/// How a worker is not itself, before it recovers.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Slow,
    Failing,
    /// It turned slow, was taken out, and comes back long after.
    Out,
}

/// How long it takes until the first of eight workers has half of its share again, and the most that were in flight there.
fn recover(trouble: Trouble, gateways: usize, policy: PolicyName, seed: u64) -> (Option<f64>, u32) {
    let mut scenario = fleet(8, 1_600.0, seed);
    scenario.gateways = gateways;
    let mut simulation = Simulation::new(&scenario, policy);
    simulation.run_until(at(0.5));
    match trouble {
        Trouble::Slow => simulation.set_factor(0, 10.0),
        Trouble::Failing => simulation.set_failing(0, true),
        Trouble::Out => simulation.set_factor(0, 100.0),
    }
    simulation.run_until(at(1.5));
    if let Trouble::Out = trouble {
        // Few requests, so that time passes quickly here.
        simulation.set_member(0, false);
        simulation.set_rate(10.0);
        simulation.run_until(at(31.5));
        simulation.set_rate(1_600.0);
        simulation.set_member(0, true);
    }
    simulation.set_factor(0, 1.0);
    simulation.set_failing(0, false);
    simulation.begin_measuring();
    let since = simulation.now();
    let mut most = 0;
    for step in 1..60 {
        simulation.run_until(since + Duration::from_millis(200) * step);
        let outcome = simulation.outcome();
        most = most.max(outcome.workers[0].most_in_flight);
        if share_of(&outcome, 0) > 0.5 / 8.0 {
            return (Some(f64::from(step) * 0.2), most);
        }
        simulation.begin_measuring();
    }
    (None, most)
}

#[test]
fn a_worker_that_recovers_is_taken_back_within_seconds_and_nobody_rushes_there() {
    for seed in 0..4 {
        for policy in LOAD_AWARE {
            for (trouble, limit) in [
                (Trouble::Slow, 6.0),
                (Trouble::Failing, 12.0),
                (Trouble::Out, 1.0),
            ] {
                for gateways in [1, 4] {
                    let (after, most) = recover(trouble, gateways, policy, seed);
                    let what = format!("{policy}, {gateways} gateways, {trouble:?}, seed {seed}");
                    assert!(after.is_some_and(|after| after <= limit), "{what}: {after:?} s");
                    assert!(most <= 3 + 2 * gateways as u32, "{what}: {most} at once");
                }
            }
        }
    }
}

#[test]
fn failing_fast_attracts_nobody() {
    for seed in 0..20 {
        for policy in LATENCY_AWARE {
            let mut simulation = Simulation::new(&fleet(4, 600.0, seed), policy);
            simulation.run_until(at(0.5));
            // What it says of its latency is still good.
            simulation.set_failing(2, true);
            simulation.begin_measuring();
            simulation.run_until(at(2.5));
            let outcome = simulation.finish();
            assert!(
                share_of(&outcome, 2) < 0.005,
                "{policy}, seed {seed}: {:?}",
                requests_at(&outcome)
            );
            assert_eq!(outcome.failed, 0, "{policy}, seed {seed}");
        }
    }
}

#[test]
fn retries_stay_within_their_budget() {
    const SECONDS: usize = 14;
    for seed in 0..40 {
        let mut scenario = fleet(4, 60.0, seed);
        scenario
            .workers
            .iter_mut()
            .take(2 + seed as usize % 3)
            .for_each(|worker| worker.is_failing = true);
        let mut simulation = Simulation::new(&scenario, policy_of(seed));
        // Requests and retries, second by second.
        let (mut seconds, mut before) = (Vec::new(), (0, 0));
        for second in 1..=SECONDS {
            simulation.run_until(at(second as f64));
            let outcome = simulation.outcome();
            seconds.push((outcome.requests() - before.0, outcome.retries - before.1));
            before = (outcome.requests(), outcome.retries);
        }
        for window in seconds.windows(10) {
            let (requests, retries) = window.iter().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
            // A request that is counted when it ends may have come in the second before.
            let allowed = (requests as f64 + 3.0) * scenario.retry.budget;
            assert!(
                retries as f64 <= allowed.max(3.0),
                "seed {seed}: {retries} retries of {requests}"
            );
        }
        assert!(
            seconds.iter().any(|&(_, retries)| retries > 0),
            "seed {seed}: there were none"
        );
    }
}

#[test]
fn a_switch_of_policy_keeps_what_was_learnt() {
    for seed in 0..40 {
        for policy in LATENCY_AWARE {
            let mut simulation = Simulation::new(&one_slow(150.0, seed), PolicyName::RoundRobin);
            simulation.run_until(at(1.0));
            simulation.set_policy(policy);
            simulation.begin_measuring();
            simulation.run_until(at(1.5));
            let outcome = simulation.outcome();
            assert_eq!(
                outcome.workers[3].requests, 0,
                "{policy}, seed {seed}: it was known to be slow"
            );
        }
    }
}

#[test]
fn switching_all_the_time_loses_nothing_and_keeps_turns() {
    for seed in 0..100 {
        let mut scenario = fleet(3, 1_000.0, seed);
        (scenario.arrivals, scenario.network_delay) = (Arrivals::Even, Duration::ZERO);
        let mut simulation = Simulation::new(&scenario, PolicyName::RoundRobin);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        for step in 1..=40 {
            simulation.run_until(at(0.01 * f64::from(step)));
            simulation.set_policy(PolicyName::ALL[rng.random_range(0..PolicyName::ALL.len())]);
            simulation.set_member(rng.random_range(0..3), true);
        }
        // Put in force again with every request, a cycle goes on where it was.
        simulation.begin_measuring();
        for step in 1..=30 {
            simulation.set_policy(PolicyName::RoundRobin);
            simulation.run_until(at(0.4) + Duration::from_millis(1) * step);
        }
        assert_eq!(requests_at(&simulation.outcome()), [10, 10, 10], "seed {seed}");
    }
}

#[test]
fn who_is_out_gets_nothing_and_who_comes_back_begins_gently() {
    for seed in 0..40 {
        let mut scenario = fleet(4, 1_000.0, seed);
        scenario.balancing.slow_start = Duration::from_secs(10);
        let mut simulation = Simulation::new(&scenario, policy_of(seed));
        simulation.set_member(1, false);
        simulation.begin_measuring();
        simulation.run_until(at(0.5));
        assert_eq!(
            simulation.outcome().workers[1].requests,
            0,
            "{}, seed {seed}",
            policy_of(seed)
        );
        // The others have long been there.
        simulation.set_rate(1.0);
        simulation.run_until(at(20.0));
        simulation.set_rate(1_000.0);
        simulation.set_member(1, true);
        simulation.begin_measuring();
        simulation.run_until(at(20.6));
        let share = share_of(&simulation.outcome(), 1);
        assert!(share < 0.12, "{}, seed {seed}: {share} of all", policy_of(seed));
    }
}
