//! Nodes for tests, built attribute by attribute.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

use super::{Attributes, Fact, MlError, MlOperator, View, operator};
use crate::model::tensor::{Tensor, Values};

/// A node without inputs and outputs.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeFixture(NodeProto);

impl NodeFixture {
    fn with(mut self, attribute: AttributeProto, r#type: AttributeType) -> Self {
        self.0.attribute.retain(|other| other.name != attribute.name);
        let r#type = r#type.into();
        self.0.attribute.push(AttributeProto { r#type, ..attribute });
        self
    }

    pub(super) fn int(self, name: &str, i: i64) -> Self {
        let name = name.to_owned();
        self.with(
            AttributeProto {
                name,
                i,
                ..AttributeProto::default()
            },
            AttributeType::Int,
        )
    }

    pub(super) fn ints(self, name: &str, ints: &[i64]) -> Self {
        let (name, ints) = (name.to_owned(), ints.to_vec());
        self.with(
            AttributeProto {
                name,
                ints,
                ..AttributeProto::default()
            },
            AttributeType::Ints,
        )
    }

    pub(super) fn floats(self, name: &str, floats: &[f32]) -> Self {
        let (name, floats) = (name.to_owned(), floats.to_vec());
        self.with(
            AttributeProto {
                name,
                floats,
                ..AttributeProto::default()
            },
            AttributeType::Floats,
        )
    }

    pub(super) fn text(self, name: &str, text: &str) -> Self {
        let (name, s) = (name.to_owned(), text.as_bytes().to_vec());
        let attribute = AttributeProto {
            name,
            s,
            ..AttributeProto::default()
        };
        self.with(attribute, AttributeType::String)
    }

    pub(super) fn texts(self, name: &str, texts: &[&str]) -> Self {
        let strings = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let name = name.to_owned();
        self.with(
            AttributeProto {
                name,
                strings,
                ..AttributeProto::default()
            },
            AttributeType::Strings,
        )
    }

    /// A tensor of doubles.
    pub(super) fn doubles(self, name: &str, double_data: &[f64]) -> Self {
        let tensor = TensorProto {
            data_type: tract_onnx::pb::tensor_proto::DataType::Double.into(),
            dims: vec![double_data.len() as i64],
            double_data: double_data.to_vec(),
            ..TensorProto::default()
        };
        let (name, t) = (name.to_owned(), Some(tensor));
        self.with(
            AttributeProto {
                name,
                t,
                ..AttributeProto::default()
            },
            AttributeType::Tensor,
        )
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.0.attribute.retain(|attribute| attribute.name != name);
        self
    }

    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes::of(&self.0)
    }

    /// The operator of this type with these attributes.
    pub(super) fn make(&self, op_type: &str) -> Result<Box<dyn MlOperator>, MlError> {
        operator(op_type, self.attributes()).expect("the operator is there")
    }

    /// What the operator makes of rows of `width` values; checks that it is what the operator said it would be.
    pub(super) fn run(&self, op_type: &str, width: usize, values: Values) -> Result<Vec<Values>, MlError> {
        run(self.make(op_type)?.as_ref(), width, values)
    }
}

/// What `operator` makes of rows of `width` values; checks that it is what the operator said it would be.
pub(super) fn run(operator: &dyn MlOperator, width: usize, values: Values) -> Result<Vec<Values>, MlError> {
    let shape = vec![values.len() / width, width];
    let input = Tensor::new(shape, values).expect("whole rows");
    let fact = |tensor: &Tensor| Fact {
        datatype: tensor.datatype(),
        shape: tensor.shape().to_vec(),
    };
    let promised = operator.outputs(&[fact(&input)])?;
    let outputs = operator.run(&[View {
        shape: input.shape(),
        values: input.values().as_slice(),
    }])?;
    assert_eq!(outputs.iter().map(fact).collect::<Vec<_>>(), promised);
    Ok(outputs.into_iter().map(Tensor::into_values).collect())
}
