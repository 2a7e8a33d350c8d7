//! The number of active sequences at each step, and the padded grid that libtorch's own operators
//! want.

use std::cell::OnceCell;

use tch::{Device, Kind, Tensor};

use crate::shim::upload;

/// A batch of sequences, longest first, so that at every step the active ones come first.
pub struct Steps {
    /// Active sequences at each step, n_t; their sum is N.
    pub counts: Vec<i64>,
    /// Made once, and only for libtorch's own operators.
    grid: OnceCell<Grid>,
}

impl Steps {
    /// Built from n_t, the active sequences at each step t.
    pub fn new(counts: Vec<i64>) -> Self {
        Self {
            counts,
            grid: OnceCell::new(),
        }
    }

    /// `steps` steps of `batch` sequences of one length.
    pub fn even(steps: i64, batch: i64) -> Self {
        Self::new(vec![batch; steps as usize])
    }

    pub(crate) fn grid(&self, device: Device) -> &Grid {
        self.grid.get_or_init(|| Grid::new(&self.counts, device))
    }
}

/// Sequences padded to the longest, (T, B) positions.
pub(crate) struct Grid {
    steps: i64,
    batch: i64,
    device: Device,
    /// `None` if all sequences have one length.
    pub(crate) padding: Option<Padding>,
}

/// The positions of a grid that are not padding.
pub(crate) struct Padding {
    /// The positions of the grid that are not padding (N).
    positions: Tensor,
    /// The position, among the N, of each sequence's last step (B).
    pub(crate) last: Tensor,
}

impl Grid {
    fn new(counts: &[i64], device: Device) -> Self {
        let (steps, batch) = (counts.len() as i64, counts[0]);
        // Counts never rise.
        let is_padded = counts.last() != counts.first();
        Self {
            steps,
            batch,
            device,
            padding: is_padded.then(|| Padding::new(counts, device)),
        }
    }

    /// The sequence of every position (N).
    pub(crate) fn rows(&self) -> Tensor {
        match &self.padding {
            Some(padding) => padding.positions.remainder(self.batch),
            None => Tensor::arange(self.steps * self.batch, (Kind::Int64, self.device))
                .remainder(self.batch),
        }
    }

    /// `values` (N, I) as (T, B, I), with zeros for padding.
    pub(crate) fn spread(&self, values: &Tensor) -> Tensor {
        let width = values.size()[1];
        let grid = match &self.padding {
            Some(padding) => {
                let size = [self.steps * self.batch, width];
                Tensor::zeros(size, (Kind::Float, self.device)).index_copy(
                    0,
                    &padding.positions,
                    values,
                )
            }
            None => values.shallow_clone(),
        };
        grid.reshape([self.steps, self.batch, width])
    }

    /// `values` (T, B, H) without padding (N, H).
    pub(crate) fn gather(&self, values: &Tensor) -> Tensor {
        let flat = values.reshape([self.steps * self.batch, -1]);
        match &self.padding {
            Some(padding) => flat.index_select(0, &padding.positions),
            None => flat,
        }
    }
}

impl Padding {
    fn new(counts: &[i64], device: Device) -> Self {
        let batch = counts[0];
        let mut positions = Vec::new();
        let mut last = vec![0; batch as usize];
        for (t, &count) in counts.iter().enumerate() {
            for row in 0..count {
                last[row as usize] = positions.len() as i64;
                positions.push(t as i64 * batch + row);
            }
        }
        // One transfer to the device.
        let count = positions.len() as i64;
        let both = upload(&Tensor::from_slice(&[positions, last].concat()), device);
        Self {
            positions: both.narrow(0, 0, count),
            last: both.narrow(0, count, batch),
        }
    }
}
