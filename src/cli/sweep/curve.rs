//! The rate–distortion curve as a picture.

use std::fmt::Write;

use super::axis::Axis;
use crate::cli::svg::{COLORS, FONT, GREY, SMALL, dot, escaped, opened, width};

/// Size of the plot and its margins in pixels: left, top, right, bottom.
const PLOT: [f64; 2] = [720.0, 460.0];
const ROOM: [f64; 4] = [64.0, 60.0, 40.0, 52.0];
/// The approximate number of steps of an axis, and of lines of constant D + R.
const STEPS: f64 = 8.0;
const SUMS: f64 = 12.0;
const RADIUS: f64 = 4.0;

/// A model on the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The target rate, in nats per word.
    pub wanted: f64,
    /// The rate R, in nats per word.
    pub rate: f64,
    /// The distortion D, in nats per word.
    pub distortion: f64,
}

/// The contents of a picture.
pub struct Curve {
    pub title: String,
    pub points: Vec<Point>,
    /// The cost of words under the no-latent baseline, in nats per word.
    pub baseline: Option<f64>,
}

/// The axes of the rate R (across) and the distortion D (up).
struct Scale {
    across: Axis,
    up: Axis,
}

impl Scale {
    fn new(curve: &Curve) -> Self {
        let rates = curve.points.iter().map(|point| point.rate);
        let costs = curve.points.iter().map(|point| point.distortion);
        let costs = costs.chain(curve.baseline);
        let least = costs.clone().fold(f64::INFINITY, f64::min);
        let most = costs.fold(f64::NEG_INFINITY, f64::max);
        Self {
            across: Axis::new(0.0, rates.fold(0.0, f64::max), STEPS),
            up: Axis::new(least, most, STEPS),
        }
    }

    /// Pixels from the left and from the top of the plot.
    fn pixel(&self, rate: f64, distortion: f64) -> [f64; 2] {
        [
            self.across.fraction(rate) * PLOT[0],
            (1.0 - self.up.fraction(distortion)) * PLOT[1],
        ]
    }

    /// The ends of the line D + R = `sum` where it crosses the plot: (R, D), the lower R first.
    fn line(&self, sum: f64) -> Option<[[f64; 2]; 2]> {
        let least = self.across.from.max(sum - self.up.to);
        let most = self.across.to.min(sum - self.up.from);
        (least < most).then(|| [least, most].map(|rate| [rate, sum - rate]))
    }

    /// The round sums D + R whose lines cross the plot.
    fn sums(&self) -> Axis {
        Axis::new(
            self.across.from + self.up.from,
            self.across.to + self.up.to,
            SUMS,
        )
    }
}

impl Curve {
    /// Renders the picture as an SVG document.
    pub fn svg(&self) -> String {
        let scale = Scale::new(self);
        let [left, above, right, below] = ROOM;
        let size = [PLOT[0] + left + right, PLOT[1] + above + below];
        let mut svg = opened(size, left, &self.title);
        let _ = writeln!(
            svg,
            r#"<text x="{left}" y="46" font-size="{FONT}" fill="{GREY}">Beside a point: the target rate. Grey lines: constant −ELBO = D + R, nats per word.</text>
<g transform="translate({left},{above})">"#
        );
        Self::sums(&scale, &mut svg);
        Self::axes(&scale, &mut svg);
        self.baseline(&scale, &mut svg);
        self.points(&scale, &mut svg);
        svg.push_str("</g>\n</svg>\n");
        svg
    }

    /// The lines of constant −ELBO.
    fn sums(scale: &Scale, svg: &mut String) {
        let sums = scale.sums();
        for sum in sums.ticks() {
            let Some([start, end]) = scale.line(sum) else {
                continue;
            };
            let ([a, b], [c, d]) = (scale.pixel(start[0], start[1]), scale.pixel(end[0], end[1]));
            let _ = writeln!(
                svg,
                r#"<path d="M{a:.1} {b:.1}L{c:.1} {d:.1}" stroke="{GREY}" stroke-opacity="0.5" stroke-dasharray="2 4"/>"#
            );
            let label = sums.label(sum);
            let length = (c - a).hypot(d - b);
            if length < 2.0 * width(&label, SMALL) {
                continue;
            }
            // Above the line, near its lower end.
            let (x, y) = (a + 0.9 * (c - a), b + 0.9 * (d - b));
            let angle = (d - b).atan2(c - a).to_degrees();
            let _ = writeln!(
                svg,
                r#"<text transform="translate({x:.1},{y:.1}) rotate({angle:.1})" y="-3" font-size="{SMALL}" text-anchor="middle" fill="{GREY}" fill-opacity="0.8">{label}</text>"#
            );
        }
    }

    /// The border, the numbers and the names of the axes.
    fn axes(scale: &Scale, svg: &mut String) {
        let [across, up] = PLOT;
        let _ = writeln!(
            svg,
            r#"<rect width="{across}" height="{up}" fill="none" stroke="{GREY}" stroke-opacity="0.4"/>"#
        );
        for tick in scale.across.ticks() {
            let [x, _] = scale.pixel(tick, scale.up.from);
            let _ = writeln!(
                svg,
                r#"<path d="M{x:.1} {up}v5" stroke="{GREY}"/><text x="{x:.1}" y="{:.1}" font-size="{FONT}" text-anchor="middle" fill="{GREY}">{}</text>"#,
                up + 18.0,
                scale.across.label(tick)
            );
        }
        for tick in scale.up.ticks() {
            let [_, y] = scale.pixel(scale.across.from, tick);
            let _ = writeln!(
                svg,
                r#"<path d="M0 {y:.1}h-5" stroke="{GREY}"/><text x="-9" y="{:.1}" font-size="{FONT}" text-anchor="end" fill="{GREY}">{}</text>"#,
                y + 0.36 * FONT,
                scale.up.label(tick)
            );
        }
        let (x, y, below) = (across / 2.0, up / 2.0, up + 40.0);
        let _ = writeln!(
            svg,
            r#"<text x="{x}" y="{below}" font-size="{FONT}" text-anchor="middle" fill="{GREY}">rate R, nats per word</text>
<text transform="translate(-46,{y}) rotate(-90)" font-size="{FONT}" text-anchor="middle" fill="{GREY}">distortion D, nats per word</text>"#
        );
    }

    /// The line of the no-latent baseline.
    fn baseline(&self, scale: &Scale, svg: &mut String) {
        let Some(cost) = self.baseline else { return };
        let ([_, y], color) = (scale.pixel(0.0, cost), COLORS[4]);
        // Below the line if there is no space above.
        let text = if y < 20.0 { y + 16.0 } else { y - 6.0 };
        let _ = writeln!(
            svg,
            r#"<path d="M0 {y:.1}h{}" stroke="{color}" stroke-dasharray="8 4"/>
<text x="{}" y="{text:.1}" font-size="{FONT}" text-anchor="end" fill="{color}">no-latent baseline: {cost:.2}</text>"#,
            PLOT[0],
            PLOT[0] - 8.0
        );
    }

    /// The models as points, joined in the order of their rates.
    fn points(&self, scale: &Scale, svg: &mut String) {
        let color = COLORS[0];
        let mut points = self.points.clone();
        points.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let at = |point: &Point| scale.pixel(point.rate, point.distortion);
        let place = |point: &Point| {
            let [x, y] = at(point);
            format!("{x:.1},{y:.1}")
        };
        let places: Vec<String> = points.iter().map(place).collect();
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="1.5"/>"#,
            places.join(" ")
        );
        for point in &points {
            let [x, y] = at(point);
            let _ = writeln!(
                svg,
                r#"{}<text x="{:.1}" y="{:.1}" font-size="{FONT}" font-weight="bold" fill="{color}">{}</text>"#,
                dot([x, y], RADIUS, color),
                x + 7.0,
                y - 6.0,
                escaped(&point.wanted.to_string())
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve() -> Curve {
        let point = |(wanted, distortion)| Point {
            wanted,
            rate: wanted * 1.01,
            distortion,
        };
        Curve {
            title: "names & <more>".to_owned(),
            points: [(1.0, 19.2), (2.0, 18.4), (4.0, 16.9), (8.0, 13.5)]
                .map(point)
                .to_vec(),
            baseline: Some(20.0),
        }
    }

    #[test]
    fn a_place_on_the_plot_is_where_its_axes_say() {
        let scale = Scale::new(&curve());
        assert_eq!((scale.across.from, scale.up.to), (0.0, 20.0));
        assert_eq!(
            scale.pixel(scale.across.from, scale.up.from),
            [0.0, PLOT[1]]
        );
        assert_eq!(scale.pixel(scale.across.to, scale.up.to), [PLOT[0], 0.0]);
    }

    #[test]
    fn every_line_of_a_sum_lies_within_the_plot_and_has_that_sum() {
        let scale = Scale::new(&curve());
        let sums = scale.sums().ticks();
        let lines: Vec<_> = sums
            .iter()
            .filter_map(|&sum| Some((sum, scale.line(sum)?)))
            .collect();
        assert!(lines.len() >= 4, "{lines:?}");
        for (sum, ends) in lines {
            for [rate, distortion] in ends {
                assert!((rate + distortion - sum).abs() < 1e-9);
                for fraction in [scale.across.fraction(rate), scale.up.fraction(distortion)] {
                    assert!((-1e-9..=1.0 + 1e-9).contains(&fraction), "{sum}: {ends:?}");
                }
            }
        }
        assert_eq!(scale.line(0.0), None);
    }

    #[test]
    fn every_model_is_a_dot_with_its_rate_and_the_baseline_a_line() {
        let svg = curve().svg();
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(svg.contains(">8</text>"), "{svg}");
        assert!(svg.contains("no-latent baseline: 20.00"), "{svg}");
        assert!(svg.contains("names &amp; &lt;more&gt;"), "{svg}");
        let without = Curve {
            baseline: None,
            ..curve()
        };
        assert!(!without.svg().contains("no-latent"));
    }

    #[test]
    fn a_curve_of_one_model_is_a_picture() {
        let mut one = curve();
        one.points.truncate(1);
        one.baseline = None;
        let svg = one.svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
