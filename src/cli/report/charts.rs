//! The plots of a page.

use std::f64::consts::LN_2;
use std::fmt::Write as _;

use super::facts::Facts;
use super::measured::NGramLevels;
use crate::cli::svg::{COLORS, FONT, GREY, Plot, dot, escaped, opened, width};
use crate::config::ModelKind;
use crate::run::{Evaluation, Metrics};

/// The plots of losses and the small ones, in pixels.
const LARGE: [f64; 2] = [620.0, 300.0];
const SMALL: [f64; 2] = [260.0, 110.0];
/// Margins: left, top, right, bottom.
const ROOM: [f64; 4] = [72.0, 60.0, 72.0, 52.0];
/// The most points of a line: more are not seen.
const POINTS: usize = 400;
const RADIUS: f64 = 2.5;
/// How far above the first validation loss a plot reaches at most: what was lost in the first steps says nothing.
const ABOVE: f64 = 1.15;

/// A line of a plot.
struct Series {
    name: String,
    color: &'static str,
    points: Vec<[f64; 2]>,
    /// Whether every point has a dot.
    dots: bool,
}

/// A line at one height.
struct Level {
    name: String,
    color: &'static str,
    height: f64,
}

/// What a line of the log says at a step, if it is a number.
fn series(
    lines: &[Metrics],
    at: fn(&Metrics) -> f64,
    value: impl Fn(&Metrics) -> Option<f64>,
) -> Vec<[f64; 2]> {
    let point = |line: &Metrics| value(line).map(|value| [at(line), value]);
    let points = lines.iter().filter_map(point);
    let points: Vec<_> = points.filter(|point| point[1].is_finite()).collect();
    // Evenly, with the first and the last.
    let count = points.len();
    let kept = count.min(POINTS);
    let index = |i: usize| i * (count - 1) / (kept - 1).max(1);
    (0..kept).map(|i| points[index(i)]).collect()
}

const fn step(line: &Metrics) -> f64 {
    line.step as f64
}

fn millions(line: &Metrics) -> f64 {
    line.chars as f64 / 1e6
}

fn valid(line: &Metrics) -> Option<f64> {
    line.valid.map(|valid| valid.figure())
}

/// The least and the most of some numbers.
fn span(numbers: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    numbers.fold(None, |span, number| match span {
        None => Some([number; 2]),
        Some([least, most]) => Some([f64::min(least, number), f64::max(most, number)]),
    })
}

/// A plot of lines over an axis that starts at 0; `None` if there is nothing to plot. If the other axis does not start
/// at 0, what is far above the beginning of the lowest line is cut off.
fn plotted(
    title: &str,
    (size, from_zero): ([f64; 2], bool),
    names: [&str; 2],
    bits: Option<&str>,
    (lines, levels): (&[Series], &[Level]),
) -> Option<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let [_, farthest] = span(points().map(|point| point[0]))?;
    let heights = levels.iter().map(|level| level.height);
    let shown = points().map(|point| point[1]).chain(heights);
    let up = if from_zero {
        span(shown.chain([0.0]))?
    } else {
        let first = |line: &Series| line.points.first().map(|point| point[1]);
        let top = lines.iter().filter_map(first).fold(f64::INFINITY, f64::min) * ABOVE;
        span(shown.filter(|&number| number <= top))?
    };
    let plot = Plot::new(size, [0.0, farthest], up);
    let [left, above, right, below] = ROOM;
    let mut svg = opened(
        [size[0] + left + right, size[1] + above + below],
        left,
        title,
    );
    legend(&mut svg, left, lines);
    let _ = writeln!(svg, r#"<g transform="translate({left},{above})">"#);
    plot.frame(&mut svg, names);
    if let Some(name) = bits {
        plot.right(&mut svg, 1.0 / LN_2, name);
    }
    for level in levels {
        plot.level(&mut svg, level.height, &level.name, level.color);
    }
    for line in lines {
        let inside: Vec<_> = line
            .points
            .iter()
            .copied()
            .filter(|point| point[1] <= plot.up.to)
            .collect();
        plot.line(&mut svg, &inside, line.color);
        if line.dots {
            for point in inside {
                let _ = writeln!(svg, "{}", dot(plot.pixel(point), RADIUS, line.color));
            }
        }
    }
    svg.push_str("</g>\n</svg>\n");
    Some(svg)
}

/// Names of the lines above the plot, if there are several.
fn legend(svg: &mut String, left: f64, lines: &[Series]) {
    if lines.len() < 2 {
        return;
    }
    let mut x = left;
    for line in lines {
        let (name, color) = (escaped(&line.name), line.color);
        let _ = writeln!(
            svg,
            r#"<path d="M{x:.1} 42h14" stroke="{color}" stroke-width="2"/><text x="{:.1}" y="46" font-size="{FONT}" fill="{GREY}">{name}</text>"#,
            x + 19.0
        );
        x += width(&line.name, FONT) + 38.0;
    }
}

/// The lines of the baselines.
fn levels(ngrams: Option<NGramLevels>, no_latent: Option<&(String, f64)>) -> Vec<Level> {
    let mut levels = Vec::new();
    if let Some(ngrams) = ngrams {
        let unigram = ngrams
            .unigram
            .map(|cost| ("unigram".to_owned(), GREY, cost));
        let best = (format!("{}-gram", ngrams.order), COLORS[6], ngrams.best);
        levels.extend(unigram.into_iter().chain([best]));
    }
    levels.extend(no_latent.map(|(name, cost)| (name.clone(), COLORS[2], *cost)));
    let named = |(name, color, height): (String, _, f64)| Level {
        name: format!("{name}: {height:.3}"),
        color,
        height,
    };
    levels.into_iter().map(named).collect()
}

/// The losses of a run by step.
pub fn losses(facts: &Facts) -> Option<String> {
    let lines = &facts.lines;
    let (series_of, per): (Vec<Series>, &str) = match facts.config.kind() {
        ModelKind::CharRnn => (
            vec![
                Series {
                    name: "training".to_owned(),
                    color: COLORS[4],
                    points: series(lines, step, |line| Some(line.train_loss)),
                    dots: false,
                },
                Series {
                    name: "validation".to_owned(),
                    color: COLORS[0],
                    points: series(lines, step, valid),
                    dots: true,
                },
            ],
            "character",
        ),
        ModelKind::WordVae => {
            let part = |get: fn(&crate::run::WordLoss) -> f64| {
                series(lines, step, move |line| match line.valid {
                    Some(Evaluation::Word(loss)) => Some(get(&loss)),
                    _ => None,
                })
            };
            (
                vec![
                    Series {
                        name: "−ELBO = D + R".to_owned(),
                        color: COLORS[0],
                        points: part(|loss| loss.neg_elbo_nats_per_word),
                        dots: true,
                    },
                    Series {
                        name: "distortion D".to_owned(),
                        color: COLORS[4],
                        points: part(|loss| loss.distortion_nats_per_word),
                        dots: false,
                    },
                    Series {
                        name: "rate R".to_owned(),
                        color: COLORS[1],
                        points: part(|loss| loss.rate_nats_per_word),
                        dots: false,
                    },
                ],
                "word",
            )
        }
    };
    let ngrams = facts.text.ngrams.or(facts.words.ngrams);
    let levels = levels(ngrams, facts.no_latent.as_ref());
    let names = ["optimizer steps", &format!("nats per {per}")];
    plotted(
        "Loss",
        (LARGE, facts.config.kind() == ModelKind::WordVae),
        names,
        Some(&format!("bits per {per}")),
        (&series_of, &levels),
    )
}

/// The validation losses of several runs by the characters that they have read; of those in the unit of the first.
pub fn compared(all: &[Facts]) -> Option<String> {
    let line = |(facts, color): (&Facts, &'static str)| Series {
        name: facts.name.clone(),
        color,
        points: series(&facts.lines, millions, valid),
        dots: true,
    };
    let unit = &all.first()?.summary.unit;
    let alike = all.iter().zip(COLORS);
    let alike = alike.filter(|(facts, _)| facts.summary.unit == *unit);
    let lines: Vec<Series> = alike.map(line).collect();
    let unit = unit.replace('/', " per ");
    let title = if lines.len() < all.len() {
        format!("Validation, of the runs in {unit}")
    } else {
        "Validation".to_owned()
    };
    let bits = unit.replace("nats", "bits");
    let names = ["million characters read", &unit[..]];
    plotted(&title, (LARGE, false), names, Some(&bits), (&lines, &[]))
}

/// The learning rate and the speed of a run by step.
pub fn small(facts: &Facts) -> Vec<String> {
    let one = |title: &str, name: &str, color, value: fn(&Metrics) -> f64| {
        let line = Series {
            name: String::new(),
            color,
            points: series(&facts.lines, step, |line| Some(value(line))),
            dots: false,
        };
        plotted(
            title,
            (SMALL, true),
            ["optimizer steps", name],
            None,
            (&[line], &[]),
        )
    };
    let rate = one("Learning rate", "", COLORS[7], |line| line.lr);
    let speed = one("Speed", "thousand characters/s", COLORS[1], |line| {
        line.chars_per_second / 1e3
    });
    rate.into_iter().chain(speed).collect()
}

/// The divergence of every dimension of z from the prior, the largest first.
pub fn dimensions(nats: &[f64]) -> String {
    let mut sorted = nats.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let most = sorted.first().copied().unwrap_or(0.0);
    let plot = Plot::new([LARGE[0], 140.0], [0.0, sorted.len() as f64], [0.0, most]);
    let [left, above, right, below] = ROOM;
    let title = "KL(q(z|word) ‖ p(z)) of every dimension of z, the largest first";
    let size = [plot.size[0] + left + right, plot.size[1] + above + below];
    let mut svg = opened(size, left, title);
    let _ = writeln!(svg, r#"<g transform="translate({left},{above})">"#);
    plot.frame(&mut svg, ["dimensions", "nats"]);
    for (place, &nats) in sorted.iter().enumerate() {
        let [x, y] = plot.pixel([place as f64, nats]);
        let [next, floor] = plot.pixel([place as f64 + 0.8, 0.0]);
        let _ = writeln!(
            svg,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}" fill="{}"/>"#,
            next - x,
            floor - y,
            COLORS[0]
        );
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_keeps_its_ends() {
        let line = |step: u64| Metrics {
            format: 1,
            step,
            epoch: 0.0,
            chars: step * 10,
            seconds: 1.0,
            lr: 0.1,
            train_loss: if step == 7 { f64::NAN } else { 1.0 },
            valid: None,
            best: None,
            test: None,
            chars_per_second: 1.0,
            finished: false,
        };
        let lines: Vec<Metrics> = (1..=5000).map(line).collect();
        let points = series(&lines, step, |line| Some(line.train_loss));
        assert_eq!(points.len(), POINTS);
        assert_eq!((points[0], points[POINTS - 1]), ([1.0, 1.0], [5000.0, 1.0]));
        let few = series(&lines[..8], step, |line| Some(line.train_loss));
        assert_eq!(few.len(), 7, "what is no number is left out");
        assert_eq!(series(&[], step, |_| None), <[[f64; 2]; 0]>::default());
    }
}
