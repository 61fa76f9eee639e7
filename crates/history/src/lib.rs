//! The recorder's store: one SQLite file with what was seen, look by look, rolled up to minutes and hours.
//!
//! What a look is stands in [`portolan_core::record`], what comes out in [`portolan_core::series`]; slopes and
//! forecasts are computed in [`portolan_core::trend`]. [`Recorder`] writes, [`Store`] reads.
//!
//! | table | a row | kept |
//! |---|---|---|
//! | `raw` | a look: what changed since the one before it; every 64th is whole | days |
//! | `minutes_…`, `hours_…` | least, mean and most of every number of a kind | weeks, years |
//! | `name` | what numbers are called, each once | while a row may have it |
//! | `run` | where looks follow one another: a recorder, a boot, a clock | while it has looks |
//! | `setting` | ranges and reservations, when they changed, and after each start of the machine | years |
//! | `whose` | which machine and network namespace the numbers are of | as long as the file |
//! | `note` | a finding or a gap, from when to when | years |
//!
//! Time is never made up: a stretch in which nobody looked has no row. All that one look brings (its row, the roll-ups
//! that it makes due, what has grown too old) is one transaction. After each the write-ahead log is emptied into the
//! file, so that the file alone is whole between two looks: it may be copied as it is.
#![forbid(unsafe_code)]

mod error;
mod names;
mod notes;
mod pack;
mod query;
mod raw;
mod recorder;
mod retention;
mod rollup;
mod schema;
mod store;
mod whose;

pub use error::{Error, Kind};
pub use notes::Told;
pub use query::Query;
pub use recorder::{Appended, Options, Recorder};
pub use retention::Keep;
pub use store::{Change, Noted, Run, Setting, Span, Store};
pub use whose::Whose;
