//! The program in the kernel: its maps made, its pieces loaded and attached. It runs until this is dropped.
//!
//! Source: bpf(2), perf_event_open(2), `linux/bpf.h`. What the program has to know of this kernel is asked of BTF.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use portolan_core::kernel::btf::Btf;

use super::super::bpf;
use super::format;
use super::object::{Object, Piece};
use super::ring::Ring;

const TYPE_TRACEPOINT: u32 = 5;
const TYPE_RAW_TRACEPOINT: u32 = 17;
/// The instruction that loads 64 bits takes a map's descriptor where its source register says so.
const MAP_DESCRIPTOR: u8 = 1;
const PERF_TYPE_TRACEPOINT: u32 = 2;
/// Begins.
pub(super) const PERF_EVENT_IOC_ENABLE: u64 = 0x2400;
const PERF_EVENT_IOC_SET_BPF: u64 = 0x4004_2408;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// The program, at work.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) ring: Ring,
    lost: OwnedFd,
    /// Keeps it running.
    _attached: Vec<OwnedFd>,
}

impl Program {
    /// Loads the pieces, and lets them run.
    pub(super) fn load(object: &[u8], all: bool) -> io::Result<Self> {
        if cfg!(target_endian = "big") {
            let text = "the program was built for little-endian processors";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let object = Object::parse(object)?;
        let made: Result<Vec<OwnedFd>, _> = object.maps.iter().map(|map| bpf::create_map(map.kind)).collect();
        let mut maps = made?;
        let types = fs::read("/sys/kernel/btf/vmlinux")
            .map_err(|error| io::Error::new(error.kind(), format!("/sys/kernel/btf/vmlinux: {error}")))?;
        let types = Btf::new(&types).map_err(|error| io::Error::other(format!("BTF: {error}")))?;
        let map_of = |name: &str| object.maps.iter().position(|map| map.name == name);
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "the program lacks a map");
        let settings = map_of("settings_map").ok_or_else(missing)?;
        bpf::write_first(&maps[settings], &offsets(&types, all)?)?;
        let mut attached = Vec::new();
        for piece in &object.pieces {
            let Some((kind, name)) = piece.section.split_once('/') else { continue };
            attached.extend(attach(piece, kind, name, &maps)?);
        }
        let (events, lost) = (map_of("events_map"), map_of("lost_map"));
        let (events, lost) = (events.ok_or_else(missing)?, lost.ok_or_else(missing)?);
        let size = object.maps[events].kind.entries as usize;
        let lost = maps[lost].try_clone()?;
        Ok(Self { ring: Ring::new(maps.swap_remove(events), size)?, lost, _attached: attached })
    }

    /// How many calls could not be kept so far.
    pub(super) fn lost(&self) -> io::Result<u64> {
        Ok(bpf::read_first(&self.lost)?)
    }
}

/// `struct settings` of the program: where members lie in this kernel.
fn offsets(types: &Btf<'_>, all: bool) -> io::Result<Vec<u8>> {
    let member = |structure, member| {
        let found = types.member(structure, member).ok().flatten().map(u32::from);
        found.ok_or_else(|| {
            let text = format!("this kernel does not say where {structure}.{member} lies");
            io::Error::new(io::ErrorKind::Unsupported, text)
        })
    };
    if member("sock_common", "skc_family")? != 16 || member("sock_common", "skc_num").is_ok_and(|at| at != 14)
    {
        let text = "sock_common lies otherwise in this kernel";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let words = [
        u32::from(all),
        member("task_struct", "files")?,
        member("files_struct", "fdt")?,
        member("fdtable", "max_fds")?,
        member("fdtable", "fd")?,
        member("file", "private_data")?,
        member("socket", "sk")?,
        member("sock", "sk_protocol")?,
        member("sock", "sk_err")?,
        member("sock_common", "skc_net")?,
        member("net", "ns")? + member("ns_common", "inum")?,
        // Without IPv6 there are no sockets of it.
        member("sock_common", "skc_v6_rcv_saddr").unwrap_or(0),
        member("sock_common", "skc_v6_daddr").unwrap_or(0),
        member("task_struct", "group_leader")?,
        member("task_struct", "comm")?,
        member("inet_sock", "inet_sport")?,
        // Since Linux 6.3.
        member("inet_sock", "local_port_range").unwrap_or(0),
        member("task_struct", "nsproxy")?,
        member("nsproxy", "net_ns")?,
    ];
    Ok(words.into_iter().flat_map(u32::to_ne_bytes).collect())
}

/// Loads a piece and lets it run; what has to be kept open for that.
fn attach(piece: &Piece, kind: &str, name: &str, maps: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
    let code = linked(piece, maps);
    let load = |program_type| bpf::load_program(&format!("plt_{name}"), program_type, 0, 0, &code);
    if kind == "raw_tp" {
        let program = load(TYPE_RAW_TRACEPOINT)?;
        let name = CString::new(name).map_err(io::Error::other)?;
        return Ok(vec![bpf::attach(&program, &name)?]);
    }
    let id = format::checked(name)?;
    let program = load(TYPE_TRACEPOINT)?;
    Ok(vec![at_tracepoint(&program, id)?, program])
}

/// The code with the maps' descriptors where it names them.
fn linked(piece: &Piece, maps: &[OwnedFd]) -> Vec<u8> {
    let mut code = piece.code.clone();
    for (at, map) in &piece.names {
        if let (Some(instruction), Some(map)) =
            (code.get_mut(*at..).and_then(|rest| rest.get_mut(..8)), maps.get(*map))
        {
            instruction[1] = instruction[1] & 0x0f | MAP_DESCRIPTOR << 4;
            bpf::put(instruction, 4, &map.as_raw_fd().to_le_bytes());
        }
    }
    code
}

/// Lets a program run at the tracepoint of that number, on every processor.
fn at_tracepoint(program: &OwnedFd, id: u64) -> io::Result<OwnedFd> {
    let event = open_event(id, 0, 0, 0, 0)?;
    let descriptor = u64::try_from(program.as_raw_fd()).unwrap_or(u64::MAX);
    control(&event, PERF_EVENT_IOC_SET_BPF, descriptor)?;
    control(&event, PERF_EVENT_IOC_ENABLE, 0)?;
    Ok(event)
}

/// Opens the tracepoint of that number on a processor. `period`: of how many passages one is told; `sample`: with what;
/// `flags`: the bits behind `read_format`.
pub(super) fn open_event(
    id: u64,
    processor: i32,
    period: u64,
    sample: u64,
    flags: u64,
) -> io::Result<OwnedFd> {
    // struct perf_event_attr: type, size, config, sample_period, sample_type, read_format, flags … clockid.
    let mut attributes = [0_u8; 112];
    bpf::put(&mut attributes, 0, &PERF_TYPE_TRACEPOINT.to_ne_bytes());
    bpf::put(&mut attributes, 4, &112_u32.to_ne_bytes());
    for (word, at) in [(id, 8), (period, 16), (sample, 24), (flags, 40)] {
        bpf::put(&mut attributes, at, &word.to_ne_bytes());
    }
    bpf::put(&mut attributes, 92, &libc::CLOCK_MONOTONIC.to_ne_bytes());
    // SAFETY: the attributes live on and have the size that they tell; the kernel only reads them.
    let event = unsafe {
        libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), -1, processor, -1, PERF_FLAG_FD_CLOEXEC)
    };
    let event = i32::try_from(event).ok().filter(|event| *event >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call gives back a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(event) })
}

/// Asks something of an event; the argument is a number, or the address of a constant text.
pub(super) fn control(event: &OwnedFd, request: u64, argument: u64) -> io::Result<()> {
    // SAFETY: the requests that are made here take a number, or a text that lives for ever and ends with a zero; the
    // kernel only reads it.
    match unsafe { libc::ioctl(event.as_raw_fd(), request as _, argument) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
