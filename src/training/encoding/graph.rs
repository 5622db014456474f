//! The encoding as nodes of a graph.

use super::super::onnx::{Attribute, BATCH, Constant, Domain, Element, Graph, Size};
use super::category::Categories;
use super::words::{WORD, Words};
use super::{Coding, Encoding, Kind, Unknown};

/// Names that the graph itself uses.
const RESERVED: [&str; 5] = ["inputs", "features", "label", "predictions", "probabilities"];

impl Encoding {
    /// Adds the inputs and the nodes that encode them, and returns the name of the value that they come to: N × width.
    ///
    /// Where all columns are numbers there is one input, `inputs`, N × columns; otherwise each column is an input of its
    /// own, N × 1, numbers or texts, under its name.
    pub fn add_to(&self, graph: &mut Graph) -> String {
        let fillings: Option<Vec<Option<f64>>> = self.columns.iter().map(Coding::filling).collect();
        if let Some(fillings) = fillings {
            let inputs = graph.input("inputs", Element::F32, &[BATCH, Size::Fixed(fillings.len())]);
            return fill(graph, &inputs, &fillings, "features");
        }
        let parts: Vec<String> = (0..)
            .zip(&self.columns)
            .map(|(place, coding)| coding.add_to(graph, place))
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.node("Concat", &parts, "features", vec![("axis", Attribute::Int(1))])
    }
}

impl Coding {
    /// What fills the gaps of a column of numbers; none for another column.
    fn filling(&self) -> Option<Option<f64>> {
        match &self.kind {
            Kind::Number(filling) => Some(filling.0),
            Kind::Category(_) | Kind::Words(_) => None,
        }
    }

    fn add_to(&self, graph: &mut Graph, place: usize) -> String {
        let mut name = self.name.clone();
        while RESERVED.contains(&name.as_str()) || name.starts_with("column") || name.starts_with("layer") {
            name.push('_');
        }
        let shape = [BATCH, Size::Fixed(1)];
        match &self.kind {
            Kind::Number(filling) => {
                let input = graph.input(&name, Element::F32, &shape);
                fill(graph, &input, &[filling.0], &format!("column{place}.filled"))
            }
            Kind::Category(categories) => {
                let input = graph.input(&name, Element::Text, &shape);
                one_hot(graph, &input, categories, place)
            }
            Kind::Words(words) => {
                let input = graph.input(&name, Element::Text, &shape);
                weighted_counts(graph, &input, words, place)
            }
        }
    }
}

/// Puts what fills it into each gap of `input`; `input` itself where none is filled.
fn fill(graph: &mut Graph, input: &str, fillings: &[Option<f64>], output: &str) -> String {
    let filled: Vec<f32> = fillings.iter().flatten().map(|&value| value as f32).collect();
    if filled.is_empty() {
        return input.to_owned();
    }
    let attributes = vec![
        ("imputed_value_floats", Attribute::Floats(filled)),
        ("replaced_value_float", Attribute::Float(f32::NAN)),
    ];
    graph.node_of(Domain::Ml, "Imputer", &[input], &[output], attributes);
    output.to_owned()
}

fn one_hot(graph: &mut Graph, input: &str, categories: &Categories, place: usize) -> String {
    let spread = format!("column{place}.spread");
    let attributes = vec![
        ("cats_strings", Attribute::Texts(categories.names.clone())),
        (
            "zeros",
            Attribute::Int(i64::from(categories.unknown == Unknown::Zero)),
        ),
    ];
    graph.node_of(Domain::Ml, "OneHotEncoder", &[input], &[&spread], attributes);
    // N × 1 × categories, since it encodes each value of its input.
    graph.node(
        "Flatten",
        &[&spread],
        &format!("column{place}.encoded"),
        vec![("axis", Attribute::Int(1))],
    )
}

/// Lower case, words, their weighted counts, and a length of 1: as scikit-learn's exporter writes a `TfidfVectorizer`.
fn weighted_counts(graph: &mut Graph, input: &str, words: &Words, place: usize) -> String {
    let name = |part: &str| format!("column{place}.{part}");
    let flat_shape = graph.parameter(&name("shape"), &[1], Constant::I64(vec![-1]));
    let flat = graph.node("Reshape", &[input, &flat_shape], &name("flat"), vec![]);
    let lower = graph.node(
        "StringNormalizer",
        &[&flat],
        &name("lower"),
        vec![
            ("case_change_action", Attribute::Text("LOWER".to_owned())),
            ("is_case_sensitive", Attribute::Int(1)),
            // The default, en_US, is not on every machine, and ONNX Runtime asks the machine.
            ("locale", Attribute::Text("C.UTF-8".to_owned())),
        ],
    );
    let tokens = name("words");
    let attributes = vec![
        ("mark", Attribute::Int(0)),
        ("mincharnum", Attribute::Int(1)),
        ("pad_value", Attribute::Text("#".to_owned())),
        ("tokenexp", Attribute::Text(WORD.to_owned())),
    ];
    graph.node_of(Domain::Runtime, "Tokenizer", &[&lower], &[&tokens], attributes);
    let count = words.vocabulary.len() as i64;
    let counts = graph.node(
        "TfIdfVectorizer",
        &[&tokens],
        &name("counts"),
        vec![
            ("max_gram_length", Attribute::Int(1)),
            ("max_skip_count", Attribute::Int(0)),
            ("min_gram_length", Attribute::Int(1)),
            ("mode", Attribute::Text("TFIDF".to_owned())),
            ("ngram_counts", Attribute::Ints(vec![0])),
            ("ngram_indexes", Attribute::Ints((0..count).collect())),
            ("pool_strings", Attribute::Texts(words.vocabulary.clone())),
            (
                "weights",
                Attribute::Floats(words.weights.iter().map(|&weight| weight as f32).collect()),
            ),
        ],
    );
    let encoded = name("encoded");
    let attributes = vec![("norm", Attribute::Text("L2".to_owned()))];
    graph.node_of(Domain::Ml, "Normalizer", &[&counts], &[&encoded], attributes);
    encoded
}
