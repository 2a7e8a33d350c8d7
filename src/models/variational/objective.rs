//! What a training minimises.

/// The terms of the objective that all rows of a batch share.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// λ in nats.
    free_bits: f32,
    /// β.
    kl_weight: f32,
    /// The rows of the whole batch, B.
    rows: usize,
    /// The mean over them of R_j (Z), in nats.
    rates: Vec<f64>,
}

impl Objective {
    /// Without rows. λ is `free_bits` nats per dimension.
    pub fn new(latent: usize, free_bits: f32) -> Self {
        Self {
            free_bits,
            kl_weight: 0.0,
            rows: 0,
            rates: vec![0.0; latent],
        }
    }

    /// Takes the rates (B, Z) of the parts of a batch, in the order of its rows; β is `kl_weight`.
    pub fn set<'a>(
        &mut self,
        rows: usize,
        kl_weight: f32,
        rates: impl IntoIterator<Item = &'a [f32]>,
    ) {
        (self.rows, self.kl_weight) = (rows, kl_weight);
        self.rates.fill(0.0);
        if self.rates.is_empty() {
            return;
        }
        for rates in rates {
            for row in rates.chunks_exact(self.rates.len()) {
                for (sum, &rate) in self.rates.iter_mut().zip(row) {
                    *sum += f64::from(rate);
                }
            }
        }
        for rate in &mut self.rates {
            *rate /= rows as f64;
        }
    }

    /// The rows of the whole batch, B.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The mean rate in nats per row.
    pub fn rate(&self) -> f32 {
        self.rates.iter().sum::<f64>() as f32
    }

    /// The objective in nats per row, given the sum of D over all rows.
    pub fn loss(&self, distortion: f64) -> f64 {
        let free = f64::from(self.free_bits);
        let rate: f64 = self.rates.iter().map(|rate| rate.max(free)).sum();
        distortion / self.rows as f64 + f64::from(self.kl_weight) * rate
    }

    /// The gradient of number `at` of the rates (B, Z).
    pub(super) fn d_rate(&self, at: usize) -> f32 {
        if self.rates[at % self.rates.len()] < f64::from(self.free_bits) {
            0.0
        } else {
            self.kl_weight / self.rows as f32
        }
    }
}
