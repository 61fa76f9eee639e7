//! The picture of all 65,536 ports: strips of cells, each cell a power of two of ports, over one axis.

use std::fmt::Write as _;

use portolan_core::port::PortRange;

use crate::output::Surface;
use crate::report::{Shade, Strip};

/// Where the strips begin.
const LEFT: usize = 14;
/// Width where the output is no terminal.
const DEFAULT_WIDTH: usize = 100;

const BLOCKS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const LETTERS: [&str; 8] = ["1", "2", "3", "4", "5", "6", "7", "8"];

/// Draws the strips, each on a line, below the axis. Lines end in a line's end.
pub(crate) fn draw(strips: &[Strip], surface: &Surface) -> String {
    let room = surface.width.unwrap_or(DEFAULT_WIDTH).saturating_sub(LEFT);
    let cells = [128, 64, 32].into_iter().find(|cells| *cells <= room).unwrap_or(16);
    let size = 65_536 / cells;
    let mut picture = axis(cells);
    for strip in strips {
        // Writing to a String cannot fail.
        let _ = write!(picture, "  {:<width$}", strip.label, width = LEFT - 2);
        for cell in 0..cells {
            picture.push_str(glyph(strip, cell * size, size, surface.unicode));
        }
        picture.truncate(picture.trim_end_matches(' ').len());
        picture.push('\n');
    }
    picture
}

/// The ports at the edges of each eighth or quarter of the picture; the last one ends with it.
fn axis(cells: usize) -> String {
    let step = if cells >= 64 { cells / 8 } else { cells / 4 };
    let mut line = " ".repeat(LEFT);
    for cell in (0..cells - step).step_by(step) {
        // Writing to a String cannot fail.
        let _ = write!(line, "{:<step$}", cell * (65_536 / cells));
    }
    let _ = writeln!(line, "{:>step$}", 65535);
    line
}

fn glyph(strip: &Strip, first: usize, size: usize, unicode: bool) -> &'static str {
    // The picture's first cell begins at port 0, which is no port.
    let (low, high) = (first.max(1) as u16, (first + size - 1) as u16);
    let Ok(range) = PortRange::new(low, high) else { return " " };
    let count = strip.ports.count_in(range);
    match strip.shade {
        Shade::Coverage if count == 0 => {
            if unicode {
                "·"
            } else {
                "."
            }
        }
        Shade::Coverage if count == range.count() => {
            if unicode {
                "█"
            } else {
                "#"
            }
        }
        Shade::Coverage => {
            if unicode {
                "▒"
            } else {
                "+"
            }
        }
        Shade::Amount if count == 0 => " ",
        Shade::Amount => {
            // Each step up is twice as many as the one before: 1, 2, 3-4, 5-8 … 65 and more.
            let step = (count - 1).checked_ilog2().map_or(0, |log| log as usize + 1).min(7);
            if unicode { BLOCKS[step] } else { LETTERS[step] }
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::port::PortSet;

    use super::*;

    fn strips() -> Vec<Strip> {
        let set = |ranges: &[(u16, u16)]| {
            ranges.iter().map(|r| PortRange::try_from(*r).unwrap()).collect::<PortSet>()
        };
        vec![
            Strip { label: "ephemeral", ports: set(&[(32768, 60999)]), shade: Shade::Coverage },
            Strip {
                label: "listening",
                ports: set(&[(22, 22), (80, 80), (8000, 8500)]),
                shade: Shade::Amount,
            },
        ]
    }

    #[test]
    fn the_picture_fits_the_terminal() {
        let surface = Surface { width: Some(80), colour: false, unicode: true };
        insta::assert_snapshot!(draw(&strips(), &surface), @r"
                    0       8192    16384   24576   32768   40960   49152      65535
        ephemeral   ································███████████████████████████▒····
        listening   ▂      ██
        ");
    }

    #[test]
    fn the_picture_is_plain_ascii_where_need_be() {
        let surface = Surface { width: Some(50), colour: false, unicode: false };
        insta::assert_snapshot!(draw(&strips(), &surface), @r"
                    0       16384   32768      65535
        ephemeral   ................#############+..
        listening   2  88
        ");
        assert!(draw(&strips(), &surface).is_ascii());
    }
}
