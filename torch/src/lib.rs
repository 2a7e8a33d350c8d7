//! Training on a GPU: the only code that sees libtorch.
//!
//! [`TorchEngine`] is an [`Engine`](textgen::train::Engine) of the library's training loop. [`char_rnn`],
//! [`word_vae`] and [`article`] are the models in libtorch's operations; autograd has their gradients.

pub mod article;
pub mod char_rnn;
pub mod device;
pub mod dropout;
pub mod engine;
pub mod gradients;
pub mod graph;
pub mod group;
pub mod launch;
pub mod nccl;
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

use tch::{Kind, Reduction, Tensor};

use parameters::Parameters;

/// The target of a position that does not count.
const NONE: i64 = -100;

/// −log p of `targets` (N) after a model's last outputs (N, H), by the linear layer `name`, in nats (N); 0 where a target is [`NONE`].
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
    logits.cross_entropy_loss::<Tensor>(targets, None, Reduction::None, NONE, 0.0)
}
