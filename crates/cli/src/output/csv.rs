//! CSV (RFC 4180): the report's rows under a header. Lines end in LF, as every other output here.
//!
//! A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula; such a cell of foreign text gets
//! an apostrophe in front, unless it is a number or nothing but a dash.

use std::io;

use crate::cells::Cells;
use crate::output::Surface;
use crate::report::Report;

const CHUNK: usize = 4096;

/// Writes header and rows; gaps go to the notes, where they spoil no table.
pub(super) fn write(
    report: &Report,
    _: &Surface,
    out: &mut dyn io::Write,
    notes: &mut dyn io::Write,
) -> io::Result<()> {
    let table = &report.rows;
    let names: Vec<String> = table.columns.iter().map(|column| column.name.replace('-', "_")).collect();
    if !report.continues {
        writeln!(out, "{}", names.join(","))?;
    }
    let mut cells = Cells::default();
    let mut line = Vec::new();
    for start in (0..table.count).step_by(CHUNK) {
        cells.clear();
        line.clear();
        table.render(start..table.count.min(start + CHUNK), &mut cells);
        for (index, cell) in cells.iter().enumerate() {
            field(cell, &mut line);
            line.push(if (index + 1) % names.len() == 0 { b'\n' } else { b',' });
        }
        out.write_all(&line)?;
    }
    for gap in report.gaps.iter().flatten() {
        let remedy = gap.remedy.as_deref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        let line = format!("not seen: {}: {}{remedy}", gap.what, gap.detail);
        writeln!(notes, "{}", crate::text::harmless(&line))?;
    }
    Ok(())
}

fn field(cell: &[u8], line: &mut Vec<u8>) {
    let formula = matches!(cell, [b'=' | b'+' | b'@', ..])
        || matches!(cell, [b'-', rest @ ..] if !rest.iter().all(u8::is_ascii_digit));
    if !formula && !cell.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        line.extend_from_slice(cell);
        return;
    }
    line.push(b'"');
    if formula {
        line.push(b'\'');
    }
    for &byte in cell {
        if byte == b'"' {
            line.push(b'"');
        }
        line.push(byte);
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_needed_and_formulas_disarmed() {
        for (cell, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("-", "-"),
            ("-1", "-1"),
            ("=cmd()", "\"'=cmd()\""),
            ("-x,y", "\"'-x,y\""),
        ] {
            let mut line = Vec::new();
            field(cell.as_bytes(), &mut line);
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        }
    }
}
