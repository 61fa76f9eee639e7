//! The sockets of a process with very many descriptors, by a BPF iterator over its files: the kernel runs a short
//! program for each open file, which writes down descriptor and inode where it is a socket. It takes a fifth of what
//! reading links below /proc/PID/fd takes, needs CAP_BPF and CAP_PERFMON, and finds the same.
//!
//! Source: `kernel/bpf/task_iter.c`, [`super::bpf`].
//! Leaves out on purpose: kernels before 6.1, which cannot iterate over one process alone.

use std::io;

use portolan_core::kernel::btf::Btf;

use super::bpf::{
    ADD, AND, CALL, COPY, EXIT, IF_EQUAL, IF_NOT_EQUAL, Instruction, Iterator, LOAD_16, LOAD_32, LOAD_64,
    SEQ_WRITE, SET, STORE_32, put,
};
use super::kernel;

/// The first kernel that iterates over one process alone; older ones take no notice of the wish.
const ITERATES_ONE_PROCESS: (u32, u32) = (6, 1);
/// What the program writes for a socket: descriptor and inode, 32 bits each.
const RECORD: usize = 8;

/// Where members lie in this kernel.
struct Offsets {
    function: u32,
    file_inode: i16,
    inode_mode: i16,
    inode_number: i16,
}

/// The program, loaded.
#[derive(Debug)]
pub(super) struct FileIterator(Iterator<RECORD>);

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
        Iterator::load("portolan_files", offsets.function, &program(&offsets)).ok().map(Self)
    }

    /// Hands on descriptor and inode of each socket of that process.
    pub(super) fn sockets(&self, pid: u32, mut each: impl FnMut(u32, u32)) -> io::Result<()> {
        // bpf_iter_link_info.task: tid, pid, pid_fd.
        let mut process = [0_u8; 16];
        put(&mut process, 4, &pid.to_ne_bytes());
        self.0.run(&process, |[a, b, c, d, inode @ ..]| {
            each(u32::from_ne_bytes([*a, *b, *c, *d]), u32::from_ne_bytes(*inode));
        })
    }
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
        (CALL, (0, 0), 0, SEQ_WRITE),
        (SET, (0, 0), 0, 0),
        (EXIT, (0, 0), 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::UdpSocket;
    use std::ops::ControlFlow;
    use std::os::fd::AsRawFd;

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
