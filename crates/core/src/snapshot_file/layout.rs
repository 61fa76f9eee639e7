//! Where line breaks stand in the file: before each field of the top object and each element of its arrays, so that
//! an error can name a line, and `grep` and `diff` see one socket at a time. The JSON itself is serde_json's.

use std::io;

use serde_json::ser::Formatter;

/// Compact JSON with a line for each thing of the first two levels.
#[derive(Default)]
pub(super) struct LineForEach {
    depth: u32,
}

impl LineForEach {
    fn open<W: io::Write + ?Sized>(&mut self, writer: &mut W, bracket: u8) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(&[bracket])
    }

    fn close<W: io::Write + ?Sized>(&mut self, writer: &mut W, bracket: u8) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(&[bracket])
    }

    fn item<W: io::Write + ?Sized>(&self, writer: &mut W, first: bool, deepest: u32) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        if self.depth <= deepest { writer.write_all(b"\n") } else { Ok(()) }
    }
}

impl Formatter for LineForEach {
    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'[')
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b']')
    }

    fn begin_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first, 2)
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'{')
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b'}')
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first, 1)
    }
}
