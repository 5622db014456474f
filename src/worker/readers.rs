//! Threads that read images and long texts. A large one takes a good part of a second, and the network's thread has others to
//! serve.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::api::error::{ApiError, ErrorCode};
use crate::http::deadline::Deadline;
use crate::model::tensor::{Tensor, with_values};

/// KiB that these tensors may take together, from when they are read until they are answered. A few bytes of a
/// request stand for many of them, so that the length of a queue alone would not bound them.
const ROOM: u32 = 512 << 10;

/// What remains to be done for the inputs of a request, and for what is known of them with the inputs only.
pub(super) type Reading<T> = Box<dyn FnOnce() -> Result<(Vec<Tensor>, T), ApiError> + Send>;

/// Room that the inputs of a request take; given back when it is dropped.
pub(super) type Room = OwnedSemaphorePermit;

/// They read as many requests at once as there are processors, and no more than there is room for.
pub(super) struct Readers {
    threads: Arc<Semaphore>,
    room: Arc<Semaphore>,
    whole_room: u32,
}

impl Default for Readers {
    fn default() -> Self {
        Self::new(available_parallelism().map_or(1, usize::from), ROOM)
    }
}

impl Readers {
    fn new(threads: usize, room: u32) -> Self {
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            room: Arc::new(Semaphore::new(room as usize)),
            whole_room: room,
        }
    }

    /// Does it on a thread beside the network's as soon as one may, and waits for room for what came of it. Until there
    /// is some, that thread begins nothing else, so that little is read that has no room.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        reading: Reading<T>,
        deadline: Deadline,
    ) -> Result<(Vec<Tensor>, T, Room), ApiError> {
        let whole = async {
            let thread = acquire(&self.threads, 1).await;
            // Who leaves drops this future, and the thread is then given back only once it is done.
            let done = spawn_blocking(move || (reading(), thread)).await;
            let Ok((read, thread)) = done else {
                // The log says where it panicked.
                return Err(ApiError::new(ErrorCode::Internal, "its inputs could not be read"));
            };
            let (tensors, known) = read?;
            // What is larger than all of it runs alone.
            let room = acquire(&self.room, kibibytes(&tensors).min(self.whole_room)).await;
            drop(thread);
            Ok((tensors, known, room))
        };
        let in_time = timeout_at(deadline.0, whole).await;
        in_time.unwrap_or_else(|_| Err(Deadline::exceeded("its inputs were read")))
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, count: u32) -> OwnedSemaphorePermit {
    let permit = Arc::clone(semaphore).acquire_many_owned(count).await;
    permit.expect("nobody closes it")
}

fn kibibytes(tensors: &[Tensor]) -> u32 {
    let bytes = tensors
        .iter()
        .map(|tensor| with_values!(tensor.values(), values => size_of_val(values.as_slice())));
    u32::try_from(bytes.sum::<usize>().div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::model::tensor::Values;

    fn soon(duration: Duration) -> Deadline {
        Deadline(Instant::now() + duration)
    }

    fn later() -> Deadline {
        soon(Duration::from_secs(60))
    }

    fn of_kibibytes(count: usize) -> Reading<()> {
        Box::new(move || {
            let values = Values::U8(vec![0; count << 10]);
            Ok((vec![Tensor::new(vec![1, count << 10], values).unwrap()], ()))
        })
    }

    #[tokio::test]
    async fn what_is_read_has_room_until_it_is_answered() {
        let readers = Readers::new(2, 10);
        let (tensors, (), room) = readers.read(of_kibibytes(8), later()).await.unwrap();
        assert_eq!(tensors[0].shape(), [1, 8 << 10]);
        let refused = readers
            .read(of_kibibytes(3), soon(Duration::from_millis(20)))
            .await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::DeadlineExceeded);
        assert!(readers.read(of_kibibytes(2), later()).await.is_ok());
        drop(room);
        assert!(readers.read(of_kibibytes(3), later()).await.is_ok());
        // More than there is at all waits for the whole room.
        assert!(readers.read(of_kibibytes(99), later()).await.is_ok());
    }

    #[tokio::test]
    async fn so_many_are_read_at_once_and_no_more() {
        let readers = Readers::new(1, 10);
        let (go, wait) = mpsc::channel();
        let held: Reading<()> = Box::new(move || {
            wait.recv().unwrap();
            Ok((Vec::new(), ()))
        });
        // Its client leaves; the thread is busy all the same.
        let left = readers.read(held, soon(Duration::from_millis(20))).await;
        assert_eq!(left.unwrap_err().code, ErrorCode::DeadlineExceeded);
        let waits = readers
            .read(of_kibibytes(1), soon(Duration::from_millis(20)))
            .await;
        assert_eq!(waits.unwrap_err().code, ErrorCode::DeadlineExceeded);
        go.send(()).unwrap();
        assert!(readers.read(of_kibibytes(1), later()).await.is_ok());
    }

    #[tokio::test]
    async fn a_reading_that_panics_costs_nobody_else() {
        let readers = Readers::new(1, 10);
        let broken: Reading<()> = Box::new(|| panic!("a bug"));
        let error = readers.read(broken, later()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Internal);
        assert!(readers.read(of_kibibytes(1), later()).await.is_ok());
    }
}
