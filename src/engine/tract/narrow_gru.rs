//! GRUs over one value at a time, which tract 0.23.9 reads and cannot run.
//!
//! Up to 64 units its whole-sequence operator multiplies values and weights itself. Where a step of the sequence is a single
//! number, as in a series, the product comes out column by column, and the operator then fails with "xw not contiguous".
//! Beyond 64 units it takes the product from nodes of the graph; here the same is done for these GRUs, whatever their size.

use tract_onnx::prelude::{DatumType, TractResult, TypedModel};
use tract_onnx::tract_hir::internal::{AxisOp, OutletId, ToDim, TypedModelPatch, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::array::Slice;
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_hir::tract_core::ops::math::add;

/// Lets every such GRU take its product from the graph.
pub(super) fn project(model: &mut TypedModel) -> TractResult<()> {
    let mut patches = Vec::new();
    for node in model.nodes() {
        if let Some(op) = node.op_as::<GruSeq>()
            && !op.projected
            && model.outlet_fact(node.inputs[0])?.shape[2] == 1.to_dim()
        {
            patches.push(projected(model, node, op)?);
        }
    }
    patches.into_iter().try_for_each(|patch| patch.apply(model))
}

/// `X · Wᵀ + b` as nodes, and the operator on that. The inputs are X, W, R, b where there is one, and the first state.
fn projected(model: &TypedModel, node: &TypedNode, op: &GruSeq) -> TractResult<TypedModelPatch> {
    let name = &node.name;
    let mut patch = TypedModelPatch::default();
    let taps = patch.taps(model, &node.inputs)?;
    let product = EinSum {
        axes: "btk,gk->btg".parse()?,
        operating_dt: DatumType::F32,
        q_params: None,
    };
    let mut product = patch.wire_node(format!("{name}.xw"), product, &taps[..2])?[0];
    if op.has_bias {
        let rank = patch.outlet_fact(taps[3])?.rank();
        let own = Slice::new(rank - 1, 0, 3 * op.hidden);
        let mut bias = patch.wire_node(format!("{name}.wb"), own, &taps[3..4])?[0];
        for axis in rank..3 {
            bias = patch.wire_node(format!("{name}.wb.axis{axis}"), AxisOp::Add(0), &[bias])?[0];
        }
        product = patch.wire_node(format!("{name}.xw_b"), add(), &[product, bias])?[0];
    }
    let mut inputs = vec![product];
    inputs.extend_from_slice(&taps[2..]);
    let op = GruSeq {
        projected: true,
        ..op.clone()
    };
    for (slot, output) in patch.wire_node(name, op, &inputs)?.into_iter().enumerate() {
        patch.shunt_outside(model, OutletId::new(node.id, slot), output)?;
    }
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{DatumExt, IntoTensor, Tensor, tract_ndarray, tvec};
    use tract_onnx::tract_hir::internal::{IntoRunnable, SpecialOps};

    use super::*;

    const UNITS: usize = 2;
    const SEQUENCES: [[f32; 4]; 3] = [
        [1.0, -2.0, 0.5, 3.0],
        [0.0, 0.1, 0.2, 0.3],
        [-1.0, 1.0, -1.0, 1.0],
    ];

    fn number(place: usize) -> f32 {
        (place as f32 * 0.7).sin()
    }

    fn weights(shape: [usize; 2], from: usize) -> Tensor {
        tract_ndarray::Array2::from_shape_fn(shape, |(row, column)| number(from + row * shape[1] + column))
            .into_tensor()
    }

    fn model() -> TypedModel {
        let mut model = TypedModel::default();
        let values = model.add_source("x", f32::fact([3, 4, 1])).unwrap();
        let mut constant = |name: &str, tensor: Tensor| model.add_const(name, tensor).unwrap();
        let inputs = [
            values,
            constant("w", weights([3 * UNITS, 1], 0)),
            constant("r", weights([3 * UNITS, UNITS], 10)),
            constant("b", weights([1, 6 * UNITS], 30)),
            constant("h", Tensor::zero::<f32>(&[3, 1, UNITS]).unwrap()),
        ];
        let op = GruSeq {
            hidden: UNITS,
            has_bias: true,
            chunk: 1,
            emit_y: false,
            reset_every_turn: true,
            projected: false,
            packed_r: None,
        };
        let outputs = model.wire_node("gru", op, &inputs).unwrap();
        model.select_output_outlets(&outputs[1..]).unwrap();
        model
    }

    /// The definition of ONNX's GRU with `linear_before_reset`, unit by unit.
    fn last_state(sequence: &[f32]) -> [f32; UNITS] {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let mut state = [0.0; UNITS];
        for value in sequence {
            let of_value = |gate: usize| value * number(gate) + number(30 + gate);
            let of_state = |gate: usize| {
                let product = |unit: usize| state[unit] * number(10 + gate * UNITS + unit);
                (0..UNITS).map(product).sum::<f32>() + number(30 + 3 * UNITS + gate)
            };
            state = std::array::from_fn(|unit| {
                let [update, reset, candidate] = [unit, UNITS + unit, 2 * UNITS + unit];
                let keep = sigmoid(of_value(update) + of_state(update));
                let open = sigmoid(of_value(reset) + of_state(reset));
                let fresh = (of_value(candidate) + open * of_state(candidate)).tanh();
                keep * state[unit] + (1.0 - keep) * fresh
            });
        }
        state
    }

    #[test]
    fn a_sequence_of_single_numbers_is_run() {
        let mut model = model();
        project(&mut model).unwrap();
        let plan = model.into_optimized().unwrap().into_runnable().unwrap();
        let values = tract_ndarray::Array3::from_shape_fn((3, 4, 1), |(row, time, _)| SEQUENCES[row][time]);
        let outputs = plan.run(tvec!(values.into_tensor().into())).unwrap();
        let states = outputs[0].to_plain_array_view::<f32>().unwrap();
        let expected = SEQUENCES.iter().flat_map(|sequence| last_state(sequence));
        for (&one, other) in states.iter().zip(expected) {
            assert!((one - other).abs() < 1e-6, "{one} {other}");
        }
        assert_eq!(states.len(), 3 * UNITS);
    }
}
