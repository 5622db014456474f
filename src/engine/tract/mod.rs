//! The tract engine: pure Rust, one optimised plan for each concrete input shape.
//!
//! Plans with a symbolic batch dimension were measured: one convolution net ran five times slower, and some real
//! graphs failed. So a plan is made for concrete shapes only, and the plans are kept in a bounded cache.

mod cast;
mod convert;
mod declared;
mod log_sum_exp;
mod narrow_gru;
mod operator;
mod operators;
mod plans;
mod text_vectorizer;
mod weights;

use std::path::Path;
use std::sync::Arc;

use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{DatumType, InferenceFact, InferenceModel, InferenceModelExt, TypedModel};
use tract_onnx::tract_hir::internal::{IntoRunnable, TractError};

use self::plans::{Plan, Plans};
use self::weights::Weights;
use super::inspect::inspect;
use super::maps::{Dissolved, dissolve};
use super::ml_ops::MlError;
use super::probe::Probed;
use super::rows::{Padding, Shape, buckets, run_rows, shapes, try_out, zeros};
use super::{Engine, EngineError, Extent, Graph, LoadOptions, contain_panics, file, probe};
use crate::model::dictionary::Dictionary;
use crate::model::signature::{Batch, Signature};
use crate::model::tensor::Tensor;

/// Graph files up to this size have the plans of all batch sizes made at load, in milliseconds each.
const SMALL_GRAPH_BYTES: u64 = 16 << 20;
/// The batches of a larger graph whose rows differ in length, such as an encoder of texts: a plan for each of these and
/// each length. A row more than there are would cost more than another run, and so many values together are enough: a batch
/// of 16 rows of 16 tokens took two thirds of the time of 16 rows, one of 4 rows of 64 tokens as long as 4 rows.
const PIECES: &[usize] = &[1, 4, 16];
const VALUES_TOGETHER: usize = 256;
/// The longest text of an error that is kept.
const MAX_ERROR_LENGTH: usize = 600;

/// A graph that tract has read.
pub(super) struct TractGraph {
    graph: InferenceModel,
    /// The element types of the inputs, as tract names them.
    input_types: Vec<DatumType>,
    signature: Signature,
    doubt: Option<EngineError>,
    /// The names of the classes, where the graph says them.
    classes: Vec<String>,
    dictionaries: Vec<Dictionary>,
    plans: Plans,
    weights: Weights,
    options: LoadOptions,
    is_small: bool,
    /// Whether rows differ in the length of their only axis, in all inputs.
    has_lengths: bool,
}

impl TractGraph {
    /// Reads the ONNX file at `path`, and weights that lie beside it.
    pub(super) fn load(path: &Path, options: &LoadOptions) -> Result<Self, EngineError> {
        let file = file::read(path)?;
        let file_bytes = file.len() as u64;
        let mut proto = file::decode(&file)?;
        let reader = operators::reader();
        let folder = path.canonicalize()?;
        inspect(&proto, folder.parent().unwrap_or(&folder))?;
        let Dissolved {
            classes,
            dictionaries,
            ..
        } = dissolve(&mut proto, &file)?;
        drop(file);
        let Some(declared) = &mut proto.graph else {
            return Err(EngineError::Malformed("it holds no graph".to_owned()));
        };
        operators::check(&reader, declared)?;
        log_sum_exp::stabilise(declared);
        text_vectorizer::fuse(declared);
        // Before tract reads it: what it says of types that it lacks is hard to understand.
        let input_types = declared::input_types(declared)?;
        let (inputs, outputs) = (
            declared::input_specs(declared)?,
            declared::output_specs(declared)?,
        );
        let graph = parse(&reader, &proto, path)?;
        let analyse =
            |shapes: &[&[usize]]| declared::found_outputs(&typed(&graph, &input_types, shapes)?, &outputs);
        let Probed { signature, doubt } = probe::signature(inputs, outputs.clone(), analyse)?;
        let has_length = |input| matches!(signature.row_shape(input), [None]);
        Ok(Self {
            has_lengths: signature.inputs.iter().all(has_length),
            weights: Weights::default(),
            graph,
            input_types,
            signature,
            doubt,
            classes,
            dictionaries,
            plans: Plans::for_graph_of(file_bytes),
            options: options.clone(),
            is_small: file_bytes <= SMALL_GRAPH_BYTES,
        })
    }

    /// Why it may not run, although it could be loaded.
    pub(super) fn take_doubt(&mut self) -> Option<EngineError> {
        self.doubt.take()
    }

    /// The plan for inputs of these shapes, from the cache or made now.
    fn plan(&self, inputs: &[Tensor]) -> Result<Arc<Plan>, EngineError> {
        let shapes: Vec<&[usize]> = inputs.iter().map(Tensor::shape).collect();
        if let Some(plan) = self.plans.get(&shapes) {
            return Ok(plan);
        }
        // Outside the cache's lock: another engine of this graph may run while this one prepares.
        let plan = typed(&self.graph, &self.input_types, &shapes)?
            .into_optimized()
            .and_then(|mut plan| {
                self.weights.share(&mut plan);
                plan.into_runnable()
            })
            .map_err(|error| EngineError::Unprepared(text_of(&error)))?;
        self.plans.put(&shapes, Arc::clone(&plan));
        Ok(plan)
    }

    /// Runs tensors that have the graph's own shapes.
    fn run_plan(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        let plan = self.plan(&inputs)?;
        let inputs = convert::to_tract(inputs, &self.input_types)?;
        let outputs = plan.run(inputs).map_err(|error| failed(&error))?;
        outputs.iter().map(|output| convert::from_tract(output)).collect()
    }

    fn run(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        let batch = self.signature.batch;
        let usual = self.padding(inputs.first().map_or(1, Tensor::row_len));
        let instead = self.sizes_instead(&inputs, usual);
        let padding = instead.as_deref().map_or(usual, Padding::Pieces);
        run_rows(batch, padding, inputs, |inputs| self.run_plan(inputs))
    }

    /// The sizes that there are plans for, where one that would usually take these rows is put off.
    fn sizes_instead(&self, inputs: &[Tensor], usual: Padding<'_>) -> Option<Vec<usize>> {
        if !self.plans.has_put_off() || self.signature.batch != Batch::Free {
            return None;
        }
        let sizes = match usual {
            Padding::Pieces(sizes) => sizes.to_vec(),
            _ => vec![usual.size(inputs.first()?.rows())],
        };
        let own: Vec<&[usize]> = inputs.iter().map(Tensor::shape).collect();
        let is_put_off = |&rows: &usize| {
            let row = |shape: &&[usize]| [&[rows], &shape[1..]].concat();
            let shapes: Vec<Vec<usize>> = own.iter().map(row).collect();
            self.plans.is_put_off(&slices(&shapes))
        };
        let is_any = sizes.iter().any(is_put_off);
        is_any
            .then(|| self.plans.sizes(&own))
            .filter(|sizes| !sizes.is_empty())
    }

    /// What becomes of a batch whose rows have so many values in their first input.
    fn padding(&self, row_len: usize) -> Padding<'static> {
        if self.is_small || !self.has_lengths {
            return Padding::PowersOfTwo(self.options.max_batch_size);
        }
        let fits = |&&rows: &&usize| rows <= self.options.max_batch_size && rows * row_len <= VALUES_TOGETHER;
        let count = PIECES.iter().take_while(fits).count();
        Padding::Pieces(&PIECES[..count.max(1)])
    }

    /// The shapes of rows that will run together, the most frequent first.
    fn shapes_of(&self, lengths: &[usize]) -> Vec<Shape> {
        let known = lengths.iter().copied().map(Some);
        let free: Vec<Option<usize>> = if lengths.is_empty() {
            vec![None]
        } else {
            known.collect()
        };
        let shapes = |length: Option<usize>| {
            let rows: Vec<usize> = match (self.signature.batch, self.padding(length.unwrap_or(1))) {
                (Batch::Free, Padding::Pieces(sizes)) => sizes.to_vec(),
                (Batch::Free, _) if self.is_small => buckets(self.options.max_batch_size).collect(),
                _ => vec![1],
            };
            rows.into_iter().map(move |rows| (rows, length))
        };
        free.into_iter().flat_map(shapes).collect()
    }

    fn put_off(&self, put_off: &[Shape]) {
        let known = put_off.iter().filter_map(|&shape| shapes(&self.signature, shape));
        known.for_each(|shapes| self.plans.put_off(shapes));
    }
}

/// Those of all shapes that are prepared now, and those that are put off.
fn divided(all: Vec<Shape>, extent: Extent) -> (Vec<Shape>, Vec<Shape>) {
    match extent {
        Extent::All => (all, Vec::new()),
        Extent::Ends => {
            let ends = [all.first(), all.last().filter(|_| all.len() > 1)];
            (ends.into_iter().flatten().copied().collect(), Vec::new())
        }
        Extent::Least => {
            let least = all.iter().map(|(rows, _)| *rows).min();
            all.into_iter().partition(|(rows, _)| Some(*rows) == least)
        }
    }
}

fn slices(shapes: &[Vec<usize>]) -> Vec<&[usize]> {
    shapes.iter().map(Vec::as_slice).collect()
}

impl Graph for TractGraph {
    fn engine_name(&self) -> &'static str {
        "tract"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn dictionaries(&self) -> &[Dictionary] {
        &self.dictionaries
    }

    fn prepare(&self, lengths: &[usize], extent: Extent) -> Result<(), EngineError> {
        let all = self.shapes_of(lengths);
        self.plans
            .make_room(if lengths.is_empty() { 0 } else { all.len() });
        let (now, later) = divided(all, extent);
        self.put_off(&later);
        for (position, &shape) in now.iter().enumerate() {
            let Some(inputs) = zeros(&self.signature, shape) else {
                return Ok(());
            };
            let is_first = position == 0;
            if !is_first {
                self.plan(&inputs)?;
            }
            // All are run, for what a graph takes may show no sooner. The first must be able to: longer texts than it can run may
            // be ones that nobody ever sends.
            let ran = contain_panics(|| try_out(&self.signature, shape, |inputs| self.run(inputs)));
            if is_first {
                ran?;
            }
        }
        Ok(())
    }

    fn is_put_off(&self) -> bool {
        self.plans.has_put_off()
    }

    fn engine(self: Arc<Self>) -> Box<dyn Engine> {
        Box::new(TractEngine(self))
    }
}

/// Plans are shared and hold no state between runs, so that an engine is only a handle.
struct TractEngine(Arc<TractGraph>);

impl Engine for TractEngine {
    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        self.0.run(inputs)
    }
}

/// The graph with concrete shapes in place of free ones.
fn typed(
    graph: &InferenceModel,
    types: &[DatumType],
    shapes: &[&[usize]],
) -> Result<TypedModel, EngineError> {
    let unprepared = |error: TractError| EngineError::Unprepared(text_of(&error));
    let mut graph = graph.clone();
    for (input, (datatype, shape)) in types.iter().zip(shapes).enumerate() {
        let fact = InferenceFact::dt_shape(*datatype, *shape);
        graph.set_input_fact(input, fact).map_err(unprepared)?;
    }
    let mut typed = graph.into_typed().map_err(unprepared)?;
    narrow_gru::project(&mut typed).map_err(unprepared)?;
    Ok(typed)
}

fn parse(reader: &Onnx, proto: &ModelProto, path: &Path) -> Result<InferenceModel, EngineError> {
    let folder = path.parent().and_then(Path::to_str);
    let parsed = reader.parse(proto, folder).map_err(malformed)?;
    if parsed.unresolved_inputs.is_empty() {
        return Ok(parsed.model);
    }
    let names = parsed.unresolved_inputs.join(", ");
    Err(EngineError::Malformed(format!("nothing puts out {names}")))
}

fn failed(error: &TractError) -> EngineError {
    // Types and shapes were settled with the plan, so that what an operator of ours refuses now are values.
    match error.downcast_ref() {
        Some(MlError::Input { problem, .. }) => EngineError::RefusedValues(problem.clone()),
        _ => EngineError::Failed(text_of(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn malformed(error: TractError) -> EngineError {
    EngineError::Malformed(text_of(&error))
}

/// An error with its causes, on one line, cut off where tract quotes whole tensors.
fn text_of(error: &TractError) -> String {
    let text = format!("{error:#}");
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MAX_ERROR_LENGTH) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::weights::packed_weights;
    use super::*;
    use crate::model::engine_choice::EngineChoice;

    #[test]
    fn shapes_are_prepared_from_the_least_to_all() {
        let all = [(1, Some(8)), (4, Some(8)), (1, Some(16)), (4, Some(16))];
        let parts = |extent| divided(all.to_vec(), extent);
        assert_eq!(parts(Extent::Least), (vec![all[0], all[2]], vec![all[1], all[3]]));
        assert_eq!(parts(Extent::Ends), (vec![all[0], all[3]], vec![]));
        assert_eq!(parts(Extent::All), (all.to_vec(), vec![]));
        assert_eq!(divided(vec![(1, None)], Extent::Ends), (vec![(1, None)], vec![]));
    }

    #[test]
    fn plans_of_one_graph_share_their_weights() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nets/dynamo_bert.onnx");
        let options = LoadOptions {
            max_batch_size: 4,
            engine: EngineChoice::Tract,
        };
        let graph = TractGraph::load(&path, &options).unwrap();
        let weights = |length| -> HashSet<usize> {
            let inputs = zeros(&graph.signature, (1, Some(length))).unwrap();
            let mut plan = graph.plan(&inputs).unwrap().model().clone();
            packed_weights(&mut plan)
                .map(|packed| Arc::as_ptr(packed) as usize)
                .collect()
        };
        let lengths = [8, 12, 16, 24, 32];
        let own: Vec<HashSet<usize>> = lengths.into_iter().map(weights).collect();
        let all: HashSet<usize> = own.iter().flatten().copied().collect();
        let (held, packed) = (all.len(), own.iter().map(HashSet::len).sum::<usize>());
        // Kernels for matrices as small as these differ between most lengths, and each likes them packed in its own way.
        assert!(0 < held && held < packed, "{held} of {packed}");
    }
}
