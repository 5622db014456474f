//! Dropout (Srivastava et al. 2014, <https://jmlr.org/papers/v15/srivastava14a.html>) by the seeded generator.

use candle_core::{Device, Result, Tensor};

use super::super::algorithm::Context;

/// Sets values to zero by chance while a net learns, and does nothing otherwise.
pub(in super::super) struct Dropout<'a, 'b> {
    share: f64,
    learning: Option<&'a mut Context<'b>>,
}

impl<'a, 'b> Dropout<'a, 'b> {
    /// Drops this share, from 0 to below 1, where `learning` is given.
    pub(in super::super) fn new(share: f64, learning: Option<&'a mut Context<'b>>) -> Self {
        Self { share, learning }
    }

    /// `values`, some of them zero and the others larger, so that the expected value stays.
    pub(in super::super) fn units(&mut self, values: &Tensor) -> Result<Tensor> {
        let kept = (1.0 / (1.0 - self.share)) as f32;
        match self.draw(values, self.share, 0.0, kept)? {
            Some(factors) => values.mul(&factors),
            None => Ok(values.clone()),
        }
    }

    /// Token numbers, this share of which becomes `unknown`: what a text says without a word of it.
    pub(in super::super) fn tokens(&mut self, ids: &Tensor, share: f64, unknown: u32) -> Result<Tensor> {
        match self.draw(ids, share, 1_u8, 0)? {
            Some(dropped) => dropped.where_cond(&ids.ones_like()?.affine(f64::from(unknown), 0.0)?, ids),
            None => Ok(ids.clone()),
        }
    }

    /// A value for each place of `like`: `dropped` with the probability `share`, else `kept`; none where nothing is dropped.
    fn draw<T: candle_core::WithDType>(
        &mut self,
        like: &Tensor,
        share: f64,
        dropped: T,
        kept: T,
    ) -> Result<Option<Tensor>> {
        let Some(context) = self.learning.as_mut().filter(|_| share > 0.0) else {
            return Ok(None);
        };
        // Evenly spread in -1..1.
        let threshold = 2.0 * share - 1.0;
        let mut draw = || {
            if context.generator.uniform(1.0) < threshold {
                dropped
            } else {
                kept
            }
        };
        let values: Vec<T> = std::iter::repeat_with(&mut draw)
            .take(like.elem_count())
            .collect();
        Tensor::from_vec(values, like.shape(), &Device::Cpu).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::super::dataset::Missing;
    use super::super::super::encoding::Unknown;
    use super::super::super::random::Generator;
    use super::*;

    /// What becomes of `values` while a net learns, and the number that the generator gives after that.
    fn learning(share: f64, values: &Tensor) -> (Tensor, f64) {
        let mut generator = Generator::new(1);
        let mut context = Context {
            generator: &mut generator,
            observe: &mut |_| {},
            stop: &AtomicBool::new(false),
            missing: Missing::Refuse,
            unknown: Unknown::Refuse,
        };
        let dropped = Dropout::new(share, Some(&mut context)).units(values).unwrap();
        (dropped, generator.uniform(1.0))
    }

    fn ones() -> Tensor {
        Tensor::ones((100, 200), candle_core::DType::F32, &Device::Cpu).unwrap()
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_share_and_the_sum_are_kept() {
        let dropped = numbers(&learning(0.25, &ones()).0);
        let zeros = dropped.iter().filter(|&&value| value == 0.0).count();
        assert!((4_800..5_200).contains(&zeros), "{zeros} of 20000");
        assert!(dropped.iter().all(|&value| value == 0.0 || value == 4.0 / 3.0));
    }

    #[test]
    fn without_a_share_nothing_is_drawn_and_without_learning_nothing_is_dropped() {
        let (kept, next) = learning(0.0, &ones());
        assert_eq!(numbers(&kept), numbers(&ones()));
        assert_eq!(next, Generator::new(1).uniform(1.0));
        let kept = Dropout::new(0.5, None).units(&ones()).unwrap();
        assert_eq!(numbers(&kept), numbers(&ones()));
    }
}
