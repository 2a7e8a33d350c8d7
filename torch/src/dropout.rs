//! Dropout of units and of tokens while training.

use tch::{Kind, Tensor};

/// Dropout of a layer's outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dropout {
    /// Probability that a unit is dropped; the others are scaled up by 1 / (1 − rate).
    pub rate: f64,
    /// Whether the same units are dropped at all steps of a sequence (Gal & Ghahramani 2016).
    pub variational: bool,
}

impl Dropout {
    /// Drops other units at each step.
    pub const fn each_step(rate: f64) -> Self {
        Self {
            rate,
            variational: false,
        }
    }

    /// `outputs` (N, H) after dropout; for variational dropout N is T·B with `batch` B.
    pub fn apply(self, outputs: &Tensor, batch: i64, train: bool) -> Tensor {
        if !self.variational || !train || self.rate == 0.0 {
            return outputs.dropout(self.rate, train);
        }
        let width = outputs.size()[1];
        let mask = Tensor::ones([1, batch, width], (Kind::Float, outputs.device()));
        let mask = mask.dropout(self.rate, true);
        (outputs.reshape([-1, batch, width]) * mask).reshape([-1, width])
    }
}

/// The vectors (V + 1, E) of tokens, one-hot if `vectors` (V, E) is `None`, and a last one of zeros
/// for dropped tokens; the others are scaled up by 1 / (1 − `rate`).
pub fn with_nothing(vectors: Option<&Tensor>, one_hot: i64, rate: f64, like: &Tensor) -> Tensor {
    let options = (Kind::Float, like.device());
    let vectors = match vectors {
        Some(vectors) => vectors.shallow_clone(),
        None => Tensor::eye(one_hot, options),
    };
    let nothing = Tensor::zeros([1, vectors.size()[1]], options);
    Tensor::cat(&[vectors / (1.0 - rate), nothing], 0)
}

/// `tokens` (N), each replaced by `nothing` with probability `rate`.
pub fn drop_tokens(tokens: &Tensor, rate: f64, nothing: i64) -> Tensor {
    let random = Tensor::rand(tokens.size(), (Kind::Float, tokens.device()));
    tokens.masked_fill(&random.lt(rate), nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;

    /// Rows (T·B, H) of ones.
    fn ones(steps: i64, batch: i64, width: i64) -> Tensor {
        Tensor::ones([steps * batch, width], (Kind::Float, tch::Device::Cpu))
    }

    #[test]
    fn variational_dropout_takes_the_same_units_at_all_steps() {
        let _alone = alone();
        tch::manual_seed(1);
        let dropout = Dropout {
            rate: 0.25,
            variational: true,
        };
        let (steps, batch, width) = (5, 3, 400);
        let left = dropout.apply(&ones(steps, batch, width), batch, true);
        let left = left.reshape([steps, batch, width]);
        let first = left.narrow(0, 0, 1);
        assert!(left.equal(&first.expand_as(&left)));
        // Each sequence drops its own units, and the rest is scaled up.
        assert!(!left.select(1, 0).equal(&left.select(1, 1)));
        let mask = left.gt(0.0).to_kind(Kind::Double).mean(Kind::Double);
        assert!((mask.double_value(&[]) - 0.75).abs() < 0.05);
        assert!((left.max().double_value(&[]) - 4.0 / 3.0).abs() < 1e-6);
        assert!(
            dropout
                .apply(&ones(2, 2, 2), 2, false)
                .equal(&ones(2, 2, 2))
        );
    }

    #[test]
    fn a_token_taken_away_is_a_vector_of_zeros() {
        let _alone = alone();
        tch::manual_seed(2);
        let tokens = Tensor::from_slice(&[2i64, 0, 1].repeat(1000));
        let left = drop_tokens(&tokens, 0.2, 3);
        let vectors = with_nothing(None, 3, 0.2, &tokens).index_select(0, &left);
        let whole = Tensor::eye(3, (Kind::Float, tch::Device::Cpu)).index_select(0, &tokens);
        // The mean does not change.
        let mean = |vectors: &Tensor| vectors.mean(Kind::Double).double_value(&[]);
        assert!((mean(&vectors) - mean(&whole)).abs() < 0.02);
        let gone = left.eq(3).to_kind(Kind::Double).mean(Kind::Double);
        assert!((gone.double_value(&[]) - 0.2).abs() < 0.03);
        let mask = left.ne(3).unsqueeze(1);
        assert!((vectors * 0.8 - whole * mask).abs().max().double_value(&[]) < 1e-6);
    }
}
