//! Tokenizer, Flatten and TfIdfVectorizer as one node, as scikit-learn's exporter writes them one after the other.
//!
//! How wide the tokens between them are shows only when texts are there, and what comes after must be known before.

use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::operators::plain;
use crate::engine::ml_ops::{Attributes, OWN_DOMAIN};

/// Puts one node in the place of every TfIdfVectorizer that counts the tokens of a Tokenizer.
pub(super) fn fuse(graph: &mut GraphProto) {
    let makers: HashMap<&str, &NodeProto> = graph
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node)))
        .collect();
    let is_vectorizer =
        |node: &NodeProto| node.op_type == "TfIdfVectorizer" && plain(&node.domain).is_empty();
    let fused: Vec<Option<NodeProto>> = graph
        .node
        .iter()
        .map(|node| is_vectorizer(node).then(|| tokenizer(&makers, node)).flatten())
        .zip(&graph.node)
        .map(|(tokenizer, node)| tokenizer.map(|tokenizer| as_one(tokenizer, node)))
        .collect();
    for (node, fused) in graph.node.iter_mut().zip(fused) {
        if let Some(fused) = fused {
            *node = fused;
        }
    }
    drop_unused_tokens(graph);
}

/// The Tokenizer whose tokens a TfIdfVectorizer counts, row by row.
fn tokenizer<'a>(makers: &HashMap<&str, &'a NodeProto>, vectorizer: &NodeProto) -> Option<&'a NodeProto> {
    let mut maker = *makers.get(vectorizer.input.first()?.as_str())?;
    if maker.op_type == "Flatten" && Attributes::of(maker).int("axis").ok()?.unwrap_or(1) == 1 {
        maker = makers.get(maker.input.first()?.as_str())?;
    }
    (maker.op_type == "Tokenizer" && maker.domain == "com.microsoft").then_some(maker)
}

fn as_one(tokenizer: &NodeProto, vectorizer: &NodeProto) -> NodeProto {
    let attributes = tokenizer.attribute.iter().chain(&vectorizer.attribute);
    NodeProto {
        op_type: "TextVectorizer".to_owned(),
        domain: OWN_DOMAIN.to_owned(),
        input: tokenizer.input.clone(),
        attribute: attributes.cloned().collect(),
        ..vectorizer.clone()
    }
}

/// Takes out Tokenizers, and what flattens their tokens, where nothing uses them any more.
fn drop_unused_tokens(graph: &mut GraphProto) {
    for op_type in ["Flatten", "Tokenizer"] {
        let inputs = graph.node.iter().flat_map(|node| &node.input);
        let outputs = graph.output.iter().map(|output| &output.name);
        let used: std::collections::HashSet<String> = inputs.chain(outputs).cloned().collect();
        let is_used = |node: &NodeProto| node.output.iter().any(|output| used.contains(output));
        graph.node.retain(|node| node.op_type != op_type || is_used(node));
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::ValueInfoProto;

    use super::*;

    fn node(op_type: &str, domain: &str, input: &str, output: &str) -> NodeProto {
        NodeProto {
            op_type: op_type.into(),
            domain: domain.into(),
            input: vec![input.into()],
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    fn fused(output: &str) -> Vec<(String, String)> {
        let mut graph = GraphProto {
            node: vec![
                node("Tokenizer", "com.microsoft", "x", "tokens"),
                node("Flatten", "", "tokens", "flat"),
                node("TfIdfVectorizer", "", "flat", "counts"),
            ],
            output: vec![ValueInfoProto {
                name: output.into(),
                ..ValueInfoProto::default()
            }],
            ..GraphProto::default()
        };
        fuse(&mut graph);
        graph
            .node
            .iter()
            .map(|node| (node.op_type.clone(), node.input[0].clone()))
            .collect()
    }

    #[test]
    fn the_tokens_between_two_operators_are_gone_unless_they_are_asked_for() {
        let vectorizer = ("TextVectorizer".to_owned(), "x".to_owned());
        assert_eq!(fused("counts"), std::slice::from_ref(&vectorizer));
        let tokenizer = ("Tokenizer".to_owned(), "x".to_owned());
        assert_eq!(fused("tokens"), [tokenizer, vectorizer]);
    }
}
