//! Rows that are pictures.

use super::super::dataset::{Dataset, Values};
use super::super::onnx::{Port, Size};

/// How the values of a row lie in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Whether the channels of one pixel stand together.
    channels_last: bool,
}

impl Grid {
    /// By the shape of the graph's only input (channels × height × width, or channels last), or by columns that are called
    /// after their row and column, such as `pixel_0_7`; none where neither says so.
    pub(super) fn of(inputs: &[Port], data: &Dataset) -> Option<Self> {
        let columns = data.columns.len();
        let are_numbers = data
            .columns
            .iter()
            .all(|column| matches!(column.values, Values::Numbers(_)));
        let [input] = inputs else { return None };
        if !are_numbers {
            return None;
        }
        let sizes: Option<Vec<usize>> = input.shape.iter().skip(1).map(fixed).collect();
        let grid = match sizes.as_deref() {
            Some(&[first, second, third]) => Self::of_shape(first, second, third)?,
            Some(&[_]) => Self::of_names(&data.names())?,
            _ => return None,
        };
        (grid.channels * grid.height * grid.width == columns).then_some(grid)
    }

    fn of_shape(first: usize, second: usize, third: usize) -> Option<Self> {
        let are_channels = |size: usize| matches!(size, 1 | 3 | 4);
        let (channels, height, width, channels_last) = match () {
            () if are_channels(first) => (first, second, third, false),
            () if are_channels(third) => (third, first, second, true),
            () => return None,
        };
        (height > 1 && width > 1).then_some(Self {
            channels,
            height,
            width,
            channels_last,
        })
    }

    fn of_names(names: &[String]) -> Option<Self> {
        let place = |name: &String| {
            let (rest, column) = name.rsplit_once('_')?;
            let (_, row) = rest.rsplit_once('_')?;
            Some((row.parse::<usize>().ok()?, column.parse::<usize>().ok()?))
        };
        let places: Vec<(usize, usize)> = names.iter().map(place).collect::<Option<_>>()?;
        let &(last_row, last_column) = places.last()?;
        let (height, width) = (last_row.checked_add(1)?, last_column.checked_add(1)?);
        let in_order = places
            .iter()
            .enumerate()
            .all(|(index, &(row, column))| (row, column) == (index / width, index % width));
        (in_order && height > 1 && width > 1).then_some(Self {
            channels: 1,
            height,
            width,
            channels_last: false,
        })
    }

    /// Where a value stands in a row.
    pub(super) fn place(&self, channel: usize, row: usize, column: usize) -> usize {
        if self.channels_last {
            (row * self.width + column) * self.channels + channel
        } else {
            (channel * self.height + row) * self.width + column
        }
    }

    /// Where all values stand that lie at most `reach` rows and columns from a pixel.
    pub(super) fn around(&self, row: usize, column: usize, reach: usize) -> Vec<usize> {
        let near = |centre: usize, size: usize| centre.saturating_sub(reach)..(centre + reach + 1).min(size);
        let mut places = Vec::new();
        for channel in 0..self.channels {
            for row in near(row, self.height) {
                for column in near(column, self.width) {
                    places.push(self.place(channel, row, column));
                }
            }
        }
        places
    }
}

fn fixed(size: &Size) -> Option<usize> {
    match size {
        Size::Fixed(size) => Some(*size),
        Size::Free(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2};

    use super::super::super::dataset::Target;
    use super::super::super::onnx::{BATCH, Element};
    use super::*;

    fn data(names: &[String]) -> Dataset {
        let target = Target::Numbers(Array1::zeros(2));
        Dataset::of_numbers(names, &Array2::zeros((2, names.len())), target)
    }

    fn input(sizes: &[usize]) -> Vec<Port> {
        let sizes = sizes.iter().map(|&size| Size::Fixed(size));
        vec![Port {
            name: "inputs".into(),
            element: Element::F32,
            shape: [BATCH].into_iter().chain(sizes).collect(),
        }]
    }

    fn named(height: usize, width: usize) -> Vec<String> {
        (0..height * width)
            .map(|index| format!("pixel_{}_{}", index / width, index % width))
            .collect()
    }

    #[test]
    fn a_picture_is_known_by_its_shape_or_the_names_of_its_columns() {
        let grid = |sizes: &[usize], names: &[String]| {
            Grid::of(&input(sizes), &data(names)).map(|grid| (grid.channels, grid.height, grid.width))
        };
        let plain: Vec<String> = (0..24).map(|column| format!("c{column}")).collect();
        assert_eq!(grid(&[1, 4, 6], &plain), Some((1, 4, 6)));
        assert_eq!(grid(&[2, 4, 3], &plain), Some((3, 2, 4)));
        assert_eq!(grid(&[24], &named(4, 6)), Some((1, 4, 6)));
        assert_eq!(grid(&[24], &plain), None);
        assert_eq!(grid(&[12, 2], &plain), None, "a series of two values a step");
        let mut disordered = named(4, 6);
        disordered.swap(0, 1);
        assert_eq!(grid(&[24], &disordered), None);
    }

    #[test]
    fn the_surroundings_of_a_pixel_have_all_its_channels_and_end_at_the_edge() {
        let grid = Grid::of_shape(2, 4, 3).unwrap();
        assert_eq!(grid.around(0, 0, 0), [0, 1, 2]);
        assert_eq!(grid.around(1, 3, 1).len(), 3 * 4);
        assert!(grid.around(1, 3, 1).iter().all(|&place| place < 24));
    }
}
