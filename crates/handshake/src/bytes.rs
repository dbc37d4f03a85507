//! Fields of messages whose length is known when compiled: a field outside of its message does not compile.

/// The `N` bytes at `AT`.
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "bounds proven by the const assertion"
)]
pub(crate) fn take<const AT: usize, const N: usize, const LEN: usize>(bytes: &[u8; LEN]) -> [u8; N] {
    const { assert!(AT + N <= LEN) };
    let mut field = [0; N];
    field.copy_from_slice(&bytes[AT..AT + N]);
    field
}

/// Writes the `N` bytes at `AT`.
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "bounds proven by the const assertion"
)]
pub(crate) fn put<const AT: usize, const N: usize, const LEN: usize>(bytes: &mut [u8; LEN], field: &[u8; N]) {
    const { assert!(AT + N <= LEN) };
    bytes[AT..AT + N].copy_from_slice(field);
}

/// Everything before `AT`, and the rest.
#[allow(clippy::indexing_slicing, reason = "bounds proven by the const assertion")]
pub(crate) fn split<const AT: usize, const LEN: usize>(bytes: &[u8; LEN]) -> (&[u8], &[u8]) {
    const { assert!(AT <= LEN) };
    (&bytes[..AT], &bytes[AT..])
}
