//! The fall-back: the tracepoints that tracefs lists, read by perf_event_open(2), without a program in the kernel.
//!
//! Source: perf_event_open(2), `linux/perf_event.h`. Every processor has a buffer of its own; what they tell is put into
//! the order of time, and the newest is kept until the next time, since another processor may be about to tell something
//! older. Calls are put together in `portolan_core::trace`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use portolan_core::trace::{Call, Calls, Kind, Pairing, Step, What};
use portolan_core::wire::{DecodeError, Problem, Reader};
use rustix::param::page_size;

use super::format;
use super::mapping::{mapped, unmap};
use super::program::{PERF_EVENT_IOC_ENABLE, control, open_event};

const PERF_EVENT_IOC_SET_OUTPUT: u64 = 0x2405;
const PERF_EVENT_IOC_SET_FILTER: u64 = 0x4008_2406;
/// Thread, time and the tracepoint's record.
const SAMPLE: u64 = 1 << 1 | 1 << 2 | 1 << 10;
/// Not begun yet, and times by a clock that is named.
const FLAGS: u64 = 1 | 1 << 25;
const RECORD_LOST: u32 = 2;
const RECORD_SAMPLE: u32 = 9;
/// Where a buffer's first page tells how far it is written and read.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;
/// Bytes of a buffer.
const SIZE: usize = 1 << 20;
/// Of the states, those that are about a call.
const FILTER: &std::ffi::CStr = c"newstate == 2 || oldstate == 2 || newstate == 10";
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;

/// What a tracepoint is about.
#[derive(Clone, Copy, Debug)]
enum Point {
    Begins(Kind),
    Ends(Kind),
    State,
    Error,
}

/// The tracepoints, at work.
#[derive(Debug)]
pub(super) struct Samples {
    points: HashMap<u16, Point>,
    buffers: Vec<Buffer>,
    pairing: Pairing,
    kept: Vec<Step>,
    lost: u64,
    told_lost: u64,
    all: bool,
    events: Vec<OwnedFd>,
}

impl Samples {
    /// Begins.
    pub(super) fn begin(all: bool) -> io::Result<Self> {
        let found = points()?;
        let mut samples = Self {
            points: HashMap::new(),
            buffers: Vec::new(),
            pairing: Pairing::default(),
            kept: Vec::new(),
            lost: 0,
            told_lost: 0,
            all,
            events: Vec::new(),
        };
        for processor in 0..processors_configured() {
            samples.begin_on(processor, &found)?;
        }
        samples.points =
            found.iter().filter_map(|(id, point)| Some((u16::try_from(*id).ok()?, *point))).collect();
        for event in &samples.events {
            control(event, PERF_EVENT_IOC_ENABLE, 0)?;
        }
        Ok(samples)
    }

    fn begin_on(&mut self, processor: i32, points: &[(u64, Point)]) -> io::Result<()> {
        let mut first: Option<i32> = None;
        for (id, point) in points {
            let event = match open_event(*id, processor, 1, SAMPLE, FLAGS) {
                Ok(event) => event,
                // It is switched off.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
                Err(error) => return Err(error),
            };
            if matches!(point, Point::State) {
                control(&event, PERF_EVENT_IOC_SET_FILTER, FILTER.as_ptr() as u64)?;
            }
            match first {
                Some(first) => control(&event, PERF_EVENT_IOC_SET_OUTPUT, first as u64)?,
                None => {
                    first = Some(event.as_raw_fd());
                    self.buffers.push(Buffer::new(&event)?);
                }
            }
            self.events.push(event);
        }
        Ok(())
    }

    /// What came since the last time. `epoch_ns`: where the monotonic clock began; `now_ns`: what it shows.
    pub(super) fn read(&mut self, epoch_ns: u64, now_ns: u64) -> Calls {
        let mut steps = std::mem::take(&mut self.kept);
        let (points, mut lost) = (&self.points, 0);
        for buffer in &mut self.buffers {
            buffer.take(|kind, record| match kind {
                RECORD_SAMPLE => match step(record, points) {
                    Ok(step) => steps.extend(step),
                    Err(_) => lost += 1,
                },
                RECORD_LOST => {
                    let mut record = Reader::new(record);
                    lost += record.u64_host("id").and_then(|_| record.u64_host("lost")).unwrap_or(1);
                }
                _ => {}
            });
        }
        self.lost += lost;
        steps.sort_by_key(|step| step.at_ns);
        let newest = steps.partition_point(|step| step.at_ns <= now_ns);
        self.kept = steps.split_off(newest);
        let mut calls: Vec<Call> = steps.iter().filter_map(|step| self.pairing.take(step)).collect();
        calls.extend(self.pairing.settled(now_ns));
        calls.retain(|call| self.all || call.has_failed());
        let mut named = HashMap::new();
        for call in &mut calls {
            call.at_ns = call.at_ns.saturating_add(epoch_ns);
            let (program, uid, network) = named.entry(call.pid).or_insert_with_key(|pid| who(*pid)).clone();
            (call.program, call.uid, call.network_namespace) = (program, uid, network);
        }
        calls.sort_by_key(|call| call.at_ns);
        let all = self.lost + self.pairing.lost();
        let new = all - self.told_lost;
        self.told_lost = all;
        Calls { calls, lost: new }
    }
}

/// How many processors there may be.
fn processors_configured() -> i32 {
    // SAFETY: the call takes a number and touches no memory of ours.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    i32::try_from(count).unwrap_or(1).max(1)
}

/// The program, user and network namespace of a process now; it may have ended.
fn who(pid: u32) -> (String, Option<u32>, Option<u64>) {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned();
    let uid = fs::metadata(format!("/proc/{pid}")).map(|metadata| metadata.uid()).ok();
    let network = fs::metadata(format!("/proc/{pid}/ns/net")).map(|metadata| metadata.ino()).ok();
    (if name.is_empty() { "?".to_owned() } else { name }, uid, network)
}

/// The tracepoints' numbers, once their records are found to look as they are taken to.
fn points() -> io::Result<Vec<(u64, Point)>> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        found.push((format::checked(&format!("sys_enter_{}", kind.name()))?, Point::Begins(kind)));
        found.push((format::checked(&format!("sys_exit_{}", kind.name()))?, Point::Ends(kind)));
    }
    found.push((format::checked("inet_sock_set_state")?, Point::State));
    found.push((format::checked("inet_sk_error_report")?, Point::Error));
    Ok(found)
}

/// A sample: thread, time, and the record of a tracepoint; none where it is about something else.
fn step(sample: &[u8], points: &HashMap<u16, Point>) -> Result<Option<Step>, DecodeError> {
    let mut sample = Reader::new(sample);
    let pid = sample.u32_host("pid")?;
    let thread = sample.u32_host("tid")?;
    let at_ns = sample.u64_host("time")?;
    let length = sample.u32_host("size")? as usize;
    let mut record = sample.part(length, "data")?;
    let number = record.u16_host("common_type")?;
    record.take(6, "common")?;
    let point =
        points.get(&number).ok_or(Reader::error_at(20, "common_type", Problem::Value(number.into())))?;
    let what = match point {
        Point::Begins(kind) => What::Begins(*kind),
        Point::Ends(kind) => {
            record.take(8, "__syscall_nr")?;
            What::Ends(*kind, record.u64_host("ret")?.cast_signed())
        }
        Point::State => {
            let socket = record.u64_host("skaddr")?;
            let old = record.u32_host("oldstate")?.cast_signed();
            let new = record.u32_host("newstate")?.cast_signed();
            let Some((local, remote)) = ends(&mut record)? else { return Ok(None) };
            What::State { socket, old, new, local, remote }
        }
        Point::Error => {
            let code = record.u32_host("error")?.cast_signed();
            let Some((local, remote)) = ends(&mut record)? else { return Ok(None) };
            What::Error { code, local, remote }
        }
    };
    Ok(Some(Step { at_ns, pid, thread, what }))
}

/// Ports, family, protocol, and the addresses of both families; none where it is no TCP.
fn ends(record: &mut Reader<'_>) -> Result<Option<(SocketAddr, SocketAddr)>, DecodeError> {
    let (local, remote) = (record.u16_host("sport")?, record.u16_host("dport")?);
    let (family, protocol) = (record.u16_host("family")?, record.u16_host("protocol")?);
    let v4: [[u8; 4]; 2] = [record.array("saddr")?, record.array("daddr")?];
    let v6: [[u8; 16]; 2] = [record.array("saddr_v6")?, record.array("daddr_v6")?];
    let [from, to] = match family {
        AF_INET6 => v6.map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes))),
        _ => v4.map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes))),
    };
    let is_tcp = protocol == IPPROTO_TCP;
    Ok(is_tcp.then_some((SocketAddr::new(from, local), SocketAddr::new(to, remote))))
}

/// A processor's buffer, mapped.
#[derive(Debug)]
struct Buffer(NonNull<u8>);

// SAFETY: the mapping belongs to this value alone, and nothing about it is tied to a thread.
unsafe impl Send for Buffer {}

impl Buffer {
    fn new(event: &OwnedFd) -> io::Result<Self> {
        mapped(event, page_size() + SIZE, libc::PROT_READ | libc::PROT_WRITE, 0).map(Self)
    }

    fn position(&self, at: usize) -> &AtomicU64 {
        // SAFETY: both positions lie in the first page, which is mapped while `self` lives.
        let place = unsafe { self.0.add(at) };
        // SAFETY: they are aligned numbers of 64 bits, which the kernel reads and writes as a whole.
        unsafe { place.cast::<AtomicU64>().as_ref() }
    }

    /// Hands on each record that is there, by its kind and without its head, and makes room.
    fn take(&mut self, mut each: impl FnMut(u32, &[u8])) {
        let written = self.position(DATA_HEAD).load(Ordering::Acquire);
        let mut read = self.position(DATA_TAIL).load(Ordering::Relaxed);
        let mut record = Vec::new();
        while read < written {
            record.clear();
            self.copy(read, 8, &mut record);
            let kind = u32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
            let length = usize::from(u16::from_ne_bytes([record[6], record[7]]));
            if length < 8 {
                read = written;
                break;
            }
            record.clear();
            self.copy(read + 8, length - 8, &mut record);
            each(kind, &record);
            read += length as u64;
        }
        self.position(DATA_TAIL).store(read, Ordering::Release);
    }

    /// Copies from a position, over the buffer's end where it has to be.
    fn copy(&self, from: u64, length: usize, to: &mut Vec<u8>) {
        for at in from..from + length as u64 {
            let offset = page_size() + (at as usize & (SIZE - 1));
            // SAFETY: the offset lies in the data, which is mapped while `self` lives.
            let place = unsafe { self.0.add(offset) };
            // SAFETY: the kernel writes there again only when the reader's position has passed it.
            to.push(unsafe { place.read() });
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        unmap(self.0, page_size() + SIZE);
    }
}
