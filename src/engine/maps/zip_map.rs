//! ZipMap without maps.
//!
//! scikit-learn's exporter ends its classifiers in a ZipMap: a sequence that holds, for each row, a map from class to
//! probability. No tensor engine has such values. So the node is taken out before an engine sees the graph: its
//! output becomes the tensor of probabilities itself, and the keys of the maps become the names of the classes.

use tract_onnx::pb::GraphProto;
use tract_onnx::pb::tensor_proto::DataType;

use super::{declare_outputs, replace};
use crate::engine::EngineError;
use crate::engine::ml_ops::{Attributes, ClassLabels};

/// Makes every ZipMap of `graph` an Identity. The names of the classes, in the order of the probabilities: no names where
/// there are several such nodes, and nothing at all where there is none.
pub(super) fn unzip(graph: &mut GraphProto) -> Result<Option<Vec<String>>, EngineError> {
    let mut found: Vec<Vec<String>> = Vec::new();
    let GraphProto { node, output, .. } = graph;
    for node in node.iter_mut().filter(|node| node.op_type == "ZipMap") {
        let labels = ClassLabels::read(Attributes::of(node), "classlabels_int64s");
        let classes = labels
            .map_err(|error| EngineError::Malformed(format!("ZipMap: {error}")))?
            .names();
        declare_outputs(output, &node.output, DataType::Float, Some(classes.len()));
        replace(node, "Identity", Vec::new());
        found.push(classes);
    }
    let last = found.pop();
    Ok(last.map(|last| if found.is_empty() { last } else { Vec::new() }))
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::{AttributeProto, NodeProto, ValueInfoProto};

    use super::super::matrix;
    use super::*;

    fn zip_map(attribute: AttributeProto) -> GraphProto {
        GraphProto {
            node: vec![NodeProto {
                op_type: "ZipMap".into(),
                domain: "ai.onnx.ml".into(),
                input: vec!["probabilities".into()],
                output: vec!["maps".into()],
                attribute: vec![attribute],
                ..NodeProto::default()
            }],
            output: vec![ValueInfoProto {
                name: "maps".into(),
                ..ValueInfoProto::default()
            }],
            ..GraphProto::default()
        }
    }

    #[test]
    fn the_maps_become_a_tensor_and_their_keys_names() {
        let mut graph = zip_map(AttributeProto {
            name: "classlabels_int64s".into(),
            ints: vec![3, -1],
            ..AttributeProto::default()
        });
        assert_eq!(unzip(&mut graph).unwrap().unwrap(), ["3", "-1"]);
        assert_eq!(graph.node[0].op_type, "Identity");
        assert_eq!(graph.output[0].r#type, Some(matrix(DataType::Float, Some(2))));
    }

    #[test]
    fn a_zip_map_without_labels_is_no_whole_graph() {
        let mut graph = zip_map(AttributeProto::default());
        assert!(unzip(&mut graph).is_err());
    }
}
