//! The font of pictures: a Latin part of DejaVu Sans (LICENSE-DEJAVU), built in, so that a picture is the same
//! on every machine. Left out on purpose: kerning, right-to-left scripts; what the font does not have is told by its
//! number, as in `output`.

use ttf_parser::{Face, OutlineBuilder};

static DATA: &[u8] = include_bytes!("DejaVuSans-Latin.ttf");

/// The font, open.
pub(super) struct Font(Face<'static>);

impl Font {
    /// Opens the font that is built in.
    pub(super) fn open() -> Self {
        Self(Face::parse(DATA, 0).expect("the font is built in and tested"))
    }

    fn scale(&self, size: f32) -> f32 {
        size / f32::from(self.0.units_per_em())
    }

    /// Text that the font has every character of.
    pub(super) fn shown(&self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        for character in crate::text::harmless(text).chars() {
            match self.0.glyph_index(character) {
                Some(_) => shown.push(character),
                None => shown.extend(character.escape_unicode()),
            }
        }
        shown
    }

    /// How wide a text is.
    pub(super) fn width(&self, text: &str, size: f32) -> f32 {
        let glyphs = text.chars().filter_map(|character| self.0.glyph_index(character));
        let units: u32 = glyphs.map(|glyph| u32::from(self.0.glyph_hor_advance(glyph).unwrap_or(0))).sum();
        units as f32 * self.scale(size)
    }

    /// A text cut to a width, with an ellipsis where it was cut.
    pub(super) fn cut(&self, text: &str, size: f32, limit: f32) -> String {
        let text = self.shown(text);
        if self.width(&text, size) <= limit {
            return text;
        }
        let ends = text.char_indices().map(|(end, _)| format!("{}…", &text[..end]));
        ends.take_while(|cut| self.width(cut, size) <= limit).last().unwrap_or_default()
    }

    /// Draws the outline of each character, from the left, on the base line at 0: `place` gets the way of each one to the
    /// right and makes what it is drawn with.
    pub(super) fn outline(
        &self,
        text: &str,
        size: f32,
        mut draw: impl FnMut(f32, &dyn Fn(&mut dyn OutlineBuilder)),
    ) {
        let scale = self.scale(size);
        let mut right = 0.0;
        for glyph in text.chars().filter_map(|character| self.0.glyph_index(character)) {
            draw(right, &|builder| {
                // A blank has no outline.
                let _ = self.0.outline_glyph(glyph, builder);
            });
            right += f32::from(self.0.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
        }
    }

    /// By how much outlines are scaled for a size.
    pub(super) fn outline_scale(&self, size: f32) -> f32 {
        self.scale(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_what_is_written_and_tells_the_rest_by_number() {
        let font = Font::open();
        let plain = "Room left: 28,232 ports … é ž →";
        assert_eq!(font.shown(plain), plain);
        assert_eq!(font.shown("名\u{1b}[2J"), "\\u{540d}\\u{1b}[2J");
    }

    #[test]
    fn a_cut_text_fits_and_says_that_it_was_cut() {
        let font = Font::open();
        let cut = font.cut("a-service-with-a-long-name.service", 12.0, 100.0);
        assert!(font.width(&cut, 12.0) <= 100.0 && cut.starts_with("a-serv") && cut.ends_with('…'), "{cut}");
        assert_eq!(font.cut("short", 12.0, 100.0), "short");
    }
}
