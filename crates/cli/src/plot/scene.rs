//! The layout of a plot as a picture: what is drawn where, before any format of pictures.
//!
//! The legend stands outside of the plot; each line has a colour that colour-blind people tell from the others
//! (after Okabe and Ito), and from the fifth on it is broken besides.

use portolan_core::series::Series;

use super::font::Font;
use super::{Mark, Outlook, Plot, axis};
use crate::text::{grouped, moment};

/// Size of the picture, in its own units; PNG has twice as many pixels.
pub(super) const WIDTH: f32 = 1000.0;
const LEFT: f32 = 86.0;
const RIGHT: f32 = 700.0;
const TOP: f32 = 78.0;
const HIGH: f32 = 320.0;
const BOTTOM: f32 = TOP + HIGH;
const LEGEND: f32 = RIGHT + 24.0;
/// Sizes of text.
const LARGE: f32 = 17.0;
const NORMAL: f32 = 13.0;
const SMALL: f32 = 11.5;
/// How many lines have a colour of their own.
pub(super) const COLOURS: usize = 8;
/// Marks with a label of their own.
const LABELS: usize = 12;

/// What a shape is drawn with; a format knows the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// Text.
    Text,
    /// Text and lines that matter less.
    Faint,
    /// The grid.
    Grid,
    /// Where nothing was recorded.
    Pause,
    /// What is foreseen.
    Alarm,
    /// A line of that number.
    Line(usize),
}

/// What an ink is called, and its colour on white and on dark paper.
pub(super) struct Colour {
    pub(super) name: &'static str,
    pub(super) light: u32,
    pub(super) dark: u32,
}

/// Every ink's colour: the lines come first.
pub(super) static PALETTE: [Colour; COLOURS + 5] = [
    colour("l0", 0x00_72b2, 0x56_b4e9),
    colour("l1", 0xd5_5e00, 0xff_8a4c),
    colour("l2", 0x00_805f, 0x2f_c896),
    colour("l3", 0xb0_508a, 0xe3_9ac4),
    colour("l4", 0x3a_93c9, 0x8c_cbf2),
    colour("l5", 0xa8_7000, 0xf0_b429),
    colour("l6", 0x5b_4b9a, 0xa9_9be8),
    colour("l7", 0x55_5555, 0xb0_b0b0),
    colour("ink", 0x1b_1f24, 0xe6_eaef),
    colour("faint", 0x57_606a, 0x9a_a4b0),
    colour("grid", 0xdf_e3e8, 0x2c_333c),
    colour("pause", 0xec_eff2, 0x22_2831),
    colour("alarm", 0xc6_2828, 0xff_7b72),
];

const fn colour(name: &'static str, light: u32, dark: u32) -> Colour {
    Colour { name, light, dark }
}

impl Ink {
    /// How it looks.
    pub(super) fn colour(self) -> &'static Colour {
        let place = match self {
            Self::Line(number) => number % COLOURS,
            Self::Text => COLOURS,
            Self::Faint => COLOURS + 1,
            Self::Grid => COLOURS + 2,
            Self::Pause => COLOURS + 3,
            Self::Alarm => COLOURS + 4,
        };
        &PALETTE[place]
    }
}

/// Where a text stands beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Something drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// A line through points.
    Line { points: Vec<(f32, f32)>, ink: Ink, width: f32, broken: bool },
    /// An area within points.
    Area { points: Vec<(f32, f32)>, ink: Ink, opacity: f32 },
    /// A text on its base line.
    Text { at: (f32, f32), text: String, ink: Ink, size: f32, anchor: Anchor, strong: bool },
}

/// A picture before its format.
pub(super) struct Scene {
    /// Its height; its width is [`WIDTH`].
    pub(super) height: f32,
    /// Its title.
    pub(super) title: String,
    /// What it shows, for who cannot see it.
    pub(super) description: String,
    /// What is drawn, from the back to the front.
    pub(super) shapes: Vec<Shape>,
}

impl Scene {
    /// Lays a plot out.
    pub(super) fn of(plot: &Plot) -> Self {
        let font = Font::open();
        let ticks = axis::amounts(plot.most(), 5);
        let top = ticks.last().copied().unwrap_or(1.0);
        let mut layout = Layout { plot, font, top, shapes: Vec::new() };
        layout.frame(&ticks);
        layout.pauses();
        for (number, series) in plot.series.iter().take(COLOURS).enumerate() {
            layout.band(number, series);
        }
        for (number, series) in plot.series.iter().take(COLOURS).enumerate().rev() {
            layout.line(number, series);
        }
        if let Some(outlook) = plot.outlook {
            layout.outlook(outlook);
        }
        let below = layout.marks();
        let below = below.max(layout.legend());
        Self {
            height: below + 24.0,
            title: plot.title.clone(),
            description: description(plot),
            shapes: layout.shapes,
        }
    }
}

fn description(plot: &Plot) -> String {
    let mut told =
        vec![format!("From {} to {}, in {}.", moment(plot.from_ms), moment(plot.to_ms), plot.unit)];
    for (number, series) in plot.series.iter().take(COLOURS).enumerate() {
        if let Some(Ends { first, last, least, most }) = Ends::of(plot, number) {
            let [first, last, least, most] = [first, last, least, most].map(amount);
            told.push(format!(
                "{}: {first} at first, {last} at last, between {least} and {most}.",
                series.name
            ));
        }
    }
    if let Some(Outlook { end, .. }) = plot.outlook {
        let at = |seconds: f64| moment(plot.to_ms.saturating_add((seconds * 1000.0) as u64));
        told.push(match end.latest_s {
            Some(latest) => format!("It ends between {} and {}.", at(end.earliest_s), at(latest)),
            None => format!("It ends not before {}.", at(end.earliest_s)),
        });
    }
    let pauses = plot
        .pauses
        .iter()
        .map(|(from, to)| format!("Nothing was recorded from {} to {}.", moment(*from), moment(*to)));
    told.extend(pauses);
    told.join(" ")
}

/// What a line comes from and goes to.
struct Ends {
    first: f64,
    last: f64,
    least: f64,
    most: f64,
}

impl Ends {
    fn of(plot: &Plot, number: usize) -> Option<Self> {
        let series = plot.series.get(number)?;
        Some(Self {
            first: series.points().next()?.mean,
            last: plot.last(number)?,
            least: series.points().map(|point| point.min).fold(f64::INFINITY, f64::min),
            most: super::most(series),
        })
    }
}

fn amount(value: f64) -> String {
    grouped(value.max(0.0).round() as u64)
}

struct Layout<'a> {
    plot: &'a Plot,
    font: Font,
    /// Where the axis of amounts ends.
    top: f64,
    shapes: Vec<Shape>,
}

impl Layout<'_> {
    fn x(&self, at_ms: u64) -> f32 {
        let over = self.plot.end_ms().saturating_sub(self.plot.from_ms).max(1) as f64;
        let part = at_ms.saturating_sub(self.plot.from_ms) as f64 / over;
        LEFT + (RIGHT - LEFT) * part.min(1.0) as f32
    }

    fn y(&self, value: f64) -> f32 {
        BOTTOM - HIGH * (value / self.top).clamp(0.0, 1.0) as f32
    }

    fn text(&mut self, at: (f32, f32), text: &str, (ink, size, anchor): (Ink, f32, Anchor)) {
        let text = self.font.shown(text);
        self.shapes.push(Shape::Text { at, text, ink, size, anchor, strong: size == LARGE });
    }

    fn stroke(&mut self, points: Vec<(f32, f32)>, ink: Ink, width: f32, broken: bool) {
        self.shapes.push(Shape::Line { points, ink, width, broken });
    }

    /// The title, the axes, the grid.
    fn frame(&mut self, ticks: &[f64]) {
        let plot = self.plot;
        let title = self.font.cut(&plot.title, LARGE, WIDTH - 48.0);
        self.text((24.0, 34.0), &title, (Ink::Text, LARGE, Anchor::Start));
        let span = format!("{}, {} to {}", plot.unit, moment(plot.from_ms), moment(plot.to_ms));
        self.text((24.0, 55.0), &span, (Ink::Faint, NORMAL, Anchor::Start));
        for tick in ticks {
            let y = self.y(*tick);
            let ink = if *tick == 0.0 { Ink::Faint } else { Ink::Grid };
            self.stroke(vec![(LEFT, y), (RIGHT, y)], ink, 1.0, false);
            self.text((LEFT - 10.0, y + 4.5), &amount(*tick), (Ink::Faint, NORMAL, Anchor::End));
        }
        for (at, label) in axis::times(plot.from_ms, plot.end_ms(), 8) {
            let x = self.x(at);
            self.stroke(vec![(x, BOTTOM), (x, BOTTOM + 6.0)], Ink::Faint, 1.0, false);
            self.text((x, BOTTOM + 22.0), &label, (Ink::Faint, NORMAL, Anchor::Middle));
        }
        self.text((24.0, BOTTOM + 22.0), "UTC", (Ink::Faint, NORMAL, Anchor::Start));
    }

    fn pauses(&mut self) {
        for (from, to) in &self.plot.pauses {
            let (from, to) = (self.x(*from), self.x(*to));
            let points = vec![(from, TOP), (to, TOP), (to, BOTTOM), (from, BOTTOM)];
            self.shapes.push(Shape::Area { points, ink: Ink::Pause, opacity: 1.0 });
        }
    }

    /// From the least to the most, where stretches have both.
    fn band(&mut self, number: usize, series: &Series) {
        let opacity = if self.plot.series.len() == 1 { 0.22 } else { 0.12 };
        for run in &series.runs {
            if run.iter().all(|point| point.min == point.max) {
                continue;
            }
            let edge = |value: fn(&portolan_core::series::Point) -> f64| {
                run.iter()
                    .flat_map(move |point| [(point.at_ms, value(point)), (point.end_ms(), value(point))])
            };
            let mut points: Vec<(f32, f32)> =
                edge(|p| p.max).map(|(at, v)| (self.x(at), self.y(v))).collect();
            let low: Vec<(f32, f32)> = edge(|p| p.min).map(|(at, v)| (self.x(at), self.y(v))).collect();
            points.extend(low.into_iter().rev());
            self.shapes.push(Shape::Area { points, ink: Ink::Line(number), opacity });
        }
    }

    /// The means. A stretch alone is a line of its own length.
    fn line(&mut self, number: usize, series: &Series) {
        for run in &series.runs {
            let middle = |point: &portolan_core::series::Point| {
                (self.x(point.at_ms + point.span_ms / 2), self.y(point.mean))
            };
            let points = match run.as_slice() {
                [alone] => {
                    let y = self.y(alone.mean);
                    let (from, to) = (self.x(alone.at_ms), self.x(alone.end_ms()));
                    vec![(from, y), (to.max(from + 2.0), y)]
                }
                run => run.iter().map(middle).collect(),
            };
            self.stroke(points, Ink::Line(number), 2.0, number >= COLOURS / 2);
        }
    }

    /// The way to the end, and what is known of when that is.
    fn outlook(&mut self, Outlook { series, now, end }: Outlook) {
        let (at, y) = (self.x(self.plot.to_ms), self.y(now));
        // Where the axis ends before the line does, the line ends with it.
        let reach = |seconds: f64| {
            let known = self.plot.end_ms().saturating_sub(self.plot.to_ms) as f64 / 1000.0;
            let part = (known / seconds.max(1.0)).min(1.0);
            let to = self.plot.to_ms.saturating_add((seconds.min(known) * 1000.0) as u64);
            (self.x(to), self.y(now * (1.0 - part)))
        };
        let likely = reach(end.likely_s);
        let cone = vec![(at, y), reach(end.earliest_s), reach(end.latest_s.unwrap_or(f64::MAX))];
        self.shapes.push(Shape::Area { points: cone, ink: Ink::Alarm, opacity: 0.2 });
        self.stroke(vec![(at, y), likely], Ink::Alarm, 2.0, true);
        self.stroke(vec![(at, TOP), (at, BOTTOM)], Ink::Faint, 1.0, true);
        if self.plot.series.get(series).is_some() {
            self.text((at + 6.0, TOP + 12.0), "foreseen", (Ink::Alarm, SMALL, Anchor::Start));
        }
    }

    /// What happened, with labels below the axis; where it ends.
    fn marks(&mut self) -> f32 {
        let mut below = BOTTOM + 30.0;
        let (plot, mut free) = (self.plot, LEFT);
        for (number, Mark { at_ms, .. }) in (1..).zip(&plot.marks) {
            let x = self.x(*at_ms);
            self.stroke(vec![(x, TOP), (x, BOTTOM)], Ink::Faint, 1.0, true);
            if number <= LABELS && x >= free {
                free = x + 16.0;
                self.text((x, TOP - 5.0), &number.to_string(), (Ink::Faint, SMALL, Anchor::Middle));
            }
        }
        for (number, Mark { at_ms, label }) in (1..=LABELS).zip(&plot.marks) {
            below += 17.0;
            let text = format!("{number}   {}   {label}", moment(*at_ms));
            let text = self.font.cut(&text, SMALL, WIDTH - LEFT - 24.0);
            self.text((LEFT, below), &text, (Ink::Faint, SMALL, Anchor::Start));
        }
        if plot.marks.len() > LABELS {
            below += 17.0;
            let more = format!("and {} more", plot.marks.len() - LABELS);
            self.text((LEFT, below), &more, (Ink::Faint, SMALL, Anchor::Start));
        }
        below
    }

    /// The names of the lines, and what shades mean; where it ends.
    fn legend(&mut self) -> f32 {
        let plot = self.plot;
        let mut y = TOP + 6.0;
        let limit = WIDTH - LEGEND - 34.0 - 16.0;
        for (number, series) in plot.series.iter().take(COLOURS).enumerate() {
            let broken = number >= COLOURS / 2;
            self.stroke(vec![(LEGEND, y), (LEGEND + 24.0, y)], Ink::Line(number), 3.0, broken);
            let name = self.font.cut(&series.name, NORMAL, limit);
            self.text((LEGEND + 34.0, y + 4.5), &name, (Ink::Text, NORMAL, Anchor::Start));
            if let Some(Ends { last, least, most, .. }) = Ends::of(plot, number) {
                let told = format!("{} at last, {} to {}", amount(last), amount(least), amount(most));
                let told = self.font.cut(&told, SMALL, limit);
                self.text((LEGEND + 34.0, y + 20.0), &told, (Ink::Faint, SMALL, Anchor::Start));
            }
            y += 42.0;
        }
        if plot.series.len() > COLOURS {
            let more = format!("and {} more, not drawn", plot.series.len() - COLOURS);
            self.text((LEGEND, y), &more, (Ink::Faint, SMALL, Anchor::Start));
            y += 20.0;
        }
        let shades = plot.series.iter().flat_map(Series::points).any(|point| point.min < point.max);
        for (ink, text, wanted) in [
            (Ink::Line(0), "from the least to the most", shades),
            (Ink::Pause, "nothing was recorded", !plot.pauses.is_empty()),
            (Ink::Alarm, "where it leads to (95 %)", plot.outlook.is_some()),
        ] {
            if wanted {
                let (left, right) = (LEGEND, LEGEND + 24.0);
                let points = vec![(left, y - 6.0), (right, y - 6.0), (right, y + 6.0), (left, y + 6.0)];
                let opacity = if ink == Ink::Pause { 1.0 } else { 0.22 };
                self.shapes.push(Shape::Area { points, ink, opacity });
                self.text((LEGEND + 34.0, y + 4.0), text, (Ink::Faint, SMALL, Anchor::Start));
                y += 22.0;
            }
        }
        y
    }
}
