//! The engine on graphs as they come: free, fixed, baked and absent batches, broken files.

use std::sync::Arc;

use millrace::engine::{EngineError, Extent, Graph, LoadOptions, load};
use millrace::model::engine_choice::{EngineChoice, RuntimeLibrary};
use millrace::model::signature::Batch;
use millrace::model::tensor::{Tensor, Values};

use crate::support::graph;

const OPTIONS: LoadOptions = LoadOptions {
    max_batch_size: 8,
    engine: EngineChoice::Tract,
};

fn load_bytes(bytes: &[u8]) -> Result<Arc<dyn Graph>, EngineError> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).expect("a file can be written");
    load(&path, &OPTIONS)
}

fn matrix(rows: usize, columns: usize) -> Tensor {
    let values = (0..rows * columns).map(|value| value as f32 - 3.0).collect();
    Tensor::new(vec![rows, columns], Values::F32(values)).expect("the shape fits")
}

fn run(graph: &Arc<dyn Graph>, inputs: Vec<Tensor>) -> Vec<Tensor> {
    let outcome = Arc::clone(graph).engine().run(inputs);
    outcome.expect("the graph runs")
}

fn floats(tensor: &Tensor) -> &[f32] {
    match tensor.values() {
        Values::F32(values) => values,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_free_batch_takes_any_number_of_rows() {
    let graph = load_bytes(&graph::linear(&[1.0, 10.0], 0.5)).unwrap();
    assert_eq!(graph.signature().batch, Batch::Free);
    assert_eq!(graph.signature().outputs[0].shape, [None, Some(1)]);
    graph.warm_up(&[]).unwrap();
    for rows in 1..=9 {
        let input = matrix(rows, 2);
        let expected: Vec<f32> = floats(&input)
            .chunks(2)
            .map(|row| row[0] + 10.0 * row[1] + 0.5)
            .collect();
        assert_eq!(floats(&run(&graph, vec![input])[0]), expected, "{rows} rows");
    }
}

#[test]
fn what_is_put_off_is_done_without_until_it_is_there() {
    let graph = load_bytes(&graph::linear(&[1.0, 10.0], 0.5)).unwrap();
    graph.prepare(&[], Extent::Least).unwrap();
    assert!(graph.is_put_off());
    let answers = || -> Vec<Vec<f32>> {
        let rows = 1..=OPTIONS.max_batch_size;
        rows.map(|rows| floats(&run(&graph, vec![matrix(rows, 2)])[0]).to_vec())
            .collect()
    };
    let before = answers();
    assert!(graph.is_put_off(), "runs make nothing of it");
    graph.warm_up(&[]).unwrap();
    assert!(!graph.is_put_off());
    assert_eq!(answers(), before);
}

#[test]
fn log_sum_exp_is_right_for_numbers_of_any_size() {
    let reduced = |keep| {
        let rank = usize::from(keep == 1);
        graph::Graph::default()
            .node_with("ReduceLogSumExp", &["x"], "y", &[("keepdims", keep)])
            .output("y", graph::FLOAT, &[1][..rank])
    };
    let sum = graph::Graph::default()
        .node("ReduceSum", &["x"], "z")
        .output("z", graph::FLOAT, &[1]);
    let within_a_branch = graph::Graph::default()
        .floats("zero", &[1], &[0.0])
        .node("ReduceMax", &["x"], "largest")
        .node("Greater", &["largest", "zero"], "is_positive")
        .branch("is_positive", sum, reduced(1), "chosen")
        .output("chosen", graph::FLOAT, &[1]);
    let within_a_branch = within_a_branch.input("x", graph::FLOAT, &[2]).bytes();
    let graph = load_bytes(&within_a_branch).unwrap();
    let input = Tensor::new(vec![1, 2], Values::F32(vec![-5000.0, -5000.0])).unwrap();
    assert_eq!(floats(&run(&graph, vec![input])[0])[0], -5000.0 + 2_f32.ln());
    for keep in [0, 1] {
        let graph = load_bytes(&reduced(keep).input("x", graph::FLOAT, &[2]).bytes()).unwrap();
        for (row, expected) in [
            ([-5000.0, -5000.0], -5000.0 + 2_f32.ln()),
            ([900.0, 0.0], 900.0),
            ([0.5, 0.5], 0.5 + 2_f32.ln()),
        ] {
            let input = Tensor::new(vec![1, 2], Values::F32(row.to_vec())).unwrap();
            let found = floats(&run(&graph, vec![input])[0])[0];
            assert!((found - expected).abs() < 1e-3, "{row:?}: {found}");
        }
    }
}

#[test]
fn fixed_and_baked_batches_run_in_pieces() {
    let fixed = load_bytes(&graph::fixed_batch(3)).unwrap();
    assert_eq!(fixed.signature().batch, Batch::Fixed(3));
    let baked = load_bytes(&graph::baked_batch()).unwrap();
    assert_eq!(baked.signature().batch, Batch::Fixed(1));
    for rows in 1..=7 {
        let input = matrix(rows, 2);
        assert_eq!(
            run(&baked, vec![input.clone()]),
            vec![input.clone()],
            "{rows} rows"
        );
        let relu: Vec<f32> = floats(&input).iter().map(|value| value.max(0.0)).collect();
        assert_eq!(floats(&run(&fixed, vec![input])[0]), relu, "{rows} rows");
    }
}

#[test]
fn a_graph_whose_output_has_no_rows_runs_for_each_row_alone() {
    let graph = load_bytes(&graph::sum_of_everything()).unwrap();
    assert_eq!(graph.signature().batch, Batch::Absent);
    let rows = Tensor::new(vec![2, 1, 2], Values::F32(vec![1.0, 2.0, 3.0, 4.0])).unwrap();
    let sums = run(&graph, vec![rows]);
    assert_eq!((sums[0].shape(), floats(&sums[0])), (&[2][..], &[3.0, 7.0][..]));
}

#[test]
fn rows_of_a_free_length_are_no_guess() {
    let graph = load_bytes(&graph::sequence_sum()).unwrap();
    assert_eq!(graph.signature().batch, Batch::Free);
    assert_eq!(graph.signature().inputs[0].shape, [None, None]);
    graph.warm_up(&[]).unwrap();
    for length in [1, 2, 5] {
        let input = matrix(3, length);
        let expected: Vec<f32> = floats(&input)
            .chunks(length)
            .map(|row| row.iter().sum())
            .collect();
        assert_eq!(floats(&run(&graph, vec![input])[0]), expected);
    }
}

#[test]
fn several_inputs_and_outputs_keep_their_places() {
    let graph = load_bytes(&graph::two_inputs()).unwrap();
    let column = |values: &[f32]| Tensor::new(vec![values.len(), 1], Values::F32(values.to_vec())).unwrap();
    let outputs = run(
        &graph,
        vec![column(&[1.0, 2.0, 3.0]), column(&[10.0, 20.0, 30.0])],
    );
    assert_eq!(floats(&outputs[0]), [21.0, 42.0, 63.0]);
    assert_eq!(floats(&outputs[1]), [1.0, 2.0, 3.0]);
}

#[test]
fn an_operator_that_is_not_implemented_is_named() {
    let error = load_bytes(&graph::unknown_operator()).err().unwrap();
    assert!(
        matches!(&error, EngineError::UnsupportedOperators(names) if names == &["Telepathy"]),
        "{error}"
    );
}

#[test]
fn without_a_second_engine_auto_means_tract() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let mut options = LoadOptions {
        engine: EngineChoice::Auto(None),
        ..OPTIONS
    };
    std::fs::write(&path, graph::linear(&[1.0], 0.0)).unwrap();
    assert_eq!(load(&path, &options).unwrap().engine_name(), "tract");

    let library = RuntimeLibrary {
        path: "nowhere/libonnxruntime.so".into(),
        threads: 1,
    };
    options.engine = EngineChoice::Auto(Some(library));
    assert_eq!(load(&path, &options).unwrap().engine_name(), "tract");
    std::fs::write(&path, graph::unknown_operator()).unwrap();
    let error = load(&path, &options).err().unwrap().to_string();
    assert!(
        error.contains("Telepathy") && error.contains("nowhere/libonnxruntime.so"),
        "{error}"
    );
    options.engine = EngineChoice::Auto(None);
    let error = load(&path, &options).err().unwrap();
    assert!(matches!(error, EngineError::UnsupportedOperators(_)), "{error}");
}

#[test]
fn a_graph_that_cannot_take_zeros_is_warmed_up_all_the_same() {
    let graph = load_bytes(&graph::whole_division()).unwrap();
    graph.warm_up(&[]).unwrap();
    let rows = Tensor::new(vec![2, 1], Values::I64(vec![3, 4])).unwrap();
    assert_eq!(run(&graph, vec![rows])[0].values(), &Values::I64(vec![4, 3]));
}

#[test]
fn a_file_cut_off_anywhere_is_an_error_and_never_a_panic() {
    let whole = graph::linear(&[1.0, 2.0, 3.0], 4.0);
    for length in 0..whole.len() {
        let outcome = load_bytes(&whole[..length]).and_then(|graph| graph.warm_up(&[]));
        assert!(outcome.is_err(), "{length} of {} bytes", whole.len());
    }
}

#[test]
fn a_file_with_any_byte_flipped_never_panics() {
    let whole = graph::two_inputs();
    for position in 0..whole.len() {
        let mut broken = whole.clone();
        broken[position] ^= 0xff;
        // It may even load; what counts is that this process goes on.
        let _ = load_bytes(&broken);
    }
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let error = load(std::path::Path::new("nowhere/model.onnx"), &OPTIONS)
        .err()
        .unwrap();
    assert!(matches!(error, EngineError::Unreadable(_)), "{error}");
}
