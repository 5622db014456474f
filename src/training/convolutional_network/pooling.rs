//! Max-pooling: of each square of 2 × 2 pixels the largest stays.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::patches::floats;

/// Width and height of a square, and the distance to the next one.
pub(super) const WINDOW: usize = 2;

/// From C × N × H × W to C × N × ⌊H/2⌋ × ⌊W/2⌋.
pub(super) fn max_pool(values: &Tensor) -> Result<Tensor> {
    values.apply_op1(MaxPool)
}

struct MaxPool;

/// The way back: the gradient of a square goes to its largest value, and the others get none. (candle's own gives the largest a
/// quarter of it, and takes even sizes only.)
struct Unpool;

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (channels, images, height, width) = layout.shape().dims4()?;
        let values = floats(storage, layout)?;
        let pooled = largest(values, height, width)
            .map(|place| values[place])
            .collect();
        let shape = (channels, images, height / WINDOW, width / WINDOW);
        Ok((CpuStorage::F32(pooled), shape.into()))
    }

    fn bwd(&self, values: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        values
            .apply_op2_no_bwd(&gradient.contiguous()?, &Unpool)
            .map(Some)
    }
}

impl CustomOp2 for Unpool {
    fn name(&self) -> &'static str {
        "unpool"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        gradient_storage: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, _, height, width) = layout.shape().dims4()?;
        let values = floats(storage, layout)?;
        let gradient = floats(gradient_storage, gradient_layout)?;
        let mut unpooled = vec![0.0; values.len()];
        for (place, value) in largest(values, height, width).zip(gradient) {
            unpooled[place] = *value;
        }
        Ok((CpuStorage::F32(unpooled), layout.shape().clone()))
    }
}

/// Where the largest value of each square stands; the first of several. What is left of an odd size is in no square.
fn largest(values: &[f32], height: usize, width: usize) -> impl Iterator<Item = usize> {
    let planes = (0..values.len()).step_by((height * width).max(1));
    let rows =
        planes.flat_map(move |plane| (0..height / WINDOW).map(move |row| plane + row * WINDOW * width));
    let squares = rows.flat_map(move |row| (0..width / WINDOW).map(move |column| row + column * WINDOW));
    squares.map(move |square| {
        let mut best = square;
        for place in [square + 1, square + width, square + width + 1] {
            if values[place] > values[best] {
                best = place;
            }
        }
        best
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::testing::{random, worst};
    use super::*;

    #[test]
    fn the_largest_of_each_square_stays() {
        for (height, width) in [(4, 6), (5, 7)] {
            let values = random(&[2, 3, height, width], 4);
            let pooled = max_pool(&values).unwrap();
            assert_eq!(pooled.dims(), [2, 3, height / 2, width / 2]);
            assert_eq!(worst(&pooled, &values.max_pool2d(2).unwrap()), 0.0);
        }
    }

    #[test]
    fn the_largest_gets_the_whole_gradient() {
        let image = [[1_f32, 5.0, 2.0, 2.0, 9.0], [4.0, 3.0, 0.0, 2.0, 9.0], [7.0; 5]];
        let values = Var::new(&[[image]], &Device::Cpu).unwrap();
        let factors = Tensor::new(&[[[[10_f32, 20.0]]]], &Device::Cpu).unwrap();
        let sum = max_pool(&values)
            .unwrap()
            .mul(&factors)
            .unwrap()
            .sum_all()
            .unwrap();
        let gradients = sum.backward().unwrap();
        let gradient = gradients
            .get(&values)
            .unwrap()
            .squeeze(0)
            .unwrap()
            .squeeze(0)
            .unwrap();
        assert_eq!(
            gradient.to_vec2::<f32>().unwrap(),
            [[0.0, 10.0, 20.0, 0.0, 0.0], [0.0; 5], [0.0; 5]]
        );
    }
}
