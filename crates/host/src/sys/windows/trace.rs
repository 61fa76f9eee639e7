//! Calls as they are made, on Windows: refused, until Event Tracing for Windows is read.

use std::io;

use portolan_core::snapshot::Reading;
use portolan_core::trace::{Calls, Way};

use crate::Error;

/// Sees calls as they are made, until it is dropped.
#[derive(Debug)]
pub struct Tracer(());

impl Tracer {
    /// Begins, in that way or else in the best that works; with `all`, calls that come about are seen too. The gaps tell
    /// what is not seen this way. Fails where nothing can be traced, with what to do.
    pub fn begin(_all: bool, _way: Option<Way>) -> Result<Reading<Self>, Error> {
        let text =
            "this version does not trace on Windows; type portolan watch to see sockets as they come and go";
        Err(Error::new("trace calls", io::Error::new(io::ErrorKind::Unsupported, text)))
    }

    /// How it sees them.
    pub const fn way(&self) -> Way {
        Way::Etw
    }

    /// What came since the last time; it does not wait.
    pub fn read(&mut self) -> Result<Calls, Error> {
        Ok(Calls::default())
    }
}
