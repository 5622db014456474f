//! Operators of ours as nodes of a tract graph.
//!
//! tract infers types and shapes in both directions until nothing changes. Our operators say what they put out once
//! all of their inputs are known, and that is enough: plans are made for concrete shapes only.

use std::sync::Arc;

use tract_onnx::model::{ParsingContext, optional_outputs};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::SpecialOps;
use tract_onnx::prelude::{
    DatumType, InferenceFact, IntoTValue, TValue, TVec, Tensor as TractTensor, TractResult, TypedFact,
    TypedModel,
};
use tract_onnx::tract_core::internal::DatumTypeExt;
use tract_onnx::tract_core::internal::StaticName;
use tract_onnx::tract_hir::infer::{
    Factoid, GenericFactoid, InferenceModel, InferenceNode, InferenceOp, ShapeFactoid,
};
use tract_onnx::tract_hir::internal::{
    EvalContext, EvalOp, HashMap, Op, OutletId, Symbol, TDim, ToDim, TypedOp, as_op, bail, format_err,
    op_as_typed_op, op_out_of_plan,
};

use super::convert::{datum_type, into_tract, served_as};
use super::operators::{domain_of, plain};
use crate::engine::ml_ops::{self, Attributes, Fact, MlOperator, View};
use crate::model::tensor::{Datatype, Slice};

/// What tract makes of a node: an operator, and names that it needs of the graphs around its own.
pub(super) type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// A node with one of our operators.
#[derive(Clone, Debug)]
pub(super) struct OperatorNode {
    op_type: Arc<str>,
    operator: Arc<dyn MlOperator>,
    /// The outputs that the graph names, by their positions in the operator's definition.
    named_outputs: Arc<[usize]>,
    /// The size that only values tell, in a typed graph.
    free_size: Option<Symbol>,
}

/// Makes the node of one of our operators.
pub(super) fn build_ml(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let expected = domain_of(&node.op_type).unwrap_or_default();
    if plain(&node.domain) != expected {
        bail!(
            "{} is an operator of {expected:?}, and not of {:?}",
            node.op_type,
            node.domain
        );
    }
    let Some(operator) = ml_ops::operator(&node.op_type, Attributes::of(node)) else {
        bail!("{} is not implemented", node.op_type);
    };
    let node = OperatorNode::new(node, Arc::from(operator?));
    Ok((Box::new(node), vec![]))
}

impl OperatorNode {
    /// `operator` in the place of `node`.
    pub(super) fn new(node: &NodeProto, operator: Arc<dyn MlOperator>) -> Self {
        let named = optional_outputs(node).take(node.output.len());
        Self {
            op_type: node.op_type.as_str().into(),
            operator,
            named_outputs: named
                .enumerate()
                .filter_map(|(position, name)| name.map(|_| position))
                .collect(),
            free_size: None,
        }
    }

    /// What it puts out for inputs of these types and shapes.
    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let all = self.operator.outputs(inputs)?;
        self.select(all)
    }

    fn select<T>(&self, all: Vec<T>) -> TractResult<Vec<T>> {
        let count = all.len();
        if self.named_outputs.iter().any(|&position| position >= count) {
            bail!("{} has {count} outputs; the graph names more", self.op_type);
        }
        let named = all.into_iter().enumerate();
        let named = named.filter(|(position, _)| self.named_outputs.contains(position));
        Ok(named.map(|(_, output)| output).collect())
    }
}

// tract compares operators to find nodes that do the same.
impl PartialEq for OperatorNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.operator, &other.operator) && self.named_outputs == other.named_outputs
    }
}

impl Eq for OperatorNode {}

impl Op for OperatorNode {
    fn name(&self) -> StaticName {
        self.op_type.to_string().into()
    }

    fn mints_runtime_symbols(&self) -> bool {
        self.free_size.is_some()
    }

    op_as_typed_op!();
}

impl EvalOp for OperatorNode {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let inputs = counted_in_integers(inputs)?;
        let views = inputs.iter().map(|input| view(input));
        let views: Vec<View<'_>> = views.collect::<TractResult<_>>()?;
        let outputs = self.select(self.operator.run(&views)?)?;
        outputs
            .into_iter()
            .map(|output| Ok(into_tract(output)?.into_tvalue()))
            .collect()
    }
}

impl InferenceOp for OperatorNode {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>)> {
        let cloned =
            |facts: TVec<&InferenceFact>| facts.into_iter().cloned().collect::<TVec<InferenceFact>>();
        let (inputs, mut outputs) = (cloned(inputs), cloned(outputs));
        let known: Option<Vec<Fact>> = inputs.iter().map(fact_if_known).collect::<TractResult<_>>()?;
        if let Some(known) = known {
            let free_axis = self.operator.free_axis(&known);
            for (output, found) in outputs.iter_mut().zip(self.facts(&known)?) {
                let sizes = found
                    .shape
                    .iter()
                    .enumerate()
                    .map(|(axis, size)| match free_axis {
                        Some(free) if free == axis => GenericFactoid::Any,
                        _ => GenericFactoid::Only(size.to_dim()),
                    });
                let shape = ShapeFactoid::closed(sizes.collect());
                output.unify_with(&InferenceFact::dt_shape(datum_type(found.datatype), shape))?;
            }
        }
        Ok((inputs, outputs, cloned(observed)))
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.named_outputs.len())
    }

    fn to_typed(
        &self,
        _: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let inputs: TVec<OutletId> = node.inputs.iter().map(|outlet| mapping[outlet]).collect();
        let facts = inputs.iter().map(|&input| known_fact(target.outlet_fact(input)?));
        let facts: Vec<Fact> = facts.collect::<TractResult<_>>()?;
        let has_free_axis = self.operator.free_axis(&facts).is_some();
        let typed = Self {
            free_size: has_free_axis.then(|| target.symbols.new_with_prefix("size")),
            ..self.clone()
        };
        target.wire_node(&node.name, typed, &inputs)
    }

    as_op!();
}

impl TypedOp for OperatorNode {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let inputs: Vec<Fact> = inputs
            .iter()
            .copied()
            .map(known_fact)
            .collect::<TractResult<_>>()?;
        let free_axis = self.operator.free_axis(&inputs);
        let outputs = self.facts(&inputs)?.into_iter().map(|found| {
            let mut sizes: TVec<TDim> = found.shape.iter().map(ToDim::to_dim).collect();
            if let (Some(axis), Some(free)) = (free_axis, &self.free_size)
                && let Some(size) = sizes.get_mut(axis)
            {
                *size = free.clone().into();
            }
            datum_type(found.datatype).fact(sizes.as_slice())
        });
        Ok(outputs.collect())
    }

    as_op!();
}

/// Type and shape of an input in a typed graph.
fn known_fact(input: &TypedFact) -> TractResult<Fact> {
    let shape = input.shape.as_concrete();
    let shape = shape.ok_or_else(|| format_err!("the shape of an input is not known before it is there"))?;
    fact(input.datum_type, shape)
}

/// Type and shape of an input, once tract knows both.
fn fact_if_known(input: &InferenceFact) -> TractResult<Option<Fact>> {
    let (Some(datatype), Some(shape)) = (input.datum_type.concretize(), input.shape.as_concrete_finite()?)
    else {
        return Ok(None);
    };
    fact(datatype, &shape).map(Some)
}

fn fact(datatype: DatumType, shape: &[usize]) -> TractResult<Fact> {
    let datatype = served_as(datatype).ok_or_else(|| format_err!("no operator takes {datatype:?}"))?;
    Ok(Fact {
        datatype,
        shape: shape.to_vec(),
    })
}

/// `inputs` with 64-bit integers in the place of tract's dimensions.
fn counted_in_integers(mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    for input in &mut inputs {
        if input.datum_type() == DatumType::TDim {
            *input = input.cast_to::<i64>()?.into_owned().into_tvalue();
        }
    }
    Ok(inputs)
}

fn view(tensor: &TractTensor) -> TractResult<View<'_>> {
    let plain = tensor.try_as_plain_ram()?;
    let values = match served_as(tensor.datum_type()) {
        Some(Datatype::Bool) => Slice::Bool(plain.as_slice()?),
        Some(Datatype::U8) => Slice::U8(plain.as_slice()?),
        Some(Datatype::U16) => Slice::U16(plain.as_slice()?),
        Some(Datatype::U32) => Slice::U32(plain.as_slice()?),
        Some(Datatype::U64) => Slice::U64(plain.as_slice()?),
        Some(Datatype::I8) => Slice::I8(plain.as_slice()?),
        Some(Datatype::I16) => Slice::I16(plain.as_slice()?),
        Some(Datatype::I32) => Slice::I32(plain.as_slice()?),
        Some(Datatype::I64) => Slice::I64(plain.as_slice()?),
        Some(Datatype::F16) => Slice::F16(plain.as_slice()?),
        Some(Datatype::F32) => Slice::F32(plain.as_slice()?),
        Some(Datatype::F64) => Slice::F64(plain.as_slice()?),
        Some(Datatype::Text) => Slice::Text(plain.as_slice()?),
        Some(Datatype::BF16) | None => bail!("no operator takes {:?}", tensor.datum_type()),
    };
    Ok(View {
        shape: tensor.shape(),
        values,
    })
}
