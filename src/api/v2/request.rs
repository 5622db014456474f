//! The body of `POST /v2/models/{model}/infer`.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{HEADER_LENGTH, binary, data};
use crate::api::datum::{shortened, shortened_to};
use crate::api::error::ApiError;
use crate::api::predict::{MAX_QUOTED, parse_error};
use crate::model::tensor::{Datatype, Tensor, Values, element_count};

/// A body, as it came.
#[derive(Clone, Debug, PartialEq)]
pub enum InferBody<'a> {
    /// A request in JSON, its tensors read.
    Request(InferRequest),
    /// The bytes of the only input and nothing else; what they are is for the model's signature to say.
    Raw(&'a [u8]),
}

/// A request whose tensors were read. Whether a model takes them is not yet known.
#[derive(Clone, Debug, PartialEq)]
pub struct InferRequest {
    /// To be echoed.
    pub id: Option<String>,
    /// What it asks for beside the answer.
    pub parameters: Parameters,
    /// Names and tensors, in the order in which they came.
    pub inputs: Vec<NamedTensor>,
    /// The outputs that are wanted; none: all of them.
    pub outputs: Option<Vec<RequestedOutput>>,
}

/// One input of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The name that the client gave it.
    pub name: String,
    /// Shape and values, which fit each other.
    pub tensor: Tensor,
}

/// The parameters of a request that mean something here. All others are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Parameters {
    /// Microseconds that the request may take; 0 says nothing.
    #[serde(default)]
    pub timeout: Option<u64>,
    /// 1 is the highest; 0 says nothing, and comes after all others.
    #[serde(default)]
    pub priority: Option<u64>,
    /// Whether outputs that say nothing else are written as bytes.
    #[serde(default)]
    pub binary_data_output: Option<bool>,
}

/// One wanted output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Its name in the signature.
    pub name: String,
    /// Whether it is written as bytes; none: as the request says.
    pub binary_data: Option<bool>,
    /// So many of its largest values, as texts `value:index[:label]`, in place of the tensor.
    pub classification: Option<u64>,
}

/// Reads a body, of which the first `header_length` bytes are JSON and the rest the bytes of tensors; without it, all
/// is JSON, and with 0 nothing is.
///
/// Never takes more memory than a small multiple of the body: shapes are held against the data before there is room
/// for them. Fails with `invalid_json` or `invalid_input`.
pub fn parse(body: &[u8], header_length: Option<usize>) -> Result<InferBody<'_>, ApiError> {
    let header_length = match header_length {
        Some(0) => return Ok(InferBody::Raw(body)),
        Some(length) => length,
        None => body.len(),
    };
    let Some((json, bytes)) = body.split_at_checked(header_length) else {
        return Err(ApiError::invalid_input(format!(
            "{HEADER_LENGTH} is {header_length}, and the body has {} bytes",
            body.len()
        )));
    };
    let Object(head): Object<Head<'_>> = serde_json::from_slice(json).map_err(|error| parse_error(&error))?;
    let mut binary = Binary(bytes);
    let mut inputs = Vec::with_capacity(head.inputs.len());
    for Object(input) in head.inputs {
        inputs.push(read_input(input, &mut binary)?);
    }
    if !binary.0.is_empty() {
        let left = binary.0.len();
        return Err(ApiError::invalid_input(format!(
            "{left} bytes after the JSON belong to no input; the bytes of an input are announced by its parameter binary_data_size"
        )));
    }
    let outputs = head
        .outputs
        .map(|outputs| outputs.into_iter().map(requested).collect());
    Ok(InferBody::Request(InferRequest {
        id: head.id,
        parameters: head
            .parameters
            .map(|Object(parameters)| parameters)
            .unwrap_or_default(),
        inputs,
        outputs: outputs.transpose()?,
    }))
}

/// What the bytes of a [raw request](InferBody::Raw) are for an input of `datatype`, of which so much of the `shape` of
/// one row is known; one size at most is not. Texts are one text, without its length.
pub fn parse_raw(bytes: &[u8], datatype: Datatype, shape: &[Option<usize>]) -> Result<Tensor, ApiError> {
    let Some(size) = binary::size_of(datatype) else {
        let text = str::from_utf8(bytes).map_err(|_| {
            ApiError::invalid_input("the body is not UTF-8 text, which is what the model takes as BYTES")
        })?;
        let shape: Vec<usize> = shape.iter().map(|size| size.unwrap_or(1)).collect();
        let values = Values::Text(vec![text.to_owned()]);
        return Tensor::new(shape, values).map_err(|_| {
            ApiError::invalid_input("a raw request is for a single text; this model takes more")
        });
    };
    let known: Vec<usize> = shape.iter().copied().flatten().collect();
    if shape.len() - known.len() > 1 {
        let message = "a raw request leaves the shape to the model, and more than one size of this one's input is variable";
        return Err(ApiError::invalid_input(message));
    }
    let count = bytes.len() / size;
    let free = element_count(&known)
        .filter(|&known| known > 0)
        .map_or(0, |known| count / known);
    let shape: Vec<usize> = shape.iter().map(|size| size.unwrap_or(free)).collect();
    let count = element_count(&shape)
        .ok_or_else(|| ApiError::invalid_input("the shape of the input is too large"))?;
    let values = binary::read(datatype, count, bytes)
        .map_err(|error| ApiError::invalid_input(format!("the body {error}")))?;
    Tensor::new(shape, values).map_err(|error| ApiError::invalid_input(error.to_string()))
}

/// The JSON part, its tensors not yet read: `data` may stand before the datatype and the shape that it needs.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Object<Parameters>>,
    #[serde(borrow)]
    inputs: Vec<Object<Input<'a>>>,
    #[serde(default)]
    outputs: Option<Vec<Object<Output>>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<Object<InputParameters>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    #[serde(default)]
    binary_data_size: Option<usize>,
    #[serde(default)]
    shared_memory_region: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Option<Object<OutputParameters>>,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    #[serde(default)]
    binary_data: Option<bool>,
    #[serde(default)]
    classification: Option<u64>,
    #[serde(default)]
    shared_memory_region: Option<IgnoredAny>,
}

/// The bytes behind the JSON that no input has taken yet.
struct Binary<'a>(&'a [u8]);

fn read_input(input: Input<'_>, binary: &mut Binary<'_>) -> Result<NamedTensor, ApiError> {
    let Input {
        name,
        shape,
        datatype,
        parameters,
        data,
    } = input;
    let quoted = shortened(&name);
    let parameters = parameters
        .map(|Object(parameters)| parameters)
        .unwrap_or_default();
    refuse_shared_memory(parameters.shared_memory_region, &quoted)?;
    let datatype = datatype_of(&datatype, &quoted)?;
    let shape = shape_of(&shape, &quoted)?;
    let Some(count) = element_count(&shape) else {
        return Err(ApiError::invalid_input(format!(
            "input '{quoted}' has a shape that nothing could fill: {}",
            shortened(&format!("{shape:?}"))
        )));
    };
    let values = match (parameters.binary_data_size, data) {
        (Some(_), Some(_)) => {
            let message =
                format!("input '{quoted}' has both data and binary_data_size; expected one of them");
            return Err(ApiError::invalid_input(message));
        }
        (None, None) => return Err(ApiError::invalid_input(format!("input '{quoted}' has no data"))),
        (Some(size), None) => {
            let Some((bytes, rest)) = binary.0.split_at_checked(size) else {
                let left = binary.0.len();
                return Err(ApiError::invalid_input(format!(
                    "input '{quoted}' announces {size} bytes, and {left} are left after the JSON (whose length is told by the header {HEADER_LENGTH})"
                )));
            };
            binary.0 = rest;
            binary::read(datatype, count, bytes)
                .map_err(|error| ApiError::invalid_input(format!("input '{quoted}' {error}")))?
        }
        (None, Some(data)) => data::read(datatype, &shape, count, data.get()).map_err(|error| {
            let message = format!("the data of input '{quoted}': {error}");
            ApiError::invalid_input(shortened_to(MAX_QUOTED, &message).into_owned())
        })?,
    };
    let tensor = Tensor::new(shape, values)
        .map_err(|error| ApiError::invalid_input(format!("input '{quoted}': {error}")))?;
    Ok(NamedTensor { name, tensor })
}

fn datatype_of(name: &str, input: &str) -> Result<Datatype, ApiError> {
    if let Some(datatype) = Datatype::parse(name) {
        return Ok(datatype);
    }
    let known = Datatype::ALL.map(Datatype::as_str).join(", ");
    let name = shortened(name);
    Err(ApiError::invalid_input(format!(
        "input '{input}' has the datatype '{name}'; expected one of {known}"
    )))
}

fn shape_of(shape: &[i64], input: &str) -> Result<Vec<usize>, ApiError> {
    let size = |&size: &i64| {
        usize::try_from(size).map_err(|_| {
            ApiError::invalid_input(format!(
                "input '{input}' has the size {size} in its shape; expected 0 or more"
            ))
        })
    };
    shape.iter().map(size).collect()
}

fn requested(Object(output): Object<Output>) -> Result<RequestedOutput, ApiError> {
    let parameters = output
        .parameters
        .map(|Object(parameters)| parameters)
        .unwrap_or_default();
    refuse_shared_memory(parameters.shared_memory_region, &shortened(&output.name))?;
    Ok(RequestedOutput {
        name: output.name,
        binary_data: parameters.binary_data,
        classification: parameters.classification,
    })
}

fn refuse_shared_memory(region: Option<IgnoredAny>, tensor: &str) -> Result<(), ApiError> {
    region.map_or(Ok(()), |_| {
        Err(ApiError::invalid_input(format!(
            "'{tensor}' is in shared memory, which is not supported"
        )))
    })
}

/// An object. Serde by itself takes a list for a struct as well, its members in the order of their declaration.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Reads a body that may be empty, which is as good as `{}`.
pub(super) fn parse_optional<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    let Object(value) = serde_json::from_slice(body).map_err(|error| parse_error(&error))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::api::error::ErrorCode;
    use crate::api::v2::response::{self, InferResponse, OutputTensor};

    fn read(body: &str) -> InferRequest {
        match parse(body.as_bytes(), None).unwrap() {
            InferBody::Request(request) => request,
            InferBody::Raw(_) => panic!("not raw"),
        }
    }

    fn refusal(body: &[u8], header_length: Option<usize>) -> String {
        parse(body, header_length).unwrap_err().message.into_owned()
    }

    /// A body with this JSON and these bytes.
    fn mixed(json: &str, bytes: &[u8]) -> (Vec<u8>, Option<usize>) {
        ([json.as_bytes(), bytes].concat(), Some(json.len()))
    }

    #[test]
    fn members_may_stand_in_any_order_and_unknown_ones_are_skipped() {
        let request = read(
            r#"{"outputs": [{"name": "y", "parameters": {"classification": 3, "binary_data": false}}],
                "inputs": [{"data": [[1, 2], [3, 4]], "name": "x", "more": {}, "datatype": "FP32", "shape": [2, 2]}],
                "model_name": "iris", "id": "42",
                "parameters": {"timeout": 5, "priority": 1, "triton_x": [1], "mine": "yes"}}"#,
        );
        assert_eq!(request.id.as_deref(), Some("42"));
        assert_eq!(
            (request.parameters.timeout, request.parameters.priority),
            (Some(5), Some(1))
        );
        assert_eq!(request.inputs[0].name, "x");
        assert_eq!(
            request.inputs[0].tensor.values(),
            &Values::F32(vec![1., 2., 3., 4.])
        );
        let expected = RequestedOutput {
            name: "y".into(),
            binary_data: Some(false),
            classification: Some(3),
        };
        assert_eq!(request.outputs, Some(vec![expected]));
    }

    #[test]
    fn json_and_bytes_stand_beside_each_other() {
        let json = r#"{"inputs": [
            {"name": "a", "shape": [2], "datatype": "UINT16", "parameters": {"binary_data_size": 4}},
            {"name": "b", "shape": [1], "datatype": "INT8", "data": [-1]},
            {"name": "c", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]}"#;
        let (body, length) = mixed(json, b"\x01\0\x02\x01\x02\0\0\0ab");
        let InferBody::Request(request) = parse(&body, length).unwrap() else {
            panic!()
        };
        let values: Vec<_> = request
            .inputs
            .into_iter()
            .map(|input| input.tensor.into_values())
            .collect();
        let texts = Values::Text(vec!["ab".into()]);
        assert_eq!(values, [Values::U16(vec![1, 258]), Values::I8(vec![-1]), texts]);
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_not_a_request() {
        for (body, code) in [
            ("", ErrorCode::InvalidJson),
            ("{", ErrorCode::InvalidJson),
            ("[]", ErrorCode::InvalidInput),
            ("{}", ErrorCode::InvalidInput),
            (r#"{"inputs": [[]]}"#, ErrorCode::InvalidInput),
            (r#"{"inputs": {}}"#, ErrorCode::InvalidInput),
            (r#"{"inputs": [], "id": 7}"#, ErrorCode::InvalidInput),
            (
                r#"{"inputs": [], "parameters": {"timeout": "soon"}}"#,
                ErrorCode::InvalidInput,
            ),
            (r#"{"inputs": [], "inputs": []}"#, ErrorCode::InvalidInput),
        ] {
            assert_eq!(parse(body.as_bytes(), None).unwrap_err().code, code, "{body}");
        }
    }

    #[test]
    fn an_input_that_is_not_whole_is_told_by_its_name() {
        for (rest, told) in [
            (r#""datatype": "FP32", "shape": [1]"#, "input 'x' has no data"),
            (
                r#""datatype": "FLOAT", "shape": [1], "data": [1]"#,
                "expected one of BOOL",
            ),
            (r#""datatype": "FP32", "shape": [-1], "data": [1]"#, "the size -1"),
            (r#""datatype": "FP32", "shape": [2], "data": [1]"#, "asks for 2"),
            (
                r#""datatype": "FP32", "shape": [1], "data": ["a"]"#,
                "value 0 is a text; expected a number",
            ),
            (
                r#""datatype": "FP32", "shape": [1], "data": [1], "parameters": {"binary_data_size": 4}"#,
                "both",
            ),
            (
                r#""datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}"#,
                "0 are left",
            ),
            (
                r#""datatype": "FP32", "shape": [1], "parameters": {"shared_memory_region": "r"}"#,
                "shared memory",
            ),
            (
                r#""datatype": "FP64", "shape": [4294967296, 4294967296], "data": []"#,
                "nothing could fill",
            ),
        ] {
            let message = refusal(
                format!(r#"{{"inputs": [{{"name": "x", {rest}}}]}}"#).as_bytes(),
                None,
            );
            assert!(message.contains(told), "{message}");
        }
    }

    #[test]
    fn bytes_must_be_announced_and_all_of_them_taken() {
        let input = |size: usize| {
            let input = json!({"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": size}});
            json!({"inputs": [input]}).to_string()
        };
        let (body, length) = mixed(&input(4), &[0; 5]);
        assert!(refusal(&body, length).contains("1 bytes after the JSON belong to no input"));
        let (body, length) = mixed(&input(5), &[0; 5]);
        assert!(refusal(&body, length).contains("has 5 bytes; 1 values of FP32 are 4"));
        let (body, length) = mixed(&input(usize::MAX), &[0; 5]);
        assert!(refusal(&body, length).contains("5 are left"));
        assert!(refusal(b"{}", Some(3)).contains("the body has 2 bytes"));
    }

    #[test]
    fn a_raw_request_takes_its_shape_from_the_model() {
        assert_eq!(parse(b"abc", Some(0)), Ok(InferBody::Raw(b"abc")));
        let tensor = parse_raw(&[0; 16], Datatype::F32, &[None, Some(2)]).unwrap();
        assert_eq!(tensor.shape(), [2, 2]);
        let text = parse_raw(b"hello", Datatype::Text, &[Some(1)]).unwrap();
        assert_eq!(text.values(), &Values::Text(vec!["hello".into()]));
        for (bytes, datatype, shape) in [
            (&[0; 12][..], Datatype::F32, &[Some(2)][..]),
            (&[0; 12], Datatype::F32, &[None, Some(2)]),
            (&[0; 8], Datatype::F32, &[None, None]),
            (&[0; 8], Datatype::F32, &[None, Some(0)]),
            (b"a", Datatype::Text, &[Some(2)]),
            (b"\xff", Datatype::Text, &[Some(1)]),
        ] {
            assert!(parse_raw(bytes, datatype, shape).is_err(), "{shape:?}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_stack_overflow() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let body =
            format!(r#"{{"inputs": [{{"name": "x", "shape": [1], "datatype": "FP32", "data": {deep}}}]}}"#);
        assert_eq!(
            parse(body.as_bytes(), None).unwrap_err().code,
            ErrorCode::InvalidInput
        );
        let ones = vec!["1"; 200].join(",");
        let (opening, closing) = ("[".repeat(200), "]".repeat(200));
        let body = format!(
            r#"{{"inputs": [{{"name": "x", "shape": [{ones}], "datatype": "FP32", "data": {opening}1{closing}}}]}}"#
        );
        assert!(parse(body.as_bytes(), None).is_err());
    }

    /// Values of every datatype, as many as asked for. Floats are finite, as JSON has them.
    fn any_values(count: usize) -> impl Strategy<Value = Values> {
        use prop::collection::vec;
        let half = any::<u16>().prop_map(f16::from_bits);
        let brain = any::<u16>().prop_map(bf16::from_bits);
        let single = any::<f32>().prop_filter("finite", |value| value.is_finite());
        let double = any::<f64>().prop_filter("finite", |value| value.is_finite());
        prop_oneof![
            vec(any::<bool>(), count).prop_map(Values::Bool),
            vec(any::<u8>(), count).prop_map(Values::U8),
            vec(any::<u16>(), count).prop_map(Values::U16),
            vec(any::<u32>(), count).prop_map(Values::U32),
            vec(any::<u64>(), count).prop_map(Values::U64),
            vec(any::<i8>(), count).prop_map(Values::I8),
            vec(any::<i16>(), count).prop_map(Values::I16),
            vec(any::<i32>(), count).prop_map(Values::I32),
            vec(any::<i64>(), count).prop_map(Values::I64),
            vec(half.prop_filter("finite", |value| value.is_finite()), count).prop_map(Values::F16),
            vec(brain.prop_filter("finite", |value| value.is_finite()), count).prop_map(Values::BF16),
            vec(single, count).prop_map(Values::F32),
            vec(double, count).prop_map(Values::F64),
            vec(".{0,5}", count).prop_map(Values::Text),
        ]
    }

    fn any_tensor() -> impl Strategy<Value = Tensor> {
        prop::collection::vec(1_usize..4, 0..4).prop_flat_map(|shape| {
            let values = any_values(shape.iter().product());
            values.prop_map(move |values| Tensor::new(shape.clone(), values).unwrap())
        })
    }

    /// The request that has the outputs of an answer as its inputs: one is written as the other is read.
    fn sent_back(tensors: &[(Tensor, bool)]) -> Vec<Tensor> {
        let outputs = tensors.iter().map(|(tensor, is_binary)| OutputTensor {
            name: "x",
            tensor,
            is_binary: *is_binary,
        });
        let written = response::write(&InferResponse {
            model_name: "m",
            model_version: "1",
            id: None,
            outputs: outputs.collect(),
        });
        let written = written.unwrap();
        let json_length = written.header_length.unwrap_or(written.body.len());
        let head =
            str::from_utf8(&written.body[..json_length])
                .unwrap()
                .replacen("\"outputs\"", "\"inputs\"", 1);
        let body = [head.as_bytes(), &written.body[json_length..]].concat();
        let length = written.header_length.map(|_| head.len());
        let InferBody::Request(request) = parse(&body, length).unwrap() else {
            panic!()
        };
        request.inputs.into_iter().map(|input| input.tensor).collect()
    }

    proptest! {
        #[test]
        fn every_datatype_survives_its_way_as_json_and_as_bytes(
            tensors in prop::collection::vec((any_tensor(), any::<bool>()), 1..4),
        ) {
            let expected: Vec<_> = tensors.iter().map(|(tensor, _)| tensor.clone()).collect();
            prop_assert_eq!(sent_back(&tensors), expected);
        }

        #[test]
        fn arbitrary_bytes_are_a_request_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200), length in prop::option::of(0_usize..250),
        ) {
            let _ = parse(&bytes, length);
        }

        #[test]
        fn a_request_with_arbitrary_tensors_is_read_or_refused(
            datatype in 0..Datatype::ALL.len(),
            shape in prop::collection::vec(any::<i64>(), 0..4),
            size in prop::option::of(0_usize..40),
            data in prop::option::of("[\\[\\]0-9,.\"a-]{0,30}"),
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let (name, shape) = (Datatype::ALL[datatype].as_str(), json!(shape));
            let data = data.map_or_else(String::new, |data| format!(r#","data":{data}"#));
            let json = format!(
                r#"{{"inputs":[{{"name":"x","datatype":"{name}","shape":{shape},"parameters":{{"binary_data_size":{}}}{data}}}]}}"#,
                json!(size),
            );
            let (body, length) = mixed(&json, &bytes);
            if let Ok(InferBody::Request(request)) = parse(&body, length) {
                prop_assert!(request.inputs[0].tensor.values().len() <= body.len());
            }
        }

        #[test]
        fn raw_bytes_are_a_tensor_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            datatype in 0..Datatype::ALL.len(),
            shape in prop::collection::vec(prop::option::of(0_usize..9), 0..4),
        ) {
            if let Ok(tensor) = parse_raw(&bytes, Datatype::ALL[datatype], &shape) {
                prop_assert!(tensor.values().len() <= bytes.len().max(1));
            }
        }
    }
}
