//! The names of the classes, where a graph puts out labels beside probabilities and no ZipMap says whose they are.
//!
//! A classifier's node knows its labels. Exporters write other classifiers as arithmetic, and pick the label out of a
//! constant at the position of the largest score. Names are taken only where the probabilities are known to stand in the
//! same columns as the scores that the label was chosen by: a wrong name is worse than none.

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::ml_ops::{Attributes, ClassLabels, tensor_values};

/// Nodes in a row that are looked at, at most: a file may hold a cycle of them that has not been refused yet.
const MAX_STEPS: usize = 64;
/// The types of nodes that leave a label, or the position of one, as it is.
const LABEL_PRESERVING: [&str; 5] = ["Identity", "Cast", "Reshape", "Squeeze", "Flatten"];

/// The names of the classes, in the order of their probabilities; none where they are not sure.
pub(super) fn traced(graph: &GraphProto) -> Vec<String> {
    let [first, second] = graph.output.as_slice() else {
        return Vec::new();
    };
    let graph = Nodes(graph);
    let found = graph.names(&first.name, &second.name);
    found
        .or_else(|| graph.names(&second.name, &first.name))
        .unwrap_or_default()
}

/// Where a label comes from.
struct Chosen<'a> {
    names: Vec<String>,
    /// What it was chosen by: a column for each class.
    scores: &'a str,
}

struct Nodes<'a>(&'a GraphProto);

impl<'a> Nodes<'a> {
    fn names(&self, label: &'a str, probabilities: &'a str) -> Option<Vec<String>> {
        let Chosen { names, scores } = self.chosen(label)?;
        let chosen_by = self.column_by_column(scores);
        let shown = self.column_by_column(probabilities);
        let is_shared = shown.iter().any(|tensor| chosen_by.contains(tensor));
        is_shared.then_some(names)
    }

    fn maker(&self, tensor: &str) -> Option<&'a NodeProto> {
        let makes = |node: &&NodeProto| node.output.iter().any(|output| output == tensor);
        self.0.node.iter().find(makes)
    }

    fn constant(&self, tensor: &str) -> Option<&'a TensorProto> {
        if let Some(found) = self.0.initializer.iter().find(|weight| weight.name == tensor) {
            return Some(found);
        }
        let maker = self.maker(tensor).filter(|node| node.op_type == "Constant")?;
        maker.attribute.iter().find_map(|attribute| attribute.t.as_ref())
    }

    /// The node that made `tensor`, past nodes of the types `passed`, and the output of it that `tensor` is.
    fn made_by(&self, mut tensor: &'a str, passed: &[&str]) -> Option<(&'a NodeProto, &'a str)> {
        for _ in 0..MAX_STEPS {
            let node = self.maker(tensor)?;
            if !passed.contains(&node.op_type.as_str()) {
                return Some((node, tensor));
            }
            tensor = node.input.first()?;
        }
        None
    }

    /// What chose a label.
    fn chosen(&self, label: &'a str) -> Option<Chosen<'a>> {
        let (node, tensor) = self.made_by(label, &LABEL_PRESERVING)?;
        match (
            node.op_type.as_str(),
            node.input.as_slice(),
            node.output.as_slice(),
        ) {
            ("LinearClassifier" | "SVMClassifier" | "TreeEnsembleClassifier", _, [label, scores]) => {
                let names = (label == tensor).then(|| classifier_labels(node))??;
                Some(Chosen { names, scores })
            }
            ("ArrayFeatureExtractor", [classes, position], _) => Some(Chosen {
                names: names_of(self.constant(classes)?)?,
                scores: self.largest_of(position)?,
            }),
            _ => None,
        }
    }

    /// What `position` is the position of the largest value of, row by row.
    fn largest_of(&self, position: &'a str) -> Option<&'a str> {
        let (node, _) = self.made_by(position, &LABEL_PRESERVING)?;
        if node.op_type != "ArgMax" {
            return None;
        }
        let axis = Attributes::of(node).int("axis").ok()?.unwrap_or(0);
        let scores = node.input.first()?;
        matches!(axis, 1 | -1).then_some(scores)
    }

    /// `tensor` and what came before it, as long as each column was made of the same column and of what has none of its
    /// own.
    fn column_by_column(&self, mut tensor: &'a str) -> Vec<&'a str> {
        let mut before = vec![tensor];
        while before.len() < MAX_STEPS
            && let Some(input) = self.maker(tensor).and_then(|node| self.same_columns(node))
        {
            before.push(input);
            tensor = input;
        }
        before
    }

    /// The input of which a node leaves every column in its place.
    fn same_columns(&self, node: &'a NodeProto) -> Option<&'a str> {
        let (first, others) = node.input.split_first()?;
        match node.op_type.as_str() {
            "Identity" | "Cast" | "Normalizer" | "Softmax" | "LogSoftmax" | "Sigmoid" | "Exp" | "Log" => {
                others.is_empty().then_some(first)
            }
            "Sub" | "Div" => others
                .iter()
                .all(|other| self.is_one_column(other))
                .then_some(first),
            _ => None,
        }
    }

    /// Whether each row of a tensor was reduced to one number.
    fn is_one_column(&self, tensor: &'a str) -> bool {
        let made = self.made_by(tensor, &["Identity", "Cast", "Reshape", "Unsqueeze"]);
        made.is_some_and(|(node, _)| node.op_type.starts_with("Reduce"))
    }
}

fn classifier_labels(node: &NodeProto) -> Option<Vec<String>> {
    let attributes = Attributes::of(node);
    // Without probabilities there is a score for each pair of classes, and there are as many pairs of three as classes.
    if node.op_type == "SVMClassifier" && !attributes.has("prob_a") {
        return None;
    }
    let ints = if node.op_type == "TreeEnsembleClassifier" {
        "classlabels_int64s"
    } else {
        "classlabels_ints"
    };
    let labels = ClassLabels::read(attributes, ints);
    Some(labels.ok()?.names())
}

fn names_of(classes: &TensorProto) -> Option<Vec<String>> {
    ClassLabels::of_values(tensor_values(classes).ok()?).map(|labels| labels.names())
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::tensor_proto::DataType;
    use tract_onnx::pb::{AttributeProto, ValueInfoProto};

    use super::*;

    fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        NodeProto {
            op_type: op_type.into(),
            input: owned(inputs),
            output: owned(outputs),
            ..NodeProto::default()
        }
    }

    fn with(mut node: NodeProto, attribute: AttributeProto) -> NodeProto {
        node.attribute.push(attribute);
        node
    }

    fn labels(name: &str) -> AttributeProto {
        AttributeProto {
            name: name.into(),
            ints: vec![7, -1],
            ..AttributeProto::default()
        }
    }

    fn axis(i: i64) -> AttributeProto {
        AttributeProto {
            name: "axis".into(),
            i,
            ..AttributeProto::default()
        }
    }

    fn names(nodes: Vec<NodeProto>) -> Vec<String> {
        let output = |name: &str| ValueInfoProto {
            name: name.into(),
            ..ValueInfoProto::default()
        };
        traced(&GraphProto {
            node: nodes,
            initializer: vec![TensorProto {
                name: "classes".into(),
                data_type: DataType::String.into(),
                string_data: vec![b"no".to_vec(), b"yes".to_vec()],
                ..TensorProto::default()
            }],
            output: vec![output("label"), output("p")],
            ..GraphProto::default()
        })
    }

    #[test]
    fn a_classifier_names_its_own_probabilities() {
        let linear = || {
            with(
                node("LinearClassifier", &["x"], &["label", "s"]),
                labels("classlabels_ints"),
            )
        };
        assert_eq!(
            names(vec![linear(), node("Normalizer", &["s"], &["p"])]),
            ["7", "-1"]
        );
        let others = node("LinearClassifier", &["x"], &["l", "p"]);
        assert!(names(vec![linear(), others]).is_empty());
        assert!(names(vec![linear(), node("Concat", &["s", "s"], &["p"])]).is_empty());
    }

    #[test]
    fn scores_of_pairs_of_classes_have_no_names() {
        let svm = || {
            with(
                node("SVMClassifier", &["x"], &["label", "p"]),
                labels("classlabels_ints"),
            )
        };
        assert!(names(vec![svm()]).is_empty());
        let prob_a = AttributeProto {
            name: "prob_a".into(),
            ..AttributeProto::default()
        };
        assert_eq!(names(vec![with(svm(), prob_a)]), ["7", "-1"]);
    }

    /// What scikit-learn's exporter makes of a naive Bayes classifier.
    fn arithmetic(axis_of_label: i64, divisor: &str) -> Vec<NodeProto> {
        vec![
            with(node("ArgMax", &["s"], &["position"]), axis(axis_of_label)),
            node("ArrayFeatureExtractor", &["classes", "position"], &["picked"]),
            node("Reshape", &["picked", "shape"], &["label"]),
            node("ReduceLogSumExp", &["s"], &["sum"]),
            node("Reshape", &["sum", "shape"], &["column"]),
            node("Sub", &["s", divisor], &["log"]),
            node("Exp", &["log"], &["p"]),
        ]
    }

    #[test]
    fn a_label_that_is_picked_by_its_score_names_the_columns_of_the_scores() {
        assert_eq!(names(arithmetic(1, "column")), ["no", "yes"]);
        assert!(names(arithmetic(0, "column")).is_empty());
        assert!(names(arithmetic(1, "elsewhere")).is_empty());
    }

    #[test]
    fn a_cycle_ends() {
        let cycle = vec![
            node("Identity", &["p"], &["label"]),
            node("Identity", &["label"], &["p"]),
        ];
        assert!(names(cycle).is_empty());
    }
}
