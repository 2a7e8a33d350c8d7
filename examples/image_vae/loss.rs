//! What reconstructions cost: −ln p(x|z) up to a constant.

use textgen::parts::{Kernels, Workers};

use crate::flags::Loss;

/// Factors whose product is below 2⁵¹², so that one logarithm does for all.
const FACTORS: usize = 512;

impl Loss {
    /// A pixel as the network reads it.
    pub fn scaled(self, pixel: u8) -> f32 {
        let shade = f32::from(pixel) / 255.0;
        match self {
            Self::Bce => shade,
            Self::Mse | Self::Mse01 => 2.0 * shade - 1.0,
        }
    }

    /// Turns outputs of a decoder into pixels.
    pub fn pixels(self, kernels: Kernels, mut outputs: Vec<f32>) -> Vec<u8> {
        match self {
            Self::Bce => kernels.sigmoid(&mut outputs),
            Self::Mse | Self::Mse01 => {
                kernels.tanh(&mut outputs);
                for y in &mut outputs {
                    *y = 0.5 * (*y + 1.0);
                }
            }
        }
        outputs.iter().map(|y| (255.0 * y).round() as u8).collect()
    }

    /// D in nats of every row of `outputs` (L·B, `width`), given the images `x` (B, `width`) over and over. Replaces
    /// the outputs by their gradients, those of D being `weight` each.
    pub fn rows(
        self,
        workers: Workers,
        width: usize,
        x: &[f32],
        weight: f32,
        outputs: &mut [f32],
        nats: &mut [f64],
    ) {
        let images = x.len() / width;
        let parts = outputs.chunks_mut(16 * width).zip(nats.chunks_mut(16));
        workers
            .for_work(16 * x.len())
            .each(parts, |part, (outputs, nats)| {
                let mut scratch = vec![0.0; width];
                let rows = outputs.chunks_exact_mut(width).zip(nats).enumerate();
                for (row, (outputs, nats)) in rows {
                    let image = (16 * part + row) % images;
                    let x = &x[image * width..][..width];
                    *nats = match self {
                        Self::Bce => bernoulli(workers.kernels, x, weight, outputs, &mut scratch),
                        Self::Mse => squares(workers.kernels, x, weight, 1.0, outputs),
                        Self::Mse01 => squares(workers.kernels, x, weight, 0.25, outputs),
                    };
                }
            });
    }
}

/// Σ (ln(1 + eˡ) − x l), whose gradient is σ(l) − x, for logits l.
fn bernoulli(
    kernels: Kernels,
    x: &[f32],
    weight: f32,
    logits: &mut [f32],
    exponentials: &mut [f32],
) -> f64 {
    // ln(1 + eˡ) = max(l, 0) + ln(1 + e^−|l|)
    for (e, l) in exponentials.iter_mut().zip(&*logits) {
        *e = -l.abs();
    }
    kernels.exp(exponentials);
    let factors = exponentials.chunks(FACTORS);
    let logarithms = factors.map(|chunk| {
        let product: f64 = chunk.iter().map(|&e| 1.0 + f64::from(e)).product();
        product.ln()
    });
    let mut nats: f64 = logarithms.sum();
    for ((l, &e), &x) in logits.iter_mut().zip(&*exponentials).zip(x) {
        nats += f64::from(l.max(0.0) - x * *l);
        let sigmoid = if *l < 0.0 { e } else { 1.0 } / (1.0 + e);
        *l = weight * (sigmoid - x);
    }
    nats
}

/// c Σ (x − tanh a)², whose gradient is −2c (x − tanh a)(1 − tanh² a), for outputs a.
fn squares(kernels: Kernels, x: &[f32], weight: f32, c: f32, outputs: &mut [f32]) -> f64 {
    kernels.tanh(outputs);
    let mut sum = 0.0;
    for (y, &x) in outputs.iter_mut().zip(x) {
        let error = *y - x;
        sum += f64::from(error * error);
        *y = weight * 2.0 * c * error * (1.0 - *y) * (1.0 + *y);
    }
    f64::from(c) * sum
}
