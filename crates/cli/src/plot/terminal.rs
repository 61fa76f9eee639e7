//! A plot on a terminal: a panel for each line, its amounts as bars of block characters, over one axis of time.
//!
//! Where nothing was recorded a column stays empty; where nothing was there it has a dot. The full part of a bar is what
//! the stretch had in the mean, the shaded part what it had at most; of room left, what it had at least and in the mean.
//! Panels have a scale each: a line that is small beside another is still legible. Without Unicode the bars are `#`.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use portolan_core::series::Series;
use unicode_width::UnicodeWidthStr as _;

use super::{Mark, Outlook, Plot, axis, most, within};
use crate::output::Surface;
use crate::text::{grouped, moment, shortened};

/// Width where the output is no terminal.
const DEFAULT_WIDTH: usize = 100;
/// No plot is wider: lines of text beside it would look lost.
const MOST_WIDTH: usize = 160;
/// Rows of all panels together, about.
const ROWS: usize = 14;
/// A label of time and the room to the next.
const LABEL: usize = 10;
/// Marks that are told.
const MARKS: usize = 6;
/// Names are cut here.
const NAME: usize = 60;

const BLOCKS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const LINES: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::Red,
];

/// Draws a plot. Lines end in a line's end.
pub(crate) fn draw(plot: &Plot, surface: &Surface) -> String {
    let width = surface.width.unwrap_or(DEFAULT_WIDTH).min(MOST_WIDTH);
    let left = 3 + plot.series.iter().map(|series| amount(most(series)).len()).max().unwrap_or(1);
    let columns = width.saturating_sub(left + 1).max(16);
    let high = (ROWS / plot.series.len().max(1)).clamp(1, ROWS - 2);
    let sheet = Sheet { plot, surface, left, columns, high };
    let mut out = String::new();
    for (number, series) in plot.series.iter().enumerate() {
        sheet.panel(number, series, &mut out);
    }
    sheet.times(&mut out);
    sheet.marks(&mut out);
    out
}

fn amount(value: f64) -> String {
    grouped(value.max(0.0).round() as u64)
}

struct Sheet<'a> {
    plot: &'a Plot,
    surface: &'a Surface,
    /// Where the bars begin.
    left: usize,
    /// How many bars there are.
    columns: usize,
    /// How many rows a panel has.
    high: usize,
}

/// What a column shows.
#[derive(Clone, Copy)]
enum Column {
    /// Nothing was recorded.
    Empty,
    /// So much, and up to so much: eighths of a row.
    Bar(usize, usize),
    /// So much is foreseen, in eighths of a row.
    Foreseen(usize),
}

impl Sheet<'_> {
    /// Where a column begins.
    fn at(&self, column: usize) -> u64 {
        let over = self.plot.end_ms().saturating_sub(self.plot.from_ms);
        self.plot.from_ms + (over as u128 * column as u128 / self.columns as u128) as u64
    }

    fn column(&self, at_ms: u64) -> usize {
        let over = self.plot.end_ms().saturating_sub(self.plot.from_ms).max(1);
        let column =
            u128::from(at_ms.saturating_sub(self.plot.from_ms)) * self.columns as u128 / u128::from(over);
        (column as usize).min(self.columns - 1)
    }

    fn painted(&self, text: &str, style: Style) -> String {
        if self.surface.colour && !text.trim().is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    fn panel(&self, number: usize, series: &Series, out: &mut String) {
        let style = LINES[number % LINES.len()].on_default();
        let top = axis::amounts(most(series), 4).last().copied().unwrap_or(1.0);
        let columns: Vec<Column> =
            (0..self.columns).map(|column| self.value(number, series, column, top)).collect();
        let name = self.surface.shown(&shortened(&series.name, NAME));
        let name = self.painted(&name, style.bold());
        let last = self.plot.last(number).unwrap_or(0.0);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name}  {} at last", amount(last));
        for row in (0..self.high).rev() {
            let label = match row {
                row if row + 1 == self.high => amount(top),
                0 => "0".to_owned(),
                _ => String::new(),
            };
            let mut bars = String::new();
            for column in &columns {
                bars.push_str(self.glyph(*column, row));
            }
            let _ = write!(out, "{label:>width$} ", width = self.left - 1);
            out.push_str(&self.painted(bars.trim_end(), style));
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
    }

    fn value(&self, number: usize, series: &Series, column: usize, top: f64) -> Column {
        let (from, to) = (self.at(column), self.at(column + 1).max(self.at(column) + 1));
        let eighths = |value: f64| {
            let all = (self.high * 8) as f64;
            // What is there at all is seen.
            (value / top * all).round().clamp(f64::from(u8::from(value > 0.0)), all) as usize
        };
        if let Some(Outlook { series: of, now, end }) = self.plot.outlook
            && from >= self.plot.to_ms
        {
            let part = 1.0 - (from - self.plot.to_ms) as f64 / 1000.0 / end.likely_s.max(1.0);
            return if of == number && part > 0.0 {
                Column::Foreseen(eighths(now * part))
            } else {
                Column::Empty
            };
        }
        match within(series, from, to) {
            Some(point) if self.plot.least => Column::Bar(eighths(point.min), eighths(point.mean)),
            Some(point) => Column::Bar(eighths(point.mean), eighths(point.max)),
            None => Column::Empty,
        }
    }

    fn glyph(&self, column: Column, row: usize) -> &'static str {
        let unicode = self.surface.unicode;
        let part = |eighths: usize| eighths.saturating_sub(row * 8).min(8);
        match column {
            Column::Empty => " ",
            Column::Foreseen(level) if row == level.saturating_sub(1) / 8 => {
                if unicode {
                    "•"
                } else {
                    "*"
                }
            }
            Column::Foreseen(_) => " ",
            Column::Bar(0, 0) if row == 0 => {
                if unicode {
                    "·"
                } else {
                    "."
                }
            }
            Column::Bar(sure, most) => match (part(sure), part(most)) {
                (0, shade) if shade >= 4 || (shade > 0 && row == 0) => {
                    if unicode {
                        "░"
                    } else {
                        ":"
                    }
                }
                (0, _) => " ",
                (full, _) if unicode => BLOCKS[full],
                (1..=3, _) => ".",
                (4..=6, _) => "=",
                _ => "#",
            },
        }
    }

    /// The axis of time.
    fn times(&self, out: &mut String) {
        let ticks = axis::times(self.plot.from_ms, self.plot.end_ms(), self.columns / LABEL);
        let (line, tick) = if self.surface.unicode { ("─", "┴") } else { ("-", "+") };
        let places: Vec<usize> = ticks.iter().map(|(at, _)| self.column(*at)).collect();
        out.push_str(&" ".repeat(self.left));
        for column in 0..self.columns {
            out.push_str(if places.contains(&column) { tick } else { line });
        }
        out.push('\n');
        let mut labels = format!("{:>width$}", "UTC", width = self.left - 1);
        for ((_, label), place) in ticks.iter().zip(places) {
            let begin = (self.left + place).saturating_sub(label.len() / 2);
            if begin <= labels.width() || begin + label.len() > self.left + self.columns {
                continue;
            }
            labels.push_str(&" ".repeat(begin - labels.width()));
            labels.push_str(label);
        }
        out.push_str(&labels);
        out.push('\n');
    }

    /// What happened, below the axis.
    fn marks(&self, out: &mut String) {
        let marks = &self.plot.marks;
        if marks.is_empty() {
            return;
        }
        let sign = if self.surface.unicode { "▲" } else { "^" };
        let mut line: Vec<&str> = vec![" "; self.columns];
        for Mark { at_ms, .. } in marks {
            line[self.column(*at_ms)] = sign;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}{}", " ".repeat(self.left), line.concat().trim_end());
        for Mark { at_ms, label } in marks.iter().rev().take(MARKS).rev() {
            let label = self.surface.shown(label);
            let _ = writeln!(out, "  {sign} {}  {label}", moment(*at_ms));
        }
        if marks.len() > MARKS {
            let _ = writeln!(out, "  and {} before: portolan history --diary", marks.len() - MARKS);
        }
    }
}
