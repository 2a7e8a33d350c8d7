//! How long the processes of a group take to add their gradients: `textgen-torch sums`.

use std::io::Write as _;
use std::time::Instant;

use anyhow::Result;
use textgen::cli::output::stdout;
use textgen::kernels::Kernels;
use textgen::train::{Distributed, Sum};

/// Numbers of the gradients, in powers of two.
const POWERS: [u32; 6] = [0, 10, 14, 18, 20, 22];
const WARM_UP: usize = 3;
const MEASURED: usize = 15;

/// Prints the median time of a sum for gradients of several sizes.
pub fn measure(distributed: &Distributed) -> Result<()> {
    let (processes, kernels) = (distributed.size(), Kernels::new());
    let mut sum = Sum::default();
    for power in POWERS {
        let size = 1 << power;
        let mut times = Vec::with_capacity(MEASURED);
        for round in 0..WARM_UP + MEASURED {
            sum.begin(distributed.rank());
            let mut gradients = sum.buffer(size);
            gradients.fill(0.5);
            sum.add(kernels, gradients, 0.0);
            let started = Instant::now();
            let (total, _) = distributed.reduce(&mut sum, kernels, size, processes, false)?;
            let seconds = started.elapsed().as_secs_f64();
            sum.recycle(total);
            if round >= WARM_UP {
                times.push(seconds);
            }
        }
        times.sort_by(f64::total_cmp);
        if distributed.is_writer() {
            let milliseconds = times[MEASURED / 2] * 1e3;
            let line = format!(
                "{processes} processes, {:>10} bytes: {milliseconds:9.3} ms",
                4 * size
            );
            writeln!(stdout(), "{line}")?;
        }
    }
    Ok(())
}
