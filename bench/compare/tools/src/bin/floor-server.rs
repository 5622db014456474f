//! The floor under a worker: hyper on one thread, which parses the body of a prediction and answers a constant.
//!
//! `floor-server --listen 127.0.0.1:9000 --answer FILE [--model digits] [--blind]`
//!
//! With `--blind` it only reads the body: the upstream of proxies, which need not wait for what is not theirs. For the probes of
//! millrace's gateway it says that it serves the model.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use millrace_compare::{Arguments, Failure, serve};
use serde::Deserialize;

/// A native prediction request, and nothing more of it than a server needs.
#[derive(Deserialize)]
struct Prediction {
    inputs: Vec<Vec<f32>>,
}

struct Constant {
    answer: Bytes,
    models: Bytes,
    is_blind: bool,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::of_process();
    let listen: SocketAddr = arguments.required("--listen")?;
    let model = arguments
        .optional::<String>("--model")?
        .unwrap_or_else(|| "digits".to_owned());
    let models = format!(
        r#"{{"models":[{{"name":"{model}","task":"classification","versions":[{{"version":"1","state":"ready"}}]}}]}}"#
    );
    let constant = Rc::new(Constant {
        answer: fs::read(arguments.required::<String>("--answer")?)?.into(),
        models: models.into(),
        is_blind: arguments.has("--blind"),
    });
    serve(
        listen,
        service_fn(move |request| answer(request, Rc::clone(&constant))),
    )
}

async fn answer(
    request: Request<Incoming>,
    constant: Rc<Constant>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_prediction = request.method() == Method::POST;
    let asks_for_models = request.uri().path() == "/models";
    let (status, body) = match request.into_body().collect().await.map(|body| body.to_bytes()) {
        Err(_) => (StatusCode::BAD_REQUEST, Bytes::new()),
        Ok(body) if is_prediction && !constant.is_blind && !is_well_formed(&body) => {
            (StatusCode::BAD_REQUEST, Bytes::new())
        }
        Ok(_) if is_prediction => (StatusCode::OK, constant.answer.clone()),
        Ok(_) if asks_for_models => (StatusCode::OK, constant.models.clone()),
        Ok(_) => (StatusCode::OK, Bytes::new()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn is_well_formed(body: &[u8]) -> bool {
    serde_json::from_slice::<Prediction>(body).is_ok_and(|prediction| !prediction.inputs.is_empty())
}
