//! Cards of made-up runs of every kind, whose models are functions that the tests know.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array1, array};

use super::super::algorithm::Baseline;
use super::super::artifact::Destination;
use super::super::dataset::{Column, Target, Values};
use super::super::encoding::Unknown;
use super::super::evaluation::Evaluation;
use super::super::network::Epoch;
use super::super::onnx::{BATCH, Element, Size};
use super::super::report::Candidate;
use super::explain::Effects;
use super::*;

type Model = fn(&Dataset) -> Array2<f64>;

/// A run whose model is a function.
struct Made {
    request: Request,
    report: Report,
    inputs: Vec<Port>,
    training: Dataset,
    held_out: Dataset,
    predictions: Array2<f64>,
    model: Model,
}

impl Made {
    fn new(training: Dataset, held_out: Dataset, row_shapes: &[&[usize]], model: Model) -> Self {
        let predictions = model(&held_out);
        let roles = Roles {
            target: "the | target".into(),
            ..Roles::default()
        };
        let input = |shape: &&[usize]| Port {
            name: "inputs".into(),
            element: Element::F32,
            shape: [BATCH]
                .into_iter()
                .chain(shape.iter().map(|&size| Size::Fixed(size)))
                .collect(),
        };
        let train = training.rows();
        Self {
            report: Report {
                algorithm: "made-up",
                options: toml::Table::from_iter([("depth".to_owned(), toml::Value::Integer(3))]),
                seed: 7,
                features: training.names(),
                classes: training.target.class_names().to_vec(),
                train_rows: (0..train).collect(),
                test_rows: (train..train + held_out.rows()).collect(),
                parameters: serde_json::Value::Null,
                metrics: Evaluation::of(predictions.view(), &held_out.target),
                baselines: Vec::new(),
                candidates: Vec::new(),
                epochs: Vec::new(),
            },
            request: Request {
                candidates: Vec::new(),
                data: PathBuf::from("/somewhere/else/data.csv"),
                roles,
                unknown: Unknown::Refuse,
                balance_classes: true,
                cross_validate: None,
                destination: Destination {
                    repository: PathBuf::new(),
                    model: "m".into(),
                    version: None,
                    force: false,
                },
                test_fraction: 0.25,
                seed: 7,
                split_seed: None,
                description: Some("A <b>test</b>.".into()),
                command: Some("millrace train made-up --data data.csv".into()),
            },
            inputs: row_shapes.iter().map(input).collect(),
            training,
            held_out,
            predictions,
            model,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&Subject<'_>) -> T) -> T {
        self.with_model(&|data| Ok((self.model)(data)), act)
    }

    fn with_model<T>(
        &self,
        predict: &dyn Fn(&Dataset) -> Result<Array2<f64>, TrainingError>,
        act: impl FnOnce(&Subject<'_>) -> T,
    ) -> T {
        act(&Subject {
            request: &self.request,
            roles: &self.request.roles,
            report: &self.report,
            inputs: &self.inputs,
            training: &self.training,
            held_out: &self.held_out,
            predictions: self.predictions.view(),
            predict,
            graph_size: 1_000,
        })
    }

    /// The version's folder with the card.
    fn write(&self, repository: &Path) -> PathBuf {
        let destination = Destination {
            repository: repository.to_owned(),
            ..self.request.destination.clone()
        };
        let draft = destination.draft(destination.choose_version().unwrap()).unwrap();
        self.with(|subject| write(subject, &draft)).unwrap();
        draft.publish().unwrap()
    }

    fn effects(&self) -> Effects {
        let explanation = self.with(explanation).unwrap();
        explanation.expect("there are parts to take out").effects
    }
}

fn column(name: &str, values: Values) -> Column {
    Column {
        name: name.into(),
        values,
    }
}

fn numbers(column: &Column) -> &[f64] {
    match &column.values {
        Values::Numbers(values) => values,
        _ => panic!("numbers"),
    }
}

/// Two columns of numbers, of which the first decides, and one of categories; hostile names all over.
fn classes() -> Made {
    let data = |rows: usize| {
        let row = |row: usize| row as f64;
        let deciding = (0..rows).map(|place| row(place * 7 % 20)).collect::<Vec<_>>();
        let labels = deciding.iter().map(|&value| usize::from(value > 9.5)).collect();
        let colour = |place: usize| ["red", "<b>|\u{0}blue", "`green`"][place % 3].to_owned();
        let columns = vec![
            column("a|b*c*", Values::Numbers(deciding)),
            column(
                "idle",
                Values::Numbers((0..rows).map(|place| row(place * 3 % 11)).collect()),
            ),
            column(
                "[x](javascript:y)",
                Values::Categories((0..rows).map(colour).collect()),
            ),
        ];
        let names = vec![
            "no\n# heading".to_owned(),
            "<script>alert(1)</script> & so on".to_owned(),
        ];
        Dataset::new(columns, Target::Classes { names, labels })
    };
    let model = |data: &Dataset| {
        let sure = |&value: &f64| (value - 9.5) / 40.0 + 0.5;
        let second: Array1<f64> = numbers(&data.columns[0]).iter().map(sure).collect();
        ndarray::stack![ndarray::Axis(1), second.mapv(|share| 1.0 - share), second]
    };
    let mut made = Made::new(data(60), data(24), &[&[1], &[1], &[1]], model);
    let candidate = |depth: i64| Candidate {
        options: toml::Table::from_iter([("depth".to_owned(), toml::Value::Integer(depth))]),
        figure: "accuracy",
        mean: 0.9,
        deviation: 0.1,
        scores: vec![0.8, 1.0],
    };
    made.report.candidates = vec![candidate(2), candidate(3)];
    let epoch = |number: usize| Epoch {
        number,
        of: 40,
        training_loss: 2.0 / number as f64 / number as f64,
        validation_loss: 1.0 / number as f64 + number as f64 / 300.0,
        validation_accuracy: Some(1.0 - 0.5 / number as f64),
        best: number.min(17),
    };
    made.report.epochs = (1..=37).map(epoch).collect();
    made
}

fn regression() -> Made {
    let data = |rows: usize| {
        let x: Vec<f64> = (0..rows).map(|row| (row * 13 % 31) as f64).collect();
        let noise = |row: usize| (row * 5 % 7) as f64 - 3.0;
        let y = x
            .iter()
            .enumerate()
            .map(|(row, x)| 3.0 * x + noise(row))
            .collect();
        let columns = vec![
            column("x", Values::Numbers(x)),
            column("idle", Values::Numbers(vec![1.0; rows])),
        ];
        Dataset::new(columns, Target::Numbers(y))
    };
    let model = |data: &Dataset| {
        let values = numbers(&data.columns[0]).iter().map(|x| 3.0 * x);
        values.collect::<Array1<f64>>().insert_axis(ndarray::Axis(1))
    };
    Made::new(data(100), data(40), &[&[2]], model)
}

/// Windows of six values of a wave, and the next three.
fn forecast() -> Made {
    let wave = |place: usize| (place as f64 / 4.0).sin() * 10.0 + 20.0;
    let windows = move |first: usize, count: usize| {
        let names: Vec<String> = (1..=6).rev().map(|lag| format!("lag_{lag}")).collect();
        let rows = Array2::from_shape_fn((count, 6), |(row, lag)| wave(first + row + lag));
        let steps = Array2::from_shape_fn((count, 3), |(row, step)| wave(first + row + 6 + step));
        Dataset::of_numbers(&names, &rows, Target::Steps(steps))
    };
    let model = |data: &Dataset| {
        let last = numbers(&data.columns[5]);
        let before = numbers(&data.columns[4]);
        Array2::from_shape_fn((data.rows(), 3), |(row, step)| {
            last[row] + 0.5 * (step + 1) as f64 * (last[row] - before[row])
        })
    };
    let mut made = Made::new(windows(0, 200), windows(200, 90), &[&[6, 1]], model);
    let baseline = |name, value| Baseline {
        name,
        figure: "rmse",
        value,
    };
    made.report.baselines = vec![
        baseline("seasonal naive", 9.0),
        baseline("linear autoregression", 4.0),
    ];
    made
}

/// A text is of the class "yes" by the share of this word.
fn texts(texts: [&str; 2]) -> Made {
    let data = |rows: usize| {
        let text = |row: usize| texts[row % 2].to_owned();
        let columns = vec![column("text", Values::Texts((0..rows).map(text).collect()))];
        let labels = (0..rows).map(|row| 1 - row % 2).collect();
        let names = vec!["no".to_owned(), "yes".to_owned()];
        Dataset::new(columns, Target::Classes { names, labels })
    };
    let model = |data: &Dataset| {
        let Values::Texts(texts) = &data.columns[0].values else {
            panic!("texts")
        };
        let yes = |text: &String| if text.contains("yes") { 0.7 } else { 0.2 };
        let second: Array1<f64> = texts.iter().map(yes).collect();
        ndarray::stack![ndarray::Axis(1), second.mapv(|share| 1.0 - share), second]
    };
    Made::new(data(10), data(6), &[&[1]], model)
}

/// Longer than a line of the picture.
const LONG: &str = "oh yes, that is what it was, and nobody who was there would have said anything else of it, \
                    howeverlongonethoughtaboutitandhowevermanyweretoask";

/// Pictures of `channels` × 16 × 16, of which one pixel decides.
fn pictures_of(channels: usize) -> Made {
    let data = move |rows: usize| {
        let names: Vec<String> = (0..channels * 256).map(|place| format!("p{place}")).collect();
        let value = |(row, place): (usize, usize)| {
            let (line, column) = (place % 256 / 16, place % 16);
            let is_in = (line.abs_diff(5) + column.abs_diff(9)) < 4 + row % 2;
            if is_in {
                200.0 + (row * 20 % 55) as f64 - 60.0 * (place / 256) as f64
            } else {
                10.0
            }
        };
        let pixels = Array2::from_shape_fn((rows, channels * 256), value);
        let names_of_classes = vec!["even".to_owned(), "odd".to_owned()];
        let target = Target::Classes {
            names: names_of_classes,
            labels: (0..rows).map(|row| row % 2).collect(),
        };
        Dataset::of_numbers(&names, &pixels, target)
    };
    let model = |data: &Dataset| {
        let deciding = numbers(&data.columns[5 * 16 + 9]);
        Array2::from_shape_fn((data.rows(), 2), |(row, class)| {
            let first = 0.5 + (deciding[row] - 210.0) / 400.0;
            if class == 0 { first } else { 1.0 - first }
        })
    };
    Made::new(data(30), data(12), &[&[channels, 16, 16]], model)
}

fn all() -> Vec<(&'static str, Made)> {
    vec![
        ("classes", classes()),
        ("regression", regression()),
        ("forecast", forecast()),
        ("words", texts([LONG, "it was not"])),
        ("characters", texts(["yes", "nothing"])),
        ("grey pictures", pictures_of(1)),
        ("colour pictures", pictures_of(3)),
    ]
}

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder.join("card")).unwrap();
    entries
        .map(|entry| format!("card/{}", entry.unwrap().file_name().into_string().unwrap()))
        .collect()
}

#[test]
fn every_link_leads_to_a_picture_and_every_picture_is_linked() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, made) in all() {
        let version = made.write(folder.path());
        let card = fs::read_to_string(version.join(CARD_FILE)).unwrap();
        let links: BTreeSet<String> = card
            .split("](")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
            .filter(|link| link.starts_with("card/"))
            .collect();
        assert_eq!(links, files(&version), "{kind}");
        assert!(links.contains("card/example.svg"), "{kind}: {links:?}");
    }
}

#[test]
fn nothing_on_a_card_is_no_number_or_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, made) in all() {
        let version = made.write(folder.path());
        let texts = files(&version).into_iter().chain([CARD_FILE.to_owned()]);
        for file in texts {
            let text = fs::read_to_string(version.join(&file)).unwrap();
            for part in ["NaN", "inf,", "inf ", "/somewhere"] {
                assert!(!text.contains(part), "{kind}, {file}: {part}");
            }
            let root = folder.path().to_str().unwrap();
            assert!(!text.contains(root), "{kind}, {file}");
        }
    }
}

#[test]
fn the_same_run_is_the_same_card_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, made) in all() {
        let [once, again] = [(), ()].map(|()| made.write(folder.path()));
        assert_ne!(once, again);
        assert_eq!(files(&once), files(&again));
        for file in files(&once).into_iter().chain([CARD_FILE.to_owned()]) {
            let [once, again] = [&once, &again].map(|version| fs::read(version.join(&file)).unwrap());
            assert!(once == again, "{kind}: {file}");
        }
    }
}

/// Tags open and close in order, and names from the data are no tags.
#[test]
fn pictures_are_well_formed() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, made) in all() {
        let version = made.write(folder.path());
        for file in files(&version) {
            let svg = fs::read_to_string(version.join(&file)).unwrap();
            let mut open = Vec::new();
            for tag in svg.split('<').skip(1) {
                let (tag, text) = tag.split_once('>').expect("a tag ends");
                assert!(!text.contains('>'), "{kind}, {file}: {text}");
                match tag.strip_prefix('/') {
                    Some(name) => assert_eq!(open.pop(), Some(name), "{kind}, {file}"),
                    None if tag.ends_with('/') => {}
                    None => open.push(tag.split_whitespace().next().unwrap()),
                }
            }
            assert!(open.is_empty(), "{kind}, {file}: {open:?}");
            assert!(!svg.contains(|character: char| character.is_control() && character != '\n'));
        }
    }
}

#[test]
fn a_name_from_the_data_is_no_markdown() {
    let folder = tempfile::tempdir().unwrap();
    let card = fs::read_to_string(classes().write(folder.path()).join(CARD_FILE)).unwrap();
    assert!(
        card.contains(r"a\|b\*c\*") && card.contains(r"\[x\](javascript:y)"),
        "{card}"
    );
    assert!(
        card.contains(r"no \# heading") && card.contains(r"A \<b\>test\</b\>."),
        "{card}"
    );
    assert!(!card.lines().any(|line| line.starts_with("# heading")));
    // Every row of a table has as many cells as its head.
    let cells = |line: &str| line.replace(r"\|", "").matches('|').count();
    for pair in card.lines().collect::<Vec<_>>().windows(2) {
        if pair.iter().all(|line| line.starts_with('|')) {
            assert_eq!(cells(pair[0]), cells(pair[1]), "{pair:?}");
        }
    }
}

#[test]
fn only_the_feature_that_decides_is_important() {
    let found = classes().with(importance).unwrap();
    let [deciding, idle, colour] = found.features.as_slice() else {
        panic!("three features")
    };
    assert!(deciding.change > 0.2, "{deciding:?}");
    assert_eq!((idle.change, colour.change), (0.0, 0.0));
    // A graph that takes long is not asked a hundred thousand times.
    let made = classes();
    let large = |subject: &Subject<'_>| {
        let large = Subject {
            graph_size: usize::MAX,
            ..*subject
        };
        importance(&large).unwrap()
    };
    assert!(made.with(large).features.is_empty());
}

#[test]
fn an_example_rests_on_what_decides_it() {
    let Effects::Columns(effects) = classes().effects() else {
        panic!("columns")
    };
    assert!(
        effects[0].name == "a|b*c*" && effects[0].change != 0.0,
        "{effects:?}"
    );
    assert!(
        effects[1..].iter().all(|effect| effect.change == 0.0),
        "{effects:?}"
    );

    let Effects::Parts(parts) = texts(["oh yes indeed", "it was not"]).effects() else {
        panic!("words")
    };
    let changes: Vec<(&str, bool)> = parts
        .effects
        .iter()
        .map(|effect| (effect.name.as_str(), effect.change > 0.4))
        .collect();
    assert_eq!(changes, [("oh", false), ("yes", true), ("indeed", false)]);

    let Effects::Picture(effects) = pictures_of(1).effects() else {
        panic!("a picture")
    };
    for ((row, column), change) in effects.changes.indexed_iter() {
        let is_near = row.abs_diff(5) <= effects.patch / 2 && column.abs_diff(9) <= effects.patch / 2;
        assert_eq!(*change != 0.0, is_near, "{row} {column}");
    }
}

#[test]
fn the_example_is_the_row_that_was_found_with_the_least_certainty() {
    let made = classes();
    let explanation = made.with(explanation).unwrap().unwrap();
    let certainty = |row: ndarray::ArrayView1<'_, f64>| row[likeliest(row)];
    let least = made.predictions.outer_iter().map(certainty).fold(1.0, f64::min);
    assert_eq!(explanation.value, least);
}

#[test]
fn a_model_that_cannot_be_asked_still_gets_its_card() {
    let made = regression();
    let refuse = |_: &Dataset| Err(TrainingError::Fit("no more".to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let destination = Destination {
        repository: folder.path().to_owned(),
        ..made.request.destination.clone()
    };
    let draft = destination.draft(1).unwrap();
    made.with_model(&refuse, |subject| write(subject, &draft))
        .unwrap();
    let card = fs::read_to_string(draft.publish().unwrap().join(CARD_FILE)).unwrap();
    assert!(
        card.contains("No example was explained: fitting failed: no more"),
        "{card}"
    );
}

#[test]
fn figures_that_are_no_numbers_break_nothing() {
    let data = || {
        let columns = vec![column(
            "x",
            Values::Numbers(vec![f64::NAN, 1e308, -1e308, 0.0, 1.0]),
        )];
        Dataset::new(columns, Target::Numbers(array![1.0, 1.0, 1.0, 1.0, 1.0]))
    };
    let model = |data: &Dataset| {
        let values = numbers(&data.columns[0]).iter().map(|value| value * 10.0);
        values.collect::<Array1<f64>>().insert_axis(ndarray::Axis(1))
    };
    let folder = tempfile::tempdir().unwrap();
    let version = Made::new(data(), data(), &[&[1]], model).write(folder.path());
    let card = fs::read_to_string(version.join(CARD_FILE)).unwrap();
    assert!(!card.contains("NaN") && card.contains("| RMSE | – |"), "{card}");
}
