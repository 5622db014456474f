use std::sync::atomic::AtomicBool;

use ndarray::{Array1, Array2};

use super::super::dataset::Missing;
use super::super::encoding::Unknown;
use super::super::onnx::Graph;
use super::super::score;
use super::*;
use crate::training::network::Net;

fn options(cell: Cell) -> RecurrentNetwork {
    RecurrentNetwork {
        cell,
        window: 6,
        horizon: 3,
        season: 12,
        units: 8,
        layers: 1,
        transform: Transform::None,
        linear_part: false,
        schedule: Schedule {
            epochs: 3,
            batch_size: 16,
            learning_rate: 0.01,
            weight_decay: 0.0,
            validation_fraction: 0.2,
            patience: 20,
        },
    }
}

/// Both cells, one layer and two, each transformation, with a linear part and without.
fn variants() -> Vec<RecurrentNetwork> {
    let mut variants = Vec::new();
    for cell in [Cell::Lstm, Cell::Gru] {
        for (layers, transform, linear_part) in [
            (1, Transform::None, true),
            (2, Transform::Sqrt, false),
            (1, Transform::Log, true),
        ] {
            variants.push(RecurrentNetwork {
                layers,
                transform,
                linear_part,
                ..options(cell)
            });
        }
    }
    variants
}

fn data(series: Array1<f64>, options: &RecurrentNetwork) -> Dataset {
    options
        .prepare(Dataset::new(Vec::new(), Target::Numbers(series)))
        .unwrap()
}

/// In a unit far from 1.
fn wave(length: usize) -> Array1<f64> {
    Array1::from_shape_fn(length, |time| 500.0 + 300.0 * (time as f64 * 0.5).sin())
}

/// The logistic map at its most chaotic: each value is a parabola of the one before, and no linear function of any number
/// of those before says anything of it.
fn chaos(length: usize) -> Array1<f64> {
    let mut value = 0.3;
    Array1::from_shape_simple_fn(length, || {
        value = 4.0 * value * (1.0 - value);
        value
    })
}

fn learn(options: &RecurrentNetwork, data: &Dataset, seed: u64) -> (Forecaster, RecurrentNet) {
    try_learn(options, data, seed).unwrap()
}

fn try_learn(
    options: &RecurrentNetwork,
    data: &Dataset,
    seed: u64,
) -> Result<(Forecaster, RecurrentNet), TrainingError> {
    let mut context = Context {
        generator: &mut Generator::new(seed),
        observe: &mut |_| (),
        stop: &AtomicBool::new(false),
        missing: Missing::Refuse,
        unknown: Unknown::Refuse,
    };
    options.learn(data, &mut context)
}

fn run_by_engine(graph: &Graph, data: &Dataset) -> Array2<f64> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, graph.encode("m", "", &[])).unwrap();
    score::predict(&path, &Metadata::default(), data).unwrap()
}

fn error_of(options: &RecurrentNetwork, forecaster: &Forecaster, data: &Dataset) -> f64 {
    let forecast = run_by_engine(&forecaster.graph(options.window), data);
    let Target::Steps(truth) = &data.target else {
        panic!("steps")
    };
    let squares = (forecast - truth).mapv(|error| error * error);
    squares.mean().unwrap().sqrt()
}

/// What candle computes, undone by hand.
fn by_net(
    options: &RecurrentNetwork,
    data: &Dataset,
    forecaster: &Forecaster,
    net: &RecurrentNet,
) -> Array2<f64> {
    let transform = options.transform;
    let known = data.matrix().unwrap().mapv(|value| transform.apply(value));
    let values = (known - forecaster.mean) / forecaster.scale;
    let outputs = net.forward(&[matrix(&values).unwrap()], None).unwrap();
    let flat = outputs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let outputs = Array2::from_shape_vec(
        outputs.dims2().unwrap(),
        flat.into_iter().map(f64::from).collect(),
    )
    .unwrap();
    // The head of the forecaster is in the series' transformed unit, and the net's is standardised: the rest is the unit.
    let (ours, standardised) = (&forecaster.head, net.head().unwrap());
    let scale = &ours.weights.row(0) / &standardised.weights.row(0);
    let mean = &ours.bias - &(&standardised.bias * &scale);
    (outputs * &scale + &mean).mapv(|value| transform.invert(value))
}

#[test]
fn the_graph_computes_what_the_net_computes() {
    for options in variants() {
        let data = data(wave(120), &options);
        let (forecaster, net) = learn(&options, &data, 3);
        let computed = run_by_engine(&forecaster.graph(options.window), &data);
        let expected = by_net(&options, &data, &forecaster, &net);
        assert_eq!(computed.dim(), (data.rows(), options.horizon));
        for (one, other) in computed.iter().zip(&expected) {
            assert!(
                (one - other).abs() <= 1e-4 * other.abs(),
                "{options:?}: {one} {other}"
            );
        }
    }
}

/// No row knows of the others that run with it.
#[test]
fn a_row_alone_gets_the_answer_that_it_gets_among_others() {
    for options in variants() {
        let data = data(wave(100), &options);
        let graph = learn(&options, &data, 3).0.graph(options.window);
        let together = run_by_engine(&graph, &data);
        let alone = run_by_engine(&graph, &data.select(&[7]));
        for (one, other) in alone.row(0).iter().zip(together.row(7)) {
            assert!(
                (one - other).abs() <= 1e-5 * other.abs(),
                "{options:?}: {one} {other}"
            );
        }
    }
}

#[test]
fn what_no_linear_autoregression_can_forecast_is_learnt() {
    for cell in [Cell::Lstm, Cell::Gru] {
        let mut options = options(cell);
        (options.window, options.horizon, options.units) = (3, 1, 16);
        options.schedule.epochs = 60;
        let data = data(chaos(600), &options);
        let parts = options.split(&data, 0.2, &mut Generator::new(1));
        let (training, held_out) = (data.select(&parts.train), data.select(&parts.test));
        let (forecaster, _) = learn(&options, &training, 1);
        let rmse = error_of(&options, &forecaster, &held_out);
        for simple in options.baselines(&training, &held_out).unwrap() {
            assert!(rmse < 0.3 * simple.value, "{cell:?}: {rmse} beside {simple:?}");
        }
    }
}

/// States saturate, so that a net alone cannot follow a series to where it has never been.
#[test]
fn a_linear_part_forecasts_beyond_what_was_seen() {
    let mut options = options(Cell::Lstm);
    let rising = Array1::from_shape_fn(240, |time| time as f64 + 3.0 * (time as f64 * 0.9).sin());
    let data = data(rising, &options);
    let parts = options.split(&data, 0.3, &mut Generator::new(1));
    let (training, held_out) = (data.select(&parts.train), data.select(&parts.test));
    let [alone, beside] = [false, true].map(|linear_part| {
        options.linear_part = linear_part;
        error_of(&options, &learn(&options, &training, 1).0, &held_out)
    });
    assert!(beside < 0.2 * alone, "{beside} {alone}");
}

#[test]
fn a_seed_is_a_model() {
    for cell in [Cell::Lstm, Cell::Gru] {
        let options = options(cell);
        let data = data(wave(80), &options);
        let bytes = |seed| {
            learn(&options, &data, seed)
                .0
                .graph(options.window)
                .encode("m", "", &[])
        };
        assert!(bytes(5) == bytes(5));
        assert!(bytes(5) != bytes(6));
    }
}

#[test]
fn the_last_stretch_is_held_out_and_the_first_is_always_fitted_on() {
    let options = options(Cell::Gru);
    let data = data(wave(108), &options);
    let split = options.split(&data, 0.2, &mut Generator::new(1));
    assert_eq!((data.rows(), split.test), (100, (80..100).collect()));
    // Two windows whose steps reach into the part held out are left out.
    assert_eq!(split.train, (0..78).collect::<Vec<_>>());
    let parts = options.divide(&data, 3).unwrap();
    let ends: Vec<(usize, usize)> = parts
        .iter()
        .map(|part| (part.train.len(), part.test[0]))
        .collect();
    assert_eq!(ends, [(23, 25), (48, 50), (73, 75)]);
}

#[test]
fn options_without_a_meaning_are_refused() {
    type Change = fn(&mut RecurrentNetwork);
    let changes: [(&str, Change); 8] = [
        ("--window", |options| options.window = 0),
        ("--window", |options| options.window = 1025),
        ("--window", |options| (options.window, options.layers) = (600, 2)),
        ("--horizon", |options| options.horizon = 0),
        ("--season", |options| options.season = 0),
        ("--units", |options| options.units = 0),
        ("--layers", |options| options.layers = 0),
        ("--epochs", |options| options.schedule.epochs = 0),
    ];
    for (option, change) in changes {
        let mut wrong = options(Cell::Lstm);
        change(&mut wrong);
        let error = wrong.check().unwrap_err();
        assert!(
            error.is_usage() && error.to_string().starts_with(option),
            "{error}"
        );
    }
    options(Cell::Lstm).check().unwrap();
}

#[test]
fn what_a_series_cannot_give_is_told() {
    let series = |values: Array1<f64>| Dataset::new(Vec::new(), Target::Numbers(values));
    let positive = RecurrentNetwork {
        transform: Transform::Sqrt,
        ..options(Cell::Lstm)
    };
    let error = positive.prepare(series(wave(50) - 500.0)).unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("sqrt"), "{error}");

    let short = options(Cell::Lstm);
    let error = short.prepare(series(wave(8))).unwrap_err();
    assert!(error.to_string().contains("too short"), "{error}");
    // Windows there are, but none is left before what decides when to stop.
    let error = try_learn(&short, &data(wave(11), &short), 1).err().unwrap();
    assert!(error.to_string().contains("too short"), "{error}");

    let wide = RecurrentNetwork {
        units: 60_000,
        ..options(Cell::Lstm)
    };
    let error = try_learn(&wide, &data(wave(50), &wide), 1).err().unwrap();
    assert!(error.to_string().starts_with("--units"), "{error}");
}

/// A search cannot change what a row is.
#[test]
fn windows_of_another_length_are_refused() {
    let made = data(wave(60), &options(Cell::Lstm));
    let other = RecurrentNetwork {
        window: 7,
        ..options(Cell::Lstm)
    };
    let error = try_learn(&other, &made, 1).err().unwrap();
    assert!(
        error.is_usage() && error.to_string().starts_with("--grid"),
        "{error}"
    );
}

/// The longest way back that is taken: the search for gradients must not use up the stack.
#[test]
fn the_longest_window_is_learnt() {
    let mut options = options(Cell::Gru);
    (options.window, options.layers, options.units) = (MAX_STEPS / 2, 2, 1);
    options.schedule.epochs = 1;
    let data = data(wave(530), &options);
    learn(&options, &data, 1);
}
