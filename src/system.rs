//! Calls of the operating system that no crate offers safely: the only `unsafe` code of millrace (docs/adr/0012, 0026).
//!
//! All are wishes. A system that does not know them goes on without.
#![expect(
    unsafe_code,
    reason = "four calls into the C library, each with its argument why it is sound"
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
/// Bytes of a large page.
#[cfg(target_os = "linux")]
const LARGE_PAGE: usize = 2 << 20;

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

/// The sizes of pages that the system has memory in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Of 4 KiB: no more is taken than is used.
    Small,
    /// Of 2 MiB, where there are any: what is used all over is found faster.
    Large,
}

/// Says what pages the memory is to have that this process has reserved so far, and with it its allocator's whole heap. By
/// itself the allocator asks for large ones, of which every thread then takes several for a few hundred kilobytes.
pub fn use_pages(pages: Pages) {
    #[cfg(target_os = "linux")]
    if let Err(error) = advise_heap(pages) {
        tracing::debug!(%error, ?pages, "the size of pages could not be chosen");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = pages;
}

#[cfg(target_os = "linux")]
fn advise_heap(pages: Pages) -> io::Result<()> {
    let advice = match pages {
        Pages::Small => libc::MADV_NOHUGEPAGE,
        Pages::Large => libc::MADV_HUGEPAGE,
    };
    // Finding out what is reserved is often the first that takes memory at all.
    let had_large_pages = allow_large_pages(false);
    let advised = std::fs::read_to_string("/proc/self/maps").and_then(|mappings| {
        let ranges = reserved(&mappings);
        ranges.into_iter().try_for_each(|range| advise(range, advice))
    });
    if had_large_pages {
        allow_large_pages(true);
    }
    advised
}

/// Allows this process large pages or forbids them, and says whether they were allowed before.
#[cfg(target_os = "linux")]
fn allow_large_pages(is_allowed: bool) -> bool {
    const NONE: libc::c_ulong = 0;
    // SAFETY: both read or set a flag of this process, and no memory.
    unsafe {
        let was_forbidden = libc::prctl(libc::PR_GET_THP_DISABLE, NONE, NONE, NONE, NONE);
        libc::prctl(
            libc::PR_SET_THP_DISABLE,
            libc::c_ulong::from(!is_allowed),
            NONE,
            NONE,
            NONE,
        );
        was_forbidden == 0
    }
}

/// Puts what is read all the time into large pages, as much of it as fills whole ones.
pub fn gather_in_large_pages(bytes: &[u8]) {
    #[cfg(target_os = "linux")]
    {
        let start = bytes.as_ptr().addr();
        let whole = (
            start.next_multiple_of(LARGE_PAGE),
            (start + bytes.len()) / LARGE_PAGE * LARGE_PAGE,
        );
        let gathered = advise(whole, libc::MADV_HUGEPAGE).and_then(|()| advise(whole, libc::MADV_COLLAPSE));
        if let Err(error) = gathered {
            tracing::debug!(%error, "memory could not be gathered in large pages");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}

/// Gives advice about memory that changes nothing of what is in it.
#[cfg(target_os = "linux")]
fn advise((start, end): (usize, usize), advice: libc::c_int) -> io::Result<()> {
    if start >= end {
        return Ok(());
    }
    let address = std::ptr::without_provenance_mut(start);
    // SAFETY: every caller gives one of three pieces of advice (small pages, large pages, now), none of which changes what is read,
    // or gives the advice to forget about pages that are read from a file and were never writable, which then are read again.
    match unsafe { libc::madvise(address, end - start, advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Where memory is reserved that belongs to no file, in parts that could have a large page.
#[cfg(target_os = "linux")]
fn reserved(mappings: &str) -> Vec<(usize, usize)> {
    let parts = mappings.lines().filter_map(Mapping::read);
    let anonymous = parts.filter(|part| part.access == "rw-p" && part.name.is_empty());
    let ranges = anonymous.map(|part| (part.start, part.end));
    ranges.filter(|(start, end)| end - start >= LARGE_PAGE).collect()
}

/// A line of `/proc/self/maps`.
#[cfg(target_os = "linux")]
struct Mapping<'a> {
    start: usize,
    end: usize,
    access: &'a str,
    offset: u64,
    /// The path of the file; empty where there is none.
    name: &'a str,
}

#[cfg(target_os = "linux")]
impl<'a> Mapping<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let address = |text: &str| usize::from_str_radix(text, 16).ok();
        Some(Self {
            start: address(start)?,
            end: address(end)?,
            access: fields.next()?,
            offset: u64::from_str_radix(fields.next()?, 16).ok()?,
            name: fields.nth(2)?.trim_start(),
        })
    }
}

/// Gives back what is mapped of this program's code and constants: half of it is what only a start, or a load, needs. What is
/// needed again is mapped again, out of the system's cache of the file.
pub fn unmap_idle_code() {
    #[cfg(target_os = "linux")]
    if let Err(error) = unmap_code() {
        tracing::debug!(%error, "the code of the start could not be unmapped");
    }
}

#[cfg(target_os = "linux")]
fn unmap_code() -> io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let mappings = std::fs::read_to_string("/proc/self/maps")?;
    let parts = unwritten(&mappings, &program.to_string_lossy());
    parts
        .into_iter()
        .try_for_each(|range| advise(range, libc::MADV_DONTNEED))
}

/// Where in memory the parts of `program` lie that hold what its file holds: its code, and the constants at its beginning. Other
/// read-only parts were filled in at the start.
#[cfg(target_os = "linux")]
fn unwritten(mappings: &str, program: &str) -> Vec<(usize, usize)> {
    let ours = mappings
        .lines()
        .filter_map(Mapping::read)
        .filter(|part| part.name == program);
    let is_as_in_the_file = |part: &Mapping<'_>| match part.access {
        "r-xp" => true,
        "r--p" => part.offset == 0,
        _ => false,
    };
    ours.filter(is_as_in_the_file)
        .map(|part| (part.start, part.end))
        .collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn only_what_was_never_written_is_unmapped() {
        let mappings = "\
            55d0c0000000-55d0c095b000 r--p 00000000 fe:00 77                  /opt/mill race\n\
            55d0c095b000-55d0c2c8c000 r-xp 0095a000 fe:00 77                  /opt/mill race\n\
            55d0c2c8c000-55d0c2e01000 r--p 02c8a000 fe:00 77                  /opt/mill race\n\
            55d0c2e01000-55d0c2e0a000 rw-p 02dfe000 fe:00 77                  /opt/mill race\n\
            7f0000000000-7f0000001000 r-xp 00000000 fe:00 78                  /lib/libc.so.6\n\
            7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \n";
        let found = unwritten(mappings, "/opt/mill race");
        assert_eq!(
            found,
            [
                (0x55d0_c000_0000, 0x55d0_c095_b000),
                (0x55d0_c095_b000, 0x55d0_c2c8_c000)
            ]
        );
    }

    #[test]
    fn memory_that_could_have_a_large_page_is_found() {
        let mappings = "\
            4ca53000000-4ca93000000 rw-p 00000000 00:00 0 \n\
            7f0000000000-7f00001ff000 rw-p 00000000 00:00 0 \n\
            7f0000400000-7f0000800000 ---p 00000000 00:00 0 \n\
            7f0000800000-7f0000c00000 rw-p 00000000 00:00 0          [stack]\n\
            55d0c2e01000-55d0c3e0a000 rw-p 02dfe000 fe:00 77         /opt/millrace\n";
        assert_eq!(reserved(mappings), [(0x4ca_5300_0000, 0x4ca_9300_0000)]);
    }

    #[test]
    fn what_is_in_memory_stays_as_it_is_whatever_pages_it_has() {
        let bytes: Vec<u8> = (0..5 << 20).map(|at: u32| (at % 251) as u8).collect();
        let before = bytes.clone();
        for pages in [Pages::Small, Pages::Large] {
            advise_heap(pages).unwrap();
            gather_in_large_pages(&bytes);
            assert!(bytes == before);
        }
        // Nothing of this fills a page.
        gather_in_large_pages(&bytes[..100]);
    }

    #[test]
    fn a_program_goes_on_without_its_mapped_code() {
        unmap_code().unwrap();
        assert_eq!("still here".len(), 10);
    }

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
