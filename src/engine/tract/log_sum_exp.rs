//! ReduceLogSumExp for numbers of any size.
//!
//! tract adds up the exponentials as they are: those of log-likelihoods in the thousands, as a naive Bayes classifier
//! has them, are all zero, and the answer was wrong or not a number. With the maximum taken out first and put back after
//! it, log Σ exp(x) = max + log Σ exp(x − max), no exponential is over one and one of them is one.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

/// Takes the maximum out of every ReduceLogSumExp of `graph`, and of the graphs within its nodes, and puts it back.
pub(super) fn stabilise(graph: &mut GraphProto) {
    let nodes = std::mem::take(&mut graph.node);
    for mut node in nodes {
        for attribute in &mut node.attribute {
            attribute
                .g
                .iter_mut()
                .chain(&mut attribute.graphs)
                .for_each(stabilise);
        }
        if node.op_type == "ReduceLogSumExp" && node.domain.is_empty() && !node.input.is_empty() {
            graph.node.extend(stable(&node));
        } else {
            graph.node.push(node);
        }
    }
}

/// All reductions of one operator set take their axes alike, so that what said the axes says them still.
fn stable(node: &NodeProto) -> [NodeProto; 5] {
    let name = format!("{}.stable", node.output.first().map_or("", String::as_str));
    let part = |part: &str| format!("{name}.{part}");
    let values = node.input[0].clone();
    let with_input = |operator: &str, input: String, output: String| {
        let mut changed = node.clone();
        operator.clone_into(&mut changed.op_type);
        changed.name.clone_from(&output);
        changed.input[0] = input;
        changed.output = vec![output];
        changed
    };
    let two = |operator: &str, inputs: [String; 2], output: String| NodeProto {
        op_type: operator.to_owned(),
        name: output.clone(),
        input: inputs.to_vec(),
        output: vec![output],
        ..NodeProto::default()
    };
    let mut column = with_input("ReduceMax", values.clone(), part("column"));
    column.attribute.retain(|attribute| attribute.name != "keepdims");
    column.attribute.push(AttributeProto {
        name: "keepdims".to_owned(),
        i: 1,
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    });
    let output = node.output.first().cloned().unwrap_or_default();
    [
        column,
        with_input("ReduceMax", values.clone(), part("maximum")),
        two("Sub", [values, part("column")], part("shifted")),
        with_input("ReduceLogSumExp", part("shifted"), part("rest")),
        two("Add", [part("rest"), part("maximum")], output),
    ]
}
