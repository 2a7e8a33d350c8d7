//! Training on a GPU: the only code that sees libtorch.
//!
//! [`TorchEngine`] is an [`Engine`](textgen::train::Engine) of the library's training loop. [`char_rnn`],
//! [`word_vae`] and [`article`] are the models in libtorch's operations; autograd has their gradients.

pub mod article;
pub mod char_rnn;
pub mod device;
pub mod dropout;
pub mod engine;
pub mod group;
pub mod launch;
pub mod optimizer;
pub mod parameters;
pub mod recurrent;
pub mod shim;
pub mod sums;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod word_vae;

pub use engine::TorchEngine;

use tch::{Device, Kind, Reduction, Tensor};

use parameters::Parameters;
use shim::upload;

/// Lists of indices on a device, copied in one transfer.
fn indices<const N: usize>(lists: [&[i64]; N], device: Device) -> [Tensor; N] {
    let all = upload(&Tensor::from_slice(&lists.concat()), device);
    let mut start = 0;
    lists.map(|list| {
        let part = all.narrow(0, start, list.len() as i64);
        start += list.len() as i64;
        part
    })
}

/// −log p of `targets` (N) after a model's last outputs (N, H), by the linear layer `name`, in nats (N).
fn predict(
    parameters: &Parameters,
    name: &str,
    outputs: &Tensor,
    targets: &Tensor,
    in_bf16: bool,
) -> Tensor {
    let logits = if in_bf16 {
        let low = |tensor: &Tensor| tensor.to_kind(Kind::BFloat16);
        let [weight, bias] =
            ["weight", "bias"].map(|part| low(parameters.get(&format!("{name}.{part}"))));
        let logits = low(outputs).linear(&weight, Some(&bias));
        logits.to_kind(Kind::Float)
    } else {
        parameters.linear(outputs, name)
    };
    logits.cross_entropy_loss::<Tensor>(targets, None, Reduction::None, -100, 0.0)
}
