//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum, value_parser};
use serde::Serialize;

/// Where Debian's package dataset-fashion-mnist has its files.
pub const DATA: &str = "/usr/share/datasets/fashion-mnist";

/// Trains a variational autoencoder of images, and writes pictures of what it has learnt to runs/NAME.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(name = "image_vae", version)]
pub struct Flags {
    /// The network
    #[arg(long, value_enum, default_value_t = Model::Dense20)]
    pub model: Model,
    /// What a reconstruction costs
    #[arg(long, value_enum, default_value_t = Loss::Bce)]
    pub loss: Loss,
    /// Samples of z per image and step, L of estimator B
    #[arg(long, value_name = "L", default_value_t = 1, value_parser = value_parser!(u32).range(1..=1000))]
    pub samples: u32,
    /// Weight of the divergence in the objective; with --rate only its first value
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = number)]
    pub beta: f64,
    /// Nats of each dimension of z, on average over a batch, below which its divergence counts as that many
    #[arg(long, value_name = "NATS", default_value_t = 0.0, value_parser = number)]
    pub free_bits: f64,
    /// Hold the divergence at so many nats per image, by moving its weight
    #[arg(long, value_name = "NATS", value_parser = above_zero, conflicts_with = "free_bits")]
    pub rate: Option<f64>,
    /// Measure the trained model by the importance-weighted bound, too, with K samples per test image
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = value_parser!(u32).range(0..=100_000))]
    pub iw: u32,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=100_000))]
    pub epochs: u32,
    /// Selects weights, order and noise
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Folder with the four files of MNIST or Fashion-MNIST, as they are or with .gz
    #[arg(long, value_name = "DIR", default_value = DATA)]
    pub data: PathBuf,
    /// Name of the new folder in runs; by default that of the model, with a number if need be
    #[arg(long)]
    pub name: Option<String>,
}

/// The networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// 784 → 400 → 20 and back
    Dense20,
    /// 784 → 200 → 200 → 2 and back
    Plane2,
}

/// What a reconstruction costs, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Bernoulli cross-entropy of pixels in 0…1
    Bce,
    /// Squared error of pixels in −1…1 after tanh
    Mse,
    /// A quarter of that, the squared error of pixels in 0…1
    Mse01,
}

impl Model {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dense20 => "dense20",
            Self::Plane2 => "plane2",
        }
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|x: &f64| (0.0..=1e6).contains(x));
    number.ok_or_else(|| "not a number from 0 to 1000000".to_owned())
}

fn above_zero(text: &str) -> Result<f64, String> {
    let number = number(text).ok().filter(|&x| x >= 1e-3);
    number.ok_or_else(|| "not a number from 0.001 to 1000000".to_owned())
}
