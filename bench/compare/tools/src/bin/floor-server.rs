//! The floor under a worker: hyper on one thread, which parses the body of a prediction and answers a constant.
//!
//! `floor-server --listen 127.0.0.1:9000 --answer FILE [--model digits] [--blind]`
//!
//! With `--blind` it only reads the body: the upstream of proxies, which need not wait for what is not theirs. For the probes of
//! millrace's gateway it says that it serves the model.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use millrace_compare::{Arguments, Failure};
use serde::Deserialize;
use tokio::net::TcpListener;

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
    let constant = Arc::new(Constant {
        answer: fs::read(arguments.required::<String>("--answer")?)?.into(),
        models: models.into(),
        is_blind: arguments.has("--blind"),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(serve(listen, constant)))
}

async fn serve(listen: SocketAddr, constant: Arc<Constant>) -> Result<(), Failure> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let constant = constant.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(request, &constant));
            // How a connection ends is the client's business.
            let _ = http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    constant: &Constant,
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
