//! The net as an ONNX graph.
//!
//! Opset 13 has no operator that normalises a row: it is written out. The scores of the attention are computed for every
//! place, as long as the longest row of a call; the mask hides those without a token.

use candle_core::Tensor;

use super::super::onnx::{Attribute, BATCH, Constant, Element, Graph, Size};
use super::net::{Block, Dense, EPSILON, MASKED, Norm, Transformer};

/// The input of token numbers.
const IDS: &str = "input_ids";
/// The input that has a one for each token, and a zero for each place that is filled up.
const MASK: &str = "attention_mask";
/// Tokens of the longest row of a call.
const LENGTH: Size = Size::Free("T");

/// The computation of `net`: token numbers and a mask (N × T) to `probabilities` (N × classes).
pub(super) fn graph(net: &Transformer) -> candle_core::Result<Graph> {
    let mut builder = Builder::default();
    let graph = &mut builder.graph;
    graph.input(IDS, Element::I64, &[BATCH, LENGTH]);
    graph.input(MASK, Element::I64, &[BATCH, LENGTH]);
    let to_float = vec![("to", Attribute::Int(FLOAT))];
    let mask = graph.node("Cast", &[MASK], "mask", to_float);

    let mut tokens = builder.embed(net)?;
    let hidden = builder.hide(&mask);
    for (place, block) in net.blocks.iter().enumerate() {
        tokens = builder.block(&format!("block{place}"), block, &tokens, &hidden, net.sizes.heads)?;
    }
    let tokens = builder.norm("norm", &net.norm, &tokens)?;
    let mean = builder.mean(&tokens, &mask);
    let logits = builder.dense("head", &net.head, &mean)?;
    let last = vec![("axis", Attribute::Int(-1))];
    let graph = &mut builder.graph;
    graph.node("Softmax", &[&logits], "probabilities", last);
    graph.output(
        "probabilities",
        Element::F32,
        &[BATCH, Size::Fixed(net.sizes.classes)],
    );
    Ok(builder.graph)
}

/// ONNX's number of 32-bit floats.
const FLOAT: i64 = 1;

#[derive(Default)]
struct Builder {
    graph: Graph,
}

impl Builder {
    fn node(&mut self, operator: &'static str, inputs: &[&str], output: &str) -> String {
        self.graph.node(operator, inputs, output, vec![])
    }

    fn tensor(&mut self, name: &str, values: &Tensor) -> candle_core::Result<String> {
        let flat = values.flatten_all()?.to_vec1::<f32>()?;
        Ok(self.graph.parameter(name, values.dims(), Constant::F32(flat)))
    }

    fn number(&mut self, name: &str, value: f32) -> String {
        self.graph.parameter(name, &[], Constant::F32(vec![value]))
    }

    fn integers(&mut self, name: &str, values: &[i64]) -> String {
        self.graph
            .parameter(name, &[values.len()], Constant::I64(values.to_vec()))
    }

    /// N × T × width: what each token and its place come to.
    fn embed(&mut self, net: &Transformer) -> candle_core::Result<String> {
        let table = self.tensor("tokens", &net.tokens)?;
        let tokens = self.node("Gather", &[&table, IDS], "embed.tokens");
        let places = self.tensor("places", &net.places)?;
        let shape = self.node("Shape", &[IDS], "embed.shape");
        let (first, second, zero) = (
            self.integers("embed.first", &[1]),
            self.integers("embed.second", &[2]),
            self.integers("embed.zero", &[0]),
        );
        let length = self.node("Slice", &[&shape, &first, &second], "embed.length");
        let places = self.node("Slice", &[&places, &zero, &length, &zero], "embed.places");
        Ok(self.node("Add", &[&tokens, &places], "embed"))
    }

    /// N × 1 × 1 × T: 0 for a token, and a large negative number for a place without one.
    fn hide(&mut self, mask: &str) -> String {
        let one = self.number("hide.one", 1.0);
        let large = self.number("hide.large", -MASKED);
        let axes = self.integers("hide.axes", &[1, 2]);
        let missing = self.node("Sub", &[mask, &one], "hide.missing");
        let hidden = self.node("Mul", &[&missing, &large], "hide.scores");
        self.node("Unsqueeze", &[&hidden, &axes], "hide")
    }

    fn block(
        &mut self,
        name: &str,
        block: &Block,
        tokens: &str,
        hidden: &str,
        heads: usize,
    ) -> candle_core::Result<String> {
        let at = |part: &str| format!("{name}.{part}");
        let normal = self.norm(&at("attention_norm"), &block.attention_norm, tokens)?;
        let told = self.attend(name, block, &normal, hidden, heads)?;
        let mixed = self.dense(&at("mix"), &block.mix, &told)?;
        let tokens = self.node("Add", &[tokens, &mixed], &at("attended"));
        let normal = self.norm(&at("dense_norm"), &block.dense_norm, &tokens)?;
        let wide = self.dense(&at("widen"), &block.widen, &normal)?;
        let active = self.node("Relu", &[&wide], &at("active"));
        let narrow = self.dense(&at("narrow"), &block.narrow, &active)?;
        Ok(self.node("Add", &[&tokens, &narrow], name))
    }

    fn attend(
        &mut self,
        name: &str,
        block: &Block,
        tokens: &str,
        hidden: &str,
        heads: usize,
    ) -> candle_core::Result<String> {
        let at = |part: &str| format!("{name}.{part}");
        let width = block.mix.weights.dim(0)?;
        let size = width / heads;
        // 0 stands for the size that is there.
        let by_head = self.integers(&at("by_head"), &[0, 0, heads as i64, size as i64]);
        let together = self.integers(&at("together"), &[0, 0, width as i64]);
        let mut part = |part: &str, dense: &Dense, order: [i64; 4]| {
            let values = self.dense(&at(part), dense, tokens)?;
            let split = self.node("Reshape", &[&values, &by_head], &format!("{name}.{part}.by_head"));
            let order = vec![("perm", Attribute::Ints(order.to_vec()))];
            candle_core::Result::Ok(self.graph.node(
                "Transpose",
                &[&split],
                &format!("{name}.{part}.turned"),
                order,
            ))
        };
        let query = part("query", &block.query, [0, 2, 1, 3])?;
        let key = part("key", &block.key, [0, 2, 3, 1])?;
        let value = part("value", &block.value, [0, 2, 1, 3])?;
        let unit = self.number(&at("unit"), (size as f32).sqrt());
        let products = self.node("MatMul", &[&query, &key], &at("products"));
        let scores = self.node("Div", &[&products, &unit], &at("scores"));
        let masked = self.node("Add", &[&scores, hidden], &at("masked"));
        let last = vec![("axis", Attribute::Int(-1))];
        let shares = self.graph.node("Softmax", &[&masked], &at("attention"), last);
        let told = self.node("MatMul", &[&shares, &value], &at("told_by_head"));
        let order = vec![("perm", Attribute::Ints(vec![0, 2, 1, 3]))];
        let turned = self
            .graph
            .node("Transpose", &[&told], &at("told_in_order"), order);
        Ok(self.node("Reshape", &[&turned, &together], &at("told")))
    }

    fn dense(&mut self, name: &str, dense: &Dense, rows: &str) -> candle_core::Result<String> {
        let weights = self.tensor(&format!("{name}.weights"), &dense.weights)?;
        let bias = self.tensor(&format!("{name}.bias"), &dense.bias)?;
        let product = self.node("MatMul", &[rows, &weights], &format!("{name}.product"));
        Ok(self.node("Add", &[&product, &bias], name))
    }

    fn norm(&mut self, name: &str, norm: &Norm, rows: &str) -> candle_core::Result<String> {
        let at = |part: &str| format!("{name}.{part}");
        let last = || vec![("axes", Attribute::Ints(vec![-1]))];
        let epsilon = self.number(&at("epsilon"), EPSILON as f32);
        let scale = self.tensor(&at("scale"), &norm.scale)?;
        let shift = self.tensor(&at("shift"), &norm.shift)?;
        let mean = self.graph.node("ReduceMean", &[rows], &at("mean"), last());
        let centred = self.node("Sub", &[rows, &mean], &at("centred"));
        let square = self.node("Mul", &[&centred, &centred], &at("square"));
        let variance = self.graph.node("ReduceMean", &[&square], &at("variance"), last());
        let safe = self.node("Add", &[&variance, &epsilon], &at("safe"));
        let deviation = self.node("Sqrt", &[&safe], &at("deviation"));
        let standard = self.node("Div", &[&centred, &deviation], &at("standard"));
        let scaled = self.node("Mul", &[&standard, &scale], &at("scaled"));
        Ok(self.node("Add", &[&scaled, &shift], name))
    }

    /// N × width: the mean over places with a token; zeros for a row without any.
    fn mean(&mut self, tokens: &str, mask: &str) -> String {
        let (one, last) = (self.integers("mean.axis", &[1]), self.integers("mean.last", &[2]));
        let least = self.number("mean.least", 1.0);
        let weights = self.node("Unsqueeze", &[mask, &last], "mean.weights");
        let masked = self.node("Mul", &[tokens, &weights], "mean.masked");
        let flat = vec![("keepdims", Attribute::Int(0))];
        let sum = self.graph.node("ReduceSum", &[&masked, &one], "mean.sum", flat);
        let found = self.node("ReduceSum", &[mask, &one], "mean.found");
        let count = self.node("Max", &[&found, &least], "mean.count");
        self.node("Div", &[&sum, &count], "mean")
    }
}
