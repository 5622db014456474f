//! The answer to `POST /v2/models/{model}/infer`: JSON, and behind it the bytes of the outputs that are wanted so.

use serde::{Serialize, Serializer};

use super::binary;
use crate::api::predict::{Listed, Nested};
use crate::model::tensor::{Datatype, Tensor};

/// An answer, its outputs borrowed.
#[derive(Debug)]
pub struct InferResponse<'a> {
    /// Which model answered.
    pub model_name: &'a str,
    /// Which version of it.
    pub model_version: &'a str,
    /// The request's id.
    pub id: Option<&'a str>,
    /// In the order in which they were asked for.
    pub outputs: Vec<OutputTensor<'a>>,
}

/// One output of an [`InferResponse`].
#[derive(Clone, Copy, Debug)]
pub struct OutputTensor<'a> {
    /// Its name in the signature.
    pub name: &'a str,
    /// Shape and values.
    pub tensor: &'a Tensor,
    /// Whether it is written as bytes.
    pub is_binary: bool,
}

/// A body, and how much of it is JSON where bytes follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// All of it.
    pub body: Vec<u8>,
    /// Bytes of JSON at its beginning; none: all of it is JSON.
    pub header_length: Option<usize>,
}

#[derive(Serialize)]
struct Head<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: Name,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Nested<'a>>,
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

/// A datatype by its name.
struct Name(Datatype);

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

/// Writes an answer. Values that go into JSON must be finite.
pub fn write(response: &InferResponse<'_>) -> Result<Written, serde_json::Error> {
    let mut bytes = Vec::new();
    let counts: Vec<[usize; 1]> = response
        .outputs
        .iter()
        .map(|output| [output.tensor.values().len()])
        .collect();
    let mut outputs = Vec::with_capacity(counts.len());
    for (output, count) in response.outputs.iter().zip(&counts) {
        let values = output.tensor.values();
        let size = output.is_binary.then(|| binary::write(values, &mut bytes));
        outputs.push(Output {
            name: output.name,
            datatype: Name(values.datatype()),
            shape: output.tensor.shape(),
            parameters: size.map(|binary_data_size| Parameters { binary_data_size }),
            data: size.is_none().then(|| Nested {
                shape: count,
                values: Listed::Values(values.as_slice()),
                places: None,
            }),
        });
    }
    let head = Head {
        model_name: response.model_name,
        model_version: response.model_version,
        id: response.id,
        outputs,
    };
    let mut body = serde_json::to_vec(&head)?;
    let is_mixed = response.outputs.iter().any(|output| output.is_binary);
    let header_length = is_mixed.then_some(body.len());
    body.append(&mut bytes);
    Ok(Written { body, header_length })
}
