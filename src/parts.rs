//! What the models are made of, for networks of one's own: the products and the optimizer of the CPU engine, its
//! random numbers, and the [`variational`] part of an autoencoder.
//!
//! The example `image_vae` of the repository is a whole training made of them. One step of a layer:
//!
//! ```
//! use textgen::parts::{Adam, AdamPiece, Buffers, Kernels, Linear, LinearGradients, Parameter, Pool, Workers};
//!
//! let (pool, buffers) = (Pool::new(2), Buffers::new());
//! let workers = Workers { team: &pool, kernels: Kernels::new(), buffers: &buffers };
//! // Two inputs, one output, y = 3 wanted for x = (1, 2).
//! let (mut weight, mut moments, x) = (vec![0.5, -0.5], [vec![0.0; 2], vec![0.0; 2]], [1.0, 2.0]);
//! for step in 1..=200 {
//!     let layer = Linear { inputs: 2, outputs: 1, x: &x, weight: &weight, bias: &[] };
//!     let (mut y, mut gradient) = ([0.0], vec![0.0; 2]);
//!     layer.forward(workers, &mut y);
//!     let to = LinearGradients { weight: &mut gradient, ..LinearGradients::default() };
//!     layer.backward(workers, &[2.0 * (y[0] - 3.0)], to);
//!     let [first, second] = &mut moments;
//!     let arrays = AdamPiece { weight: &mut weight, gradient: &gradient, first, second, largest: &mut [] };
//!     let adam = Adam { lr: 0.05, ..Adam::new(step) };
//!     adam.step(workers, vec![Parameter { arrays, weight_decay: 0.0 }], 0.0);
//! }
//! assert!((weight[0] + 2.0 * weight[1] - 3.0).abs() < 0.01);
//! ```

pub use crate::kernels::training::{
    Adam, Alone, Buffers, Linear, LinearGradients, Parameter, Pool, Team, Workers,
};
pub use crate::kernels::{AdamPiece, Kernels};
pub use crate::models::noise::{Noise, Use};
pub use crate::models::variational;
pub use crate::run::RunError;
pub use crate::run::atomic::write as write_file;
