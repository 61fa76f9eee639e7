//! The format for people: text broken at the terminal's width, tables aligned, colour where it is wanted.
//!
//! A table is rendered in chunks. The first pass measures; where all rows fit one chunk they are there already and
//! are written, otherwise a second pass renders them again, so that memory does not grow with the rows.

use std::io;
use std::ops::Range;
use std::thread;

use anstyle::{AnsiColor, Style};
use portolan_core::snapshot::Gap;
use unicode_width::UnicodeWidthStr;

use crate::cells::{Cells, Column, Table};
use crate::output::Surface;
use crate::report::{Block, Line, Report, Tone};
use crate::{picture, plot};

/// Rows that are rendered at a time: some 25 MiB of text.
const CHUNK: usize = 262_144;
/// More threads than this do not help.
const MOST_THREADS: usize = 8;
/// With as many rows, to start threads takes less than they save.
const WORTH_THREADS: usize = 16_384;
/// Lines are handed on when there are this many bytes.
const PAGE: usize = 1 << 17;
/// Text is broken here where the output is no terminal.
const PROSE_WIDTH: usize = 100;
/// Where text behind a label begins.
const LABEL_WIDTH: usize = 12;
/// No column of a table is cut below this.
const LEAST_CUT: usize = 8;

/// Writes the blocks, then what could not be seen.
pub(super) fn write(
    report: &Report,
    surface: &Surface,
    out: &mut dyn io::Write,
    _: &mut dyn io::Write,
) -> io::Result<()> {
    for block in &report.blocks {
        match block {
            Block::Line(line) => whole_line(line, surface, out)?,
            Block::Entry { label, hang, text } => entry(label, *hang, text, surface, out)?,
            Block::Table(rows) => table(rows, surface, out)?,
            Block::Plot(plot) => out.write_all(plot::draw(plot, surface).as_bytes())?,
            Block::Picture(strips) => out.write_all(picture::draw(strips, surface).as_bytes())?,
        }
    }
    match &report.gaps {
        Some(gaps) => not_seen(gaps, surface, out),
        None => Ok(()),
    }
}

fn not_seen(gaps: &[Gap], surface: &Surface, out: &mut dyn io::Write) -> io::Result<()> {
    if gaps.is_empty() {
        return entry("not seen", 0, &Line::from("nothing"), surface, out);
    }
    for (index, gap) in gaps.iter().enumerate() {
        let mut text = Line::new().and(Tone::Warning, gap.what.as_str()).plain(format!(": {}", gap.detail));
        if let Some(remedy) = &gap.remedy {
            text = text.plain(format!("; {remedy}"));
        }
        entry(if index == 0 { "not seen" } else { "" }, 2, &text, surface, out)?;
    }
    Ok(())
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Strong => Style::new().bold(),
        Tone::Faint => Style::new().dimmed(),
        Tone::Good => AnsiColor::Green.on_default().bold(),
        Tone::Warning => AnsiColor::Yellow.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
        Tone::Command => AnsiColor::Cyan.on_default(),
    }
}

fn piece(tone: Tone, text: &str, surface: &Surface, out: &mut dyn io::Write) -> io::Result<()> {
    if surface.colour && tone != Tone::Plain {
        let style = style(tone);
        write!(out, "{style}{text}{style:#}")
    } else {
        out.write_all(text.as_bytes())
    }
}

fn whole_line(line: &Line, surface: &Surface, out: &mut dyn io::Write) -> io::Result<()> {
    for (tone, text) in &line.0 {
        piece(*tone, &surface.shown(text), surface, out)?;
    }
    out.write_all(b"\n")
}

fn entry(
    label: &str,
    hang: usize,
    text: &Line,
    surface: &Surface,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let limit = surface.width.unwrap_or(PROSE_WIDTH).max(LABEL_WIDTH + 20);
    let padded = format!("  {label:<width$}", width = LABEL_WIDTH - 2);
    piece(Tone::Faint, &padded, surface, out)?;
    let mut column = LABEL_WIDTH;
    for (tone, text) in &text.0 {
        let text = surface.shown(text);
        for word in words(*tone, &text) {
            let width = word.width();
            if column + width > limit && column > LABEL_WIDTH + hang {
                write!(out, "\n{:indent$}", "", indent = LABEL_WIDTH + hang)?;
                let word = word.trim_start();
                column = LABEL_WIDTH + hang + word.width();
                piece(*tone, word, surface, out)?;
            } else {
                column += width;
                piece(*tone, word, surface, out)?;
            }
        }
    }
    out.write_all(b"\n")
}

/// The words of a piece, each with the spaces before it; a command is one word.
fn words(tone: Tone, text: &str) -> Vec<&str> {
    if tone == Tone::Command {
        return vec![text];
    }
    let mut words = Vec::new();
    let mut start = 0;
    let mut inside = false;
    for (index, character) in text.char_indices() {
        if character == ' ' && inside {
            words.push(&text[start..index]);
            start = index;
        }
        inside = character != ' ';
    }
    words.push(&text[start..]);
    words
}

fn table(table: &Table, surface: &Surface, out: &mut dyn io::Write) -> io::Result<()> {
    let headings: Vec<String> =
        table.columns.iter().map(|column| column.name.to_uppercase().replace('-', " ")).collect();
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.width()).collect();
    let chunks: Vec<_> =
        (0..table.count).step_by(CHUNK).map(|start| start..table.count.min(start + CHUNK)).collect();
    let mut arenas: Vec<Cells> = (0..arenas_for(table.count)).map(|_| Cells::default()).collect();
    for rows in &chunks {
        render(table, rows, &mut arenas, &mut widths);
    }
    if let Some(limit) = surface.width {
        shrink(&table.columns, &mut widths, limit);
    }
    let mut page = Vec::new();
    heading(&table.columns, &headings, &widths, surface, &mut page);
    for rows in &chunks {
        if chunks.len() > 1 {
            render(table, rows, &mut arenas, &mut widths.clone());
        }
        for cells in &arenas {
            lines(&table.columns, cells, &widths, surface, &mut page, out)?;
        }
    }
    out.write_all(&page)
}

/// How many threads render, each into an arena of its own.
fn arenas_for(rows: usize) -> usize {
    let threads = thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS));
    if rows < WORTH_THREADS { 1 } else { threads }
}

/// Renders rows into the arenas, in order, and widens the widths to what they need.
fn render(table: &Table, rows: &Range<usize>, arenas: &mut [Cells], widths: &mut [usize]) {
    let each = rows.len().div_ceil(arenas.len()).max(1);
    let fill = |cells: &mut Cells, number: usize, mut widths: Vec<usize>| {
        let start = rows.end.min(rows.start + number * each);
        cells.clear();
        table.render(start..rows.end.min(start + each), cells);
        measure(cells, &mut widths);
        widths
    };
    let Some((first, others)) = arenas.split_first_mut() else { return };
    let needed = thread::scope(|scope| {
        let fill = &fill;
        let known = widths.to_vec();
        let others: Vec<_> = (1..)
            .zip(others)
            .map(|(number, cells)| {
                let known = known.clone();
                scope.spawn(move || fill(cells, number, known))
            })
            .collect();
        let mut needed = vec![fill(first, 0, known)];
        let join = |other: thread::ScopedJoinHandle<'_, _>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        needed.extend(others.into_iter().map(join));
        needed
    });
    for needed in needed {
        widths.iter_mut().zip(needed).for_each(|(width, needed)| *width = (*width).max(needed));
    }
}

/// How many columns of the terminal a cell takes.
fn cell_width(cell: &[u8], ascii: bool) -> usize {
    if ascii { cell.len() } else { std::str::from_utf8(cell).map_or(cell.len(), UnicodeWidthStr::width) }
}

fn measure(cells: &Cells, widths: &mut [usize]) {
    let columns = widths.len();
    let ascii = cells.is_ascii();
    let mut column = 0;
    for cell in cells.iter() {
        widths[column] = widths[column].max(cell_width(cell, ascii));
        column = if column + 1 == columns { 0 } else { column + 1 };
    }
}

/// Cuts the columns that may shrink, the widest first, until the table fits or nothing is left to cut.
fn shrink(columns: &[Column], widths: &mut [usize], limit: usize) {
    loop {
        let total: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let widest = (0..widths.len())
            .filter(|&index| columns[index].shrinks && widths[index] > LEAST_CUT)
            .max_by_key(|&index| widths[index]);
        match widest {
            Some(index) if total > limit => widths[index] -= (total - limit).min(widths[index] - LEAST_CUT),
            _ => return,
        }
    }
}

fn heading(columns: &[Column], headings: &[String], widths: &[usize], surface: &Surface, page: &mut Vec<u8>) {
    let mut text = Vec::new();
    for (index, heading) in headings.iter().enumerate() {
        let last = index + 1 == columns.len();
        aligned(heading.as_bytes(), heading.len(), widths[index], columns[index].right, last, &mut text);
    }
    if surface.colour {
        let style = style(Tone::Strong);
        page.extend_from_slice(style.render().to_string().as_bytes());
        page.extend_from_slice(&text);
        page.extend_from_slice(style.render_reset().to_string().as_bytes());
    } else {
        page.extend_from_slice(&text);
    }
    page.push(b'\n');
}

fn lines(
    columns: &[Column],
    cells: &Cells,
    widths: &[usize],
    surface: &Surface,
    page: &mut Vec<u8>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let ascii = cells.is_ascii();
    let last = columns.len() - 1;
    let mut column = 0;
    for cell in cells.iter() {
        let (limit, width) = (widths[column], cell_width(cell, ascii));
        if width > limit {
            let (short, width) = cut(cell, limit, surface.unicode);
            aligned(short.as_bytes(), width, limit, false, column == last, page);
        } else if ascii || surface.unicode {
            aligned(cell, width, limit, columns[column].right, column == last, page);
        } else {
            let text = surface.shown(&String::from_utf8_lossy(cell));
            aligned(text.as_bytes(), text.len(), limit, columns[column].right, column == last, page);
        }
        if column == last {
            page.push(b'\n');
            column = 0;
            if page.len() > PAGE {
                out.write_all(page)?;
                page.clear();
            }
        } else {
            column += 1;
        }
    }
    Ok(())
}

const SPACES: [u8; 64] = [b' '; 64];

/// Writes a cell of that width at its edge; two spaces set the next apart, and a line does not end in spaces.
fn aligned(cell: &[u8], width: usize, limit: usize, right: bool, last: bool, page: &mut Vec<u8>) {
    let mut room = limit.saturating_sub(width);
    let pad = |page: &mut Vec<u8>, mut room: usize| {
        while room > 0 {
            let part = room.min(SPACES.len());
            page.extend_from_slice(&SPACES[..part]);
            room -= part;
        }
    };
    if right {
        pad(page, room);
        room = 0;
    }
    page.extend_from_slice(cell);
    if !last {
        pad(page, room + 2);
    }
}

/// A cell cut to a width, with an ellipsis in its last place, and the width it then has.
fn cut(cell: &[u8], limit: usize, unicode: bool) -> (String, usize) {
    let text = String::from_utf8_lossy(cell);
    let mark = if unicode { "…" } else { ">" };
    let mut short = String::new();
    let mut width = 0;
    for character in text.chars() {
        let character = if unicode || character.is_ascii() { character } else { '?' };
        let wide = unicode_width::UnicodeWidthChar::width(character).unwrap_or(0);
        if width + wide + 1 > limit {
            break;
        }
        width += wide;
        short.push(character);
    }
    short.push_str(mark);
    (short, width + 1)
}
