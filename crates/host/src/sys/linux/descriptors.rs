//! The descriptors of one process: which of them are sockets.
//!
//! Source: proc_pid_fd(5), `fs/proc/fd.c`. To read a link costs the kernel about 1 µs; to list the directory costs
//! half as much again. So descriptors are tried by number while they are dense, and the directory, whose position
//! is the descriptor plus 2, lists the rest. No descriptor is left out that was open all the time.

use std::mem::MaybeUninit;
use std::ops::{ControlFlow, Range};
use std::os::fd::OwnedFd;

use portolan_core::kernel::proc_fd;
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;
use rustix::path::{Arg, DecInt};

/// Position in the directory of descriptor 0: `.` and `..` come first.
const FIRST_POSITION: u64 = 2;

/// Why the descriptors of a process cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The process has ended.
    Gone,
    /// More rights are needed.
    Denied,
    /// Something else, such as too many open files of our own.
    Failed(Errno),
}

impl From<Errno> for Unreadable {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::SRCH => Self::Gone,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            other => Self::Failed(other),
        }
    }
}

/// The open directory `/proc/PID/fd`.
#[derive(Debug)]
pub(super) struct Descriptors(OwnedFd);

impl Descriptors {
    /// Opens that of a process.
    pub(super) fn of(pid: u32) -> Result<Self, Unreadable> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(format!("/proc/{pid}/fd"), flags, Mode::empty())?))
    }

    /// How many descriptors are open, since Linux 6.2; before that 0.
    pub(super) fn count(&self) -> u32 {
        rustix::fs::fstat(&self.0).map_or(0, |stat| u32::try_from(stat.st_size).unwrap_or(0))
    }

    /// Hands on descriptor and inode of each socket in that range of descriptors, until told to stop. `dense` is the
    /// descriptor below which most are expected to be open.
    pub(super) fn sockets(
        &self,
        range: Range<u32>,
        dense: u32,
        mut each: impl FnMut(u32, u32) -> ControlFlow<()>,
    ) -> Result<(), Unreadable> {
        let (mut opened, mut missing) = (0, 0);
        let mut next = range.start;
        while next < range.end.min(dense) && missing <= 4 + opened / 8 {
            match self.inode(DecInt::new(next)) {
                Ok(None) => opened += 1,
                Ok(Some(inode)) => {
                    opened += 1;
                    if each(next, inode).is_break() {
                        return Ok(());
                    }
                }
                Err(Errno::NOENT) => missing += 1,
                Err(error) => return Err(error.into()),
            }
            next += 1;
        }
        if next < range.end { self.listed_sockets(next..range.end, each) } else { Ok(()) }
    }

    /// The same by the directory.
    fn listed_sockets(
        &self,
        range: Range<u32>,
        mut each: impl FnMut(u32, u32) -> ControlFlow<()>,
    ) -> Result<(), Unreadable> {
        rustix::fs::seek(&self.0, SeekFrom::Start(FIRST_POSITION + u64::from(range.start)))?;
        let mut buffer = [MaybeUninit::uninit(); 8 * 1024];
        let mut directory = RawDir::new(&self.0, &mut buffer);
        while let Some(entry) = directory.next() {
            let entry = entry?;
            let Some(descriptor) = proc_fd::number(entry.file_name().to_bytes()) else { continue };
            if descriptor >= range.end {
                break;
            }
            match self.inode(entry.file_name()) {
                // Closed since it was listed, or no socket.
                Err(Errno::NOENT) | Ok(None) => {}
                Ok(Some(inode)) => {
                    if each(descriptor, inode).is_break() {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The inode behind a link, if it is a socket. Other links are cut short, which does no harm.
    fn inode(&self, name: impl Arg) -> Result<Option<u32>, Errno> {
        let mut buffer = [MaybeUninit::uninit(); 32];
        let (link, _) = rustix::fs::readlinkat_raw(&self.0, name, &mut buffer)?;
        Ok(proc_fd::socket_inode(link))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use rustix::io::fcntl_dupfd_cloexec;

    use super::*;

    #[test]
    fn sparse_descriptors_are_found_however_the_range_and_the_guess_lie() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = u32::try_from(rustix::fs::fstat(&socket).unwrap().st_ino).unwrap();
        let copies: Vec<OwnedFd> =
            [100, 101, 103, 200, 900].map(|at| fcntl_dupfd_cloexec(&socket, at).unwrap()).into();
        let own: Vec<u32> = std::iter::once(socket.as_raw_fd())
            .chain(copies.iter().map(AsRawFd::as_raw_fd))
            .map(|descriptor| u32::try_from(descriptor).unwrap())
            .collect();
        let descriptors = Descriptors::of(std::process::id()).unwrap();
        for dense in [0, 1, 102, 104, 500, u32::MAX] {
            for (start, end) in
                [(0, u32::MAX), (0, 101), (101, 200), (101, 901), (102, u32::MAX), (901, u32::MAX)]
            {
                let mut found = BTreeMap::new();
                descriptors
                    .sockets(start..end, dense, |descriptor, inode| {
                        assert_eq!(found.insert(descriptor, inode), None, "handed on twice");
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                let found: Vec<u32> = found.into_iter().filter(|f| f.1 == inode).map(|f| f.0).collect();
                let expected: Vec<u32> =
                    own.iter().copied().filter(|descriptor| (start..end).contains(descriptor)).collect();
                assert_eq!(found, expected, "{start}..{end}, dense below {dense}");
            }
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_gone() {
        assert_eq!(Descriptors::of(u32::MAX).unwrap_err(), Unreadable::Gone);
    }
}
