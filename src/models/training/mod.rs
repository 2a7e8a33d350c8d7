//! Forward and backward passes of the networks, chained by hand on the kernels of training.

#[cfg(test)]
#[allow(
    dead_code,
    reason = "the networks that it is compared with use all of it"
)]
pub(crate) mod reference;
