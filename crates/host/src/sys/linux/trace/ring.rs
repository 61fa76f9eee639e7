//! The ring buffer into which the program writes, and which is read without a system call.
//!
//! Source: Documentation/bpf/ringbuf.rst, `kernel/bpf/ringbuf.c`: a page with the reader's position, a page with the
//! writer's, and the data twice in a row, so that a record is never in two pieces. A record has a head of 8 bytes: its
//! length with two bits (busy, discarded), and a number of the kernel's own.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rustix::param::page_size;

use super::mapping::{mapped, unmap};

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEAD: usize = 8;

/// The buffer, mapped.
#[derive(Debug)]
pub(super) struct Ring {
    /// The reader's page.
    reader: NonNull<u8>,
    /// The writer's page, and behind it the data, twice.
    writer: NonNull<u8>,
    size: usize,
    map: OwnedFd,
}

// SAFETY: the mappings belong to this value alone, and nothing about them is tied to a thread.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the buffer of `size` bytes.
    pub(super) fn new(map: OwnedFd, size: usize) -> io::Result<Self> {
        let page = page_size();
        let reader = mapped(&map, page, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        let writer = mapped(&map, page + 2 * size, libc::PROT_READ, page);
        match writer {
            Ok(writer) => Ok(Self { reader, writer, size, map }),
            Err(error) => {
                unmap(reader, page);
                Err(error)
            }
        }
    }

    /// What can be read once a record is there.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// Hands on each record that is there, and makes room.
    pub(super) fn take(&mut self, mut each: impl FnMut(&[u8])) {
        // SAFETY: the page is mapped and writable while `self` lives, and its first word is the reader's position.
        let read = unsafe { self.reader.cast::<AtomicUsize>().as_ref() };
        // SAFETY: the page is mapped while `self` lives, and its first word is the writer's position.
        let written = unsafe { self.writer.cast::<AtomicUsize>().as_ref() };
        let mut at = read.load(Ordering::Relaxed);
        while at < written.load(Ordering::Acquire) {
            let offset = page_size() + (at & (self.size - 1));
            // SAFETY: the offset lies in the first copy of the data, which is mapped.
            let head = unsafe { self.writer.add(offset) };
            // SAFETY: records are aligned to 8 bytes, and each begins with its length; the kernel writes that word as
            // a whole.
            let length = unsafe { head.cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                break;
            }
            let bytes = (length & !(BUSY | DISCARDED)) as usize;
            if bytes > self.size {
                break;
            }
            if length & DISCARDED == 0 {
                // SAFETY: the data is mapped twice in a row, so that a head in the first copy is followed by `size` bytes.
                let start = unsafe { head.add(HEAD) };
                // SAFETY: the record lies in the mapping, and the kernel writes there again only when the reader's
                // position has passed it, below.
                each(unsafe { std::slice::from_raw_parts(start.as_ptr(), bytes) });
            }
            at += (bytes + HEAD).next_multiple_of(8);
            read.store(at, Ordering::Release);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        unmap(self.reader, page_size());
        unmap(self.writer, page_size() + 2 * self.size);
    }
}
