//! JSON (RFC 8259): the report's body as one value on one line. serde_json escapes control characters.

use std::io;

use crate::output::Surface;
use crate::report::Report;

/// Writes the body and a line's end.
pub(super) fn write(
    report: &Report,
    _: &Surface,
    out: &mut dyn io::Write,
    _: &mut dyn io::Write,
) -> io::Result<()> {
    report.body.write_json(out)?;
    out.write_all(b"\n")
}
