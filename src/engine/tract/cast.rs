//! Cast: ours where one side is texts, and tract's for all else.

use std::sync::Arc;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{Datum, DatumType, SpecialOps, TDim, TractResult, TypedModel};
use tract_onnx::tract_core::internal::StaticName;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::internal::{
    Expansion, InferenceResult, IntoExp, OutletId, Solver, TVec, TensorProxy, check_input_arity,
    check_output_arity, expand,
};

use super::convert::datum_type;
use super::operator::{Built, OperatorNode};
use crate::engine::ml_ops::{Attributes, MlOperator, text_cast};

#[derive(Clone, Debug)]
struct Cast {
    to: DatumType,
    of_texts: OperatorNode,
}

/// Makes the node of a Cast.
pub(super) fn build(_: &ParsingContext<'_>, node: &NodeProto) -> Built {
    let (datatype, of_texts) = text_cast(Attributes::of(node))?;
    let of_texts: Arc<dyn MlOperator> = Arc::new(of_texts);
    let cast = Cast {
        to: datum_type(datatype),
        of_texts: OperatorNode::new(node, of_texts),
    };
    Ok((expand(cast), vec![]))
}

impl Cast {
    fn is_of_texts(&self, from: DatumType) -> bool {
        from == String::datum_type() || self.to == String::datum_type()
    }

    /// tract counts in dimensions where ONNX counts in 64-bit integers, so that sizes stay known while it prepares.
    fn output_type(&self, from: DatumType) -> DatumType {
        if self.to == i64::datum_type() && !self.is_of_texts(from) {
            TDim::datum_type()
        } else {
            self.to
        }
    }
}

impl Expansion for Cast {
    fn name(&self) -> StaticName {
        "Cast".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&outputs[0].rank, &inputs[0].rank)?;
        solver.equals(&outputs[0].shape, &inputs[0].shape)?;
        solver.given(&inputs[0].datum_type, |solver, from| {
            solver.equals(&outputs[0].datum_type, self.output_type(from).bex())
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let from = model.outlet_fact(inputs[0])?.datum_type;
        if self.is_of_texts(from) {
            model.wire_node(prefix, self.of_texts.clone(), inputs)
        } else {
            model.wire_node(prefix, cast(self.output_type(from)), inputs)
        }
    }
}
