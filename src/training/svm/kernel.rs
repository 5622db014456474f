//! How alike two rows are.

use std::rc::Rc;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::super::TrainingError;

/// Bytes of kernel values that are kept at most, while one machine is fitted.
const CACHE_BYTES: usize = 256 << 20;

/// A kernel with all its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernel {
    /// `x·v`
    Linear,
    /// `(gamma x·v + coef0)^degree`
    Polynomial {
        /// Above 0.
        gamma: f64,
        /// Any finite number.
        coef0: f64,
        /// At least 1.
        degree: u16,
    },
    /// `exp(−gamma |x − v|²)`
    Rbf {
        /// Above 0.
        gamma: f64,
    },
}

impl Kernel {
    /// The kernel of two rows by their product and their squared lengths.
    fn of(self, product: f64, square: f64, other_square: f64) -> f64 {
        match self {
            Self::Linear => product,
            Self::Polynomial { gamma, coef0, degree } => (gamma * product + coef0).powi(i32::from(degree)),
            Self::Rbf { gamma } => {
                // Rounding must not make the distance of equal rows negative.
                let distance = (square + other_square - 2.0 * product).max(0.0);
                (-gamma * distance).exp()
            }
        }
    }
}

/// Rows that others are compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Samples {
    kernel: Kernel,
    /// n × F.
    rows: Array2<f64>,
    /// The squared length of each.
    squares: Array1<f64>,
}

impl Samples {
    /// `rows` (n × F) under this kernel.
    pub(super) fn new(kernel: Kernel, rows: Array2<f64>) -> Self {
        let squares = rows.outer_iter().map(|row| row.dot(&row)).collect();
        Self {
            kernel,
            rows,
            squares,
        }
    }

    /// These of the rows, in this order.
    pub(super) fn select(&self, chosen: &[usize]) -> Self {
        Self {
            kernel: self.kernel,
            rows: self.rows.select(Axis(0), chosen),
            squares: self.squares.select(Axis(0), chosen),
        }
    }

    pub(super) fn kernel(&self) -> Kernel {
        self.kernel
    }

    pub(super) fn rows(&self) -> ArrayView2<'_, f64> {
        self.rows.view()
    }

    pub(super) fn count(&self) -> usize {
        self.rows.nrows()
    }

    /// The kernel of `row` (F values) with each of the samples.
    pub(super) fn compare(&self, row: ArrayView1<'_, f64>) -> Array1<f64> {
        let square = row.dot(&row);
        let mut values = self.rows.dot(&row);
        for (value, &other) in values.iter_mut().zip(&self.squares) {
            *value = self.kernel.of(*value, square, other);
        }
        values
    }

    /// The kernel of each sample with itself.
    fn diagonal(&self) -> Vec<f64> {
        let own = |&square: &f64| self.kernel.of(square, square, square);
        self.squares.iter().map(own).collect()
    }
}

/// The kernels of samples with each other: a row of this matrix is computed when it is asked for, and those that were
/// asked for last are kept, within a bound of memory.
pub(super) struct Gram<'a> {
    samples: &'a Samples,
    diagonal: Vec<f64>,
    kept: Vec<Option<Kept>>,
    count: usize,
    capacity: usize,
    clock: u64,
}

struct Kept {
    values: Rc<[f64]>,
    used: u64,
}

impl<'a> Gram<'a> {
    pub(super) fn new(samples: &'a Samples) -> Result<Self, TrainingError> {
        let row_bytes = size_of::<f64>() * samples.count().max(1);
        Self::with_capacity(samples, CACHE_BYTES / row_bytes)
    }

    fn with_capacity(samples: &'a Samples, capacity: usize) -> Result<Self, TrainingError> {
        let diagonal = samples.diagonal();
        check(&diagonal)?;
        Ok(Self {
            samples,
            diagonal,
            kept: std::iter::repeat_with(|| None).take(samples.count()).collect(),
            count: 0,
            // The solver looks at two rows at once.
            capacity: capacity.max(2),
            clock: 0,
        })
    }

    /// The kernel of a sample with itself.
    pub(super) fn own(&self, place: usize) -> f64 {
        self.diagonal[place]
    }

    /// The kernels of a sample with all of them.
    pub(super) fn row(&mut self, place: usize) -> Result<Rc<[f64]>, TrainingError> {
        self.clock += 1;
        if let Some(kept) = &mut self.kept[place] {
            kept.used = self.clock;
            return Ok(Rc::clone(&kept.values));
        }
        if self.count == self.capacity {
            self.forget_oldest();
        }
        let values: Rc<[f64]> = self.samples.compare(self.samples.rows.row(place)).to_vec().into();
        check(&values)?;
        self.kept[place] = Some(Kept {
            values: Rc::clone(&values),
            used: self.clock,
        });
        self.count += 1;
        Ok(values)
    }

    /// A walk over all rows, which is nothing beside the computation of one.
    fn forget_oldest(&mut self) {
        let oldest = self
            .kept
            .iter_mut()
            .filter(|kept| kept.is_some())
            .min_by_key(|kept| kept.as_ref().map(|kept| kept.used));
        if let Some(oldest) = oldest {
            *oldest = None;
            self.count -= 1;
        }
    }
}

/// The graph computes in 32 bits.
fn check(values: &[f64]) -> Result<(), TrainingError> {
    if values.iter().all(|&value| (value as f32).is_finite()) {
        Ok(())
    } else {
        Err(TrainingError::KernelOverflow)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;

    const POLYNOMIAL: Kernel = Kernel::Polynomial {
        gamma: 0.5,
        coef0: 1.0,
        degree: 3,
    };

    #[test]
    fn each_kernel_is_as_it_is_defined() {
        // The product is 4 − 1 = 3, the squared distance 1 + 9 = 10.
        let compare = |kernel| Samples::new(kernel, array![[2.0, 1.0]]).compare(array![1.0, -2.0].view())[0];
        assert_eq!(compare(Kernel::Linear), 0.0);
        let compare = |kernel| Samples::new(kernel, array![[2.0, 1.0]]).compare(array![2.0, -1.0].view())[0];
        assert_eq!(compare(Kernel::Linear), 3.0);
        assert_eq!(compare(POLYNOMIAL), 2.5_f64.powi(3));
        let rbf = compare(Kernel::Rbf { gamma: 0.25 });
        assert!((rbf - (-1.0_f64).exp()).abs() < 1e-15, "{rbf}");
    }

    #[test]
    fn values_that_the_graph_cannot_hold_are_told() {
        let kernel = Kernel::Polynomial {
            gamma: 1.0,
            coef0: 0.0,
            degree: 40,
        };
        let long = Samples::new(kernel, array![[10.0]]);
        assert!(matches!(Gram::new(&long), Err(TrainingError::KernelOverflow)));
        assert!(Gram::new(&Samples::new(kernel, array![[1.0]])).is_ok());
    }

    proptest! {
        /// However little is kept, the values are the same, and the matrix is symmetric.
        #[test]
        fn a_small_cache_forgets_nothing_that_matters(
            values in prop::collection::vec(-3.0_f64..3.0, 16),
            asked in prop::collection::vec(0_usize..8, 1..60),
            capacity in 0_usize..5,
        ) {
            let rows = Array2::from_shape_vec((8, 2), values).unwrap();
            let samples = Samples::new(Kernel::Rbf { gamma: 0.3 }, rows);
            let mut gram = Gram::with_capacity(&samples, capacity).unwrap();
            for place in asked {
                let row = gram.row(place).unwrap();
                prop_assert_eq!(row.to_vec(), samples.compare(samples.rows().row(place)).to_vec());
                prop_assert!((row[place] - gram.own(place)).abs() < 1e-12);
                prop_assert!(gram.kept.iter().flatten().count() <= capacity.max(2));
                prop_assert_eq!(gram.kept.iter().flatten().count(), gram.count);
            }
        }
    }
}
