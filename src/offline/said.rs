//! What one output says of all rows: numbers, or the name of a class for each.

use ndarray::Array2;

use super::answers::{numbers, texts};
use crate::model::tensor::{Datatype, Tensor};

/// The values of one output, a row of them for each row of the data.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// Floating-point numbers, n × as many as there are for a row.
    Numbers(Array2<f64>),
    /// Texts, whole numbers or booleans, one a row, as texts.
    Labels {
        /// What the graph has them as.
        datatype: Datatype,
        /// One a row.
        names: Vec<String>,
    },
}

impl Said {
    /// The values of an output, of which there is a tensor for each part of the rows; else what came instead.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a Tensor>) -> Result<Self, String> {
        let mut said: Option<Self> = None;
        for part in parts {
            let part = Self::of_part(part)?;
            said = Some(match said {
                None => part,
                Some(before) => before.and(part)?,
            });
        }
        said.ok_or_else(|| "it says nothing".to_owned())
    }

    fn of_part(tensor: &Tensor) -> Result<Self, String> {
        let datatype = tensor.datatype();
        // Axes of size 1 say nothing.
        let is_flat = tensor.row_shape().iter().filter(|&&size| size != 1).count() <= 1;
        if !is_flat {
            return Err(format!(
                "a row of it has the shape {:?}; expected one value, or one for each class or target",
                tensor.row_shape()
            ));
        }
        if let Some(numbers) = numbers(tensor) {
            return Ok(Self::Numbers(numbers));
        }
        match tensor.row_len() {
            1 => Ok(Self::Labels {
                datatype,
                names: texts(tensor),
            }),
            several => Err(format!(
                "it puts out {several} values of the type {datatype} a row; expected one label, or floating-point numbers"
            )),
        }
    }

    fn and(self, next: Self) -> Result<Self, String> {
        match (self, next) {
            (Self::Numbers(mut numbers), Self::Numbers(more)) => {
                let width = numbers.ncols();
                numbers.append(ndarray::Axis(0), more.view()).map_err(|_| {
                    let next = more.ncols();
                    format!("it puts out {width} numbers for some rows and {next} for others")
                })?;
                Ok(Self::Numbers(numbers))
            }
            (Self::Labels { datatype, mut names }, Self::Labels { names: more, .. }) => {
                names.extend(more);
                Ok(Self::Labels { datatype, names })
            }
            _ => Err("it changes its type from row to row".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::model::tensor::Values;

    fn tensor(shape: &[usize], values: Values) -> Tensor {
        Tensor::new(shape.to_vec(), values).unwrap()
    }

    #[test]
    fn parts_follow_each_other() {
        let parts = [
            tensor(&[2, 1], Values::F32(vec![1.0, 2.0])),
            tensor(&[1, 1], Values::F32(vec![3.0])),
        ];
        assert_eq!(Said::of(&parts), Ok(Said::Numbers(array![[1.0], [2.0], [3.0]])));
        let parts = [
            tensor(&[1], Values::I64(vec![7])),
            tensor(&[1], Values::I64(vec![-1])),
        ];
        let labels = Said::Labels {
            datatype: Datatype::I64,
            names: vec!["7".to_owned(), "-1".to_owned()],
        };
        assert_eq!(Said::of(&parts), Ok(labels));
    }

    #[test]
    fn what_is_neither_numbers_nor_one_label_is_told() {
        let told = |tensors: &[Tensor]| Said::of(tensors).unwrap_err();
        let picture = tensor(&[1, 2, 2], Values::F32(vec![0.0; 4]));
        assert!(told(&[picture]).contains("[2, 2]"));
        let labels = tensor(&[1, 2], Values::Bool(vec![true, false]));
        assert!(told(&[labels]).contains("2 values of the type BOOL"));
        let (narrow, wide) = (
            tensor(&[1, 1], Values::F64(vec![0.0])),
            tensor(&[1, 2], Values::F64(vec![0.0; 2])),
        );
        assert!(told(&[narrow, wide]).contains("1 numbers for some rows and 2 for others"));
    }
}
