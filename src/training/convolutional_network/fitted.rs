//! A fitted network, and its graph.

use ndarray::Array1;
use serde_json::{Value, json};

use super::super::dataset::ImageShape;
use super::super::feed_forward::{Dense, FeedForward, Head};
use super::super::fitted::FittedModel;
use super::super::onnx::{Attribute, BATCH, Constant, Element, Graph, Size};
use super::super::standardise::Standardiser;
use super::patches::KERNEL;
use super::pooling::WINDOW;

/// The kernels of one convolution.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Convolution {
    /// Channels out, channels in, height, width.
    pub(super) shape: [usize; 4],
    /// In row-major order.
    pub(super) kernels: Vec<f32>,
    /// One a channel.
    pub(super) bias: Vec<f32>,
}

/// A fitted network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FittedNetwork {
    pub(super) shape: ImageShape,
    /// Of all pixels of the training part, whatever their place: one mean and one deviation.
    pub(super) pixels: Standardiser,
    pub(super) convolutions: Vec<Convolution>,
    pub(super) dense: Vec<Dense>,
}

impl FittedNetwork {
    /// The graph, from images (N × C × H × W) in the unit of the data.
    pub(super) fn graph(&self) -> Graph {
        let ImageShape {
            channels,
            height,
            width,
        } = self.shape;
        let mut graph = Graph::default();
        let row = [channels, height, width].map(Size::Fixed);
        let images = graph.input("images", Element::F32, &[BATCH, row[0], row[1], row[2]]);
        let mean = graph.vector("pixels.mean", self.pixels.mean.view());
        let scale = graph.vector("pixels.scale", self.pixels.scale.view());
        // Not folded into the first kernels: what stands beyond the border is the mean and no value of the data's unit.
        let centred = graph.node("Sub", &[&images, &mean], "pixels.centred", vec![]);
        let mut value = graph.node("Div", &[&centred, &scale], "pixels.standardised", vec![]);
        for (place, convolution) in self.convolutions.iter().enumerate() {
            value = convolution.add_to(&mut graph, &format!("convolution{place}"), &value);
        }
        let features = graph.node(
            "Flatten",
            &[&value],
            "features",
            vec![("axis", Attribute::Int(1))],
        );
        self.head().add_to(&mut graph, &features);
        graph
    }

    /// The dense layers, on features that are as they are.
    fn head(&self) -> FeedForward {
        let features = self.dense.first().map_or(0, |layer| layer.weights.nrows());
        FeedForward {
            standardiser: Standardiser {
                mean: Array1::zeros(features),
                scale: Array1::ones(features),
            },
            layers: self.dense.clone(),
            head: Head::Softmax,
        }
    }

    /// The exact parameters, for a report.
    pub(super) fn parameters(&self) -> Value {
        let convolutions = self.convolutions.iter();
        json!({
            "pixels": {"mean": self.pixels.mean[0], "scale": self.pixels.scale[0]},
            "convolutions": convolutions.map(Convolution::parameters).collect::<Vec<_>>(),
            "layers": self.head().parameters()["layers"],
        })
    }
}

impl Convolution {
    fn add_to(&self, graph: &mut Graph, name: &str, value: &str) -> String {
        let kernels = Constant::F32(self.kernels.clone());
        let kernels = graph.parameter(&format!("{name}.kernels"), &self.shape, kernels);
        let bias = Constant::F32(self.bias.clone());
        let bias = graph.parameter(&format!("{name}.bias"), &[self.bias.len()], bias);
        let seen = graph.node(
            "Conv",
            &[value, &kernels, &bias],
            &format!("{name}.seen"),
            vec![
                ("kernel_shape", square(KERNEL)),
                ("pads", Attribute::Ints(vec![KERNEL as i64 / 2; 4])),
            ],
        );
        let active = graph.node("Relu", &[&seen], &format!("{name}.active"), vec![]);
        let window = vec![("kernel_shape", square(WINDOW)), ("strides", square(WINDOW))];
        graph.node("MaxPool", &[&active], &format!("{name}.pooled"), window)
    }

    fn parameters(&self) -> Value {
        json!({"shape": self.shape, "kernels": self.kernels, "bias": self.bias})
    }
}

fn square(size: usize) -> Attribute {
    Attribute::Ints(vec![size as i64; 2])
}
