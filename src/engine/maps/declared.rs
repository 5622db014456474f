//! The inputs that a file declares as maps.
//!
//! The types of tract-onnx know tensors only and skip over all else, so that these few members are read by themselves.

use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;

use crate::engine::EngineError;

/// An input that is a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapInput {
    /// Its name in the graph.
    pub(super) name: String,
    /// The type of its keys.
    pub(super) key: DataType,
    /// The element type of its values, each of which is one.
    pub(super) value: DataType,
}

/// All inputs of `file` that are maps.
pub(super) fn map_inputs(file: &[u8]) -> Result<Vec<MapInput>, EngineError> {
    let model = Model::decode(file).map_err(|error| EngineError::Malformed(error.to_string()))?;
    let inputs = model.graph.unwrap_or_default().input;
    Ok(inputs.into_iter().filter_map(map_input).collect())
}

fn map_input(input: Input) -> Option<MapInput> {
    let map = input.r#type?.map?;
    let value = map.value?.tensor?.element;
    Some(MapInput {
        name: input.name,
        key: DataType::try_from(map.key).ok()?,
        value: DataType::try_from(value).ok()?,
    })
}

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "11")]
    input: Vec<Input>,
}

#[derive(Clone, PartialEq, Message)]
struct Input {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<Tensor>,
    #[prost(message, optional, boxed, tag = "5")]
    map: Option<Box<Map>>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    element: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Map {
    #[prost(int32, tag = "1")]
    key: i32,
    #[prost(message, optional, boxed, tag = "2")]
    value: Option<Box<Type>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_found_among_the_inputs() {
        let tensor = Type {
            tensor: Some(Tensor { element: 1 }),
            map: None,
        };
        let map = Type {
            tensor: None,
            map: Some(Box::new(Map {
                key: 8,
                value: Some(Box::new(tensor.clone())),
            })),
        };
        let input = |name: &str, r#type: Type| Input {
            name: name.into(),
            r#type: Some(r#type),
        };
        let file = Model {
            graph: Some(Graph {
                input: vec![input("x", tensor), input("words", map)],
            }),
        };
        let expected = MapInput {
            name: "words".into(),
            key: DataType::String,
            value: DataType::Float,
        };
        assert_eq!(map_inputs(&file.encode_to_vec()).unwrap(), [expected]);
        assert!(map_inputs(&[0x3a, 0x7f]).is_err());
    }
}
