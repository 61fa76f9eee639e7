//! Traces that Windows recorded (`.etl`, Event Tracing for Windows): the buffers of a file, and the records in them.
//!
//! Source: `evntrace.h` of the Windows SDK (ETW_BUFFER_HEADER, TRACE_LOGFILE_HEADER); what it leaves out, by Geoff
//! Chappell's pages on WMI_BUFFER_HEADER and on trace headers. A file is nothing but buffers, each as long as its first
//! number says and filled as far as another; the first buffer's first record describes the file. The buffers stand in the
//! order in which processors handed them in: whoever wants the order of time sorts by it.
//!
//! Left out on purpose: compressed buffers (refused, with what to do), and what the records of providers say.

mod header;
mod record;

use std::fmt;
use std::io::{self, Read};

pub use header::{FileHeader, unix_ns_of_filetime};
pub use record::{Event, Record, Records, SystemEvent};

use crate::snapshot::{Gap, GapReason};
use crate::wire::{DecodeError, Problem, Reader};

/// What each buffer begins with.
const HEADER_LENGTH: usize = 72;
/// No session of Windows has larger buffers (`BufferSize` of EVENT_TRACE_PROPERTIES: 16,384 KiB).
const LARGEST_BUFFER: usize = 16 << 20;
/// ETW_BUFFER_FLAG_EVENTS_LOST and ETW_BUFFER_FLAG_BUFFER_LOST.
const LOST: u16 = 0x2 | 0x4;
/// ETW_BUFFER_FLAG_COMPRESSED.
const COMPRESSED: u16 = 0x40;
/// What a gap about a trace is called.
pub const TRACE: &str = "trace";
/// How to record one that can be read.
pub const RECORD: &str = "netsh trace start provider=Microsoft-Windows-Winsock-AFD tracefile=ports.etl; \
                          when it has happened: netsh trace stop";

/// Why a file cannot be read as a trace.
#[derive(Debug)]
pub enum Unreadable {
    /// The system could not read it.
    Failed(io::Error),
    /// It does not begin as a trace does.
    NotATrace(DecodeError),
    /// Its buffers are compressed.
    Compressed,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::NotATrace(error) => write!(f, "this is no trace of Windows (.etl): {error}"),
            Self::Compressed => write!(
                f,
                "the trace is compressed, which is not read here; record it anew without compression: {RECORD}"
            ),
        }
    }
}

impl std::error::Error for Unreadable {}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<DecodeError> for Unreadable {
    fn from(error: DecodeError) -> Self {
        Self::NotATrace(error)
    }
}

/// What was read of a file, beside its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What the file says of itself.
    pub header: FileHeader,
    /// How many buffers were read.
    pub buffers: u64,
    /// How many records.
    pub records: u64,
    /// What is missing: lost while recording, cut off, not understood.
    pub gaps: Vec<Gap>,
}

/// Reads a file to its end and shows each record, in the order of the file.
///
/// # Errors
/// It cannot be read, is no trace, or is compressed. What is wrong further on in a file is a gap.
pub fn read(mut input: impl Read, mut each: impl FnMut(&FileHeader, Record<'_>)) -> Result<Told, Unreadable> {
    let mut bytes = Vec::new();
    let first = match next(&mut input, &mut bytes)? {
        Next::Buffer => Buffer::of(&bytes)?,
        Next::End | Next::Cut => {
            return Err(Reader::error_at(HEADER_LENGTH, "EventTraceHeader", Problem::Truncated).into());
        }
        Next::Malformed(error) => return Err(error.into()),
    };
    if first.flags & COMPRESSED != 0 {
        return Err(Unreadable::Compressed);
    }
    let header = FileHeader::of(first.records)?;
    let mut tally = Tally { ends: true, ..Tally::default() };
    tally.take(&first, &header, &mut each);
    loop {
        match next(&mut input, &mut bytes)? {
            Next::End => break,
            Next::Buffer => match Buffer::of(&bytes) {
                Ok(buffer) if buffer.flags & COMPRESSED != 0 => return Err(Unreadable::Compressed),
                Ok(buffer) => tally.take(&buffer, &header, &mut each),
                Err(error) => tally.unreadable(error),
            },
            Next::Cut => {
                tally.ends = false;
                break;
            }
            Next::Malformed(error) => {
                tally.unreadable(error);
                tally.ends = false;
                break;
            }
        }
    }
    let gaps = tally.gaps(&header);
    Ok(Told { header, buffers: tally.buffers, records: tally.records, gaps })
}

/// What stands next in a file.
enum Next {
    /// A whole buffer.
    Buffer,
    /// Nothing, or what was set aside for buffers that were never written.
    End,
    /// The beginning of a buffer.
    Cut,
    /// Something else.
    Malformed(DecodeError),
}

fn next(input: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<Next> {
    bytes.clear();
    input.by_ref().take(HEADER_LENGTH as u64).read_to_end(bytes)?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Next::End);
    }
    let Ok(size) = Reader::new(bytes).u32_le("BufferSize") else { return Ok(Next::Cut) };
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    if !(HEADER_LENGTH..=LARGEST_BUFFER).contains(&length) {
        return Ok(Next::Malformed(Reader::error_at(0, "BufferSize", Problem::Value(size.into()))));
    }
    input.by_ref().take((length - HEADER_LENGTH) as u64).read_to_end(bytes)?;
    Ok(if bytes.len() == length { Next::Buffer } else { Next::Cut })
}

/// One buffer.
struct Buffer<'a> {
    flags: u16,
    records: Records<'a>,
}

impl<'a> Buffer<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        // BufferSize, SavedOffset, CurrentOffset, ReferenceCount; TimeStamp, SequenceNumber, Clock; ClientContext, State.
        reader.take(48, "WNODE_HEADER")?;
        let filled = reader.u32_le("Offset")?;
        let flags = reader.u16_le("BufferFlag")?;
        reader.take(18, "BufferType")?;
        let length = usize::try_from(filled).unwrap_or(usize::MAX).checked_sub(HEADER_LENGTH);
        let length = length.ok_or(Reader::error_at(48, "Offset", Problem::Value(filled.into())))?;
        Ok(Self { flags, records: Records::new(reader.part(length, "Offset")?) })
    }
}

/// Counts what is read, and what is missing.
#[derive(Default)]
struct Tally {
    buffers: u64,
    records: u64,
    marked_lost: u64,
    unreadable: u64,
    first_error: Option<DecodeError>,
    /// The file ends where a buffer does.
    ends: bool,
}

impl Tally {
    fn take(
        &mut self,
        buffer: &Buffer<'_>,
        header: &FileHeader,
        each: &mut impl FnMut(&FileHeader, Record<'_>),
    ) {
        self.buffers += 1;
        self.marked_lost += u64::from(buffer.flags & LOST != 0);
        for record in buffer.records {
            match record {
                Ok(record) => {
                    self.records += 1;
                    each(header, record);
                }
                Err(error) => self.unreadable(error),
            }
        }
    }

    fn unreadable(&mut self, error: DecodeError) {
        self.unreadable += 1;
        self.first_error.get_or_insert(error);
    }

    fn gaps(&self, header: &FileHeader) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut gap = |reason, detail: String| gaps.push(Gap::new(TRACE, reason, detail));
        if header.events_lost > 0 || header.buffers_lost > 0 {
            let (events, buffers) = (header.events_lost, header.buffers_lost);
            let detail = format!("Windows lost {events} events and {buffers} buffers while it recorded");
            gap(GapReason::TooLarge, detail);
        } else if self.marked_lost > 0 {
            let detail = format!("{} buffers say that events before them were lost", self.marked_lost);
            gap(GapReason::TooLarge, detail);
        }
        if let Some(error) = self.first_error {
            let detail =
                format!("{} buffers could not be read to their end; the first: {error}", self.unreadable);
            gap(GapReason::Malformed, detail);
        }
        if !self.ends {
            gap(GapReason::Malformed, format!("the file breaks off after {} buffers", self.buffers));
        } else if self.buffers < u64::from(header.buffers_written) {
            let detail = format!("{} of {} buffers are in the file", self.buffers, header.buffers_written);
            gap(GapReason::Malformed, detail);
        }
        gaps
    }
}
