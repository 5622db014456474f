//! The statistics extension. Counts are of requests and nanoseconds add up their times; where several requests ran
//! together, each of them counts the time of the whole run.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// The answer to `GET /v2/models[/{model}[/versions/{version}]]/stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// By names and versions.
    pub model_stats: Vec<ModelStatistics>,
    /// On a gateway: workers whose share is missing, because they gave no answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_workers: Vec<String>,
}

/// What happened to one version since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatistics {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// When its last request began, in milliseconds since 1970; 0: there was none.
    pub last_inference: u64,
    /// Rows that were answered.
    pub inference_count: u64,
    /// Runs of the engine.
    pub execution_count: u64,
    /// The parts of its requests.
    pub inference_stats: InferenceStatistics,
    /// The parts of its runs, by how many rows ran together.
    pub batch_stats: Vec<BatchStatistics>,
}

/// The parts of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InferenceStatistics {
    /// Requests that were answered, from their head to their answer.
    pub success: Times,
    /// Requests that found the version and were not answered: refused, failed, out of time, given up by their clients.
    pub fail: Times,
    /// Waiting for the engine.
    pub queue: Times,
    /// Putting rows together.
    pub compute_input: Times,
    /// The engine.
    pub compute_infer: Times,
    /// Taking rows apart.
    pub compute_output: Times,
    /// There is no cache.
    pub cache_hit: Times,
    /// There is no cache.
    pub cache_miss: Times,
}

/// The parts of the runs of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStatistics {
    /// Rows that ran together.
    pub batch_size: u64,
    /// Putting rows together.
    pub compute_input: Times,
    /// The engine.
    pub compute_infer: Times,
    /// Taking rows apart.
    pub compute_output: Times,
}

/// How often something happened, and how long it took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// How often.
    pub count: u64,
    /// Nanoseconds.
    pub ns: u64,
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.ns += other.ns;
    }
}

impl ModelStatistics {
    fn add(&mut self, other: Self) {
        self.last_inference = self.last_inference.max(other.last_inference);
        self.inference_count += other.inference_count;
        self.execution_count += other.execution_count;
        let (own, its) = (&mut self.inference_stats, other.inference_stats);
        own.success += its.success;
        own.fail += its.fail;
        own.queue += its.queue;
        own.compute_input += its.compute_input;
        own.compute_infer += its.compute_infer;
        own.compute_output += its.compute_output;
        own.cache_hit += its.cache_hit;
        own.cache_miss += its.cache_miss;
        for batch in other.batch_stats {
            let place = self
                .batch_stats
                .binary_search_by_key(&batch.batch_size, |known| known.batch_size);
            match place {
                Err(place) => self.batch_stats.insert(place, batch),
                Ok(place) => self.batch_stats[place].add(batch),
            }
        }
    }
}

impl BatchStatistics {
    fn add(&mut self, other: Self) {
        self.compute_input += other.compute_input;
        self.compute_infer += other.compute_infer;
        self.compute_output += other.compute_output;
    }
}

/// The sums over workers, by their ids; who gave no answer is named.
#[must_use]
pub fn sum(answers: BTreeMap<String, Result<Statistics, String>>) -> Statistics {
    let mut versions: BTreeMap<(String, u64), ModelStatistics> = BTreeMap::new();
    let mut missing_workers = Vec::new();
    for (worker, answer) in answers {
        let Ok(answer) = answer else {
            missing_workers.push(worker);
            continue;
        };
        for mut model in answer.model_stats {
            model.batch_stats.sort_by_key(|batch| batch.batch_size);
            let key = (model.name.clone(), model.version.parse().unwrap_or_default());
            match versions.get_mut(&key) {
                Some(sum) => sum.add(model),
                None => {
                    versions.insert(key, model);
                }
            }
        }
    }
    Statistics {
        model_stats: versions.into_values().collect(),
        missing_workers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(requests: u64, batch_sizes: &[u64]) -> Statistics {
        let times = Times {
            count: requests,
            ns: 1000 * requests,
        };
        let batch = |&batch_size: &u64| BatchStatistics {
            batch_size,
            compute_infer: times,
            ..BatchStatistics::default()
        };
        Statistics {
            model_stats: vec![ModelStatistics {
                name: "iris".into(),
                version: "1".into(),
                last_inference: requests,
                inference_count: requests,
                execution_count: requests,
                inference_stats: InferenceStatistics {
                    success: times,
                    ..InferenceStatistics::default()
                },
                batch_stats: batch_sizes.iter().map(batch).collect(),
            }],
            missing_workers: Vec::new(),
        }
    }

    #[test]
    fn the_counts_of_workers_are_summed_and_silent_ones_named() {
        let answers = BTreeMap::from([
            ("a".to_owned(), Ok(statistics(2, &[1, 4]))),
            ("b".to_owned(), Ok(statistics(3, &[2, 4]))),
            ("c".to_owned(), Err("no connection".to_owned())),
        ]);
        let sum = sum(answers);
        assert_eq!(sum.missing_workers, ["c"]);
        let [model] = sum.model_stats.as_slice() else {
            panic!("{sum:?}")
        };
        assert_eq!((model.last_inference, model.inference_count), (3, 5));
        assert_eq!(model.inference_stats.success, Times { count: 5, ns: 5000 });
        let batches: Vec<_> = model
            .batch_stats
            .iter()
            .map(|batch| (batch.batch_size, batch.compute_infer.count))
            .collect();
        assert_eq!(batches, [(1, 2), (2, 3), (4, 5)]);
    }
}
