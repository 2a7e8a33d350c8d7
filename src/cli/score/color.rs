//! Colours a text by the surprisal of its characters.

use std::fmt::Write as _;
use std::io::{BufWriter, IsTerminal, Write};

use crate::text::{is_control, visible};
use anyhow::Result;
use clap::ValueEnum;

use super::scored::Scored;
use crate::cli::output::{Stdout, note, stdout_as_is};

/// When to colour the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal that has colours, unless NO_COLOR is set.
    Auto,
    /// Always, also in files and pipes.
    Always,
    /// Never, even on a terminal.
    Never,
}

impl When {
    /// Whether to colour. If `auto` decides against it, prints the reason.
    pub fn paints(self) -> bool {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let why_not = match self {
            Self::Never => return false,
            Self::Auto if no_color => "NO_COLOR is set",
            Self::Auto if is_dumb => "the terminal is dumb",
            Self::Auto if !std::io::stdout().is_terminal() => "the output is not a terminal",
            Self::Auto | Self::Always => return true,
        };
        note!("not coloured: {why_not}; --color=always colours anyway");
        false
    }
}

/// Bits of the brightest colour: a probability of 1/256.
const BRIGHTEST: f64 = 8.0;
/// Colours from the darkest to the brightest.
const STEPS: usize = 32;
/// Samples of matplotlib's viridis (Smith & van der Walt 2015), whose lightness rises evenly.
const VIRIDIS: [[u8; 3]; 10] = [
    [68, 1, 84],
    [72, 40, 120],
    [62, 74, 137],
    [49, 104, 142],
    [38, 130, 142],
    [31, 158, 137],
    [53, 183, 121],
    [109, 205, 89],
    [180, 222, 44],
    [253, 231, 37],
];
const PLAIN: &str = "\x1b[0m";

/// Prints the coloured text to stdout, window by window, and at last a legend to stderr.
pub struct Painter {
    out: BufWriter<Stdout>,
    colors: Vec<String>,
    /// The colour in force.
    now: Option<usize>,
}

impl Painter {
    pub fn new() -> Self {
        let true_color = std::env::var("COLORTERM").is_ok_and(|v| v == "truecolor" || v == "24bit");
        Self {
            out: BufWriter::new(stdout_as_is()),
            colors: (0..=STEPS).map(|step| escape(step, true_color)).collect(),
            now: None,
        }
    }

    pub fn paint(&mut self, window: &Scored) -> Result<()> {
        let out = &mut self.out;
        for (glyph, bits) in window.bits() {
            let step = bits.map(step);
            if step != self.now {
                let color = step.map_or(PLAIN, |step| &self.colors[step]);
                out.write_all(color.as_bytes())?;
                self.now = step;
            }
            match glyph {
                // A line end is shown as a coloured space before it; colours end with the line.
                "\n" | "\r\n" => {
                    let space = if step.is_some() { " " } else { "" };
                    writeln!(out, "{space}{PLAIN}")?;
                    self.now = None;
                }
                "\t" => out.write_all(b"\t")?,
                // Control characters are made visible.
                control if control.chars().any(is_control) => {
                    out.write_all(visible(control).as_bytes())?;
                }
                glyph => out.write_all(glyph.as_bytes())?,
            }
        }
        Ok(())
    }

    pub fn end(mut self) -> Result<()> {
        writeln!(self.out, "{PLAIN}")?;
        self.out.flush()?;
        let mut legend = String::new();
        for bits in 0..=BRIGHTEST as usize {
            let more = if bits as f64 == BRIGHTEST { "+" } else { "" };
            let color = &self.colors[step(bits as f64)];
            let _ = write!(legend, "{color} {bits}{more} {PLAIN}");
        }
        // The colours are escape sequences, which a note would make visible.
        let _ = writeln!(std::io::stderr(), "bits: {legend}");
        Ok(())
    }
}

/// The index of the colour for so many bits, from 0 to [`STEPS`].
fn step(bits: f64) -> usize {
    (bits / BRIGHTEST * STEPS as f64)
        .round()
        .clamp(0.0, STEPS as f64) as usize
}

/// The escape sequence for a background colour, with letters that are legible on it.
fn escape(step: usize, true_color: bool) -> String {
    let [red, green, blue] = viridis(step as f64 / STEPS as f64);
    // The luminance weights of Rec. 709.
    let light =
        0.2126 * f64::from(red) + 0.7152 * f64::from(green) + 0.0722 * f64::from(blue) > 110.0;
    let letters = if light { 16 } else { 231 };
    if true_color {
        format!("\x1b[38;5;{letters};48;2;{red};{green};{blue}m")
    } else {
        let cube = 16 + 36 * level(red) + 6 * level(green) + level(blue);
        format!("\x1b[38;5;{letters};48;5;{cube}m")
    }
}

/// The colour at `place` on the scale, from 0 to 1.
fn viridis(place: f64) -> [u8; 3] {
    let place = place * (VIRIDIS.len() - 1) as f64;
    let index = (place as usize).min(VIRIDIS.len() - 2);
    let rest = place - index as f64;
    let mix = |channel: usize| {
        let [from, to] = [0, 1].map(|step| f64::from(VIRIDIS[index + step][channel]));
        (from + rest * (to - from)).round() as u8
    };
    [0, 1, 2].map(mix)
}

/// The nearest of the six levels of a 256-colour terminal.
fn level(value: u8) -> usize {
    match value {
        0..48 => 0, // of 0, 95, 135, 175, 215 and 255
        48..116 => 1,
        _ => (usize::from(value) - 36) / 40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_from_dark_to_bright() {
        assert_eq!(viridis(0.0), VIRIDIS[0]);
        assert_eq!(viridis(1.0), VIRIDIS[9]);
        assert_eq!([-1.0, 0.0, 4.0, 8.0, 99.0].map(step), [0, 0, 16, 32, 32]);
        let green: Vec<u8> = (0..=STEPS)
            .map(|step| viridis(step as f64 / STEPS as f64)[1])
            .collect();
        assert!(green.is_sorted(), "{green:?}");
    }

    #[test]
    fn letters_are_bright_on_dark_and_dark_on_bright() {
        assert_eq!(escape(0, true), "\x1b[38;5;231;48;2;68;1;84m");
        assert_eq!(escape(STEPS, true), "\x1b[38;5;16;48;2;253;231;37m");
        assert_eq!(escape(STEPS, false), "\x1b[38;5;16;48;5;220m");
    }
}
