//! How many pixels the images of one request may have.

use super::error::ImageError;

/// Pixels that the images of one request may have together, unless the configuration says another number.
pub const MAX_PIXELS: usize = 1 << 24;

/// What the images of one request may still cost. Their pixels are counted twice, as they come, which bounds the work of
/// reading them, and as the model takes them, which bounds what is kept: a few bytes can stand for many of either.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    limit: usize,
    read: usize,
    made: usize,
}

impl Budget {
    /// So many pixels for a request.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            read: 0,
            made: 0,
        }
    }

    /// Takes what it costs to read an image of this size.
    pub(super) fn take_read(&mut self, width: u32, height: u32) -> Result<(), ImageError> {
        let before = self.read;
        self.read = self.with(before, width, height).ok_or(ImageError::TooLarge {
            width,
            height,
            limit: self.limit,
            before,
        })?;
        Ok(())
    }

    /// Takes what it costs to keep an image of this size.
    pub(super) fn take_made(&mut self, width: u32, height: u32) -> Result<(), ImageError> {
        self.made = self
            .with(self.made, width, height)
            .ok_or(ImageError::OneTooMany {
                width,
                height,
                limit: self.limit,
            })?;
        Ok(())
    }

    /// `before` and another image, where both are within the limit.
    fn with(&self, before: usize, width: u32, height: u32) -> Option<usize> {
        let pixels = u64::from(width) * u64::from(height);
        let sum = before.checked_add(usize::try_from(pixels).ok()?)?;
        (sum <= self.limit).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_and_what_is_made_count_apart() {
        let mut budget = Budget::new(100);
        assert!(budget.take_read(10, 9).is_ok());
        assert!(budget.take_made(10, 10).is_ok());
        assert!(budget.take_read(10, 1).is_ok());
        assert!(matches!(
            budget.take_read(1, 1),
            Err(ImageError::TooLarge { before: 100, .. })
        ));
        assert!(matches!(
            budget.take_made(1, 1),
            Err(ImageError::OneTooMany { .. })
        ));
        assert!(Budget::new(usize::MAX).take_read(u32::MAX, u32::MAX).is_ok());
    }
}
