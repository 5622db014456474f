//! The work of an engine thread, and the promise that each request gets exactly its own rows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::batcher::{Entry, RunError};
use super::collect::{Collected, Limits, Waiting};
use super::pace::Pace;
use super::queue::Queue;
use crate::engine::{Engine, EngineError, Graph, contain_panics};
use crate::model::tensor::Tensor;
use crate::telemetry::worker_metrics::BatchMetrics;
use crate::worker::load::ModelLoad;
use crate::worker::statistics::{RunTimes, Statistics};

/// What one engine thread owns.
pub(super) struct Executor {
    pub(super) label: String,
    pub(super) queue: Arc<Queue<Entry>>,
    pub(super) graph: Arc<dyn Graph>,
    pub(super) engine: Box<dyn Engine>,
    pub(super) limits: Limits,
    pub(super) metrics: BatchMetrics,
    pub(super) statistics: Arc<Statistics>,
    pub(super) load: Arc<ModelLoad>,
    pub(super) pace: Arc<Pace>,
    /// How many of its kind work for this queue.
    pub(super) engines: u32,
}

impl Executor {
    pub(super) fn run(mut self) {
        while let Some(collected) = self.queue.take(self.limits) {
            self.work(collected);
        }
    }

    /// Runs what waits, batch after batch, and waits for nothing. False: it took this time, and something is left.
    pub(super) fn work_off(&mut self, limit: Duration) -> bool {
        let begun = Instant::now();
        while let Some(collected) = self.queue.take_now(self.limits) {
            self.work(collected);
            if begun.elapsed() >= limit {
                return self.queue.len() == 0;
            }
        }
        true
    }

    fn work(&mut self, collected: Collected<Entry>) {
        self.metrics.left.inc_by(collected.left.len() as u64);
        self.metrics.expired.inc_by(collected.expired.len() as u64);
        for entry in collected.expired {
            entry.answer(Err(RunError::DeadlineExceeded));
        }
        let now = Instant::now();
        for entry in &collected.batch {
            let waited = now.saturating_duration_since(entry.since);
            self.metrics.queue_seconds.observe(waited.as_secs_f64());
            self.statistics.waited(waited);
        }
        self.run_batch(collected.batch);
    }

    /// Runs what was collected. If a batch of several requests fails, each runs alone, so that one poisonous request
    /// fails alone.
    fn run_batch(&mut self, batch: Vec<Entry>) {
        if batch.len() > 1 {
            match self.run_together(&batch) {
                Ok(answers) => {
                    for (entry, answer) in batch.into_iter().zip(answers) {
                        entry.answer(Ok(answer));
                    }
                    return;
                }
                Err(error) => {
                    let requests = batch.len();
                    tracing::debug!(model = self.label, requests, %error, "a batch failed; its requests run one by one");
                }
            }
        }
        for entry in batch {
            self.run_alone(entry);
        }
    }

    fn run_together(&mut self, batch: &[Entry]) -> Result<Vec<Vec<Tensor>>, EngineError> {
        let begun = Instant::now();
        let mut inputs = Vec::with_capacity(batch[0].inputs.len());
        for position in 0..batch[0].inputs.len() {
            let parts: Vec<&Tensor> = batch.iter().map(|entry| &entry.inputs[position]).collect();
            inputs.push(Tensor::stack(&parts)?);
        }
        let input = begun.elapsed();
        let (outputs, run) = self.run_engine(inputs)?;
        let begun = Instant::now();
        let mut start = 0;
        let mut answers = Vec::with_capacity(batch.len());
        for entry in batch {
            let rows = entry.rows();
            answers.push(
                outputs
                    .iter()
                    .map(|output| output.slice_rows(start, rows))
                    .collect(),
            );
            start += rows;
        }
        let output = begun.elapsed();
        let times = RunTimes { input, output, ..run };
        self.statistics.ran(start, times);
        self.computed(batch.len(), start, times);
        Ok(answers)
    }

    fn run_alone(&mut self, mut entry: Entry) {
        let inputs = std::mem::take(&mut entry.inputs);
        let rows = inputs.first().map_or(0, Tensor::rows);
        let outcome = if rows > self.limits.max_rows {
            self.run_in_pieces(&inputs, &entry)
        } else {
            self.run_whole(inputs).map(Some)
        };
        match outcome {
            Ok(Some(outputs)) => entry.answer(Ok(outputs)),
            Ok(None) if entry.has_left() => self.metrics.left.inc(),
            Ok(None) => {
                self.metrics.expired.inc();
                entry.answer(Err(RunError::DeadlineExceeded));
            }
            Err(EngineError::RefusedValues(reason)) => entry.answer(Err(RunError::RefusedValues(reason))),
            Err(error) => {
                tracing::error!(model = self.label, rows, %error, "a request could not be run");
                entry.answer(Err(RunError::Engine));
            }
        }
    }

    fn run_whole(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        let rows = inputs.first().map_or(0, Tensor::rows);
        let (outputs, times) = self.run_engine(inputs)?;
        self.statistics.ran(rows, times);
        self.computed(1, rows, times);
        Ok(outputs)
    }

    /// Runs more rows than may run together; none if nobody wants them any more before all of them ran.
    fn run_in_pieces(
        &mut self,
        inputs: &[Tensor],
        entry: &Entry,
    ) -> Result<Option<Vec<Tensor>>, EngineError> {
        let rows = inputs.first().map_or(0, Tensor::rows);
        let mut whole: Vec<Tensor> = Vec::new();
        let mut total = RunTimes::default();
        for start in (0..rows).step_by(self.limits.max_rows) {
            if entry.has_left() || entry.deadline <= Instant::now() {
                return Ok(None);
            }
            let count = self.limits.max_rows.min(rows - start);
            let piece = |input: &Tensor| input.slice_rows(start, count);
            let (outputs, times) = self.run_engine(inputs.iter().map(piece).collect())?;
            self.statistics.ran(count, times);
            total.infer += times.infer;
            if whole.is_empty() {
                whole = outputs;
                continue;
            }
            for (all, output) in whole.iter_mut().zip(outputs) {
                all.append(output)?;
            }
        }
        self.computed(1, rows, total);
        Ok(Some(whole))
    }

    /// Counts requests that have their outputs now.
    fn computed(&self, requests: usize, rows: usize, times: RunTimes) {
        self.statistics.computed(requests, rows, times);
        self.load.computed(requests, Instant::now());
    }

    /// One run of the engine, measured, its panics contained and its rows counted.
    fn run_engine(&mut self, inputs: Vec<Tensor>) -> Result<(Vec<Tensor>, RunTimes), EngineError> {
        let expected = inputs.first().map_or(0, Tensor::rows);
        self.metrics.batch_rows.observe(expected as f64);
        let begun = Instant::now();
        let outcome = contain_panics(|| self.engine.run(inputs));
        let ended = Instant::now();
        let times = RunTimes {
            infer: ended - begun,
            ..RunTimes::default()
        };
        self.pace.note(expected, times.infer);
        self.load.ran(times.infer, self.engines, ended);
        self.metrics.inference_seconds.observe(times.infer.as_secs_f64());
        if matches!(outcome, Err(EngineError::Panicked(_))) {
            // Whatever state the panic left behind goes with the old engine.
            self.engine = Arc::clone(&self.graph).engine();
        }
        let outputs = outcome?;
        let wrong = outputs.iter().position(|output| output.rows() != expected);
        match wrong {
            None => Ok((outputs, times)),
            Some(output) => Err(EngineError::RowCount {
                output,
                expected,
                found: outputs[output].rows(),
            }),
        }
    }
}
