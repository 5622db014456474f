//! The attributes of a node, read by their names and types.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

use super::MlError;

/// The attributes of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    all: &'a [AttributeProto],
}

impl<'a> Attributes<'a> {
    /// Those of `node`.
    pub(crate) fn of(node: &'a NodeProto) -> Self {
        Self { all: &node.attribute }
    }

    fn find(
        self,
        name: &'static str,
        expected: AttributeType,
    ) -> Result<Option<&'a AttributeProto>, MlError> {
        let Some(found) = self.all.iter().find(|attribute| attribute.name == name) else {
            return Ok(None);
        };
        // Files of the first versions of the format leave the type open.
        if found.r#type() == expected || found.r#type() == AttributeType::Undefined {
            return Ok(Some(found));
        }
        let problem = format!("expected {expected:?}, found {:?}", found.r#type());
        Err(MlError::Attribute { name, problem })
    }

    /// Whether there is one of this name, of whatever type.
    pub(crate) fn has(self, name: &str) -> bool {
        self.all.iter().any(|attribute| attribute.name == name)
    }

    /// A whole number.
    pub(crate) fn int(self, name: &'static str) -> Result<Option<i64>, MlError> {
        Ok(self.find(name, AttributeType::Int)?.map(|attribute| attribute.i))
    }

    /// A number.
    pub(crate) fn float(self, name: &'static str) -> Result<Option<f32>, MlError> {
        Ok(self
            .find(name, AttributeType::Float)?
            .map(|attribute| attribute.f))
    }

    /// A text.
    pub(crate) fn text(self, name: &'static str) -> Result<Option<&'a str>, MlError> {
        let found = self.find(name, AttributeType::String)?;
        found.map(|attribute| utf8(name, &attribute.s)).transpose()
    }

    /// Whole numbers; none of them where the attribute is absent.
    pub(crate) fn ints(self, name: &'static str) -> Result<&'a [i64], MlError> {
        let found = self.find(name, AttributeType::Ints)?;
        Ok(found.map_or(&[], |attribute| attribute.ints.as_slice()))
    }

    /// Numbers; none of them where the attribute is absent.
    pub(crate) fn floats(self, name: &'static str) -> Result<&'a [f32], MlError> {
        let found = self.find(name, AttributeType::Floats)?;
        Ok(found.map_or(&[], |attribute| attribute.floats.as_slice()))
    }

    /// Texts; none of them where the attribute is absent.
    pub(crate) fn texts(self, name: &'static str) -> Result<Vec<&'a str>, MlError> {
        let found = self.find(name, AttributeType::Strings)?;
        let texts = found.map_or(&[][..], |attribute| attribute.strings.as_slice());
        texts.iter().map(|text| utf8(name, text)).collect()
    }

    /// A tensor.
    pub(crate) fn tensor(self, name: &'static str) -> Result<Option<&'a TensorProto>, MlError> {
        let found = self.find(name, AttributeType::Tensor)?;
        Ok(found.and_then(|attribute| attribute.t.as_ref()))
    }
}

fn utf8<'a>(name: &'static str, bytes: &'a [u8]) -> Result<&'a str, MlError> {
    std::str::from_utf8(bytes).map_err(|error| MlError::Attribute {
        name,
        problem: format!("expected UTF-8 text: {error}"),
    })
}
