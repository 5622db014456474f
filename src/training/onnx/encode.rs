//! From a graph to the bytes of an ONNX file.

use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};

use super::{Attribute, Constant, Domain, Element, Graph, Node, Parameter, Port, Size};

const IR_VERSION: i64 = 7;

impl Domain {
    const ALL: [Self; 3] = [Self::Onnx, Self::Ml, Self::Runtime];

    const fn name(self) -> &'static str {
        match self {
            Self::Onnx => "",
            Self::Ml => "ai.onnx.ml",
            Self::Runtime => "com.microsoft",
        }
    }

    const fn version(self) -> i64 {
        match self {
            Self::Onnx => 13,
            Self::Ml => 2,
            Self::Runtime => 1,
        }
    }
}

impl Graph {
    /// The bytes of an ONNX file. `properties` are facts for people and tools, such as the names of the classes.
    #[must_use]
    pub fn encode(&self, name: &str, description: &str, properties: &[(&str, String)]) -> Vec<u8> {
        let graph = GraphProto {
            name: name.to_owned(),
            doc_string: description.to_owned(),
            node: self.nodes.iter().map(node).collect(),
            initializer: self.parameters.iter().map(initializer).collect(),
            input: self.inputs.iter().map(value_info).collect(),
            output: self.outputs.iter().map(value_info).collect(),
            ..GraphProto::default()
        };
        let model = ModelProto {
            ir_version: IR_VERSION,
            opset_import: self.operator_sets(),
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            doc_string: description.to_owned(),
            graph: Some(graph),
            metadata_props: properties
                .iter()
                .map(|(key, value)| StringStringEntryProto {
                    key: (*key).to_owned(),
                    value: value.clone(),
                })
                .collect(),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }

    /// The standard's own set, and those of the other domains whose operators are used.
    fn operator_sets(&self) -> Vec<OperatorSetIdProto> {
        let is_used =
            |domain: &Domain| *domain == Domain::Onnx || self.nodes.iter().any(|node| node.domain == *domain);
        let used = Domain::ALL.into_iter().filter(is_used);
        used.map(|domain| OperatorSetIdProto {
            domain: domain.name().to_owned(),
            version: domain.version(),
        })
        .collect()
    }
}

fn node(node: &Node) -> NodeProto {
    NodeProto {
        name: node.outputs.first().cloned().unwrap_or_default(),
        op_type: node.operator.to_owned(),
        domain: node.domain.name().to_owned(),
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        attribute: node.attributes.iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}

fn attribute((name, value): &(&'static str, Attribute)) -> AttributeProto {
    let mut proto = AttributeProto {
        name: (*name).to_owned(),
        ..AttributeProto::default()
    };
    let kind = match value {
        Attribute::Int(value) => {
            proto.i = *value;
            AttributeType::Int
        }
        Attribute::Ints(values) => {
            proto.ints.clone_from(values);
            AttributeType::Ints
        }
        Attribute::Float(value) => {
            proto.f = *value;
            AttributeType::Float
        }
        Attribute::Floats(values) => {
            proto.floats.clone_from(values);
            AttributeType::Floats
        }
        Attribute::Text(text) => {
            proto.s = text.as_bytes().to_vec();
            AttributeType::String
        }
        Attribute::Texts(texts) => {
            proto.strings = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            AttributeType::Strings
        }
    };
    proto.set_type(kind);
    proto
}

fn initializer(parameter: &Parameter) -> TensorProto {
    let (data_type, raw_data) = match &parameter.values {
        Constant::F32(values) => (
            DataType::Float,
            values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ),
        Constant::I64(values) => (
            DataType::Int64,
            values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ),
    };
    TensorProto {
        name: parameter.name.clone(),
        dims: parameter.shape.iter().map(|&extent| extent as i64).collect(),
        data_type: data_type.into(),
        raw_data,
        ..TensorProto::default()
    }
}

fn value_info(port: &Port) -> ValueInfoProto {
    use tensor_shape_proto::dimension::Value;

    let dimension = |size: &Size| tensor_shape_proto::Dimension {
        value: Some(match size {
            Size::Free(name) => Value::DimParam((*name).to_owned()),
            Size::Fixed(size) => Value::DimValue(*size as i64),
        }),
        ..tensor_shape_proto::Dimension::default()
    };
    let element = match port.element {
        Element::F32 => DataType::Float,
        Element::I64 => DataType::Int64,
        Element::Text => DataType::String,
    };
    let tensor = type_proto::Tensor {
        elem_type: element.into(),
        shape: Some(TensorShapeProto {
            dim: port.shape.iter().map(dimension).collect(),
        }),
    };
    ValueInfoProto {
        name: port.name.clone(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
