//! The queue and the engine threads of one model version, as the rest of the worker sees them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use super::collect::Priority;
use super::collect::{Limits, Waiting};
use super::executor::Executor;
use super::in_place::{InPlace, Turn};
use super::pace::Pace;
use super::queue::Queue;
pub(crate) use super::queue::Refusal;
use crate::config::BatchingConfig;
use crate::engine::Graph;
use crate::model::tensor::Tensor;
use crate::telemetry::worker_metrics::BatchMetrics;
use crate::worker::load::ModelLoad;
use crate::worker::statistics::Statistics;

/// Why an accepted request has no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunError {
    /// Its time was up before it could run.
    DeadlineExceeded,
    /// The graph does not take the request's values, for this reason.
    RefusedValues(String),
    /// The engine could not run it; the log says why.
    Engine,
}

/// The rows of one request, or why there are none.
pub(crate) type Answer = Result<Vec<Tensor>, RunError>;

/// Queue and engine threads of one model version.
pub(crate) struct Batcher {
    queue: Arc<Queue<Entry>>,
    statistics: Arc<Statistics>,
    load: Arc<ModelLoad>,
    concurrency: usize,
    /// Where rows may be run by who brings them.
    in_place: Option<Arc<InPlace>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One request that waits.
pub(super) struct Entry {
    pub(super) inputs: Vec<Tensor>,
    pub(super) since: Instant,
    pub(super) deadline: Instant,
    priority: Priority,
    answer: oneshot::Sender<Answer>,
}

impl Waiting for Entry {
    fn rows(&self) -> usize {
        self.inputs.first().map_or(0, Tensor::rows)
    }

    fn since(&self) -> Instant {
        self.since
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn has_left(&self) -> bool {
        self.answer.is_closed()
    }

    fn fits(&self, other: &Self) -> bool {
        let mut pairs = self.inputs.iter().zip(&other.inputs);
        pairs.all(|(own, others)| own.fits(others))
    }
}

impl Entry {
    pub(super) fn answer(self, answer: Answer) {
        // Who asked may have left meanwhile.
        let _ = self.answer.send(answer);
    }
}

/// The answer to a request that was queued.
pub(crate) struct Awaited {
    answer: oneshot::Receiver<Answer>,
    /// What waits is for this one to run.
    turn: Option<Turn>,
}

impl Awaited {
    /// Waits for it; an engine that broke down gives none.
    pub(crate) async fn answer(&mut self) -> Answer {
        if let Some(turn) = self.turn.take() {
            turn.take().await;
        }
        (&mut self.answer).await.unwrap_or(Err(RunError::Engine))
    }
}

impl Batcher {
    /// Starts the engine threads of the version called `label`, of a model with this load.
    pub(crate) fn start(
        label: &str,
        graph: &Arc<dyn Graph>,
        config: &BatchingConfig,
        metrics: &BatchMetrics,
        load: &Arc<ModelLoad>,
    ) -> io::Result<Self> {
        let rows = if graph.signature().batch.has_axis() {
            config.max_batch_size
        } else {
            1
        };
        let queue = Arc::new(Queue::new(config.queue, metrics.queue_depth.clone()));
        let (statistics, pace): (Arc<Statistics>, Arc<Pace>) = Default::default();
        let executor = || Executor {
            label: label.to_owned(),
            queue: Arc::clone(&queue),
            engine: Arc::clone(graph).engine(),
            graph: Arc::clone(graph),
            limits: Limits {
                max_rows: config.max_batch_size,
                max_delay: config.max_delay,
            },
            metrics: metrics.clone(),
            statistics: Arc::clone(&statistics),
            load: Arc::clone(load),
            pace: Arc::clone(&pace),
            engines: u32::try_from(config.instances).unwrap_or(u32::MAX),
        };
        // Who wants several engines side by side, or batches that wait to grow, wants threads.
        let may_run_in_place = config.instances == 1 && config.max_delay.is_zero();
        let in_place =
            may_run_in_place.then(|| InPlace::new(Arc::clone(&queue), executor(), Arc::clone(&pace)));
        let batcher = Self {
            queue: Arc::clone(&queue),
            statistics: Arc::clone(&statistics),
            load: Arc::clone(load),
            concurrency: config.instances.saturating_mul(rows),
            in_place,
            threads: Mutex::default(),
        };
        for instance in 0..config.instances {
            let executor = executor();
            let thread = thread::Builder::new()
                .name(format!("{label}#{instance}"))
                .spawn(move || executor.run())?;
            batcher.lock_threads().push(thread);
        }
        Ok(batcher)
    }

    /// Queues a request's rows. The answer comes to who waits for it; dropping that is leaving.
    pub(crate) fn submit(
        &self,
        inputs: Vec<Tensor>,
        since: Instant,
        deadline: Instant,
        priority: Priority,
    ) -> Result<Awaited, Refusal> {
        let (answer, receiver) = oneshot::channel();
        let rows = inputs.first().map_or(0, Tensor::rows);
        self.queue.push(Entry {
            inputs,
            since,
            deadline,
            priority,
            answer,
        })?;
        let in_place = self.in_place.as_ref().filter(|in_place| in_place.takes(rows));
        let turn = in_place.and_then(InPlace::turn);
        if in_place.is_none() {
            self.queue.wake();
        }
        Ok(Awaited {
            answer: receiver,
            turn,
        })
    }

    /// What happened to its requests.
    pub(crate) const fn statistics(&self) -> &Arc<Statistics> {
        &self.statistics
    }

    /// The load of its model.
    pub(crate) const fn load(&self) -> &Arc<ModelLoad> {
        &self.load
    }

    /// Requests of one row that its engines can work on at once.
    pub(crate) const fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Requests that wait.
    pub(crate) fn depth(&self) -> usize {
        self.queue.len()
    }

    /// Takes nothing new; what waits is still run.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// Closes, and waits until everything that was accepted is answered.
    pub(crate) fn join(&self) {
        self.close();
        for thread in std::mem::take(&mut *self.lock_threads()) {
            if thread.join().is_err() {
                tracing::error!("an engine thread broke down");
            }
        }
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Batcher {
    /// Without it the threads of a version that was replaced would wait for ever.
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::{Engine, EngineError, Extent};
    use crate::model::signature::{Batch, Signature};
    use crate::model::tensor::Values;
    use crate::telemetry::worker_metrics::WorkerMetrics;

    /// Doubles whole numbers; panics on 13, fails on 14, refuses 1500, and waits for leave before each run if it is given a gate.
    struct Doubler {
        signature: Signature,
        gate: Option<Mutex<mpsc::Receiver<()>>>,
        sizes: Mutex<Vec<usize>>,
        threads: Mutex<Vec<thread::ThreadId>>,
    }

    struct DoublerEngine(Arc<Doubler>);

    impl Graph for Doubler {
        fn engine_name(&self) -> &'static str {
            "doubler"
        }
        fn signature(&self) -> &Signature {
            &self.signature
        }
        fn prepare(&self, _: &[usize], _: Extent) -> Result<(), EngineError> {
            Ok(())
        }
        fn engine(self: Arc<Self>) -> Box<dyn Engine> {
            Box::new(DoublerEngine(self))
        }
    }

    impl Engine for DoublerEngine {
        fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
            if let Some(gate) = &self.0.gate {
                gate.lock().unwrap().recv().unwrap();
            }
            self.0.sizes.lock().unwrap().push(inputs[0].rows());
            self.0.threads.lock().unwrap().push(thread::current().id());
            let values = numbers(&inputs[0]);
            assert!(!values.contains(&13), "thirteen");
            if values.contains(&14) {
                return Err(EngineError::Failed("fourteen".into()));
            }
            if values.contains(&1500) {
                return Err(EngineError::RefusedValues("too much".into()));
            }
            Ok(vec![tensor(values.iter().map(|value| value * 2).collect())])
        }
    }

    fn doubler(gate: Option<mpsc::Receiver<()>>) -> Arc<Doubler> {
        let signature = Signature {
            inputs: vec![],
            outputs: vec![],
            batch: Batch::Free,
        };
        Arc::new(Doubler {
            signature,
            gate: gate.map(Mutex::new),
            sizes: Mutex::default(),
            threads: Mutex::default(),
        })
    }

    fn tensor(values: Vec<i64>) -> Tensor {
        Tensor::new(vec![values.len()], Values::I64(values)).unwrap()
    }

    fn numbers(tensor: &Tensor) -> Vec<i64> {
        match tensor.values() {
            Values::I64(values) => values.clone(),
            other => panic!("{other:?}"),
        }
    }

    struct Rig {
        batcher: Batcher,
        metrics: BatchMetrics,
        doubler: Arc<Doubler>,
    }

    fn rig(config: &BatchingConfig, gate: Option<mpsc::Receiver<()>>) -> Rig {
        let metrics = WorkerMetrics::new().of_version("m", "1");
        let doubler = doubler(gate);
        let graph: Arc<dyn Graph> = Arc::<Doubler>::clone(&doubler);
        let batcher = Batcher::start("m/1", &graph, config, &metrics, &Arc::default()).unwrap();
        Rig {
            batcher,
            metrics,
            doubler,
        }
    }

    impl Rig {
        fn submit(&self, values: Vec<i64>) -> Awaited {
            self.submit_for(values, Duration::from_secs(60))
        }

        fn submit_for(&self, values: Vec<i64>, life: Duration) -> Awaited {
            let now = Instant::now();
            self.batcher
                .submit(vec![tensor(values)], now, now + life, Priority::default())
                .unwrap()
        }
    }

    fn rows(mut awaited: Awaited) -> Result<Vec<i64>, RunError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outputs = runtime.block_on(awaited.answer())?;
        Ok(numbers(&outputs[0]))
    }

    /// Those of several requests, each of which has a task of its own, as in a worker: one of them may have to run what another
    /// waits for.
    fn all_rows(awaited: Vec<Awaited>) -> Vec<Result<Vec<i64>, RunError>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let task = |mut one: Awaited| tokio::spawn(async move { one.answer().await });
            let tasks: Vec<_> = awaited.into_iter().map(task).collect();
            let mut rows = Vec::new();
            for task in tasks {
                rows.push(task.await.unwrap().map(|outputs| numbers(&outputs[0])));
            }
            rows
        })
    }

    #[test]
    fn quick_runs_happen_where_the_rows_are_and_still_together() {
        let rig = rig(&BatchingConfig::default(), None);
        let own = thread::current().id();
        // It is yet to be learnt how quick it is, and the engine's thread may still be awake.
        let happened = (0..10_000).any(|_| {
            let waiting = [vec![2], vec![3, 4], vec![5]].map(|values| rig.submit(values));
            assert_eq!(waiting.map(rows), [Ok(vec![4]), Ok(vec![6, 8]), Ok(vec![10])]);
            let together = rig.doubler.sizes.lock().unwrap().last() == Some(&4);
            together && rig.doubler.threads.lock().unwrap().last() == Some(&own)
        });
        assert!(happened);
    }

    #[test]
    fn what_takes_longer_than_the_network_may_wait_goes_on_in_another_turn() {
        let config = BatchingConfig {
            max_batch_size: 1,
            ..BatchingConfig::default()
        };
        let rig = rig(&config, None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut first = loop {
                let mut awaited = rig.submit(vec![1]);
                if awaited.turn.is_some() {
                    break awaited;
                }
                awaited.answer().await.unwrap();
            };
            // Far more runs than fit into one turn.
            let others: Vec<Awaited> = (0..1000).map(|_| rig.submit(vec![2])).collect();
            first.answer().await.unwrap();
            for mut other in others {
                assert_eq!(numbers(&other.answer().await.unwrap()[0]), [4]);
            }
        });
    }

    #[test]
    fn what_a_client_that_leaves_would_have_run_is_run_by_the_thread() {
        let rig = rig(&BatchingConfig::default(), None);
        let leaving = loop {
            let awaited = rig.submit(vec![1]);
            if awaited.turn.is_some() {
                break awaited;
            }
            rows(awaited).unwrap();
        };
        let staying = rig.submit(vec![2]);
        assert!(staying.turn.is_none(), "the other has it");
        drop(leaving);
        assert_eq!(rows(staying), Ok(vec![4]));
    }

    #[test]
    fn what_queues_up_behind_a_run_runs_together() {
        let (gate, waiting) = mpsc::channel();
        let rig = rig(&BatchingConfig::default(), Some(waiting));
        let first = rig.submit(vec![1]);
        while rig.batcher.depth() > 0 {
            thread::yield_now();
        }
        let second = rig.submit(vec![2, 3]);
        let third = rig.submit(vec![4]);
        gate.send(()).unwrap();
        gate.send(()).unwrap();
        assert_eq!(rows(first), Ok(vec![2]));
        assert_eq!(rows(second), Ok(vec![4, 6]));
        assert_eq!(rows(third), Ok(vec![8]));
        assert_eq!(*rig.doubler.sizes.lock().unwrap(), [1, 3]);
    }

    #[test]
    fn who_comes_later_with_a_higher_priority_runs_sooner() {
        let (gate, waiting) = mpsc::channel();
        let config = BatchingConfig {
            max_batch_size: 1,
            ..BatchingConfig::default()
        };
        let rig = rig(&config, Some(waiting));
        let submit = |value, priority| {
            let now = Instant::now();
            let deadline = now + Duration::from_secs(60);
            let tensors = vec![tensor(vec![value])];
            rig.batcher.submit(tensors, now, deadline, priority).unwrap()
        };
        let first = submit(1, Priority::default());
        while rig.batcher.depth() > 0 {
            thread::yield_now();
        }
        let mut low = submit(2, Priority::default());
        let high = submit(3, Priority::of_level(1));
        gate.send(()).unwrap();
        gate.send(()).unwrap();
        assert_eq!(rows(first), Ok(vec![2]));
        assert_eq!(rows(high), Ok(vec![6]));
        assert!(low.answer.try_recv().is_err(), "it still waits for leave to run");
        gate.send(()).unwrap();
        assert_eq!(rows(low), Ok(vec![4]));
    }

    #[test]
    fn a_poisonous_request_fails_alone_and_the_thread_lives_on() {
        let (gate, waiting) = mpsc::channel();
        let rig = rig(&BatchingConfig::default(), Some(waiting));
        let first = rig.submit(vec![0]);
        while rig.batcher.depth() > 0 {
            thread::yield_now();
        }
        let others = [vec![1], vec![13], vec![14], vec![1500], vec![2]].map(|values| rig.submit(values));
        (0..7).for_each(|_| gate.send(()).unwrap());
        assert_eq!(rows(first), Ok(vec![0]));
        let answers = others.map(rows);
        let failed = Err(RunError::Engine);
        let refused = Err(RunError::RefusedValues("too much".into()));
        assert_eq!(
            answers,
            [Ok(vec![2]), failed.clone(), failed, refused, Ok(vec![4])]
        );
        let again = rig.submit(vec![5]);
        gate.send(()).unwrap();
        assert_eq!(rows(again), Ok(vec![10]));
    }

    #[test]
    fn who_left_or_ran_out_of_time_is_not_computed_and_counted() {
        let (gate, waiting) = mpsc::channel();
        let rig = rig(&BatchingConfig::default(), Some(waiting));
        let first = rig.submit(vec![1]);
        while rig.batcher.depth() > 0 {
            thread::yield_now();
        }
        drop(rig.submit(vec![2]));
        let expired = rig.submit_for(vec![3], Duration::ZERO);
        gate.send(()).unwrap();
        assert_eq!(rows(first), Ok(vec![2]));
        assert_eq!(rows(expired), Err(RunError::DeadlineExceeded));
        rig.batcher.join();
        assert_eq!((rig.metrics.left.get(), rig.metrics.expired.get()), (1, 1));
        assert_eq!(*rig.doubler.sizes.lock().unwrap(), [1]);
    }

    #[test]
    fn more_rows_than_fit_run_in_pieces_and_come_back_whole() {
        let config = BatchingConfig {
            max_batch_size: 4,
            ..BatchingConfig::default()
        };
        let rig = rig(&config, None);
        let values: Vec<i64> = (100..110).collect();
        let expected = values.iter().map(|value| value * 2).collect();
        assert_eq!(rows(rig.submit(values)), Ok(expected));
        assert_eq!(*rig.doubler.sizes.lock().unwrap(), [4, 4, 2]);
    }

    #[test]
    fn stopping_finishes_what_was_accepted_and_refuses_the_rest() {
        let (gate, waiting) = mpsc::channel();
        let rig = rig(&BatchingConfig::default(), Some(waiting));
        let accepted = [rig.submit(vec![1]), rig.submit(vec![2])];
        rig.batcher.close();
        let now = Instant::now();
        let refused = rig.batcher.submit(
            vec![tensor(vec![3])],
            now,
            now + Duration::from_secs(60),
            Priority::default(),
        );
        assert_eq!(refused.map(|_| ()), Err(Refusal::Closed));
        (0..2).for_each(|_| gate.send(()).unwrap());
        rig.batcher.join();
        assert_eq!(accepted.map(rows), [Ok(vec![2]), Ok(vec![4])]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn whoever_asks_gets_their_own_rows(
            requests in prop::collection::vec(prop::collection::vec(-50_i64..50, 1..9), 1..60),
            clients in 1_usize..5,
            instances in 1_usize..4,
            max_batch_size in 1_usize..12,
        ) {
            let config = BatchingConfig { instances, max_batch_size, ..BatchingConfig::default() };
            let rig = rig(&config, None);
            thread::scope(|scope| {
                for client in 0..clients {
                    let (rig, requests) = (&rig, &requests);
                    scope.spawn(move || {
                        let own: Vec<&Vec<i64>> = requests.iter().skip(client).step_by(clients).collect();
                        let pending: Vec<_> = own.iter().map(|values| rig.submit((*values).clone())).collect();
                        for (values, answer) in own.into_iter().zip(all_rows(pending)) {
                            let fails = values.iter().any(|value| matches!(value, 13 | 14));
                            let expected: Vec<i64> = values.iter().map(|value| value * 2).collect();
                            assert_eq!(answer, if fails { Err(RunError::Engine) } else { Ok(expected) });
                        }
                    });
                }
            });
            rig.batcher.join();
        }
    }
}
