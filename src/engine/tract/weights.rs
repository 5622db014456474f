//! Weights that the plans of one graph share.
//!
//! Each plan packs the weights of its matrix products as its kernels like them, and most plans of one graph like them alike. A
//! sentence encoder of 90 MB packed 46 MB for each shape of its inputs: with 21 plans the worker had 812 MB, and has 361 MB.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tract_onnx::prelude::TypedModel;
use tract_onnx::tract_core::ops::matmul::optimized::{MatMulOperand, OptMatMul, ProtoFusedSpec};
use tract_onnx::tract_core::tract_data::prelude::Blob;
use tract_onnx::tract_core::tract_linalg::mmm::EagerPackedInput;

use crate::system::gather_in_large_pages;

/// Weights from this size on, in bytes, go into large pages. A product of one row with a matrix of 100 MB, which reads all of it
/// once, took 6.2 ms in small pages and 3.6 ms in large ones.
const LARGE: usize = 4 << 20;

/// What plans hold now.
#[derive(Default)]
pub(super) struct Weights(Mutex<Vec<Weak<Blob>>>);

impl Weights {
    /// Puts what other plans hold in the place of equal weights of `plan`.
    pub(super) fn share(&self, plan: &mut TypedModel) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|weight| weight.strong_count() > 0);
        for packed in packed_weights(plan) {
            let equal = known
                .iter()
                .filter_map(Weak::upgrade)
                .find(|other| other == packed);
            match equal {
                Some(shared) => *packed = shared,
                None => {
                    if packed.len() >= LARGE {
                        gather_in_large_pages(packed);
                    }
                    known.push(Arc::downgrade(packed));
                }
            }
        }
    }
}

/// What the matrix products of a plan have packed.
pub(super) fn packed_weights(plan: &mut TypedModel) -> impl Iterator<Item = &mut Arc<Blob>> {
    let products = plan
        .nodes
        .iter_mut()
        .filter_map(|node| node.op_as_mut::<OptMatMul>());
    let steps = products.flat_map(|product| &mut product.micro_ops);
    let operands = steps.flat_map(|step| match step {
        ProtoFusedSpec::AddMatMul { a, b, .. } => vec![a, b],
        _ => Vec::new(),
    });
    operands.filter_map(|operand| match operand {
        MatMulOperand::Const(value) => Some(&mut value.downcast_mut::<EagerPackedInput>()?.packed),
        MatMulOperand::Input(_) => None,
    })
}
