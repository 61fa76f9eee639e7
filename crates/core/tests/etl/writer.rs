//! Writes trace files as Windows lays them out: what the tests read. Source: the same as the decoder's; what this writer
//! writes was read by dissect.etl 3.14 and etl-parser 1.0.1 as well, which know nothing of either.

/// The performance counter's steps a second, as Windows 10 has them.
pub(crate) const FREQUENCY: u64 = 10_000_000;
/// The counter when the trace begins.
pub(crate) const COUNTER: u64 = 5_000_000_000;
/// 2025-11-28T12:00:00Z.
pub(crate) const STARTED: u64 = 134_088_048_000_000_000;

const BUFFER: usize = 4096;

/// What a file says of itself.
pub(crate) struct Header {
    pub(crate) pointer_size: u8,
    pub(crate) clock: u32,
    pub(crate) events_lost: u32,
    pub(crate) buffers_lost: u32,
    pub(crate) buffers_written: u32,
}

impl Default for Header {
    fn default() -> Self {
        Self { pointer_size: 8, clock: 1, events_lost: 0, buffers_lost: 0, buffers_written: 0 }
    }
}

/// Bytes put together.
#[derive(Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    pub(crate) fn pointer(self, size: u8, value: u64) -> Self {
        if size == 4 { self.u32(value as u32) } else { self.u64(value) }
    }
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
    pub(crate) fn wide(self, text: &str) -> Self {
        text.encode_utf16().chain([0]).fold(self, Self::u16)
    }
}

/// A buffer that is filled.
pub(crate) struct Buffer {
    records: Bytes,
    processor: u16,
    flags: u16,
}

impl Buffer {
    pub(crate) fn new(processor: u16) -> Self {
        Self { records: Bytes::default(), processor, flags: 0x20 }
    }

    pub(crate) fn flagged(self, flags: u16) -> Self {
        Self { flags: self.flags | flags, ..self }
    }

    /// Adds a record, whose size is filled in at `size_at`, and fills it up to eight bytes.
    pub(crate) fn raw(mut self, record: Bytes, size_at: usize) -> Self {
        let mut record = record.0;
        let size = u16::try_from(record.len()).unwrap();
        record[size_at..size_at + 2].copy_from_slice(&size.to_le_bytes());
        record.resize(record.len().next_multiple_of(8), 0);
        self.records.0.extend(record);
        self
    }

    /// A SYSTEM_TRACE_HEADER: of 32 bytes, compact or PERFINFO's by `kind` (1 to 4, 0x10, 0x11).
    pub(crate) fn system(
        self,
        header: u8,
        (group, kind, version): (u8, u8, u16),
        time: u64,
        data: &[u8],
    ) -> Self {
        let head = Bytes::default().u16(version).u8(header).u8(0xc0).u16(0).u8(kind).u8(group);
        let head = if header < 0x10 { head.u32(1000).u32(4) } else { head };
        let head = head.u64(time);
        let head = if header < 3 { head.u64(0) } else { head };
        self.raw(head.bytes(data), 4)
    }

    /// An EVENT_HEADER with its descriptor, and items of extended data before the data.
    pub(crate) fn event(self, event: &Event, data: &[u8]) -> Self {
        let header = if event.pointer_size == 4 { 0x12 } else { 0x13 };
        let mut head = Bytes::default().u16(0).u8(header).u8(0xc0);
        head = head.u16(u16::from(!event.items.is_empty()));
        head = head.u16(0).u32(event.thread).u32(event.process).u64(event.time).bytes(&event.provider);
        head = head.u16(event.id).u8(event.version).u8(0x10).u8(4).u8(12).u16(event.id).u64(1 << 63);
        head = head.u64(0).bytes(&[0; 16]);
        for (index, (kind, item)) in event.items.iter().enumerate() {
            let length = (8 + item.len()).next_multiple_of(8);
            let follows = u16::from(index + 1 < event.items.len());
            head = head.u16(length as u16).u16(*kind).u16(follows).u16(item.len() as u16).bytes(item);
            let end = head.0.len() + length - 8 - item.len();
            head.0.resize(end, 0);
        }
        self.raw(head.bytes(data), 0)
    }

    /// The whole buffer, as it stands in a file.
    pub(crate) fn written(&self) -> Vec<u8> {
        let filled = 72 + self.records.0.len();
        assert!(filled <= BUFFER, "a buffer of {filled} bytes");
        let filled = filled as u32;
        let head = Bytes::default().u32(BUFFER as u32).u32(filled).u32(filled).u32(0);
        let head = head.u64(COUNTER).u64(1).u64(0).u16(self.processor).u16(18).u32(3);
        let mut bytes = head.u32(filled).u16(self.flags).u16(0).bytes(&[0; 16]).bytes(&self.records.0).0;
        bytes.resize(BUFFER, 0xff);
        bytes
    }
}

/// The beginning of an EVENT_HEADER.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) time: u64,
    pub(crate) thread: u32,
    pub(crate) process: u32,
    pub(crate) provider: [u8; 16],
    pub(crate) id: u16,
    pub(crate) version: u8,
    pub(crate) pointer_size: u8,
    /// Extended data: its type and what it says.
    pub(crate) items: Vec<(u16, Vec<u8>)>,
}

/// A file: what it says of itself, then these buffers.
pub(crate) fn file(header: &Header, buffers: &[Buffer]) -> Vec<u8> {
    let size = header.pointer_size;
    let told = Bytes::default().u32(BUFFER as u32).bytes(&[10, 0, 1, 5]).u32(19_045).u32(2);
    let told = told.u64(STARTED + 60 * FREQUENCY).u32(156_250).u32(0).u32(1).u32(header.buffers_written);
    let told = told.u32(1).u32(size.into()).u32(header.events_lost).u32(2_400);
    let told = told.pointer(size, 5).pointer(size, 0).bytes(&[0; 172]).u32(0);
    let told =
        told.u64(STARTED - COUNTER).u64(FREQUENCY).u64(STARTED).u32(header.clock).u32(header.buffers_lost);
    let told = told.wide("ports").wide(r"C:\ports.etl");
    let kind = if size == 4 { 1 } else { 2 };
    let first = Buffer::new(0).system(kind, (0, 0, 2), COUNTER, &told.0);
    std::iter::once(&first).chain(buffers).flat_map(Buffer::written).collect()
}
