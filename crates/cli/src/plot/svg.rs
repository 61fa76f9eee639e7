//! A plot as SVG 1.1 (W3C), legible in light and dark: colours stand in classes, and dark surroundings have their own.
//!
//! Text is escaped, and has no characters that XML 1.0 forbids: they are shown by their numbers before they come here.

use std::fmt::Write as _;

use super::Plot;
use super::scene::{Anchor, Colour, PALETTE, Scene, Shape, WIDTH};

/// Colours for light and for dark surroundings. What has no lines or no area is told last, since it holds for both.
fn style() -> String {
    let rules = |colour: fn(&Colour) -> u32, paper: u32| {
        let rule = |ink: &Colour| format!(".{}{{fill:#{1:06x};stroke:#{1:06x}}}", ink.name, colour(ink));
        format!(".paper{{fill:#{paper:06x}}}{}", PALETTE.iter().map(rule).collect::<String>())
    };
    let (light, dark) = (rules(|ink| ink.light, 0xff_ffff), rules(|ink| ink.dark, 0x15_191f));
    format!(
        "text{{font-family:'DejaVu Sans',Verdana,sans-serif}}\n{light}\n\
         @media (prefers-color-scheme:dark){{{dark}}}\n.label,.area{{stroke:none}}.line{{fill:none}}"
    )
}

/// The picture.
pub(super) fn write(plot: &Plot) -> Vec<u8> {
    let scene = Scene::of(plot);
    let height = scene.height;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title description\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"description\">{}</desc>\n<style>{}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n",
        escaped(&scene.title),
        escaped(&scene.description),
        style(),
    );
    for shape in &scene.shapes {
        element(shape, &mut out);
    }
    out.push_str("</svg>\n");
    out.into_bytes()
}

fn element(shape: &Shape, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = match shape {
        Shape::Line { points, ink, width, broken } => {
            let dashes = if *broken { " stroke-dasharray=\"6 4\"" } else { "" };
            writeln!(
                out,
                "<polyline class=\"{} line\" stroke-width=\"{width}\" stroke-linejoin=\"round\"{dashes} points=\"{}\"/>",
                ink.colour().name,
                listed(points)
            )
        }
        Shape::Area { points, ink, opacity } => writeln!(
            out,
            "<polygon class=\"{} area\" fill-opacity=\"{opacity}\" points=\"{}\"/>",
            ink.colour().name,
            listed(points)
        ),
        Shape::Text { at: (x, y), text, ink, size, anchor, strong } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let weight = if *strong { " font-weight=\"bold\"" } else { "" };
            writeln!(
                out,
                "<text class=\"{} label\" x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\"{weight}>{}</text>",
                ink.colour().name,
                escaped(text)
            )
        }
    };
}

fn listed(points: &[(f32, f32)]) -> String {
    let mut list = String::with_capacity(points.len() * 12);
    for (x, y) in points {
        // Writing to a String cannot fail.
        let _ = write!(list, "{}{x:.1},{y:.1}", if list.is_empty() { "" } else { " " });
    }
    list
}

/// Text between tags (XML 1.0, 2.4), without what XML has no place for (2.2).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in crate::text::harmless(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
