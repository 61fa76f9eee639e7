//! The system call bpf(2), and BPF iterators: a short program that the kernel runs for each thing of a kind, and whose
//! output is read as a file.
//!
//! Source: bpf(2), Documentation/bpf/bpf_iterators.rst, `linux/bpf.h`. Programs of iterators are written by hand, as
//! instructions: where members lie is asked of this kernel's own description of its types. They need CAP_BPF and
//! CAP_PERFMON.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

const BPF_MAP_CREATE: u32 = 0;
const BPF_MAP_LOOKUP_ELEM: u32 = 1;
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_PROG_LOAD: u32 = 5;
const BPF_RAW_TRACEPOINT_OPEN: u32 = 17;
const BPF_LINK_CREATE: u32 = 28;
const BPF_ITER_CREATE: u32 = 33;
const BPF_PROG_TYPE_TRACING: u32 = 26;
const BPF_TRACE_ITER: u32 = 28;
/// The helper that copies kernel memory into the program's stack: where to, how much, from where.
pub(super) const PROBE_READ_KERNEL: i32 = 113;
/// The helper that writes into the file: `meta->seq`, from where, how much.
pub(super) const SEQ_WRITE: i32 = 127;
/// The helper that tells the time in ticks.
pub(super) const JIFFIES: i32 = 118;
/// Helpers that tell of a `sock_common` what it is: a `tcp_sock`, a `tcp_timewait_sock`, or null.
pub(super) const SKC_TO_TCP_SOCK: i32 = 137;
pub(super) const SKC_TO_TIME_WAIT: i32 = 138;
/// The helpers are for programs with a licence compatible with the GPL; ours is MIT or Apache-2.0.
const LICENSE: &[u8; 13] = b"Dual MIT/GPL\0";

/// One instruction: operation, registers (to, from), offset, constant.
pub(super) type Instruction = (u8, (u8, u8), i16, i32);

// Operations of `linux/bpf.h`, in words.
pub(super) const LOAD_64: u8 = 0x79;
pub(super) const LOAD_32: u8 = 0x61;
pub(super) const LOAD_16: u8 = 0x69;
pub(super) const LOAD_8: u8 = 0x71;
pub(super) const STORE_64: u8 = 0x7b;
pub(super) const STORE_32: u8 = 0x63;
pub(super) const STORE_16: u8 = 0x6b;
pub(super) const STORE_8: u8 = 0x73;
pub(super) const COPY: u8 = 0xbf;
pub(super) const SET: u8 = 0xb7;
pub(super) const ADD: u8 = 0x07;
pub(super) const SUBTRACT_REGISTER: u8 = 0x1f;
pub(super) const AND: u8 = 0x57;
pub(super) const OR: u8 = 0x47;
pub(super) const AND_REGISTER: u8 = 0x5f;
pub(super) const IF_EQUAL: u8 = 0x15;
pub(super) const IF_NOT_EQUAL: u8 = 0x55;
pub(super) const GO: u8 = 0x05;
pub(super) const CALL: u8 = 0x85;
pub(super) const EXIT: u8 = 0x95;

/// A loaded program that writes records of `RECORD` bytes.
#[derive(Debug)]
pub(super) struct Iterator<const RECORD: usize>(OwnedFd);

impl<const RECORD: usize> Iterator<RECORD> {
    /// Loads a program for the iterator of that function's number; the name has at most 15 letters.
    pub(super) fn load(name: &str, function: u32, program: &[Instruction]) -> Result<Self, Errno> {
        load_program(name, BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, function, &encoded(program)).map(Self)
    }

    /// Runs it over what the link information names (`bpf_iter_link_info`; all where it is empty), and hands on each
    /// record.
    pub(super) fn run(&self, over: &[u8], mut each: impl FnMut(&[u8; RECORD])) -> io::Result<()> {
        let mut iterator = self.over(over)?;
        // The kernel fills at most 32 KiB at a time.
        let mut buffer = vec![0; (32 << 10) / RECORD * RECORD];
        let mut filled = 0;
        loop {
            let free = buffer.get_mut(filled..).unwrap_or_default();
            match iterator.read(free) {
                Ok(0) => return Ok(()),
                Ok(length) => filled += length,
                // It went over a million of them without writing.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
            let (records, rest) = buffer.get(..filled).unwrap_or_default().as_chunks::<RECORD>();
            records.iter().for_each(&mut each);
            let whole = filled - rest.len();
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }

    /// A file whose content the program writes while it is read.
    fn over(&self, what: &[u8]) -> io::Result<File> {
        let mut attributes = [0_u8; 28];
        put(&mut attributes, 0, &self.0.as_raw_fd().to_ne_bytes());
        put(&mut attributes, 8, &BPF_TRACE_ITER.to_ne_bytes());
        if !what.is_empty() {
            put(&mut attributes, 16, &(what.as_ptr() as u64).to_ne_bytes());
            put(&mut attributes, 24, &u32::try_from(what.len()).unwrap_or(0).to_ne_bytes());
        }
        // SAFETY: the address is that of `what`, which lives on and has the given length; the kernel only reads it.
        let link = unsafe { bpf(BPF_LINK_CREATE, &mut attributes) }?;
        let mut attributes = [0_u8; 8];
        put(&mut attributes, 0, &link.as_raw_fd().to_ne_bytes());
        // SAFETY: these attributes hold no address.
        let iterator = unsafe { bpf(BPF_ITER_CREATE, &mut attributes) }?;
        Ok(File::from(iterator))
    }
}

/// Loads a program of that type and kind of attachment: its instructions, for the function of that number (0 for none);
/// the name has at most 15 letters.
pub(super) fn load_program(
    name: &str,
    program_type: u32,
    attach: u32,
    function: u32,
    code: &[u8],
) -> Result<OwnedFd, Errno> {
    let mut attributes = [0_u8; 116];
    put(&mut attributes, 0, &program_type.to_ne_bytes());
    put(&mut attributes, 4, &u32::try_from(code.len() / 8).unwrap_or(u32::MAX).to_ne_bytes());
    put(&mut attributes, 8, &(code.as_ptr() as u64).to_ne_bytes());
    put(&mut attributes, 16, &(LICENSE.as_ptr() as u64).to_ne_bytes());
    put(&mut attributes, 48, name.as_bytes().get(..15).unwrap_or(name.as_bytes()));
    put(&mut attributes, 68, &attach.to_ne_bytes());
    put(&mut attributes, 108, &function.to_ne_bytes());
    // SAFETY: the two addresses are those of `code` and `LICENSE`, which live on and have the given length or end with
    // a zero; the kernel reads them alone.
    unsafe { bpf(BPF_PROG_LOAD, &mut attributes) }
}

/// What a map is: type, size of keys and values in bytes, how many entries, flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapKind {
    pub(super) kind: u32,
    pub(super) key: u32,
    pub(super) value: u32,
    pub(super) entries: u32,
    pub(super) flags: u32,
}

/// Makes a map.
pub(super) fn create_map(map: MapKind) -> Result<OwnedFd, Errno> {
    let MapKind { kind, key, value, entries, flags } = map;
    let mut attributes = [0_u8; 44];
    for (word, at) in [kind, key, value, entries, flags].into_iter().zip((0..).step_by(4)) {
        put(&mut attributes, at, &word.to_ne_bytes());
    }
    // SAFETY: these attributes hold no address.
    unsafe { bpf(BPF_MAP_CREATE, &mut attributes) }
}

/// Writes the first value of an array; it has the map's size of values.
pub(super) fn write_first(map: &OwnedFd, value: &[u8]) -> Result<(), Errno> {
    let first = 0_u32;
    let mut attributes = element(map, &first, value.as_ptr());
    // SAFETY: the addresses are those of `first` and `value`, which live on; the kernel reads as many bytes of them as
    // the map's keys and values have.
    unsafe { bpf_number(BPF_MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
}

/// The first value of an array of 64-bit numbers.
pub(super) fn read_first(map: &OwnedFd) -> Result<u64, Errno> {
    let (first, mut value) = (0_u32, 0_u64);
    let mut attributes = element(map, &first, (&raw mut value).cast_const().cast());
    // SAFETY: the addresses are those of `first` and `value`, which live on and have the sizes of the map's keys and
    // values; the kernel writes the latter.
    unsafe { bpf_number(BPF_MAP_LOOKUP_ELEM, &mut attributes) }?;
    Ok(value)
}

fn element(map: &OwnedFd, key: &u32, value: *const u8) -> [u8; 32] {
    let mut attributes = [0_u8; 32];
    put(&mut attributes, 0, &map.as_raw_fd().to_ne_bytes());
    put(&mut attributes, 8, &(std::ptr::from_ref(key) as u64).to_ne_bytes());
    put(&mut attributes, 16, &(value as u64).to_ne_bytes());
    attributes
}

/// Lets a program run at the raw tracepoint of that name, until the descriptor is closed.
pub(super) fn attach(program: &OwnedFd, tracepoint: &CStr) -> Result<OwnedFd, Errno> {
    let mut attributes = [0_u8; 16];
    put(&mut attributes, 0, &(tracepoint.as_ptr() as u64).to_ne_bytes());
    put(&mut attributes, 8, &program.as_raw_fd().to_ne_bytes());
    // SAFETY: the address is that of a text that lives on and ends with a zero; the kernel only reads it.
    unsafe { bpf(BPF_RAW_TRACEPOINT_OPEN, &mut attributes) }
}

/// Writes a value into a `union bpf_attr` at its offset there.
pub(super) fn put(attributes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = attributes.get_mut(offset..offset + value.len()) {
        place.copy_from_slice(value);
    }
}

/// The system call, for commands that give back a descriptor.
///
/// # Safety
/// Every address in the attributes must be valid for what the command does with it.
unsafe fn bpf(command: u32, attributes: &mut [u8]) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller answers for the addresses.
    let descriptor = unsafe { bpf_number(command, attributes) }?;
    // SAFETY: these commands give back a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The system call.
///
/// # Safety
/// Every address in the attributes must be valid for what the command does with it.
unsafe fn bpf_number(command: u32, attributes: &mut [u8]) -> Result<i32, Errno> {
    // SAFETY: the attributes are writable and have that length; the caller answers for the addresses in them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), attributes.len()) };
    let error = || Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL);
    i32::try_from(result).ok().filter(|number| *number >= 0).ok_or_else(error)
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
