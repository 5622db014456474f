//! What can be told of a file before any engine reads it: whether its weights are what they claim to be, whether they
//! lie where they may, and whether its nodes can be put into an order.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Component, Path};

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

use super::EngineError;
use crate::model::tensor::element_count;

/// Names that an error lists.
const LISTED_NAMES: usize = 5;

/// Refuses a model that cannot be what it says. `folder` is where its file lies, without links on the way.
pub(super) fn inspect(model: &ModelProto, folder: &Path) -> Result<(), EngineError> {
    let Some(graph) = &model.graph else {
        return Err(EngineError::Malformed("it holds no graph".to_owned()));
    };
    // It comes last in most files, so that this also finds those that were cut off shortly before their end.
    if model.opset_import.is_empty() {
        return Err(EngineError::Malformed("it names no operator set".to_owned()));
    }
    inspect_graph(graph, folder).map_err(EngineError::Malformed)
}

fn inspect_graph(graph: &GraphProto, folder: &Path) -> Result<(), String> {
    for weight in &graph.initializer {
        inspect_tensor(weight, folder)?;
    }
    for node in &graph.node {
        for attribute in &node.attribute {
            let tensors = attribute.t.iter().chain(&attribute.tensors);
            tensors
                .into_iter()
                .try_for_each(|tensor| inspect_tensor(tensor, folder))?;
            let graphs = attribute.g.iter().chain(&attribute.graphs);
            graphs
                .into_iter()
                .try_for_each(|graph| inspect_graph(graph, folder))?;
        }
    }
    inspect_order(&graph.node)
}

fn inspect_tensor(tensor: &TensorProto, folder: &Path) -> Result<(), String> {
    let name = &tensor.name;
    let sizes: Result<Vec<usize>, _> = tensor.dims.iter().map(|&size| size.try_into()).collect();
    let count = sizes
        .ok()
        .and_then(|sizes| element_count(&sizes))
        .and_then(|count| u64::try_from(count).ok())
        .ok_or_else(|| format!("tensor {name:?} has the impossible shape {:?}", tensor.dims))?;
    if tensor.data_location == Some(DataLocation::External as i32) {
        return inspect_external(tensor, count, folder);
    }
    let Some(held) = held_elements(tensor) else {
        return Ok(());
    };
    if held == count {
        return Ok(());
    }
    Err(format!(
        "tensor {name:?} of the shape {:?} should hold {count} values and holds {held}",
        tensor.dims
    ))
}

/// Bytes of one element as it lies in a file; none for texts and for types that share bytes.
fn element_bytes(tensor: &TensorProto) -> Option<u64> {
    Some(match DataType::try_from(tensor.data_type).ok()? {
        DataType::Bool | DataType::Uint8 | DataType::Int8 => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 2,
        DataType::Uint32 | DataType::Int32 | DataType::Float => 4,
        DataType::Uint64 | DataType::Int64 | DataType::Double | DataType::Complex64 => 8,
        DataType::Complex128 => 16,
        _ => return None,
    })
}

/// How many elements lie in the tensor itself; none where that cannot be told.
fn held_elements(tensor: &TensorProto) -> Option<u64> {
    let held = if tensor.raw_data.is_empty() {
        match DataType::try_from(tensor.data_type).ok()? {
            DataType::Float => tensor.float_data.len(),
            DataType::Double => tensor.double_data.len(),
            DataType::Int64 => tensor.int64_data.len(),
            DataType::Uint32 | DataType::Uint64 => tensor.uint64_data.len(),
            DataType::String => tensor.string_data.len(),
            DataType::Bool
            | DataType::Uint8
            | DataType::Int8
            | DataType::Uint16
            | DataType::Int16
            | DataType::Int32
            | DataType::Float16
            | DataType::Bfloat16 => tensor.int32_data.len(),
            _ => return None,
        }
    } else {
        let bytes = usize::try_from(element_bytes(tensor)?).ok()?;
        if !tensor.raw_data.len().is_multiple_of(bytes) {
            return Some(u64::MAX);
        }
        tensor.raw_data.len() / bytes
    };
    u64::try_from(held).ok()
}

/// Weights beside the graph must lie in a file in its folder, and that must be long enough.
fn inspect_external(tensor: &TensorProto, count: u64, folder: &Path) -> Result<(), String> {
    let name = &tensor.name;
    let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key);
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(entry) => entry.value.parse::<u64>().map(Some).map_err(|_| {
            format!(
                "tensor {name:?} names the {key} {:?} in its file; expected a whole number",
                entry.value
            )
        }),
    };
    let location = entry("location").map_or("", |entry| entry.value.as_str());
    let is_inside = |component| matches!(component, Component::Normal(_) | Component::CurDir);
    let leads_out =
        || format!("tensor {name:?} lies in {location:?}; expected a file in the model's own folder");
    if location.is_empty() || !Path::new(location).components().all(is_inside) {
        return Err(leads_out());
    }
    let unreadable = |error| format!("tensor {name:?} lies in {location:?}, which cannot be read: {error}");
    let path = folder.join(location).canonicalize().map_err(unreadable)?;
    if !path.starts_with(folder) || !path.is_file() {
        return Err(leads_out());
    }
    let available = fs::metadata(&path).map_err(unreadable)?.len();
    let offset = number("offset")?.unwrap_or(0);
    let length = match number("length")? {
        Some(length) => length,
        None => available.saturating_sub(offset),
    };
    if offset.checked_add(length).is_none_or(|end| end > available) {
        return Err(format!(
            "tensor {name:?} takes {length} bytes from {offset} on of {location:?}, which has {available}"
        ));
    }
    match element_bytes(tensor).map(|bytes| count.checked_mul(bytes)) {
        Some(expected) if expected != Some(length) => Err(format!(
            "tensor {name:?} of the shape {:?} does not take the {length} bytes that {location:?} has for it",
            tensor.dims
        )),
        _ => Ok(()),
    }
}

/// Nodes that wait for each other never run.
fn inspect_order(nodes: &[NodeProto]) -> Result<(), String> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (position, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if makers.insert(output, position).is_some() {
                return Err(format!("two nodes put out {output:?}"));
            }
        }
    }
    let makers_of = |node: &NodeProto| -> HashSet<usize> {
        let inputs = node.input.iter().map(String::as_str);
        inputs.filter_map(|name| makers.get(name).copied()).collect()
    };
    let mut missing: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (position, node) in nodes.iter().enumerate() {
        let needed = makers_of(node);
        missing.push(needed.len());
        needed.into_iter().for_each(|maker| users[maker].push(position));
    }
    let mut able: Vec<usize> = (0..nodes.len()).filter(|&node| missing[node] == 0).collect();
    let mut ordered = 0;
    while let Some(node) = able.pop() {
        ordered += 1;
        for &user in &users[node] {
            missing[user] -= 1;
            if missing[user] == 0 {
                able.push(user);
            }
        }
    }
    if ordered == nodes.len() {
        return Ok(());
    }
    let waiting = nodes.iter().zip(&missing).filter(|(_, missing)| **missing > 0);
    let outputs: Vec<&str> = waiting
        .filter_map(|(node, _)| node.output.first().map(String::as_str))
        .collect();
    let listed = &outputs[..outputs.len().min(LISTED_NAMES)];
    Err(format!(
        "its nodes wait for each other in a cycle, among them the makers of {}",
        listed.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::{OperatorSetIdProto, StringStringEntryProto};

    use super::*;

    fn floats(name: &str, dims: &[i64], values: usize) -> TensorProto {
        TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            raw_data: vec![0; values * 4],
            ..TensorProto::default()
        }
    }

    fn beside(dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        TensorProto {
            data_location: Some(DataLocation::External as i32),
            external_data: entries.iter().map(entry).collect(),
            raw_data: Vec::new(),
            ..floats("w", dims, 0)
        }
    }

    fn node(input: &str, output: &str) -> NodeProto {
        NodeProto {
            input: vec![input.into()],
            output: vec![output.into()],
            op_type: "Relu".into(),
            ..NodeProto::default()
        }
    }

    fn model(weights: Vec<TensorProto>, nodes: Vec<NodeProto>) -> ModelProto {
        ModelProto {
            opset_import: vec![OperatorSetIdProto::default()],
            graph: Some(GraphProto {
                initializer: weights,
                node: nodes,
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    fn refusal(model: &ModelProto) -> String {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        fs::write(folder.join("weights.bin"), [0; 16]).unwrap();
        let _ = std::os::unix::fs::symlink("/etc/hostname", folder.join("link"));
        inspect(model, &folder).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn a_weight_holds_as_many_values_as_its_shape_says() {
        assert_eq!(refusal(&model(vec![floats("w", &[2, 2], 4)], vec![])), "fine");
        assert_eq!(refusal(&model(vec![floats("w", &[], 1)], vec![])), "fine");
        assert_eq!(refusal(&model(vec![floats("w", &[0, 7], 0)], vec![])), "fine");
        let huge = refusal(&model(vec![floats("w", &[1 << 20, 1 << 20], 0)], vec![]));
        assert!(
            huge.contains("1099511627776") && huge.contains("holds 0"),
            "{huge}"
        );
        for dims in [&[-1][..], &[1 << 40, 1 << 40]] {
            let text = refusal(&model(vec![floats("w", dims, 1)], vec![]));
            assert!(text.contains("impossible"), "{text}");
        }
    }

    #[test]
    fn weights_outside_the_folder_are_refused() {
        let of = |entries: &[(&str, &str)]| refusal(&model(vec![beside(&[4], entries)], vec![]));
        assert_eq!(of(&[("location", "weights.bin")]), "fine");
        assert_eq!(
            of(&[("location", "./weights.bin"), ("offset", "0"), ("length", "16")]),
            "fine"
        );
        for location in ["../x", "/etc/hostname", "", "a/../../x", "link", "."] {
            let text = of(&[("location", location)]);
            assert!(text.contains("own folder"), "{location}: {text}");
        }
        assert!(of(&[("location", "nowhere")]).contains("cannot be read"));
        assert!(of(&[("location", "weights.bin"), ("length", "17")]).contains("has 16"));
        assert!(
            of(&[("location", "weights.bin"), ("offset", "18446744073709551615")]).contains("takes 0 bytes")
        );
        assert!(of(&[("location", "weights.bin"), ("offset", "8")]).contains("8 bytes"));
        assert!(of(&[("location", "weights.bin"), ("offset", "x")]).contains("whole number"));
    }

    #[test]
    fn nodes_may_stand_in_any_order_but_not_in_a_circle() {
        let any_order = vec![node("b", "c"), node("x", "b")];
        assert_eq!(refusal(&model(vec![], any_order)), "fine");
        let circle = refusal(&model(
            vec![],
            vec![node("x", "a"), node("c", "b"), node("b", "c")],
        ));
        assert!(circle.contains("cycle") && circle.contains("b, c"), "{circle}");
        let own = refusal(&model(vec![], vec![node("a", "a")]));
        assert!(own.contains("cycle"), "{own}");
        let twice = refusal(&model(vec![], vec![node("x", "a"), node("x", "a")]));
        assert!(twice.contains("two nodes"), "{twice}");
    }

    #[test]
    fn what_is_hidden_in_attributes_is_inspected_too() {
        let mut outer = node("x", "a");
        outer.attribute.push(tract_onnx::pb::AttributeProto {
            t: Some(floats("inner", &[3], 1)),
            ..Default::default()
        });
        assert!(refusal(&model(vec![], vec![outer])).contains("inner"));
    }
}
