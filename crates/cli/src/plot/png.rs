//! A plot as PNG, drawn by tiny-skia on white paper, with twice as many pixels as the layout has units: it is sharp on
//! screens of today and in print.

use tiny_skia::{Color, FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash, Transform};
use ttf_parser::OutlineBuilder;

use super::Plot;
use super::font::Font;
use super::scene::{Anchor, Ink, Scene, Shape, WIDTH};

/// Pixels for each unit of the layout.
const SCALE: f32 = 2.0;

/// The picture.
pub(super) fn write(plot: &Plot) -> Vec<u8> {
    let scene = Scene::of(plot);
    let Some(mut pixels) = Pixmap::new((WIDTH * SCALE) as u32, (scene.height * SCALE) as u32) else {
        return Vec::new();
    };
    pixels.fill(Color::WHITE);
    let font = Font::open();
    for shape in &scene.shapes {
        draw(shape, &font, &mut pixels);
    }
    encode(&pixels, &scene)
}

/// Without transparency: the paper is everywhere.
fn encode(pixels: &Pixmap, scene: &Scene) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, pixels.width(), pixels.height());
    encoder.set_color(png::ColorType::Rgb);
    // PNG's text is Latin-1 or, in iTXt, UTF-8.
    let described = encoder
        .add_itxt_chunk("Title".to_owned(), scene.title.clone())
        .and_then(|()| encoder.add_itxt_chunk("Description".to_owned(), scene.description.clone()));
    let rgb: Vec<u8> =
        pixels.pixels().iter().flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
    let written =
        described.and_then(|()| encoder.write_header()).and_then(|mut writer| writer.write_image_data(&rgb));
    // Writing to a Vec cannot fail, and the picture has as many pixels as it says.
    debug_assert!(written.is_ok(), "{written:?}");
    out
}

fn paint(ink: Ink, opacity: f32) -> Paint<'static> {
    let [_, red, green, blue] = ink.colour().light.to_be_bytes();
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, (opacity * 255.0) as u8);
    paint
}

fn path(points: &[(f32, f32)], closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (place, (x, y)) in points.iter().enumerate() {
        match place {
            0 => builder.move_to(*x, *y),
            _ => builder.line_to(*x, *y),
        }
    }
    if closed {
        builder.close();
    }
    builder.finish()
}

fn draw(shape: &Shape, font: &Font, pixels: &mut Pixmap) {
    let scaled = Transform::from_scale(SCALE, SCALE);
    match shape {
        Shape::Line { points, ink, width, broken } => {
            let dash = if *broken { StrokeDash::new(vec![6.0, 4.0], 0.0) } else { None };
            let stroke = Stroke { width: *width, dash, line_join: LineJoin::Round, ..Stroke::default() };
            if let Some(path) = path(points, false) {
                pixels.stroke_path(&path, &paint(*ink, 1.0), &stroke, scaled, None);
            }
        }
        Shape::Area { points, ink, opacity } => {
            if let Some(path) = path(points, true) {
                pixels.fill_path(&path, &paint(*ink, *opacity), FillRule::Winding, scaled, None);
            }
        }
        Shape::Text { at: (x, y), text, ink, size, anchor, strong } => {
            let left = match anchor {
                Anchor::Start => *x,
                Anchor::Middle => x - font.width(text, *size) / 2.0,
                Anchor::End => x - font.width(text, *size),
            };
            let (paint, scale) = (paint(*ink, 1.0), font.outline_scale(*size));
            // There is no bold font: what is strong gets a thin line around.
            let bold = Stroke { width: 0.6 / scale, line_join: LineJoin::Round, ..Stroke::default() };
            font.outline(text, *size, |right, trace| {
                let mut outline = Outline(PathBuilder::new());
                trace(&mut outline);
                let Some(path) = outline.0.finish() else { return };
                let place =
                    Transform::from_row(scale, 0.0, 0.0, -scale, left + right, *y).post_concat(scaled);
                pixels.fill_path(&path, &paint, FillRule::Winding, place, None);
                if *strong {
                    pixels.stroke_path(&path, &paint, &bold, place, None);
                }
            });
        }
    }
}

/// A glyph's outline as a path.
struct Outline(PathBuilder);

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        self.0.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.0.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.0.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.0.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.0.close();
    }
}
