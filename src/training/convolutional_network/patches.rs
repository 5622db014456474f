//! Convolution as a product of matrices: what a kernel sees at each place becomes a column.
//!
//! candle's own convolution finds the gradient of its kernel by a convolution with the whole image as the kernel, which
//! takes most of the time of a fit. Here both directions are products of large matrices, which share the work among all
//! cores, between two copies of rows. Values stand channel by channel (C × N × H × W), so that one product does all images.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

/// Width and height of a kernel.
pub(super) const KERNEL: usize = 3;
/// Places that a kernel has a weight for.
pub(super) const PLACES: usize = KERNEL * KERNEL;

/// From C × N × H × W to the patches of 3 × 3 around each pixel, (C · 9) × (N · H · W); 0 stands beyond the border.
pub(super) fn patches(values: &Tensor) -> Result<Tensor> {
    values.apply_op1(Patches)
}

struct Patches;

/// The other way: each pixel gets the sum of what stands for it in the patches of images of this shape.
struct Folding(Shape);

impl CustomOp1 for Patches {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (channels, images, height, width) = layout.shape().dims4()?;
        let values = floats(storage, layout)?;
        let plane = images * height * width;
        let mut patches = vec![0.0; channels * PLACES * plane];
        for (row, patch) in patches.chunks_exact_mut(plane).enumerate() {
            let channel = &values[row / PLACES * plane..][..plane];
            for_each_overlap(
                (images, height, width),
                row % PLACES,
                |patch_range, image_range| {
                    patch[patch_range].copy_from_slice(&channel[image_range]);
                },
            );
        }
        Ok((CpuStorage::F32(patches), (channels * PLACES, plane).into()))
    }

    fn bwd(&self, values: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let folding = Folding(values.shape().clone());
        gradient.contiguous()?.apply_op1_no_bwd(&folding).map(Some)
    }
}

impl CustomOp1 for Folding {
    fn name(&self) -> &'static str {
        "folding"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (channels, images, height, width) = self.0.dims4()?;
        let patches = floats(storage, layout)?;
        let plane = images * height * width;
        let mut values = vec![0.0; channels * plane];
        for (row, patch) in patches.chunks_exact(plane).enumerate() {
            let channel = &mut values[row / PLACES * plane..][..plane];
            for_each_overlap(
                (images, height, width),
                row % PLACES,
                |patch_range, image_range| {
                    for (sum, value) in channel[image_range].iter_mut().zip(&patch[patch_range]) {
                        *sum += value;
                    }
                },
            );
        }
        Ok((CpuStorage::F32(values), self.0.clone()))
    }
}

/// For one place of the kernel: every row of its values, and the row of the image that it sees, as far as there is one.
fn for_each_overlap(
    (images, height, width): (usize, usize, usize),
    place: usize,
    mut visit: impl FnMut(Range<usize>, Range<usize>),
) {
    let (rows, first_row) = overlap(height, place / KERNEL);
    let (columns, first_column) = overlap(width, place % KERNEL);
    for image in 0..images {
        for (seen, row) in rows.clone().enumerate() {
            let to = (image * height + row) * width;
            let from = (image * height + first_row + seen) * width + first_column;
            visit(to + columns.start..to + columns.end, from..from + columns.len());
        }
    }
}

/// Along one axis: where a place of the kernel sees something, and what it sees first.
const fn overlap(size: usize, place: usize) -> (Range<usize>, usize) {
    match place {
        0 => (1..size, 0),
        1 => (0..size, 0),
        _ => (0..size - 1, 1),
    }
}

/// The values of a tensor that lies in one piece.
pub(super) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("expected 32-bit floats in one piece"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::testing::{random, worst};
    use super::*;

    /// candle's own convolution says the same, forward and backward.
    #[test]
    fn a_product_of_patches_is_a_convolution() {
        for (height, width) in [(5, 4), (1, 3), (3, 1), (1, 1)] {
            let images = Var::from_tensor(&random(&[2, 3, height, width], 1)).unwrap();
            let kernels = Var::from_tensor(&random(&[4, 3, KERNEL, KERNEL], 2)).unwrap();
            let factors = random(&[2, 4, height, width], 3);
            let theirs = images.conv2d(&kernels, 1, 1, 1, 1).unwrap();
            let ours = {
                let columns = patches(&images.transpose(0, 1).unwrap().contiguous().unwrap()).unwrap();
                let product = kernels.flatten_from(1).unwrap().matmul(&columns).unwrap();
                product
                    .reshape((4, 2, height, width))
                    .unwrap()
                    .transpose(0, 1)
                    .unwrap()
            };
            assert!(worst(&ours, &theirs) < 1e-5, "{height} x {width}");
            let gradients = |outputs: &Tensor| {
                outputs
                    .mul(&factors)
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .backward()
                    .unwrap()
            };
            let (ours, theirs) = (gradients(&ours), gradients(&theirs));
            for variable in [&images, &kernels] {
                let of =
                    |gradients: &candle_core::backprop::GradStore| gradients.get(variable).unwrap().clone();
                assert!(worst(&of(&ours), &of(&theirs)) < 1e-5, "{height} x {width}");
            }
        }
    }

    #[test]
    fn what_does_not_lie_in_one_piece_is_refused() {
        let turned = Tensor::zeros((2, 1, 3, 4), candle_core::DType::F32, &Device::Cpu)
            .unwrap()
            .transpose(2, 3)
            .unwrap();
        assert!(patches(&turned).unwrap_err().to_string().contains("in one piece"));
    }
}
