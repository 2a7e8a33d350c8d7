//! The training and its measurements.

use std::fmt::{Display, Formatter};
use std::time::{Duration, Instant};

use serde::Serialize;
use textgen::parts::variational::{Objective, Posterior, RateController, log_mean_exp};
use textgen::parts::{Adam, AdamPiece, Buffers, Kernels, Noise, Parameter, Pool, Use, Workers};

use crate::data::{Images, PIXELS};
use crate::failure::Failure;
use crate::flags::Flags;
use crate::network::{Network, Pass};

/// Images of a step.
const BATCH: usize = 128;
/// Images that are measured at a time.
const MEASURED: usize = 500;
/// Seconds between two lines of progress.
const QUIET: Duration = Duration::from_secs(5);

/// A training with all that changes in it.
pub struct Training<'a> {
    flags: &'a Flags,
    pub network: Network,
    threads: Threads,
    objective: Objective,
    /// Moves β, if the rate is held.
    controller: Option<RateController>,
    pass: Pass,
    gradients: Vec<f32>,
    /// First and second moments.
    moments: [Vec<f32>; 2],
    /// Steps done, and those of the whole training.
    step: u64,
    steps: u64,
    /// The current epoch's order of images.
    order: Vec<usize>,
    /// The time spent in steps.
    spent: Duration,
}

/// Threads with the buffers that they use.
struct Threads {
    pool: Pool,
    buffers: Buffers,
}

impl Threads {
    /// One per processor.
    fn new() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            pool: Pool::new(count),
            buffers: Buffers::new(),
        }
    }

    fn workers(&self) -> Workers<'_> {
        Workers {
            team: &self.pool,
            kernels: Kernels::new(),
            buffers: &self.buffers,
        }
    }
}

/// What images cost in nats, as a mean over them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// −ELBO = D + R; in training the objective.
    pub loss: f64,
    /// D.
    pub reconstruction: f64,
    /// R.
    pub kl: f64,
}

impl Display for Measured {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let (reconstruction, kl) = (self.reconstruction, self.kl);
        write!(
            f,
            "loss {:.2}, reconstruction {reconstruction:.2}, KL {kl:.2} nats",
            self.loss
        )
    }
}

/// A line of metrics.jsonl.
#[derive(Debug, Serialize)]
pub struct Line {
    format: u32,
    step: u64,
    epoch: f64,
    seconds: f64,
    /// The weight of the divergence in the next step.
    beta: f32,
    train: Measured,
    test: Measured,
}

impl<'a> Training<'a> {
    /// A training on so many images.
    pub fn new(flags: &'a Flags, images: usize) -> Self {
        let network = Network::of(flags.model, flags.seed);
        let count = network.values.len();
        Self {
            flags,
            threads: Threads::new(),
            objective: Objective::new(network.latent, flags.free_bits as f32),
            controller: flags.rate.map(|rate| RateController::new(rate, flags.beta)),
            pass: Pass::default(),
            gradients: vec![0.0; count],
            moments: [vec![0.0; count], vec![0.0; count]],
            step: 0,
            steps: images.div_ceil(BATCH) as u64 * u64::from(flags.epochs),
            order: (0..images).collect(),
            spent: Duration::ZERO,
            network,
        }
    }

    /// The seconds spent in steps.
    pub const fn seconds(&self) -> f64 {
        self.spent.as_secs_f64()
    }

    /// β.
    fn beta(&self) -> f32 {
        let controller = self.controller.as_ref();
        controller.map_or(self.flags.beta as f32, RateController::beta)
    }

    /// Trains until so many tenths are done. Returns what the images since the last time cost; none if there is no
    /// step in this tenth.
    pub fn until(&mut self, tenth: u64, images: &Images) -> Result<Option<Measured>, Failure> {
        let (mut sum, mut count) = (Measured::default(), 0.0);
        let mut shown = Instant::now();
        while self.step * 10 < self.steps * tenth {
            let started = Instant::now();
            let cost = self.step(images);
            self.spent += started.elapsed();
            sum.loss += cost.loss;
            sum.reconstruction += cost.reconstruction;
            sum.kl += cost.kl;
            count += 1.0;
            if !cost.loss.is_finite() {
                return Err(Failure::new(
                    format!(
                        "the loss is no longer a finite number after step {}",
                        self.step
                    ),
                    "try a smaller --beta, or another --seed",
                ));
            }
            if shown.elapsed() >= QUIET || self.step * 10 >= self.steps * tenth {
                eprintln!("{}", self.progress(&mean(sum, count), images.len()));
                shown = Instant::now();
            }
        }
        Ok((count > 0.0).then(|| mean(sum, count)))
    }

    /// What a user sees of a training.
    fn progress(&self, cost: &Measured, images: usize) -> String {
        let steps = images.div_ceil(BATCH) as f64;
        let per_step = self.seconds() / self.step as f64;
        let beta = match self.controller {
            Some(_) => format!(", beta {:.3}", self.beta()),
            None => String::new(),
        };
        format!(
            "epoch {:.1} of {}: {cost}{beta}, {:.0} images/s, {:.0} s left",
            self.step as f64 / steps,
            self.flags.epochs,
            images as f64 / (steps * per_step),
            (self.steps - self.step) as f64 * per_step,
        )
    }

    /// One step of Adam. Returns what its images cost.
    fn step(&mut self, images: &Images) -> Measured {
        let flags = self.flags;
        let per_epoch = self.order.len().div_ceil(BATCH) as u64;
        let (epoch, position) = (self.step / per_epoch, (self.step % per_epoch) as usize);
        if position == 0 {
            self.order.sort_unstable();
            Noise::new(flags.seed, Use::Order, epoch).shuffle(&mut self.order);
        }
        let chosen = &self.order[position * BATCH..];
        let chosen = &chosen[..BATCH.min(chosen.len())];
        let x = self.read(images, chosen.iter().copied());
        let size = chosen.len() * self.network.latent * flags.samples as usize;
        let noise = Noise::new(flags.seed, Use::Latent, self.step);
        let noise: Vec<f32> = (0..size as u64).map(|at| noise.normal(at)).collect();
        let beta = self.beta();
        let workers = self.threads.workers();
        let distortion = self.network.learn(
            workers,
            flags.loss,
            (&x, &noise),
            (beta, &mut self.objective),
            &mut self.pass,
            &mut self.gradients,
        );
        self.step += 1;
        let [first, second] = &mut self.moments;
        let arrays = AdamPiece {
            weight: &mut self.network.values,
            gradient: &self.gradients,
            first,
            second,
            largest: &mut [],
        };
        let all = Parameter {
            arrays,
            weight_decay: 0.0,
        };
        Adam::new(self.step).step(workers, vec![all], 0.0);
        if let Some(controller) = &mut self.controller {
            controller.follow(self.objective.rate());
        }
        Measured {
            loss: self.objective.loss(distortion),
            reconstruction: distortion / self.objective.rows() as f64,
            kl: f64::from(self.objective.rate()),
        }
    }

    /// Images as the network reads them (B, pixels).
    fn read(&self, images: &Images, indices: impl Iterator<Item = usize>) -> Vec<f32> {
        let loss = self.flags.loss;
        let table: [f32; 256] = std::array::from_fn(|pixel| loss.scaled(pixel as u8));
        let mut x = Vec::new();
        for index in indices {
            let pixels = images.image(index).iter();
            x.extend(pixels.map(|&pixel| table[usize::from(pixel)]));
        }
        x
    }

    /// The posteriors of images, a group at a time, each with the images and the index of its first.
    fn encoded(&self, images: &Images) -> impl Iterator<Item = (usize, Vec<f32>, Vec<Posterior>)> {
        let mut pass = Pass::default();
        (0..images.len()).step_by(MEASURED).map(move |first| {
            let x = self.read(images, first..images.len().min(first + MEASURED));
            self.network.encode(self.threads.workers(), &x, &mut pass);
            let size = self.network.latent;
            let rows = pass
                .mean
                .chunks_exact(size)
                .zip(pass.log_var.chunks_exact(size));
            let posteriors = rows.map(|(mean, log_var)| Posterior::new(mean, log_var));
            (first, x, posteriors.collect())
        })
    }

    /// ε of sample `sample` of an image in an evaluation.
    fn noise(&self, image: usize, sample: usize) -> Vec<f32> {
        let noise = Noise::new(self.flags.seed, Use::Evaluation, image as u64);
        let size = self.network.latent as u64;
        let numbers = sample as u64 * size..(sample as u64 + 1) * size;
        numbers.map(|at| noise.normal(at)).collect()
    }

    /// What images cost: estimator B with one sample each.
    pub fn measure(&self, images: &Images) -> Measured {
        let mut sum = Measured::default();
        for (first, x, posteriors) in self.encoded(images) {
            let all = (first..).zip(&posteriors);
            let z = all.flat_map(|(image, own)| own.sample(&self.noise(image, 0)));
            let z: Vec<f32> = z.collect();
            let nats = self
                .network
                .distortions(self.threads.workers(), self.flags.loss, &x, &z);
            sum.reconstruction += nats.iter().sum::<f64>();
            sum.kl += posteriors.iter().flat_map(Posterior::rates).sum::<f64>();
        }
        sum.loss = sum.reconstruction + sum.kl;
        mean(sum, images.len() as f64)
    }

    /// −ln p(x) of images by the importance-weighted bound with `samples` samples each, in nats, as a mean.
    pub fn importance(&self, images: &Images, samples: usize) -> f64 {
        let mut sum = 0.0;
        for (first, x, posteriors) in self.encoded(images) {
            let mut weights = vec![Vec::with_capacity(samples); posteriors.len()];
            for sample in 0..samples {
                let (mut z, mut ratios) = (Vec::new(), Vec::new());
                for (image, posterior) in (first..).zip(&posteriors) {
                    let noise = self.noise(image, sample);
                    let own = posterior.sample(&noise);
                    ratios.push(posterior.log_ratio(&noise, &own));
                    z.extend(own);
                }
                let nats =
                    self.network
                        .distortions(self.threads.workers(), self.flags.loss, &x, &z);
                let of_samples = ratios.iter().zip(nats);
                for (weights, (ratio, nats)) in weights.iter_mut().zip(of_samples) {
                    weights.push(ratio - nats);
                }
            }
            sum -= weights.iter().map(|own| log_mean_exp(own)).sum::<f64>();
        }
        sum / images.len() as f64
    }

    /// μ of images (N, Z).
    pub fn codes(&self, images: &Images) -> Vec<f32> {
        let posteriors = self.encoded(images).flat_map(|(.., posteriors)| posteriors);
        posteriors.flat_map(|posterior| posterior.mean).collect()
    }

    /// Latent vectors (N, Z) as images (N, pixels).
    pub fn decoded(&self, z: &[f32]) -> Vec<u8> {
        let outputs = self.network.decode(self.threads.workers(), z);
        self.flags.loss.pixels(Kernels::new(), outputs)
    }

    /// The first `count` images, as the decoder reconstructs them from μ.
    pub fn reconstructed(&self, images: &Images, count: usize) -> Vec<u8> {
        let some = Images {
            pixels: images.pixels[..count * PIXELS].to_vec(),
            labels: images.labels[..count].to_vec(),
        };
        self.decoded(&self.codes(&some))
    }

    /// The first `count` latent vectors that pictures of the prior are of: the same after every tenth.
    pub fn prior(&self, count: usize) -> Vec<f32> {
        let noise = Noise::new(self.flags.seed, Use::Evaluation, u64::MAX);
        let numbers = 0..(count * self.network.latent) as u64;
        numbers.map(|at| noise.normal(at)).collect()
    }

    /// What is known of the training so far.
    pub fn line(&self, train: &Measured, test: &Measured) -> Line {
        Line {
            format: 1,
            step: self.step,
            epoch: self.step as f64 * f64::from(self.flags.epochs) / self.steps as f64,
            seconds: self.seconds(),
            beta: self.beta(),
            train: *train,
            test: *test,
        }
    }
}

fn mean(sum: Measured, count: f64) -> Measured {
    Measured {
        loss: sum.loss / count,
        reconstruction: sum.reconstruction / count,
        kl: sum.kl / count,
    }
}
