//! The rate–distortion curve as a picture.

use std::fmt::Write;

use crate::cli::svg::{Axis, COLORS, FONT, GREY, Plot, SMALL, dot, escaped, opened, width};

/// Size of the plot and its margins in pixels: left, top, right, bottom.
const PLOT: [f64; 2] = [720.0, 460.0];
const ROOM: [f64; 4] = [64.0, 60.0, 40.0, 52.0];
/// The approximate number of lines of constant D + R.
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

impl Curve {
    /// The axes of the rate R (across) and the distortion D (up).
    fn plot(&self) -> Plot {
        let rates = self.points.iter().map(|point| point.rate);
        let costs = self.points.iter().map(|point| point.distortion);
        let costs = costs.chain(self.baseline);
        let least = costs.clone().fold(f64::INFINITY, f64::min);
        let most = costs.fold(f64::NEG_INFINITY, f64::max);
        Plot::new(PLOT, [0.0, rates.fold(0.0, f64::max)], [least, most])
    }

    /// Renders the picture as an SVG document.
    pub fn svg(&self) -> String {
        let plot = self.plot();
        let [left, above, right, below] = ROOM;
        let size = [PLOT[0] + left + right, PLOT[1] + above + below];
        let mut svg = opened(size, left, &self.title);
        let _ = writeln!(
            svg,
            r#"<text x="{left}" y="46" font-size="{FONT}" fill="{GREY}">Beside a point: the target rate. Grey lines: constant −ELBO = D + R, nats per word.</text>
<g transform="translate({left},{above})">"#
        );
        sums(&plot, &mut svg);
        plot.frame(
            &mut svg,
            ["rate R, nats per word", "distortion D, nats per word"],
        );
        if let Some(cost) = self.baseline {
            let name = format!("no-latent baseline: {cost:.2}");
            plot.level(&mut svg, cost, &name, COLORS[4]);
        }
        self.points(&plot, &mut svg);
        svg.push_str("</g>\n</svg>\n");
        svg
    }

    /// The models as points, joined in the order of their rates.
    fn points(&self, plot: &Plot, svg: &mut String) {
        let color = COLORS[0];
        let mut points = self.points.clone();
        points.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let places: Vec<_> = points.iter().map(|p| [p.rate, p.distortion]).collect();
        plot.line(svg, &places, color);
        for (point, place) in points.iter().zip(places) {
            let [x, y] = plot.pixel(place);
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

/// The ends of the line D + R = `sum` where it crosses the plot: (R, D), the lower R first.
fn crossing(plot: &Plot, sum: f64) -> Option<[[f64; 2]; 2]> {
    let Plot { across, up, .. } = plot;
    let least = across.from.max(sum - up.to);
    let most = across.to.min(sum - up.from);
    (least < most).then(|| [least, most].map(|rate| [rate, sum - rate]))
}

/// The round sums D + R whose lines cross the plot.
fn round_sums(Plot { across, up, .. }: &Plot) -> Axis {
    Axis::new(across.from + up.from, across.to + up.to, SUMS)
}

/// The lines of constant −ELBO.
fn sums(plot: &Plot, svg: &mut String) {
    let sums = round_sums(plot);
    for sum in sums.ticks() {
        let Some(ends) = crossing(plot, sum) else {
            continue;
        };
        let [[a, b], [c, d]] = ends.map(|end| plot.pixel(end));
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
    fn every_line_of_a_sum_lies_within_the_plot_and_has_that_sum() {
        let plot = curve().plot();
        let sums = round_sums(&plot).ticks();
        let lines: Vec<_> = sums
            .iter()
            .filter_map(|&sum| Some((sum, crossing(&plot, sum)?)))
            .collect();
        assert!(lines.len() >= 4, "{lines:?}");
        for (sum, ends) in lines {
            for [rate, distortion] in ends {
                assert!((rate + distortion - sum).abs() < 1e-9);
                for fraction in [plot.across.fraction(rate), plot.up.fraction(distortion)] {
                    assert!((-1e-9..=1.0 + 1e-9).contains(&fraction), "{sum}: {ends:?}");
                }
            }
        }
        assert_eq!(crossing(&plot, 0.0), None);
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
