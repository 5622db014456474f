//! Inputs that are maps, and the operators that make tensors of them: DictVectorizer and CastMap.
//!
//! The input becomes a tensor with a column for each key, so that many rows run together, where the operators take one
//! map at a time. What is left of an operator picks the columns of its own keys, or casts them.

use std::ops::RangeInclusive;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::declared::{MapInput, map_inputs};
use super::{declare_outputs, matrix, replace};
use crate::engine::EngineError;
use crate::engine::ml_ops::{Attributes, ML_DOMAIN, MlError};
use crate::model::dictionary::{Columns, Dictionary, Keys, MAX_COLUMNS};

/// What stands for an absent key among texts, in ONNX Runtime's CastMap.
const ABSENT_TEXT: &str = "0.f";

/// Makes every input of `graph` that is a map a tensor.
pub(super) fn make_tensors(graph: &mut GraphProto, file: &[u8]) -> Result<Vec<Dictionary>, EngineError> {
    if !graph.node.iter().any(takes_map) {
        return Ok(Vec::new());
    }
    let maps = map_inputs(file)?;
    maps.iter().map(|map| make_tensor(graph, map)).collect()
}

fn takes_map(node: &NodeProto) -> bool {
    node.domain == ML_DOMAIN && matches!(node.op_type.as_str(), "DictVectorizer" | "CastMap")
}

fn make_tensor(graph: &mut GraphProto, map: &MapInput) -> Result<Dictionary, EngineError> {
    let takers = (0..graph.node.len()).filter(|&node| graph.node[node].input.contains(&map.name));
    let takers: Vec<usize> = takers.collect();
    let types: Vec<&str> = takers
        .iter()
        .map(|&node| graph.node[node].op_type.as_str())
        .collect();
    match types.as_slice() {
        ["CastMap"] => cast(graph, map, takers[0]),
        [_, ..] if types.iter().all(|&r#type| r#type == "DictVectorizer") => vectorize(graph, map, &takers),
        types => Err(refused(
            map,
            &format!(
                "expected one CastMap or only DictVectorizers to take it, found {}",
                if types.is_empty() {
                    "nothing".to_owned()
                } else {
                    types.join(", ")
                }
            ),
        )),
    }
}

/// One tensor with the columns of all `vectorizers`, of which each picks its own.
fn vectorize(
    graph: &mut GraphProto,
    map: &MapInput,
    vectorizers: &[usize],
) -> Result<Dictionary, EngineError> {
    let nodes = vectorizers.iter().map(|&node| Attributes::of(&graph.node[node]));
    let vocabulary = |error: MlError| refused(map, &format!("DictVectorizer: {error}"));
    let (keys, picked): (Keys, Vec<Vec<usize>>) = match map.key {
        DataType::String => {
            let mut columns = Columns::default();
            let keys = nodes.map(|attributes| attributes.texts("string_vocabulary"));
            let picked = keys.map(|keys| {
                Ok(keys?
                    .into_iter()
                    .map(|key| columns.column(key.to_owned()))
                    .collect())
            });
            let picked = picked.collect::<Result<_, _>>().map_err(vocabulary)?;
            (Keys::Texts(columns), picked)
        }
        DataType::Int64 => {
            let mut columns = Columns::default();
            let keys = nodes.map(|attributes| attributes.ints("int64_vocabulary"));
            let picked = keys.map(|keys| Ok(keys?.iter().map(|&key| columns.column(key)).collect()));
            let picked = picked.collect::<Result<_, _>>().map_err(vocabulary)?;
            (Keys::Ints(columns), picked)
        }
        other => {
            return Err(refused(
                map,
                &format!("its keys are {other:?}; expected String or Int64"),
            ));
        }
    };
    if picked.iter().any(Vec::is_empty) {
        let problem = format!(
            "its keys are {:?}, and DictVectorizer has no vocabulary of these",
            map.key
        );
        return Err(refused(map, &problem));
    }
    let width = keys.width().unwrap_or_default();
    check_width(map, width, 1..=MAX_COLUMNS)?;
    declare_input(graph, map, map.value, Some(width));
    for (&node, picked) in vectorizers.iter().zip(picked) {
        declare_outputs(
            &mut graph.output,
            &graph.node[node].output,
            map.value,
            Some(picked.len()),
        );
        pick(graph, node, &picked, width);
    }
    Ok(Dictionary {
        input: map.name.clone(),
        keys,
        absent: String::new(),
        spells_numbers: false,
    })
}

/// The input already has what CastMap made of it, but for its type.
fn cast(graph: &mut GraphProto, map: &MapInput, node: usize) -> Result<Dictionary, EngineError> {
    let attributes = Attributes::of(&graph.node[node]);
    let read = |name| {
        let text = attributes.text(name);
        text.map_err(|error| refused(map, &format!("CastMap: {error}")))
    };
    if map.key != DataType::Int64 || !matches!(map.value, DataType::String | DataType::Float) {
        let problem = format!(
            "CastMap takes Int64 to String or Float, found {:?} to {:?}",
            map.key, map.value
        );
        return Err(refused(map, &problem));
    }
    let target = match read("cast_to")?.unwrap_or("TO_FLOAT") {
        "TO_FLOAT" => DataType::Float,
        "TO_INT64" => DataType::Int64,
        "TO_STRING" => DataType::String,
        other => {
            let problem = format!("CastMap: expected TO_FLOAT, TO_STRING or TO_INT64, found {other}");
            return Err(refused(map, &problem));
        }
    };
    let keys = match read("map_form")?.unwrap_or("DENSE") {
        "DENSE" => Keys::Ascending,
        "SPARSE" => {
            let width = attributes.int("max_map").ok().flatten().unwrap_or(1);
            let width = usize::try_from(width).unwrap_or_default();
            check_width(map, width, 1..=MAX_COLUMNS)?;
            Keys::Positions(width)
        }
        other => {
            let problem = format!("CastMap: expected DENSE or SPARSE, found {other}");
            return Err(refused(map, &problem));
        }
    };
    let spells_numbers = map.value == DataType::Float && target == DataType::String;
    let element = if spells_numbers { target } else { map.value };
    declare_input(graph, map, element, keys.width());
    declare_outputs(&mut graph.output, &graph.node[node].output, target, keys.width());
    let node = &mut graph.node[node];
    if element == target {
        replace(node, "Identity", Vec::new());
    } else {
        let to = int("to", i64::from(i32::from(target)));
        replace(node, "Cast", vec![to]);
    }
    Ok(Dictionary {
        input: map.name.clone(),
        keys,
        absent: if target == DataType::String {
            ABSENT_TEXT
        } else {
            "0"
        }
        .to_owned(),
        spells_numbers,
    })
}

fn check_width(map: &MapInput, width: usize, allowed: RangeInclusive<usize>) -> Result<(), EngineError> {
    if allowed.contains(&width) {
        return Ok(());
    }
    let (least, most) = allowed.into_inner();
    Err(refused(
        map,
        &format!("it has {width} keys; from {least} to {most} can be served"),
    ))
}

/// Leaves of `node` what picks columns out of `width` of them.
fn pick(graph: &mut GraphProto, node: usize, picked: &[usize], width: usize) {
    let node = &mut graph.node[node];
    if picked.iter().copied().eq(0..width) {
        replace(node, "Identity", Vec::new());
        return;
    }
    let columns = TensorProto {
        name: format!("{}.columns", node.output.first().map_or("", String::as_str)),
        dims: vec![picked.len() as i64],
        data_type: DataType::Int64.into(),
        int64_data: picked.iter().map(|&column| column as i64).collect(),
        ..TensorProto::default()
    };
    replace(node, "Gather", vec![int("axis", 1)]);
    node.input.push(columns.name.clone());
    graph.initializer.push(columns);
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i,
        r#type: AttributeType::Int.into(),
        ..AttributeProto::default()
    }
}

fn declare_input(graph: &mut GraphProto, map: &MapInput, element: DataType, width: Option<usize>) {
    let inputs = graph.input.iter_mut().filter(|input| input.name == map.name);
    inputs.for_each(|input| input.r#type = Some(matrix(element, width)));
}

fn refused(map: &MapInput, problem: &str) -> EngineError {
    EngineError::Malformed(format!("input {:?} is a map: {problem}", map.name))
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::ValueInfoProto;

    use super::*;

    fn map(key: DataType, value: DataType) -> MapInput {
        MapInput {
            name: "x".into(),
            key,
            value,
        }
    }

    fn graph(nodes: Vec<NodeProto>) -> GraphProto {
        let named = |name: &str| ValueInfoProto {
            name: name.into(),
            ..ValueInfoProto::default()
        };
        GraphProto {
            output: nodes.iter().map(|node| named(&node.output[0])).collect(),
            node: nodes,
            input: vec![named("x")],
            ..GraphProto::default()
        }
    }

    fn node(op_type: &str, output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
        NodeProto {
            op_type: op_type.into(),
            domain: ML_DOMAIN.into(),
            input: vec!["x".into()],
            output: vec![output.into()],
            attribute,
            ..NodeProto::default()
        }
    }

    fn vectorizer(output: &str, keys: &[&str]) -> NodeProto {
        let vocabulary = AttributeProto {
            name: "string_vocabulary".into(),
            strings: keys.iter().map(|key| key.as_bytes().to_vec()).collect(),
            ..AttributeProto::default()
        };
        node("DictVectorizer", output, vec![vocabulary])
    }

    fn text(name: &str, text: &str) -> AttributeProto {
        AttributeProto {
            name: name.into(),
            s: text.as_bytes().to_vec(),
            ..AttributeProto::default()
        }
    }

    #[test]
    fn a_vectorizer_is_what_its_input_became() {
        let mut graph = graph(vec![vectorizer("y", &["b", "a"])]);
        let dictionary = make_tensor(&mut graph, &map(DataType::String, DataType::Float)).unwrap();
        assert_eq!(dictionary.keys.names(), ["b", "a"]);
        assert_eq!(graph.node[0].op_type, "Identity");
        assert_eq!(graph.input[0].r#type, Some(matrix(DataType::Float, Some(2))));
        assert_eq!(graph.output[0].r#type, graph.input[0].r#type);
    }

    #[test]
    fn vectorizers_of_one_map_pick_their_own_columns() {
        let mut graph = graph(vec![
            vectorizer("y", &["a", "b"]),
            vectorizer("z", &["b", "c", "b"]),
        ]);
        let dictionary = make_tensor(&mut graph, &map(DataType::String, DataType::Int64)).unwrap();
        assert_eq!(dictionary.keys.names(), ["a", "b", "c"]);
        let picked: Vec<&[i64]> = graph
            .initializer
            .iter()
            .map(|tensor| &*tensor.int64_data)
            .collect();
        assert_eq!(picked, [&[0, 1][..], &[1, 2, 1]]);
        assert_eq!(graph.output[1].r#type, Some(matrix(DataType::Int64, Some(3))));
    }

    #[test]
    fn a_cast_of_positions_has_as_many_columns_as_it_says() {
        let attributes = vec![
            text("map_form", "SPARSE"),
            text("cast_to", "TO_INT64"),
            int("max_map", 5),
        ];
        let mut graph = graph(vec![node("CastMap", "y", attributes)]);
        let dictionary = make_tensor(&mut graph, &map(DataType::Int64, DataType::String)).unwrap();
        assert_eq!((dictionary.keys, &*dictionary.absent), (Keys::Positions(5), "0"));
        assert_eq!(
            (&*graph.node[0].op_type, graph.node[0].attribute[0].i),
            ("Cast", 7)
        );
        assert_eq!(graph.input[0].r#type, Some(matrix(DataType::String, Some(5))));
    }

    #[test]
    fn numbers_that_become_texts_come_as_texts() {
        let mut graph = graph(vec![node("CastMap", "y", vec![text("cast_to", "TO_STRING")])]);
        let dictionary = make_tensor(&mut graph, &map(DataType::Int64, DataType::Float)).unwrap();
        assert!(dictionary.spells_numbers && dictionary.keys == Keys::Ascending);
        assert_eq!(graph.input[0].r#type, Some(matrix(DataType::String, None)));
    }

    #[test]
    fn maps_that_nothing_makes_a_tensor_of_are_refused() {
        let int_map = map(DataType::Int64, DataType::Float);
        let huge = vec![text("map_form", "SPARSE"), int("max_map", 1 << 40)];
        for (nodes, told) in [
            (vec![], "found nothing"),
            (vec![vectorizer("y", &["a"])], "no vocabulary of these"),
            (
                vec![vectorizer("y", &["a"]), node("ZipMap", "z", vec![])],
                "found DictVectorizer, ZipMap",
            ),
            (vec![node("CastMap", "y", huge)], "1099511627776 keys"),
            (
                vec![node("CastMap", "y", vec![text("cast_to", "TO_BOOL")])],
                "found TO_BOOL",
            ),
        ] {
            let error = make_tensor(&mut graph(nodes), &int_map).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
