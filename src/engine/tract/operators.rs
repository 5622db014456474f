//! Which operators the tract engine has: tract's own, and ours in place of those that it lacks or runs slowly.

use std::sync::Arc;

use tract_onnx::data_resolver::FopenDataResolver;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::{Onnx, onnx};

use super::cast;
use super::operator::build_ml;
use crate::engine::EngineError;
use crate::engine::ml_ops::{ML_DOMAIN, OPERATORS};

/// A reader of ONNX graphs that knows tract's operators and ours.
pub(super) fn reader() -> Onnx {
    let mut reader = Onnx {
        provider: Arc::new(FopenDataResolver),
        // Shapes noted between the operators contradict concrete input shapes in many exported graphs.
        ignore_value_info: true,
        ..onnx()
    };
    for (operator, _) in OPERATORS {
        reader.op_register.insert(operator, build_ml);
    }
    reader.op_register.insert("Cast", cast::build);
    reader
}

/// Names every operator that is not known, rather than the first that tract trips over.
pub(super) fn check(reader: &Onnx, graph: &GraphProto) -> Result<(), EngineError> {
    let mut unknown = Vec::new();
    collect_unknown(reader, graph, &mut unknown);
    if unknown.is_empty() {
        return Ok(());
    }
    unknown.sort_unstable();
    unknown.dedup();
    Err(EngineError::UnsupportedOperators(unknown))
}

fn collect_unknown(reader: &Onnx, graph: &GraphProto, unknown: &mut Vec<String>) {
    for node in &graph.node {
        if !is_known(reader, node) {
            let domain = node.domain.as_str();
            let separator = if domain.is_empty() { "" } else { "." };
            unknown.push(format!("{domain}{separator}{}", node.op_type));
        }
        let inner = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
        for graph in inner {
            collect_unknown(reader, graph, unknown);
        }
    }
}

/// tract finds operators by their type alone; the same type in another domain is another operator.
fn is_known(reader: &Onnx, node: &NodeProto) -> bool {
    match domain_of(&node.op_type) {
        Some(domain) => domain == plain(&node.domain),
        None => node.domain != ML_DOMAIN && reader.op_register.0.contains_key(&node.op_type),
    }
}

/// The domain of one of our operators.
pub(super) fn domain_of(op_type: &str) -> Option<&'static str> {
    let own = OPERATORS.iter().find(|(operator, _)| *operator == op_type)?;
    Some(own.1)
}

/// The domain of ONNX's own operators has two names.
pub(super) fn plain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}
