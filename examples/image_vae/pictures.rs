//! Pictures of images side by side, and of the plane of codes.

use std::fmt::Write as _;

use crate::data::{CLASSES, PIXELS, SIDE};

/// One colour per class, as different as ten can be.
const COLOURS: [&str; CLASSES as usize] = [
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f",
    "#bcbd22", "#17becf",
];
/// Pixels of the drawing of the codes, and of its border.
const DRAWN: f32 = 600.0;
const BORDER: f32 = 30.0;

/// Images (N, PIXELS) in rows of `columns`, as a greyscale PNG file.
pub fn sheet(images: &[u8], columns: usize) -> Result<Vec<u8>, png::EncodingError> {
    let rows = (images.len() / PIXELS).div_ceil(columns);
    let width = columns * SIDE;
    let mut pixels = vec![0; rows * SIDE * width];
    for (at, image) in images.chunks_exact(PIXELS).enumerate() {
        let corner = at / columns * SIDE * width + at % columns * SIDE;
        for (y, line) in image.chunks_exact(SIDE).enumerate() {
            pixels[corner + y * width..][..SIDE].copy_from_slice(line);
        }
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, (rows * SIDE) as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(file)
}

/// Codes (N, 2) of images with these labels as an SVG file: a point each, in the colour of its class.
pub fn codes(codes: &[f32], labels: &[u8]) -> String {
    let furthest = codes
        .iter()
        .fold(1.0_f32, |most, x| most.max(x.abs()))
        .ceil();
    let place = |x: f32| BORDER + (DRAWN - 2.0 * BORDER) * (0.5 + 0.5 * x / furthest);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {DRAWN}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>The means of the test images' posteriors, by class</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        DRAWN + 60.0
    );
    let (low, middle, high) = (BORDER, place(0.0), DRAWN - BORDER);
    let _ = writeln!(
        svg,
        "<path d=\"M{low} {middle}H{high}M{middle} {low}V{high}\" stroke=\"#999\" fill=\"none\"/>\n\
         <text x=\"{low}\" y=\"{}\">−{furthest}</text><text x=\"{high}\" y=\"{0}\" text-anchor=\"end\">{furthest}</text>",
        middle - 4.0
    );
    for class in 0..CLASSES {
        let colour = COLOURS[usize::from(class)];
        let _ = write!(
            svg,
            "<path stroke=\"{colour}\" stroke-width=\"2\" stroke-linecap=\"round\" stroke-opacity=\".6\" d=\""
        );
        for (z, _) in codes
            .chunks_exact(2)
            .zip(labels)
            .filter(|(_, label)| **label == class)
        {
            let _ = write!(svg, "M{:.1} {:.1}h0", place(z[0]), place(-z[1]));
        }
        let y = BORDER + 20.0 * f32::from(class);
        let _ = writeln!(
            svg,
            "\"/>\n<circle cx=\"{}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{class}</text>",
            DRAWN + 10.0,
            DRAWN + 20.0,
            y + 4.0
        );
    }
    svg + "</svg>\n"
}

/// Latent vectors (side², 2) on a grid: the quantiles (i + ½)/side of the prior, the second coordinate falling from
/// row to row.
pub fn grid(side: usize) -> Vec<f32> {
    let at = |i: usize| quantile((i as f64 + 0.5) / side as f64) as f32;
    let points = (0..side * side).flat_map(|index| [at(index % side), -at(index / side)]);
    points.collect()
}

/// The standard normal number that a share `p` of them is below, by bisection.
fn quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if share_below(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Φ(x) = ½ + φ(x) (x + x³/3 + x⁵/(3·5) + …) (Marsaglia 2004).
fn share_below(x: f64) -> f64 {
    let (mut sum, mut term) = (x, x);
    for k in 1..150 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        for (p, want) in [
            (0.5, 0.0),
            (0.975, 1.959_964),
            (0.025, -1.959_964),
            (0.999_9, 3.719_016),
        ] {
            let found = quantile(p);
            assert!((found - want).abs() < 1e-5, "{p}: {found}");
        }
        let grid = grid(20);
        assert_eq!(grid.len(), 800);
        assert!((grid[0] + grid[38]).abs() < 1e-6 && (grid[1] + grid[799]).abs() < 1e-6);
    }
}
