//! More images than there are: each is moved a little before the net learns from it.

use candle_core::{Device, Result, Tensor};

use super::super::dataset::ImageShape;
use super::super::random::Generator;

/// Moves each image (a row of `rows`) by up to `most` pixels along both axes, by chance. What comes in repeats the border.
pub(super) fn shifted(
    rows: &Tensor,
    shape: ImageShape,
    most: usize,
    generator: &mut Generator,
) -> Result<Tensor> {
    let size = rows.dims2()?;
    let mut moved = Vec::with_capacity(size.0 * size.1);
    for row in rows.to_vec2::<f32>()? {
        let from = |start: usize, size: usize| source(start, size, most);
        let rows = from(generator.below(2 * most + 1), shape.height);
        let columns = from(generator.below(2 * most + 1), shape.width);
        for channel in row.chunks_exact(shape.height * shape.width) {
            for &row in &rows {
                moved.extend(columns.iter().map(|column| channel[row * shape.width + column]));
            }
        }
    }
    Tensor::from_vec(moved, size, &Device::Cpu)
}

/// Where each of `size` pixels comes from: `most - start` pixels further on, or the last one that there is.
fn source(start: usize, size: usize, most: usize) -> Vec<usize> {
    (0..size)
        .map(|pixel| (pixel + start).saturating_sub(most).min(size - 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape {
        channels: 2,
        height: 2,
        width: 3,
    };

    #[test]
    fn a_pixel_comes_from_its_neighbour_or_the_border() {
        assert_eq!(source(0, 4, 1), [0, 0, 1, 2]);
        assert_eq!(source(1, 4, 1), [0, 1, 2, 3]);
        assert_eq!(source(4, 4, 2), [2, 3, 3, 3]);
    }

    #[test]
    fn channels_move_together_and_every_way() {
        let row: Vec<f32> = (0..12).map(|pixel| pixel as f32).collect();
        let rows = Tensor::from_vec(row, (1, 12), &Device::Cpu).unwrap();
        let mut generator = Generator::new(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let moved = shifted(&rows, SHAPE, 1, &mut generator).unwrap();
            let moved = moved.squeeze(0).unwrap().to_vec1::<f32>().unwrap();
            let (first, second) = moved.split_at(6);
            assert!(first.iter().zip(second).all(|(one, other)| one + 6.0 == *other));
            seen.insert(moved.iter().map(|&pixel| pixel as u8).collect::<Vec<_>>());
        }
        assert_eq!(seen.len(), 9);
    }
}
