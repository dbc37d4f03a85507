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

    let read = |call: unsafe extern "system" fn(*mut i64) -> i32| {
        let mut value = 0;
        // SAFETY: both calls write one i64 through a valid pointer; they cannot fail since Windows XP.
        unsafe { call(&mut value) };
        value.unsigned_abs()
    };
    let frequency = *FREQUENCY.get_or_init(|| read(QueryPerformanceFrequency).max(1));
    (u128::from(read(QueryPerformanceCounter)) * 1_000_000_000 / u128::from(frequency)) as u64
}
