//! Time: the one place that asks for it, and waits for it.
#![expect(clippy::disallowed_methods, reason = "this is the file that asks for the time")]

use std::future::{Future, poll_fn};
use std::time::{Duration, Instant};

/// The monotonic time now.
pub fn now() -> Instant {
    Instant::now()
}

/// The time of day now, for `Date` and records.
pub fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// A number that differs from start to start and from core to core.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now())
}

/// Waits. For filters that delay and for pauses between attempts, not for I/O, which has
/// deadlines.
///
/// The runtime's timer asks for 128 bytes of alignment, which every future that it lies in takes
/// over: boxed, it makes no exchange larger that does not wait.
pub fn sleep(time: Duration) -> impl Future<Output = ()> + Unpin {
    Box::pin(monoio::time::sleep(time))
}

/// Waits for `work` at most `time`; `None` when that was not enough. `work` is dropped then, so
/// it must lose nothing by that: never a read. Boxed like [`sleep`].
pub(crate) fn within<T>(
    time: Duration,
    work: impl Future<Output = T>,
) -> impl Future<Output = Option<T>> + Unpin {
    let mut work = Box::pin(monoio::time::timeout(time, work));
    poll_fn(move |context| work.as_mut().poll(context).map(Result::ok))
}
