//! The lengths of the references that an example reads: most are small, and the first ones come in several parts.

/// References that come in several parts.
pub(crate) const LARGE_FILES: u32 = 4;

const LARGE_BYTES: usize = 2 << 20;

/// The length of a reference in bytes.
pub(crate) fn size(number: u32) -> usize {
    if number < LARGE_FILES {
        LARGE_BYTES
    } else {
        2048 + number as usize * 7919 % (60 << 10)
    }
}
