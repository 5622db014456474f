//! The classification extension: the largest values of each row, as texts.

use std::cmp::Ordering;
use std::fmt::Display;

use crate::model::tensor::{Tensor, Values, with_values};

/// For each row of `output` its `count` largest values, the largest first and the first of equal ones, each as
/// `value:index`, or `value:index:label` where the values have names. All values of a row are counted through, however
/// many axes they stand in.
pub(super) fn largest(output: &Tensor, count: usize, labels: &[String]) -> Tensor {
    let (rows, width) = (output.rows(), output.row_len());
    let texts = with_values!(output.values(), values => texts(values, width, count, labels));
    Tensor::new(vec![rows, count.min(width)], Values::Text(texts)).expect("each row gives as many texts")
}

fn texts<T: PartialOrd + Display>(
    values: &[T],
    width: usize,
    count: usize,
    labels: &[String],
) -> Vec<String> {
    if width == 0 {
        return Vec::new();
    }
    let mut texts = Vec::new();
    for row in values.chunks_exact(width) {
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&left, &right| row[right].partial_cmp(&row[left]).unwrap_or(Ordering::Equal));
        for &index in order.iter().take(count) {
            let value = &row[index];
            texts.push(match labels.get(index) {
                Some(label) => format!("{value}:{index}:{label}"),
                None => format!("{value}:{index}"),
            });
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_with_their_names() {
        let values = Values::F32(vec![0.25, 0.5, 0.25, 1e-7, 0.0, 0.75]);
        let output = Tensor::new(vec![2, 3], values).unwrap();
        let labels = ["a", "b", "c"].map(str::to_owned);
        let texts = |texts: &[&str]| Values::Text(texts.iter().map(|&text| text.to_owned()).collect());
        let two = largest(&output, 2, &labels);
        assert_eq!(two.shape(), [2, 2]);
        assert_eq!(
            two.values(),
            &texts(&["0.5:1:b", "0.25:0:a", "0.75:2:c", "0.0000001:0:a"])
        );
        let all = largest(&output, usize::MAX, &[]);
        assert_eq!(all.shape(), [2, 3]);
        assert_eq!(
            largest(&Tensor::new(vec![2, 0], Values::I8(vec![])).unwrap(), 1, &[]).shape(),
            [2, 0]
        );
    }
}
