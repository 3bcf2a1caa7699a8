//! What a thread and the process have used of the machine.

use std::fs;
use std::time::Duration;

/// What a thread has used since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time.
    pub(crate) cpu: Duration,
    /// How often it gave the processor up to wait.
    pub(crate) waits: u64,
    /// How often the processor was taken from it.
    pub(crate) preemptions: u64,
}

impl Usage {
    /// What the calling thread has used. One system call.
    pub(crate) fn of_thread() -> Usage {
        Usage::of(libc::RUSAGE_THREAD)
    }

    fn of(who: libc::c_int) -> Usage {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: getrusage(2) writes one `rusage` to the pointer, which is to our stack; where it
        // fails the zeros stay, and all zeros are a valid `rusage` of plain numbers.
        let usage = unsafe {
            libc::getrusage(who, usage.as_mut_ptr());
            usage.assume_init()
        };
        let time = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec.unsigned_abs())
                + Duration::from_micros(time.tv_usec.unsigned_abs())
        };
        Usage {
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            waits: usage.ru_nvcsw.unsigned_abs(),
            preemptions: usage.ru_nivcsw.unsigned_abs(),
        }
    }
}

/// What the process has used and holds. What the system does not tell is zero.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// Processor time of all threads.
    pub(crate) cpu: Duration,
    /// Bytes in memory.
    pub(crate) resident: u64,
    /// Bytes of address space.
    pub(crate) virtual_memory: u64,
    /// Descriptors in use.
    pub(crate) descriptors: u64,
    /// The most that may be.
    pub(crate) max_descriptors: u64,
    /// Threads.
    pub(crate) threads: u64,
}

/// What this process has used and holds.
pub(crate) fn process() -> Process {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    // `VmRSS:      1234 kB` (proc(5)).
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse::<u64>().ok()).unwrap_or_default()
    };
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let max_descriptors = limits.lines().find_map(|line| {
        line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok()
    });
    Process {
        cpu: Usage::of(libc::RUSAGE_SELF).cpu,
        resident: number("VmRSS:") * 1024,
        virtual_memory: number("VmSize:") * 1024,
        descriptors: fs::read_dir("/proc/self/fd").map_or(0, |list| list.count() as u64),
        max_descriptors: max_descriptors.unwrap_or_default(),
        threads: number("Threads:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_is_used() {
        let before = Usage::of_thread();
        while Usage::of_thread().cpu <= before.cpu {
            std::hint::black_box((0..10_000).sum::<u64>());
        }
        let process = process();
        assert!(process.cpu >= before.cpu);
        assert!(process.resident > 1 << 20 && process.virtual_memory >= process.resident);
        assert!((3..process.max_descriptors).contains(&process.descriptors), "{process:?}");
        assert!(process.threads >= 1);
    }
}
