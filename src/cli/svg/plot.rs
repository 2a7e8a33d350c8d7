//! A plot: two axes with round numbers, and what is drawn between them.

use std::fmt::Write as _;

use super::{Axis, FONT, GREY, escaped, width};

/// The most steps of an axis, about, and the pixels that one takes at least.
const STEPS: f64 = 8.0;
const STEP: [f64; 2] = [60.0, 24.0];

/// A plot of this size in pixels, without its margins. Its upper left corner is the origin.
pub struct Plot {
    pub size: [f64; 2],
    pub across: Axis,
    pub up: Axis,
}

/// The steps of an axis: across, or up.
fn steps(size: [f64; 2], axis: usize) -> f64 {
    (size[axis] / STEP[axis]).min(STEPS)
}

impl Plot {
    /// A plot that shows these numbers, from the least to the most, in both directions.
    pub fn new(size: [f64; 2], across: [f64; 2], up: [f64; 2]) -> Self {
        let axis = |at, [least, most]: [f64; 2]| Axis::new(least, most, steps(size, at));
        Self {
            size,
            across: axis(0, across),
            up: axis(1, up),
        }
    }

    /// Pixels from the left and from the top.
    pub fn pixel(&self, [across, up]: [f64; 2]) -> [f64; 2] {
        [
            self.across.fraction(across) * self.size[0],
            (1.0 - self.up.fraction(up)) * self.size[1],
        ]
    }

    /// The border, the numbers and the names of the axes.
    pub fn frame(&self, svg: &mut String, [name_across, name_up]: [&str; 2]) {
        let [across, up] = self.size;
        let _ = writeln!(
            svg,
            r#"<rect width="{across}" height="{up}" fill="none" stroke="{GREY}" stroke-opacity="0.4"/>"#
        );
        for tick in self.across.ticks() {
            let [x, _] = self.pixel([tick, self.up.from]);
            let _ = writeln!(
                svg,
                r#"<path d="M{x:.1} {up}v5" stroke="{GREY}"/><text x="{x:.1}" y="{:.1}" font-size="{FONT}" text-anchor="middle" fill="{GREY}">{}</text>"#,
                up + 18.0,
                self.across.label(tick)
            );
        }
        let mut widest: f64 = 0.0;
        for tick in self.up.ticks() {
            let [_, y] = self.pixel([self.across.from, tick]);
            let label = self.up.label(tick);
            widest = widest.max(width(&label, FONT));
            let _ = writeln!(
                svg,
                r#"<path d="M0 {y:.1}h-5" stroke="{GREY}"/><text x="-9" y="{:.1}" font-size="{FONT}" text-anchor="end" fill="{GREY}">{label}</text>"#,
                y + 0.36 * FONT,
            );
        }
        let (x, y, below, left) = (across / 2.0, up / 2.0, up + 40.0, -widest - 18.0);
        let [name_across, name_up] = [name_across, name_up].map(escaped);
        let _ = writeln!(
            svg,
            r#"<text x="{x}" y="{below}" font-size="{FONT}" text-anchor="middle" fill="{GREY}">{name_across}</text>
<text transform="translate({left:.1},{y}) rotate(-90)" font-size="{FONT}" text-anchor="middle" fill="{GREY}">{name_up}</text>"#
        );
    }

    /// A second axis on the right, with the numbers of the left one times `factor`.
    pub fn right(&self, svg: &mut String, factor: f64, name: &str) {
        let [across, up] = self.size;
        let [from, to] = [self.up.from, self.up.to].map(|number| number * factor);
        let axis = Axis::new(from, to, steps(self.size, 1));
        let mut widest: f64 = 0.0;
        let slack = 1e-9 * (to - from);
        let shown = |tick: &f64| (from - slack..=to + slack).contains(tick);
        for tick in axis.ticks().into_iter().filter(shown) {
            let [_, y] = self.pixel([self.across.from, tick / factor]);
            let label = axis.label(tick);
            widest = widest.max(width(&label, FONT));
            let _ = writeln!(
                svg,
                r#"<path d="M{across} {y:.1}h5" stroke="{GREY}"/><text x="{}" y="{:.1}" font-size="{FONT}" fill="{GREY}">{label}</text>"#,
                across + 9.0,
                y + 0.36 * FONT,
            );
        }
        let (x, y) = (across + widest + 18.0, up / 2.0);
        let _ = writeln!(
            svg,
            r#"<text transform="translate({x:.1},{y}) rotate(90)" font-size="{FONT}" text-anchor="middle" fill="{GREY}">{}</text>"#,
            escaped(name)
        );
    }

    /// A line through points, in order.
    pub fn line(&self, svg: &mut String, points: &[[f64; 2]], color: &str) {
        let place = |&point: &[f64; 2]| {
            let [x, y] = self.pixel(point);
            format!("{x:.1},{y:.1}")
        };
        let places: Vec<String> = points.iter().map(place).collect();
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="1.5"/>"#,
            places.join(" ")
        );
    }

    /// A dashed line at one height, with its name at the right end. One above the plot is at its upper edge, with an
    /// arrow.
    pub fn level(&self, svg: &mut String, height: f64, name: &str, color: &str) {
        let [across, _] = self.size;
        let is_above = height > self.up.to;
        let [_, y] = self.pixel([self.across.from, height.min(self.up.to)]);
        let name = format!("{}{}", escaped(name), if is_above { " ↑" } else { "" });
        // Below the line if there is no space above.
        let text = if y < 20.0 { y + 16.0 } else { y - 6.0 };
        let _ = writeln!(
            svg,
            r#"<path d="M0 {y:.1}h{across}" stroke="{color}" stroke-dasharray="8 4"/>
<text x="{}" y="{text:.1}" font-size="{FONT}" text-anchor="end" fill="{color}">{name}</text>"#,
            across - 8.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        Plot::new([100.0, 250.0], [0.0, 7_000.0], [1.23, 3.9])
    }

    #[test]
    fn a_place_on_the_plot_is_where_its_axes_say() {
        let plot = plot();
        let [from, to] = [plot.across.from, plot.across.to];
        assert_eq!(plot.pixel([from, plot.up.from]), [0.0, 250.0]);
        assert_eq!(plot.pixel([to, plot.up.to]), [100.0, 0.0]);
    }

    #[test]
    fn the_right_axis_has_round_numbers_at_the_same_heights() {
        let (plot, mut svg) = (plot(), String::new());
        plot.right(&mut svg, 1.0 / std::f64::consts::LN_2, "bits");
        let [_, y] = plot.pixel([0.0, 2.0 * std::f64::consts::LN_2]);
        let label = format!(
            r#"y="{:.1}" font-size="{FONT}" fill="{GREY}">2<"#,
            y + 0.36 * FONT
        );
        assert!(svg.contains(&label), "{svg}");
    }

    #[test]
    fn a_level_above_the_plot_is_at_its_edge() {
        let (plot, mut svg) = (plot(), String::new());
        plot.level(&mut svg, 9.0, "far", GREY);
        assert!(
            svg.contains("M0 0.0h100") && svg.contains(">far ↑<"),
            "{svg}"
        );
    }
}
