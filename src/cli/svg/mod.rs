//! Common parts of the SVG pictures. Colours have medium brightness and there is no background, so
//! that the pictures are legible on light and dark pages.

mod axis;
mod plot;

use unicode_width::UnicodeWidthChar as _;

use crate::text::legible;

pub use self::axis::Axis;
pub use self::plot::Plot;

/// Size of letters, in pixels.
pub const FONT: f64 = 12.0;
/// Size of the letters of secondary labels, in pixels.
pub const SMALL: f64 = 11.0;
/// Colours of groups, each with a contrast of about 4.5 to both white and black.
pub const COLORS: [&str; 8] = [
    "#3f78d6", "#12868c", "#2f8a3e", "#8a7a00", "#c2660a", "#d8473f", "#cc4294", "#8f5fd6",
];
/// The default colour.
pub const GREY: &str = "#7d7d7d";

/// The start of every picture, up to its size.
const START: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 "#;
/// The text between a picture's size and its title.
const AFTER_SIZE: &str = "font-family=\"Helvetica, Arial, sans-serif\">\n<title>";

/// Whether a file that starts with these bytes is a picture of textgen.
pub fn is_ours(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    head.starts_with(START) && head.contains(AFTER_SIZE)
}

/// The start of a picture of this size in pixels, with its title `margin` from the left. The caller
/// ends the picture with `</svg>`.
pub fn opened([width, height]: [f64; 2], margin: f64, title: &str) -> String {
    let title = escaped(title);
    format!(
        r#"{START}{width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" {AFTER_SIZE}{title}</title>
<text x="{margin}" y="24" font-size="15" fill="{GREY}">{title}</text>
"#
    )
}

pub fn dot([x, y]: [f64; 2], radius: f64, color: &str) -> String {
    format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{color}"/>"#)
}

/// Estimates the width of a word in pixels; viewers choose the font.
pub fn width(word: &str, size: f64) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | '\'' | '|' => 0.26,
        'f' | 't' | 'r' | ' ' | '-' => 0.36,
        'm' | 'w' | 'M' | 'W' => 0.86,
        _ if c.width() != Some(1) => c.width().unwrap_or(0) as f64 / 2.0,
        _ if c.is_uppercase() => 0.72,
        _ => 0.57,
    };
    size * word.chars().map(em).sum::<f64>() + 2.0
}

/// Text of any origin for XML and HTML: escaped, with control characters and characters that turn a line around made
/// visible.
pub fn escaped(text: &str) -> String {
    let text = legible(text);
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => escaped.push('\u{FFFD}'),
            '\r' => {} // of a line end
            _ => escaped.push(c),
        }
    }
    escaped
}
