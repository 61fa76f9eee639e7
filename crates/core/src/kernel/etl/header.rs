//! What a trace file says of itself: its first record.
//!
//! Source: `evntrace.h` (TRACE_LOGFILE_HEADER; the record's SYSTEM_TRACE_HEADER has group and type 0). `ReservedFlags`
//! tells the clock of every time in the file: 1 the performance counter, 2 the system's time, 3 the processor's cycles.

use super::record::{Record, Records};
use crate::wire::{DecodeError, Problem, Reader};

/// FILETIME counts tenths of microseconds, from 1601; Unix from 1970.
const EPOCH: i128 = 116_444_736_000_000_000;

/// What counts the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// A counter of so many steps a second, which stood here when the trace began.
    Counter { frequency: u64, at_start: u64 },
    /// FILETIME itself.
    SystemTime,
}

/// What a trace file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Windows' version and build: `10.0.19045`.
    pub release: String,
    /// How many processors wrote.
    pub processors: u32,
    /// 4 or 8.
    pub pointer_size: u8,
    /// How many buffers were written; 0 where the file was never closed.
    pub buffers_written: u32,
    /// How many events were lost while it was recorded.
    pub events_lost: u32,
    /// How many whole buffers were lost.
    pub buffers_lost: u32,
    /// When it began, FILETIME.
    started: u64,
    clock: Clock,
}

impl FileHeader {
    /// Reads the first record.
    pub(super) fn of(mut records: Records<'_>) -> Result<Self, DecodeError> {
        let not_first = Reader::error_at(super::HEADER_LENGTH, "EventTraceHeader", Problem::Truncated);
        let first = match records.next().ok_or(not_first)?? {
            Record::System(event) if (event.group, event.kind) == (0, 0) => event,
            _ => return Err(not_first),
        };
        let mut reader = Reader::new(first.data);
        reader.u32_le("BufferSize")?;
        let [major, minor, ..] = reader.array::<4>("Version")?;
        let build = reader.u32_le("ProviderVersion")?;
        let processors = reader.u32_le("NumberOfProcessors")?;
        reader.take(20, "EndTime")?;
        let buffers_written = reader.u32_le("BuffersWritten")?;
        reader.u32_le("StartBuffers")?;
        let at = reader.offset();
        let pointer_size = match reader.u32_le("PointerSize")? {
            4 => 4,
            8 => 8,
            other => return Err(Reader::error_at(at, "PointerSize", Problem::Value(other.into()))),
        };
        let events_lost = reader.u32_le("EventsLost")?;
        let megahertz = reader.u32_le("CpuSpeedInMHz")?;
        // LoggerName and LogFileName, as long as this record's pointers; TimeZone; padding to eight bytes.
        reader.take(2 * usize::from(first.pointer_size) + 172 + 4, "TimeZone")?;
        reader.u64_le("BootTime")?;
        let frequency = reader.u64_le("PerfFreq")?;
        let started = reader.u64_le("StartTime")?;
        let at = reader.offset();
        let clock = match reader.u32_le("ReservedFlags")? {
            1 => Clock::Counter { frequency, at_start: first.time },
            2 => Clock::SystemTime,
            3 => Clock::Counter { frequency: u64::from(megahertz) * 1_000_000, at_start: first.time },
            other => return Err(Reader::error_at(at, "ReservedFlags", Problem::Value(other.into()))),
        };
        if let Clock::Counter { frequency: 0, .. } = clock {
            return Err(Reader::error_at(at, "PerfFreq", Problem::Value(0)));
        }
        let buffers_lost = reader.u32_le("BuffersLost")?;
        Ok(Self {
            release: format!("{major}.{minor}.{build}"),
            processors,
            pointer_size,
            buffers_written,
            events_lost,
            buffers_lost,
            started,
            clock,
        })
    }

    /// A record's time, in nanoseconds since 1970-01-01 UTC, as [`unix_ns_of_filetime`] has it.
    pub fn unix_ns(&self, time: u64) -> u64 {
        let filetime = match self.clock {
            Clock::SystemTime => i128::from(time),
            Clock::Counter { frequency, at_start } => {
                let steps = i128::from(time) - i128::from(at_start);
                i128::from(self.started) + steps * 10_000_000 / i128::from(frequency.max(1))
            }
        };
        unix_ns(filetime)
    }
}

fn unix_ns(filetime: i128) -> u64 {
    ((filetime - EPOCH) * 100).clamp(0, i128::from(u64::MAX)) as u64
}

/// A FILETIME in nanoseconds since 1970-01-01 UTC; 0 and the largest number stand for what lies beyond.
pub fn unix_ns_of_filetime(filetime: u64) -> u64 {
    unix_ns(filetime.into())
}
