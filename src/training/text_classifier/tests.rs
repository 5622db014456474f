use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::{D, Device, Tensor};
use candle_nn::ops::softmax;
use tract_onnx::prelude::{DatumExt, Framework, InferenceModelExt, IntoTensor, tract_ndarray, tvec};
use tract_onnx::tract_hir::internal::IntoRunnable;

use super::super::artifact::Destination;
use super::super::dataset::Missing;
use super::super::encoding::Unknown;
use super::super::evaluation::Evaluation;
use super::super::network::Net;
use super::super::random::Generator;
use super::super::{Outcome, Request, run};
use super::net::{Dropped, Sizes, Transformer};
use super::*;
use crate::model::artifact::{Artifact, GRAPH_FILE, TOKENIZER_FILE};

const SIZES: Sizes = Sizes {
    tokens: 30,
    length: 9,
    width: 8,
    heads: 2,
    layers: 2,
    classes: 3,
};

fn net(seed: u64) -> Transformer {
    let dropped = Dropped {
        units: 0.5,
        tokens: 0.5,
    };
    let net = Transformer::new(SIZES, dropped, &mut Generator::new(seed)).unwrap();
    // Norms and biases begin at ones and zeros, where a mistake with them would not be seen.
    let mut generator = Generator::new(seed + 1);
    for variable in net.variables() {
        let noise: Vec<f32> = std::iter::repeat_with(|| generator.uniform(0.5) as f32)
            .take(variable.elem_count())
            .collect();
        let noise = Tensor::from_vec(noise, variable.shape(), &Device::Cpu).unwrap();
        variable.set(&variable.add(&noise).unwrap()).unwrap();
    }
    net
}

/// Rows of 3, 1 and no tokens, filled up to `length`.
fn rows(length: usize) -> (Vec<u32>, Vec<f32>) {
    let tokens: [&[u32]; 3] = [&[5, 17, 29], &[1], &[]];
    let place = |row: &&[u32], place: usize| row.get(place).copied();
    let ids = tokens
        .iter()
        .flat_map(|row| (0..length).map(move |at| place(row, at).unwrap_or(0)));
    let mask = tokens
        .iter()
        .flat_map(|row| (0..length).map(move |at| f32::from(u8::from(at < row.len()))));
    (ids.collect(), mask.collect())
}

fn by_net(net: &Transformer, length: usize) -> Vec<f32> {
    let (ids, mask) = rows(length);
    let ids = Tensor::from_vec(ids, (3, length), &Device::Cpu).unwrap();
    let mask = Tensor::from_vec(mask, (3, length), &Device::Cpu).unwrap();
    let logits = net.forward(&[ids, mask], None).unwrap();
    softmax(&logits, D::Minus1)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

fn by_tract(net: &Transformer, length: usize) -> Vec<f32> {
    let onnx = graph(net).unwrap().encode("test", "", &[]);
    let (ids, mask) = rows(length);
    let input = |values: Vec<i64>| {
        let values = tract_ndarray::Array2::from_shape_vec((3, length), values).unwrap();
        values.into_tensor().into()
    };
    let mut model = tract_onnx::onnx().model_for_read(&mut &*onnx).unwrap();
    for place in 0..2 {
        model = model
            .with_input_fact(place, i64::fact([3, length]).into())
            .unwrap();
    }
    let model = model.into_optimized().unwrap().into_runnable().unwrap();
    let ids = ids.into_iter().map(i64::from).collect();
    let mask = mask.into_iter().map(|one| one as i64).collect();
    let outputs = model.run(tvec!(input(ids), input(mask))).unwrap();
    outputs[0]
        .to_plain_array_view::<f32>()
        .unwrap()
        .iter()
        .copied()
        .collect()
}

fn assert_near(one: &[f32], other: &[f32]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert!(
            one.is_finite() && (one - other).abs() <= 1e-4 * other.abs(),
            "{one} {other}"
        );
    }
}

#[test]
fn the_graph_computes_what_the_net_does_however_far_rows_are_filled_up() {
    let net = net(3);
    let expected = by_net(&net, 3);
    assert_near(&by_net(&net, SIZES.length), &expected);
    for length in [3, 4, SIZES.length] {
        assert_near(&by_tract(&net, length), &expected);
    }
}

#[test]
fn a_row_without_tokens_is_what_the_head_says_of_nothing() {
    let net = net(3);
    let of_nothing = softmax(&net.head.bias.as_tensor().unsqueeze(0).unwrap(), D::Minus1).unwrap();
    let of_nothing: Vec<f32> = of_nothing.flatten_all().unwrap().to_vec1().unwrap();
    let computed = by_tract(&net, 4);
    assert_near(&computed[2 * SIZES.classes..], &of_nothing);
}

#[test]
fn the_size_is_about_the_number_of_fitted_numbers() {
    let counted: usize = net(3)
        .variables()
        .iter()
        .map(|variable| variable.elem_count())
        .sum();
    // Norms and biases are left out.
    let told = SIZES.parameters();
    assert!(told <= counted && told * 3 > counted * 2, "{told} {counted}");
    let huge = Sizes {
        width: usize::MAX,
        ..SIZES
    };
    assert_eq!(huge.parameters(), usize::MAX);
}

fn options() -> TextClassifier {
    TextClassifier {
        vocabulary: 60,
        max_length: 12,
        width: 16,
        heads: 2,
        layers: 1,
        dropout: 0.0,
        token_dropout: 0.0,
        schedule: Schedule {
            epochs: 40,
            batch_size: 16,
            learning_rate: 0.01,
            weight_decay: 1e-4,
            validation_fraction: 0.2,
            patience: 40,
        },
    }
}

/// Who bites whom. Each class has the same words as often, so that no bag of words can tell.
fn bites() -> String {
    let mut lines = "text,biter\n".to_owned();
    let verbs = ["bites", "chases", "hears", "sees", "follows", "finds"];
    let times = [
        "today",
        "at night",
        "again",
        "now",
        "often",
        "quietly",
        "once",
        "in the park",
    ];
    for verb in verbs {
        for time in times {
            lines += &format!("the dog {verb} the man {time},dog\nthe man {verb} the dog {time},man\n");
        }
    }
    lines
}

fn request(options: TextClassifier, folder: &Path, data: &str) -> Request {
    let file = folder.join("texts.csv");
    std::fs::write(&file, data).unwrap();
    Request {
        candidates: vec![Box::new(options)],
        data: file,
        roles: Roles {
            target: "biter".into(),
            ..Roles::default()
        },
        unknown: Unknown::Refuse,
        balance_classes: false,
        cross_validate: None,
        destination: Destination {
            repository: folder.join("models"),
            model: "m".into(),
            version: None,
            force: false,
        },
        test_fraction: 0.25,
        seed: 5,
        split_seed: None,
        description: None,
        command: None,
    }
}

fn run_on(request: &Request) -> Result<Outcome, TrainingError> {
    run(request, &mut |_| (), &AtomicBool::new(false))
}

#[test]
fn the_order_of_words_is_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run_on(&request(options(), folder.path(), &bites())).unwrap();
    let Evaluation::Classification { accuracy, .. } = outcome.report.metrics else {
        panic!("classes")
    };
    assert!(accuracy > 0.95, "{accuracy}");
    let [baseline] = outcome.report.baselines.as_slice() else {
        panic!("one baseline")
    };
    assert!(
        baseline.figure == "accuracy" && baseline.value > 0.4,
        "{baseline:?}"
    );
    let metadata = Artifact::read(&outcome.folder).unwrap().metadata;
    let text = metadata.text.unwrap();
    assert_eq!((text.truncate, text.padding), (Some(true), Some(Padding::Bucket)));
    assert!(metadata.features.is_empty() && text.max_length <= Some(12));
    assert_eq!(metadata.classes, ["dog", "man"]);
    assert!(
        metadata
            .metrics
            .contains_key("accuracy_logistic_regression_on_character_n_grams")
    );
}

#[test]
fn a_seed_is_a_graph_and_a_tokenizer_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let mut short = options();
    short.schedule.epochs = 2;
    short.dropout = 0.2;
    short.token_dropout = 0.2;
    let mut request = request(short, folder.path(), &bites());
    let [once, again] = [(), ()].map(|()| run_on(&request).unwrap().folder);
    for file in [GRAPH_FILE, TOKENIZER_FILE] {
        let [once, again] = [&once, &again].map(|folder| std::fs::read(folder.join(file)).unwrap());
        assert!(once == again, "{file}");
    }
    request.seed = 6;
    let other = run_on(&request).unwrap().folder;
    let [once, other] = [once, other].map(|folder| std::fs::read(folder.join(GRAPH_FILE)).unwrap());
    assert!(once != other);
}

#[test]
fn what_cannot_be_learnt_from_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let told = |change: fn(&mut Request), data: &str| {
        let mut request = request(options(), folder.path(), data);
        change(&mut request);
        run_on(&request).unwrap_err().to_string()
    };
    let unchanged: fn(&mut Request) = |_| ();
    let two = told(
        unchanged,
        &bites()
            .replace("text,", "text,other,")
            .replace(",dog\n", ",x,dog\n")
            .replace(",man\n", ",x,man\n"),
    );
    assert!(
        two.contains("one column of texts") && two.contains("text, other"),
        "{two}"
    );
    let no_text = told(
        |request| request.roles.categorical = vec!["text".into()],
        &bites(),
    );
    assert!(no_text.contains("one column of texts"), "{no_text}");
    let missing = told(unchanged, &format!("{},dog\n", bites()));
    assert!(missing.contains("line 98, column text"), "{missing}");
    let empty = told(
        |request| request.roles.missing = Missing::Mean,
        &format!("{},dog\n", bites()),
    );
    assert!(empty.contains("column text: 1 texts are empty"), "{empty}");
}

#[test]
fn options_without_a_meaning_are_refused() {
    let changes: [fn(&mut TextClassifier); 9] = [
        |options| options.vocabulary = 2,
        |options| options.max_length = 0,
        |options| options.width = 0,
        |options| options.heads = 3,
        |options| options.heads = 0,
        |options| options.layers = 0,
        |options| options.dropout = 1.0,
        |options| options.token_dropout = -0.1,
        |options| options.schedule.epochs = 0,
    ];
    for change in changes {
        let mut wrong = options();
        change(&mut wrong);
        assert!(wrong.check().unwrap_err().is_usage(), "{wrong:?}");
    }
    options().check().unwrap();
}
