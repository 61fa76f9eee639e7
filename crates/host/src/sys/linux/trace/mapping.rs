//! Memory that is shared with the kernel: mmap(2), munmap(2).

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::{self, NonNull};

/// Maps so many bytes of what is behind a descriptor, from an offset on.
pub(super) fn mapped(map: &OwnedFd, length: usize, access: i32, offset: usize) -> io::Result<NonNull<u8>> {
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel chooses a place that nothing of ours is at.
    let place =
        unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, map.as_raw_fd(), offset) };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(place.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Takes a mapping of that length away; nothing may use it any more.
pub(super) fn unmap(place: NonNull<u8>, length: usize) {
    // SAFETY: the place and length are those of a mapping that nobody uses any more. It cannot fail for such.
    unsafe { libc::munmap(place.as_ptr().cast(), length) };
}
