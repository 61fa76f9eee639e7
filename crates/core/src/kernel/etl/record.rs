//! The records of a buffer: their headers, told apart, and the data behind them.
//!
//! Source: `evntcons.h` (EVENT_HEADER); `ntwmi.h` as Geoff Chappell describes it (SYSTEM_TRACE_HEADER,
//! PERFINFO_TRACE_HEADER, WMI_TRACE_PACKET, the trace header types). Headers begin with their size or with a version,
//! which the type in their third byte tells; the fourth marks a header. Every record begins at a multiple of eight bytes.
//!
//! Left out on purpose: what classic events (EVENT_TRACE_HEADER, EVENT_INSTANCE_HEADER), messages (WPP) and TraceLogging
//! say, and extended data (stacks, identities), which is passed over.

use crate::wire::{DecodeError, Problem, Reader};

/// EVENT_HEADER_FLAG_EXTENDED_INFO: items stand between the header and the data.
const EXTENDED: u16 = 0x1;
/// EVENT_HEADER_FLAG_32_BIT_HEADER and _64_BIT_HEADER: the pointers of whoever wrote it.
const POINTERS_32: u16 = 0x20;
const POINTERS_64: u16 = 0x40;

/// An event of a provider with a manifest (EVENT_HEADER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When, by the file's clock: see [`super::FileHeader::unix_ns`].
    pub time: u64,
    /// In whose thread; not always that of whom it concerns.
    pub thread: u32,
    /// In which process; not always the one that it concerns.
    pub process: u32,
    /// The provider's UUID as it stands in memory.
    pub provider: [u8; 16],
    /// Its number.
    pub id: u16,
    /// Which form of its data.
    pub version: u8,
    /// Length of the pointers in its data.
    pub pointer_size: u8,
    /// What the provider wrote.
    pub data: &'a [u8],
}

/// An event of the kernel's own logger (SYSTEM_TRACE_HEADER, compact or not, PERFINFO_TRACE_HEADER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemEvent<'a> {
    /// When, by the file's clock.
    pub time: u64,
    /// Which part of the kernel: 3 for processes.
    pub group: u8,
    /// What happened, by that part's numbers.
    pub kind: u8,
    /// Which form of its data.
    pub version: u8,
    /// Length of the pointers in its data.
    pub pointer_size: u8,
    /// What the kernel wrote.
    pub data: &'a [u8],
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Of a provider with a manifest.
    Event(Event<'a>),
    /// Of the kernel's own logger.
    System(SystemEvent<'a>),
    /// Of another kind, passed over.
    Other,
}

/// The records of one buffer. After an error there is none: where the next one would begin is not known.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    rest: Reader<'a>,
}

impl<'a> Records<'a> {
    pub(super) const fn new(rest: Reader<'a>) -> Self {
        Self { rest }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = record(&mut self.rest);
        if record.is_err() {
            self.rest = Reader::new(&[]);
        }
        Some(record)
    }
}

/// How a record is laid out, by its header's type.
#[derive(Clone, Copy)]
enum Shape {
    System { header: usize, pointer_size: u8 },
    Event { pointer_size: u8 },
    Sized,
}

/// Reads a record and what fills it up to eight bytes.
fn record<'a>(rest: &mut Reader<'a>) -> Result<Record<'a>, DecodeError> {
    let start = rest.offset();
    let mut head = *rest;
    let (size, marker) = (head.u16_le("Size")?, head.u16_le("Marker")?);
    let malformed = || Reader::error_at(start + 2, "Marker", Problem::Value(marker.into()));
    let shape = shape(marker).ok_or_else(malformed)?;
    let (size, least) = match shape {
        // What stands first is a version there.
        Shape::System { header, .. } => (head.u16_le("WMI_TRACE_PACKET.Size")?, header),
        Shape::Event { .. } => (size, 80),
        Shape::Sized => (size, 8),
    };
    let length = usize::from(size);
    if length < least {
        return Err(Reader::error_at(start, "Size", Problem::Value(size.into())));
    }
    let mut body = rest.part(length, "Size")?;
    rest.skip_padding(length.wrapping_neg() % 8);
    match shape {
        Shape::System { header, pointer_size } => system(&mut body, header, pointer_size).map(Record::System),
        Shape::Event { pointer_size } => event(&mut body, pointer_size).map(Record::Event),
        Shape::Sized => Ok(Record::Other),
    }
}

/// TRACE_HEADER_TYPE_*; nothing where these bytes mark no header.
const fn shape(marker: u16) -> Option<Shape> {
    let [kind, flags] = marker.to_le_bytes();
    // TRACE_HEADER_FLAG with TRACE_HEADER_EVENT_TRACE, or with TRACE_MESSAGE.
    match (flags & 0xd0, kind) {
        (0xc0, 0x01) => Some(Shape::System { header: 32, pointer_size: 4 }),
        (0xc0, 0x02) => Some(Shape::System { header: 32, pointer_size: 8 }),
        (0xc0, 0x03) => Some(Shape::System { header: 24, pointer_size: 4 }),
        (0xc0, 0x04) => Some(Shape::System { header: 24, pointer_size: 8 }),
        (0xc0, 0x10) => Some(Shape::System { header: 16, pointer_size: 4 }),
        (0xc0, 0x11) => Some(Shape::System { header: 16, pointer_size: 8 }),
        (0xc0, 0x12) => Some(Shape::Event { pointer_size: 4 }),
        (0xc0, 0x13) => Some(Shape::Event { pointer_size: 8 }),
        (0xc0, 0x0a..=0x0f | 0x14 | 0x15) | (0x90, _) => Some(Shape::Sized),
        _ => None,
    }
}

fn system<'a>(
    body: &mut Reader<'a>,
    header: usize,
    pointer_size: u8,
) -> Result<SystemEvent<'a>, DecodeError> {
    let version = body.u16_le("Version")?;
    body.take(4, "Marker")?;
    let (kind, group) = (body.u8("HookId.Type")?, body.u8("HookId.Group")?);
    if header > 16 {
        body.take(8, "ThreadId")?;
    }
    let time = body.u64_le("SystemTime")?;
    // The longest of the three ends with the thread's times.
    body.take(header.saturating_sub(24), "KernelTime")?;
    // The version's upper half tells of extended data in front of the event's own: an item, and counters.
    let extended = usize::from(version >> 15) + usize::from((version >> 8) & 0x7);
    body.take(8 * extended, "ExtendedData")?;
    let data = body.rest();
    Ok(SystemEvent { time, group, kind, version: version as u8, pointer_size, data })
}

fn event<'a>(body: &mut Reader<'a>, pointer_size: u8) -> Result<Event<'a>, DecodeError> {
    body.take(4, "Size")?;
    let flags = body.u16_le("Flags")?;
    body.u16_le("EventProperty")?;
    let (thread, process) = (body.u32_le("ThreadId")?, body.u32_le("ProcessId")?);
    let time = body.u64_le("TimeStamp")?;
    let provider = body.array("ProviderId")?;
    let (id, version) = (body.u16_le("Id")?, body.u8("Version")?);
    // Channel, Level, Opcode, Task, Keyword; ProcessorTime; ActivityId.
    body.take(13 + 8 + 16, "ActivityId")?;
    if flags & EXTENDED != 0 {
        pass_over_items(body)?;
    }
    let pointer_size = match flags & (POINTERS_32 | POINTERS_64) {
        POINTERS_32 => 4,
        POINTERS_64 => 8,
        _ => pointer_size,
    };
    Ok(Event { time, thread, process, provider, id, version, pointer_size, data: body.rest() })
}

/// Items of extended data (EVENT_HEADER_EXTENDED_DATA_ITEM as it stands in a buffer): each tells its length, and whether
/// another follows.
fn pass_over_items(body: &mut Reader<'_>) -> Result<(), DecodeError> {
    loop {
        let at = body.offset();
        let length = body.u16_le("ExtendedData.Size")?;
        body.u16_le("ExtType")?;
        let follows = body.u16_le("Linkage")? & 1 != 0;
        let rest = usize::from(length).checked_sub(6);
        let rest = rest.ok_or(Reader::error_at(at, "ExtendedData.Size", Problem::Value(length.into())))?;
        body.take(rest, "ExtendedData")?;
        if !follows {
            return Ok(());
        }
    }
}
