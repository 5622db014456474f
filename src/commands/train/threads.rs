//! On how many threads a net is fitted.
//!
//! candle divides each operation among the threads of rayon's pool that it is called from. Where it is called from none it takes all
//! cores, and threads that wait for each other spin: for nets as small as these that is time lost, on a busy machine most of it. So a
//! net is fitted on a pool of its own, of one thread unless told otherwise.

use std::num::NonZeroUsize;

use crate::commands::Failure;

/// What rayon and candle read the number of threads from.
const VARIABLE: &str = "RAYON_NUM_THREADS";
/// The stack of a process's first thread, which is where a fit would run otherwise.
const STACK: usize = 8 << 20;

/// Does `work` on a pool of as many threads as are asked for, by the option or by the environment.
pub(super) fn with<T: Send>(
    asked: Option<u16>,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let threads = chosen(asked.map(usize::from), std::env::var(VARIABLE).ok().as_deref())?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK)
        .build()
        .map_err(|error| Failure::failed(format!("cannot start {threads} threads: {error}")))?;
    pool.install(work)
}

/// The option, else the environment, else 1. candle reads the environment by itself and would go by that, so both must not
/// contradict each other.
fn chosen(asked: Option<usize>, environment: Option<&str>) -> Result<usize, Failure> {
    // As rayon has it, what is no number above 0 says nothing.
    let told = environment.and_then(|text| text.parse::<NonZeroUsize>().ok());
    match (asked, told.map(NonZeroUsize::get)) {
        (Some(asked), Some(told)) if asked != told => Err(Failure::usage(format!(
            "--threads is {asked}, and {VARIABLE} in the environment says {told}; leave one of them out"
        ))),
        (asked, told) => Ok(asked.or(told).unwrap_or(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_counts_and_then_the_environment_and_then_one() {
        let number = |asked, environment| chosen(asked, environment).unwrap();
        assert_eq!(number(None, None), 1);
        assert_eq!(number(None, Some("3")), 3);
        assert_eq!(number(None, Some("0")), 1);
        assert_eq!(number(None, Some("many")), 1);
        assert_eq!(number(Some(2), None), 2);
        assert_eq!(number(Some(2), Some("2")), 2);
        let told = chosen(Some(2), Some("1")).unwrap_err();
        assert!(
            matches!(&told, Failure::Usage(text) if text.contains("--threads is 2") && text.contains("says 1")),
            "{told:?}"
        );
    }

    #[test]
    fn the_work_is_done_on_so_many_threads() {
        let threads = with(Some(3), || Ok(rayon::current_num_threads()));
        // The tests may be run with a number in the environment.
        match threads {
            Ok(threads) => assert_eq!(threads, 3),
            Err(told) => assert!(matches!(told, Failure::Usage(_)), "{told:?}"),
        }
    }
}
