//! The map of words as SVG.

use std::fmt::Write;

use super::groups::Group;
use super::occupied::{Area, Occupied};
use crate::cli::svg::{FONT, GREY, SMALL, dot, escaped, opened, width};

/// The plot's width, and its least and greatest height, in pixels.
const WIDTH: f64 = 1000.0;
const HEIGHTS: [f64; 2] = [560.0, 1000.0];
/// Margins around the plot, in pixels; title and legend are above it.
const MARGIN: f64 = 24.0;
const HEAD: f64 = 56.0;
const RADIUS: f64 = 3.0;

/// The kind of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A word, in the colour of its group.
    Word(usize),
    /// A word decoded at a point of a grid.
    Grid,
    /// A point sampled from the prior, with the word decoded there.
    Sample,
}

/// A mark at a point of the latent space, in two dimensions.
pub struct Mark {
    pub kind: Kind,
    pub word: String,
    pub label: String,
    pub at: [f64; 2],
}

/// The contents of a picture.
pub struct Picture<'a> {
    pub title: String,
    /// The names of the axes: across, then up.
    pub axes: [String; 2],
    pub marks: &'a [Mark],
    /// The groups of the words, for the legend.
    pub groups: &'a [Group],
    /// Both axes run from −limit to limit; if `None`, they span the marks.
    pub limit: Option<f64>,
}

/// Maps latent coordinates to pixels, with the same scale on both axes.
struct Scale {
    /// The latent coordinates of the centre of the plot.
    middle: [f64; 2],
    pixels: f64,
    height: f64,
}

impl Scale {
    fn new(picture: &Picture) -> Self {
        if let Some(limit) = picture.limit {
            return Self {
                middle: [0.0; 2],
                pixels: WIDTH / (2.0 * limit),
                height: WIDTH,
            };
        }
        let extent = |axis: usize| {
            let places = picture.marks.iter().map(|mark| mark.at[axis]);
            let least = places.clone().fold(f64::INFINITY, f64::min);
            let most = places.fold(f64::NEG_INFINITY, f64::max);
            (f64::midpoint(least, most), most - least)
        };
        let ((x, across), (y, up)) = (extent(0), extent(1));
        // Space for a word beside a mark at the edge.
        let (wide, edge) = (WIDTH - 120.0, 60.0);
        let most = HEIGHTS[1] - edge;
        let pixels = (wide / across).min(most / up);
        let pixels = if pixels.is_finite() { pixels } else { 1.0 };
        Self {
            middle: [x, y],
            pixels,
            height: (up * pixels + edge).clamp(HEIGHTS[0], HEIGHTS[1]),
        }
    }

    /// Pixels from the left and from the top of the plot.
    fn pixel(&self, at: [f64; 2]) -> [f64; 2] {
        let from_middle = |axis: usize| (at[axis] - self.middle[axis]) * self.pixels;
        [
            WIDTH / 2.0 + from_middle(0),
            self.height / 2.0 - from_middle(1),
        ]
    }
}

/// The labels on the plot, and its occupied parts.
struct Letters {
    occupied: Occupied,
    svg: String,
}

impl Letters {
    /// Writes a word beside a mark, on whichever side is free, or not at all.
    fn beside(&mut self, [x, y]: [f64; 2], word: &str, size: f64, style: &str) {
        let (width, off) = (width(word, size), RADIUS + 2.0);
        let sides = [
            (x + off, y - size / 2.0),
            (x - off - width, y - size / 2.0),
            (x - width / 2.0, y - off - size),
            (x - width / 2.0, y + off),
        ];
        for (left, top) in sides {
            let area = Area {
                left,
                top,
                width,
                height: size,
            };
            if self.occupied.take_if_free(area) {
                self.write([left + width / 2.0, top + size / 2.0], word, size, style);
                return;
            }
        }
    }

    /// Writes a word centred at a point, if the space is free.
    fn over(&mut self, [x, y]: [f64; 2], word: &str, size: f64, style: &str) {
        let width = width(word, size);
        let area = Area {
            left: x - width / 2.0,
            top: y - size / 2.0,
            width,
            height: size,
        };
        if self.occupied.take_if_free(area) {
            self.write([x, y], word, size, style);
        }
    }

    fn write(&mut self, [x, y]: [f64; 2], word: &str, size: f64, style: &str) {
        let (y, word) = (y + 0.36 * size, escaped(word));
        let _ = writeln!(
            self.svg,
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="middle" {style}>{word}</text>"#
        );
    }
}

impl Picture<'_> {
    /// Renders the picture as an SVG document.
    pub fn svg(&self) -> String {
        let scale = Scale::new(self);
        let (width, height) = (WIDTH + 2.0 * MARGIN, scale.height + HEAD + 2.0 * MARGIN);
        let mut svg = opened([width, height], MARGIN, &self.title);
        self.legend(&mut svg);
        let _ = writeln!(svg, r#"<g transform="translate({MARGIN},{HEAD})">"#);
        self.frame(&scale, &mut svg);
        self.marks(&scale, &mut svg);
        svg.push_str("</g>\n</svg>\n");
        svg
    }

    /// The legend: colours and signs on one line.
    fn legend(&self, svg: &mut String) {
        let mut x = MARGIN;
        let mut entry = |sign: &dyn Fn(f64) -> String, name: &str| {
            let (text, at) = (escaped(name), x + 9.0);
            let _ = writeln!(
                svg,
                r#"{}<text x="{at:.1}" y="46" font-size="{FONT}" fill="{GREY}">{text}</text>"#,
                sign(x)
            );
            x += width(name, FONT) + 28.0;
        };
        for Group { name, color } in self.groups {
            entry(&|x| dot([x, 42.0], RADIUS, color), name);
        }
        if self.limit.is_some() {
            entry(&|x| cross([x, 42.0]), "sampled from the prior");
            entry(&|_| String::new(), "grey words: decoded over a grid");
        }
    }

    /// The border, the names of the axes, and the lines through zero on a plane.
    fn frame(&self, scale: &Scale, svg: &mut String) {
        let height = scale.height;
        let _ = writeln!(
            svg,
            r#"<rect width="{WIDTH}" height="{height:.1}" fill="none" stroke="{GREY}" stroke-opacity="0.4"/>"#
        );
        let [across, up] = self.axes.each_ref().map(|name| escaped(name));
        let (middle, below) = (height / 2.0, height + 16.0);
        let _ = writeln!(
            svg,
            r#"<text x="{}" y="{below:.1}" font-size="{FONT}" text-anchor="middle" fill="{GREY}">{across}</text>"#,
            WIDTH / 2.0
        );
        let _ = writeln!(
            svg,
            r#"<text transform="translate(-8,{middle:.1}) rotate(-90)" font-size="{FONT}" text-anchor="middle" fill="{GREY}">{up}</text>"#
        );
        if self.limit.is_some() {
            let [x, y] = scale.pixel([0.0, 0.0]);
            let _ = writeln!(
                svg,
                r#"<path d="M0 {y:.1}H{WIDTH}M{x:.1} 0V{height:.1}" stroke="{GREY}" stroke-opacity="0.3"/>"#
            );
        }
    }

    /// Signs first, then words in free space: over a grid, beside words' signs, beside samples.
    fn marks(&self, scale: &Scale, svg: &mut String) {
        let inside = |&(_, [x, y]): &(&Mark, [f64; 2])| {
            (0.0..=WIDTH).contains(&x) && (0.0..=scale.height).contains(&y)
        };
        let marks: Vec<(&Mark, [f64; 2])> = self
            .marks
            .iter()
            .map(|mark| (mark, scale.pixel(mark.at)))
            .filter(inside)
            .collect();
        let mut letters = Letters {
            occupied: Occupied::new(WIDTH, scale.height),
            svg: String::new(),
        };
        for &(mark, [x, y]) in &marks {
            let sign = match mark.kind {
                Kind::Word(group) => dot([x, y], RADIUS, self.groups[group].color),
                Kind::Sample => cross([x, y]),
                Kind::Grid => continue,
            };
            let _ = writeln!(svg, "{sign}");
            letters.occupied.take(Area {
                left: x - RADIUS,
                top: y - RADIUS,
                width: 2.0 * RADIUS,
                height: 2.0 * RADIUS,
            });
        }
        let grey = format!(r#"fill="{GREY}" fill-opacity="0.8""#);
        for (mark, at) in &marks {
            if mark.kind == Kind::Grid {
                letters.over(*at, &mark.word, SMALL, &grey);
            }
        }
        for &(mark, at) in &marks {
            match mark.kind {
                Kind::Word(group) => {
                    let style = format!(r#"fill="{}""#, self.groups[group].color);
                    letters.beside(at, &mark.word, FONT, &style);
                }
                Kind::Sample => {
                    let style = format!(r#"fill="{GREY}" font-style="italic""#);
                    letters.beside(at, &mark.word, SMALL, &style);
                }
                Kind::Grid => (),
            }
        }
        svg.push_str(&letters.svg);
    }
}

fn cross([x, y]: [f64; 2]) -> String {
    format!(
        r#"<path d="M{:.1} {:.1}l6 6m0 -6l-6 6" stroke="{GREY}" stroke-width="1.5"/>"#,
        x - 3.0,
        y - 3.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(count: usize) -> Vec<Mark> {
        let mark = |i: usize| Mark {
            kind: Kind::Word(i % 3),
            word: format!("word{i}"),
            label: String::new(),
            at: [(i * 37 % 101) as f64, (i * 61 % 103) as f64],
        };
        (0..count).map(mark).collect()
    }

    fn rendered(marks: &[Mark]) -> String {
        let groups = ["red", "green", "blue"].map(|color| Group {
            name: color.to_owned(),
            color,
        });
        Picture {
            title: "a <title> & more".to_owned(),
            axes: ["across".to_owned(), "up".to_owned()],
            marks,
            groups: &groups,
            limit: None,
        }
        .svg()
    }

    #[test]
    fn every_word_is_a_dot_and_some_have_room_for_their_letters() {
        let few = rendered(&marks(20));
        assert_eq!(few.matches("<circle").count(), 20 + 3);
        assert_eq!(few.matches(">word").count(), 20);
        let many = rendered(&marks(5000));
        assert_eq!(many.matches("<circle").count(), 5000 + 3);
        let written = many.matches(">word").count();
        assert!(written < 5000, "{written}");
    }

    #[test]
    fn a_picture_of_one_place_is_a_picture() {
        let svg = rendered(&marks(1));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn text_cannot_end_the_element_it_stands_in() {
        let mut all = marks(2);
        all[0].word = "</text><script>&\"\u{1}\u{FFFF}".to_owned();
        let svg = rendered(&all);
        assert!(svg.contains("a &lt;title&gt; &amp; more"));
        assert!(svg.contains("&lt;/text&gt;&lt;script&gt;&amp;&quot;\\u{1}\u{FFFD}"));
        assert!(!svg.contains("<script>"));
    }
}
