//! The monotonic clock, in ns, on the same line as Node's `process.hrtime()` and `performance.now()`.

/// Nanoseconds since an arbitrary start, never going back.
#[cfg(unix)]
pub fn now_ns() -> u64 {
    crate::sys::monotonic_ns()
}

/// Nanoseconds since an arbitrary start, never going back.
#[cfg(windows)]
pub fn now_ns() -> u64 {
    use std::sync::OnceLock;

    unsafe extern "system" {
        fn QueryPerformanceCounter(count: *mut i64) -> i32;
        fn QueryPerformanceFrequency(frequency: *mut i64) -> i32;
    }
    static FREQUENCY: OnceLock<u64> = OnceLock::new();

    let frequency = *FREQUENCY.get_or_init(|| {
        let mut frequency = 0;
        // SAFETY: writes one i64 through a valid pointer; cannot fail since Windows XP.
        unsafe { QueryPerformanceFrequency(&mut frequency) };
        frequency.max(1).unsigned_abs()
    });
    let mut count = 0;
    // SAFETY: writes one i64 through a valid pointer; cannot fail since Windows XP.
    unsafe { QueryPerformanceCounter(&mut count) };
    (u128::from(count.unsigned_abs()) * 1_000_000_000 / u128::from(frequency)) as u64
}
