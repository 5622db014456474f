//! What a worker does with every request: decode, validate, split a batch, encode; and each shipped model's engine.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use millrace::api::plain::PlainRequest;
use millrace::api::predict::{Listed, Nested, PredictRequest, PredictResponse};
use millrace::engine::{self, LoadOptions};
use millrace::model::artifact::Artifact;
use millrace::model::engine_choice::EngineChoice;
use millrace::model::schema::Schema;
use millrace::model::signature::{Signature, TensorSpec};
use millrace::model::tensor::{Slice, Tensor, Values};
use millrace::worker::load::ModelLoad;
use millrace::worker::validation::tensors_of;
use tokio::time::Instant;

/// Of axes whose length is the request's: values of a series, tokens of a text.
const LENGTH: usize = 16;
const ROWS: [usize; 2] = [1, 64];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models")
        .join(model)
        .join("1")
}

fn rows(count: usize, width: usize) -> Tensor {
    let values = (0..count * width)
        .map(|index| (index % 17) as f32 / 4.0)
        .collect();
    Tensor::new(vec![count, width], Values::F32(values)).expect("the shape is that of the values")
}

fn schema_of(model: &str) -> Schema {
    let artifact = Artifact::read(&folder(model)).expect("the shipped models are whole");
    let options = LoadOptions {
        max_batch_size: 64,
        engine: EngineChoice::Tract,
    };
    let graph = engine::load(&artifact.graph_path, &options).expect("the shipped models load");
    Schema::new(graph.signature().clone(), &artifact.metadata).expect("the shipped models have a schema")
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let schema = schema_of("digits");
    for count in ROWS {
        let row: Vec<f64> = (0..64).map(|index| f64::from(index) / 4.0).collect();
        let body =
            serde_json::to_vec(&serde_json::json!({"inputs": vec![row; count]})).expect("numbers make JSON");
        group.bench_function(BenchmarkId::new("parse_digits", count), |bencher| {
            bencher.iter(|| PredictRequest::parse(black_box(&body)));
        });
        group.bench_function(BenchmarkId::new("plain_digits", count), |bencher| {
            bencher.iter(|| PlainRequest::read(black_box(&body)));
        });
        let request = PredictRequest::parse(&body).expect("the body is a request");
        group.bench_function(BenchmarkId::new("validate_digits", count), |bencher| {
            bencher.iter(|| tensors_of(black_box(&request.inputs), "digits", &schema));
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let classes: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    for count in ROWS {
        let probabilities: Vec<f32> = (0..count * 10).map(|index| 1.0 / (index + 3) as f32).collect();
        let names: Vec<&str> = classes.iter().map(String::as_str).cycle().take(count).collect();
        let (one, two) = ([count], [count, 10]);
        let response = PredictResponse {
            model: "digits",
            version: "1",
            predictions: Some(Nested {
                shape: &one,
                values: Listed::Names(&names),
                places: None,
            }),
            probabilities: Some(Nested {
                shape: &two,
                values: Listed::Values(Slice::F32(&probabilities)),
                places: None,
            }),
            classes: Some(&classes),
            outputs: None,
        };
        group.bench_function(BenchmarkId::new("digits", count), |bencher| {
            bencher.iter(|| serde_json::to_vec(black_box(&response)));
        });
    }
    group.finish();
}

fn batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    let requests: Vec<Tensor> = (0..32).map(|_| rows(1, 64)).collect();
    let parts: Vec<&Tensor> = requests.iter().collect();
    group.bench_function("stack_32_requests", |bencher| {
        bencher.iter(|| Tensor::stack(black_box(&parts)));
    });
    let answers = rows(32, 10);
    group.bench_function("split_32_answers", |bencher| {
        bencher.iter(|| {
            (0..32)
                .map(|row| black_box(&answers).slice_rows(row, 1))
                .collect::<Vec<_>>()
        });
    });
    group.finish();
}

/// The names of the models that come with the project.
fn shipped() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let entries = folder.read_dir().expect("the models are there");
    let names = entries.map(|entry| entry.expect("it can be read").file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| folder.join(name).is_dir());
    names.sort();
    names
}

/// So many rows of zeros and empty texts.
fn inputs_of(signature: &Signature, count: usize) -> Vec<Tensor> {
    let tensor = |spec: &TensorSpec| {
        let row = signature.row_shape(spec);
        let row = row.iter().map(|size| size.unwrap_or(LENGTH));
        let shape: Vec<usize> = [count].into_iter().chain(row).collect();
        let values = Values::zeros(spec.datatype, shape.iter().product());
        Tensor::new(shape, values).expect("the shape is that of the values")
    };
    signature.inputs.iter().map(tensor).collect()
}

fn engines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    for model in shipped() {
        let path = folder(&model).join("model.onnx");
        let graph = engine::load(
            &path,
            &LoadOptions {
                max_batch_size: 64,
                engine: EngineChoice::Tract,
            },
        )
        .expect("the shipped models load");
        let inputs = [1, 32].map(|count| (count, inputs_of(graph.signature(), count)));
        let mut engine = graph.engine();
        for (count, inputs) in inputs {
            let run = engine.run(inputs.clone());
            run.unwrap_or_else(|error| panic!("{model}, {count} rows: {error}"));
            group.bench_function(BenchmarkId::new(&model, count), |bencher| {
                bencher.iter_batched(
                    || inputs.clone(),
                    |inputs| engine.run(inputs),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// What a request costs in addition because its answer tells the load.
fn load(criterion: &mut Criterion) {
    let (load, now) = (ModelLoad::default(), Instant::now());
    // As full as it can be: every load is known, with as many requests as are kept.
    for in_flight in (0..12).map(|power| (1 << power) >> 1) {
        (0..64).for_each(|micros| load.answered(in_flight, Duration::from_micros(micros * 7 % 64), now));
    }
    load.ran(Duration::from_secs(1), 3, now);
    load.computed(700, now);
    let mut group = criterion.benchmark_group("load");
    group.bench_function("note", |bencher| {
        bencher.iter(|| {
            load.answered(black_box(5), Duration::from_micros(2_000), now);
            load.ran(Duration::from_micros(900), 1, now);
            load.computed(1, now);
        });
    });
    group.bench_function("report", |bencher| {
        bencher.iter(|| load.report(black_box(5), now));
    });
    let report = load.report(5, now);
    group.bench_function("write", |bencher| bencher.iter(|| black_box(&report).to_header()));
    group.finish();
}

criterion_group!(benches, decode, encode, batch, engines, load);
criterion_main!(benches);
