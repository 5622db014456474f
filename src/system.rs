//! Calls of the operating system that no crate offers safely: the only `unsafe` code of millrace (docs/adr/0012).
//!
//! Both are wishes. A system that does not know them goes on without.
#![expect(
    unsafe_code,
    reason = "two calls into the C library, each with its argument why it is sound"
)]

#[cfg(target_os = "linux")]
use std::io;

/// How much lower the priority of a thread is that stands back: on a busy machine it gets a tenth of what others get.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;
/// How long such a thread means to run at a stretch. Linux (since 6.12) preempts at once a thread that asks for more than
/// the one that wakes up, and else lets it run on for up to 3 ms.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 100_000_000;

/// Lets other threads go first on a busy machine. Threads and processes that this thread starts inherit it. Other systems
/// than Linux would apply a priority to the whole process, so that there nothing is done.
pub fn stand_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = lower_priority().and_then(|()| lengthen_slice()) {
        tracing::debug!(%error, "the priority of a thread could not be lowered");
    }
}

#[cfg(target_os = "linux")]
fn lower_priority() -> io::Result<()> {
    rustix::process::nice(NICENESS)?;
    Ok(())
}

/// Asks for the same policy and niceness as before and a longer slice: `sched_setattr(2)`. Before Linux 6.12 it has no effect.
#[cfg(target_os = "linux")]
fn lengthen_slice() -> io::Result<()> {
    const SCHED_OTHER: u32 = 0;
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: SCHED_OTHER,
        sched_flags: 0,
        sched_nice: rustix::process::getpriority_process(None)?,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of a structure that lives until the call is over; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the allocator of C libraries give every block of a mebibyte or more back to the system when it is freed. By itself
/// glibc keeps such blocks for good once a few of them were freed: a threshold that starts at 128 KiB grows with them.
pub fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const MEBIBYTE: libc::c_int = 1 << 20;
        // SAFETY: it sets one number in the allocator, under the allocator's own lock.
        let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MEBIBYTE) } == 1;
        if !is_set {
            tracing::debug!("the C library's allocator could not be told to return large blocks");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_stands_back_and_the_others_do_not() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let behind = thread::spawn(move || {
            stand_back();
            lengthen_slice().unwrap();
            niceness()
        });
        assert_eq!(behind.join().unwrap(), (before + NICENESS).min(19));
        assert_eq!(niceness(), before);
    }
}
