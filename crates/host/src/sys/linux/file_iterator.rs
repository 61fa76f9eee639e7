//! The sockets of a process with very many descriptors, by a BPF iterator over its files: the kernel runs a short
//! program for each open file, which writes down descriptor and inode where it is a socket. It takes a fifth of what
//! reading links below /proc/PID/fd takes, needs CAP_BPF and CAP_PERFMON, and finds the same.
//!
//! Source: bpf(2), Documentation/bpf/bpf_iterators.rst, `linux/bpf.h`, `kernel/bpf/task_iter.c`.
//! Leaves out on purpose: kernels before 6.1, which cannot iterate over one process alone.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use portolan_core::kernel::btf::Btf;
use rustix::io::Errno;

use super::kernel;

/// The first kernel that iterates over one process alone; older ones take no notice of the wish.
const ITERATES_ONE_PROCESS: (u32, u32) = (6, 1);
const BPF_PROG_LOAD: u32 = 5;
const BPF_LINK_CREATE: u32 = 28;
const BPF_ITER_CREATE: u32 = 33;
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_ITER: u32 = 28;
const BPF_FUNC_SEQ_WRITE: i32 = 127;
/// The helper that writes is for programs with a licence compatible with the GPL; ours is MIT or Apache-2.0.
const LICENSE: &[u8; 13] = b"Dual MIT/GPL\0";
/// What the program writes for a socket: descriptor and inode, 32 bits each.
const RECORD: usize = 8;

/// One instruction: operation, registers, offset, constant.
type Instruction = (u8, (u8, u8), i16, i32);

/// Where members lie in this kernel.
struct Offsets {
    function: u32,
    file_inode: i16,
    inode_mode: i16,
    inode_number: i16,
}

/// The program, loaded.
#[derive(Debug)]
pub(super) struct FileIterator(OwnedFd);

impl FileIterator {
    /// Loads it; nothing where this kernel or our rights do not allow it, since reading links does the same.
    pub(super) fn load() -> Option<Self> {
        // The program reads an inode number of 64 bits.
        if cfg!(not(target_pointer_width = "64"))
            || kernel::version(&kernel::release())? < ITERATES_ONE_PROCESS
        {
            return None;
        }
        let offsets = offsets()?;
        let code = encoded(&program(&offsets));
        let mut attributes = [0_u8; 116];
        put(&mut attributes, 0, &BPF_PROG_TYPE_TRACING.to_ne_bytes());
        put(&mut attributes, 4, &u32::try_from(code.len() / 8).ok()?.to_ne_bytes());
        put(&mut attributes, 8, &(code.as_ptr() as u64).to_ne_bytes());
        put(&mut attributes, 16, &(LICENSE.as_ptr() as u64).to_ne_bytes());
        put(&mut attributes, 48, b"portolan_files");
        put(&mut attributes, 68, &BPF_TRACE_ITER.to_ne_bytes());
        put(&mut attributes, 108, &offsets.function.to_ne_bytes());
        // SAFETY: the two addresses are those of `code` and `LICENSE`, which live on and have the given length or
        // end with a zero; the kernel reads them alone.
        unsafe { bpf(BPF_PROG_LOAD, &mut attributes) }.ok().map(Self)
    }

    /// Hands on descriptor and inode of each socket of that process.
    pub(super) fn sockets(&self, pid: u32, mut each: impl FnMut(u32, u32)) -> io::Result<()> {
        let mut iterator = self.over(pid)?;
        // The kernel fills at most 32 KiB at a time.
        let mut buffer = [0; 4096 * RECORD];
        let mut filled = 0;
        loop {
            let free = buffer.get_mut(filled..).unwrap_or_default();
            match iterator.read(free) {
                Ok(0) => return Ok(()),
                Ok(length) => filled += length,
                // It went over a million files without a socket.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
            let (records, rest) = buffer.get(..filled).unwrap_or_default().as_chunks::<RECORD>();
            for [a, b, c, d, inode @ ..] in records {
                each(u32::from_ne_bytes([*a, *b, *c, *d]), u32::from_ne_bytes(*inode));
            }
            let whole = filled - rest.len();
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }

    /// A file whose content the program writes while it is read.
    fn over(&self, pid: u32) -> io::Result<File> {
        // bpf_iter_link_info.task: tid, pid, pid_fd.
        let mut process = [0_u8; 16];
        put(&mut process, 4, &pid.to_ne_bytes());
        let mut attributes = [0_u8; 28];
        put(&mut attributes, 0, &self.0.as_raw_fd().to_ne_bytes());
        put(&mut attributes, 8, &BPF_TRACE_ITER.to_ne_bytes());
        put(&mut attributes, 16, &(process.as_ptr() as u64).to_ne_bytes());
        put(&mut attributes, 24, &16_u32.to_ne_bytes());
        // SAFETY: the address is that of `process`, which lives on and has the given length; the kernel only reads it.
        let link = unsafe { bpf(BPF_LINK_CREATE, &mut attributes) }?;
        let mut attributes = [0_u8; 8];
        put(&mut attributes, 0, &link.as_raw_fd().to_ne_bytes());
        // SAFETY: these attributes hold no address.
        let iterator = unsafe { bpf(BPF_ITER_CREATE, &mut attributes) }?;
        Ok(File::from(iterator))
    }
}

/// Writes a value into a `union bpf_attr` at its offset there.
fn put(attributes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = attributes.get_mut(offset..offset + value.len()) {
        place.copy_from_slice(value);
    }
}

/// The system call, for commands that give back a descriptor.
///
/// # Safety
/// Every address in the attributes must be valid for what the command does with it.
unsafe fn bpf(command: u32, attributes: &mut [u8]) -> Result<OwnedFd, Errno> {
    // SAFETY: the attributes are writable and have that length; the caller answers for the addresses in them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), attributes.len()) };
    let error = || Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL);
    let descriptor = i32::try_from(result).ok().filter(|descriptor| *descriptor >= 0).ok_or_else(error)?;
    // SAFETY: these commands give back a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Asks the kernel's own description of its types.
fn offsets() -> Option<Offsets> {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
    let btf = Btf::new(&bytes).ok()?;
    let member = |structure, member| {
        btf.member(structure, member).ok().flatten().and_then(|offset| i16::try_from(offset).ok())
    };
    Some(Offsets {
        function: btf.function("bpf_iter_task_file").ok()??,
        file_inode: member("file", "f_inode")?,
        inode_mode: member("inode", "i_mode")?,
        inode_number: member("inode", "i_ino")?,
    })
}

/// The program. Its argument is a `bpf_iter__task_file`: meta at 0, task at 8, fd at 16, file at 24 (null at the end).
fn program(offsets: &Offsets) -> [Instruction; 19] {
    const LOAD_64: u8 = 0x79;
    const LOAD_32: u8 = 0x61;
    const LOAD_16: u8 = 0x69;
    const STORE_32: u8 = 0x63;
    const COPY: u8 = 0xbf;
    const SET: u8 = 0xb7;
    const ADD: u8 = 0x07;
    const AND: u8 = 0x57;
    const IF_EQUAL: u8 = 0x15;
    const IF_NOT_EQUAL: u8 = 0x55;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    [
        (COPY, (6, 1), 0, 0),
        (LOAD_64, (7, 6), 24, 0), // file
        (IF_EQUAL, (7, 0), 14, 0),
        (LOAD_64, (8, 7), offsets.file_inode, 0),
        (LOAD_16, (1, 8), offsets.inode_mode, 0),
        (AND, (1, 0), 0, 0o170_000),           // S_IFMT
        (IF_NOT_EQUAL, (1, 0), 10, 0o140_000), // S_IFSOCK
        (LOAD_64, (1, 8), offsets.inode_number, 0),
        (STORE_32, (10, 1), -4, 0),
        (LOAD_32, (1, 6), 16, 0), // fd
        (STORE_32, (10, 1), -8, 0),
        (LOAD_64, (1, 6), 0, 0), // meta
        (LOAD_64, (1, 1), 0, 0), // meta->seq
        (COPY, (2, 10), 0, 0),
        (ADD, (2, 0), 0, -8),
        (SET, (3, 0), 0, RECORD as i32),
        (CALL, (0, 0), 0, BPF_FUNC_SEQ_WRITE),
        (SET, (0, 0), 0, 0),
        (EXIT, (0, 0), 0, 0),
    ]
}

fn encoded(program: &[Instruction]) -> Vec<u8> {
    let registers =
        |(to, from): (u8, u8)| if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
    let encode = |(operation, named, offset, constant): &Instruction| {
        let mut bytes = [*operation, registers(*named), 0, 0, 0, 0, 0, 0];
        put(&mut bytes, 2, &offset.to_ne_bytes());
        put(&mut bytes, 4, &constant.to_ne_bytes());
        bytes
    };
    program.iter().flat_map(encode).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::UdpSocket;
    use std::ops::ControlFlow;

    use super::super::descriptors::Descriptors;
    use super::*;

    #[test]
    fn the_iterator_finds_what_the_links_say() {
        let iterator =
            FileIterator::load().expect("root may load it on Linux 6.1 or later with /sys/kernel/btf");
        portolan_testbed::allow_descriptors(5000);
        let mut held = portolan_testbed::Namespace::new()
            .run(|| (0..5000).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect::<Vec<_>>());
        // A gap among the descriptors.
        held.drain(100..2000);
        let pid = std::process::id();
        let (mut by_iterator, mut by_links) = (BTreeSet::new(), BTreeSet::new());
        iterator.sockets(pid, |descriptor, inode| assert!(by_iterator.insert((descriptor, inode)))).unwrap();
        let descriptors = Descriptors::of(pid).unwrap();
        let keep = |descriptor, inode| {
            by_links.insert((descriptor, inode));
            ControlFlow::Continue(())
        };
        descriptors.sockets(0..u32::MAX, 0, keep).unwrap();
        let held: BTreeSet<_> = held.iter().map(|s| u32::try_from(s.as_raw_fd()).unwrap()).collect();
        // Other tests of this program open and close sockets meanwhile.
        for found in [&by_iterator, &by_links] {
            let own = found.iter().filter(|(descriptor, _)| held.contains(descriptor));
            assert_eq!(own.clone().count(), 3100);
            assert!(own.clone().eq(by_links.iter().filter(|(descriptor, _)| held.contains(descriptor))));
        }
    }
}
