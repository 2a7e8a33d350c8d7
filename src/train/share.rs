//! What evaluations may cost: about a tenth of the training's time, half of it while the model trains and half
//! at the end.
//!
//! Everything is counted in tokens, never in seconds, so that a training that is repeated or resumed evaluates
//! the same. Reading a token takes about a third of the time of training on it, because there is no backward
//! pass.

use super::task::{Extent, Part, Task, work};
use super::{text, words};
use crate::config::{Budget, ModelConfig, OF_BF16, Precision, TrainConfig, WITH_Z};
use crate::run::CorpusData;
use crate::text::segments;

/// Evaluations in a training whose `eval-every` is 0, at most.
const AUTOMATIC_EVALUATIONS: u64 = 10;
/// The same for a training of less than a minute.
const HURRIED_EVALUATIONS: u64 = 3;
/// Tokens that evaluations may read while the model trains, for each token that it trains on; and as many at
/// the end.
const SHARE: f64 = 0.15;
/// The fewest tokens that a sample reads; a part of less than twice as many is read whole. The standard error
/// of a char-lstm's loss is then about 0.03 nats, and a tenth of that for the difference of two models of one
/// training.
const LEAST_SAMPLE: f64 = 10_000.0;
/// The multiplications that the evaluation at the end may take however short the training was: some seconds
/// on two cores,
const LAST_WORK: f64 = (1_u64 << 37) as f64;
/// and the most tokens that a small network reads in that time.
const LAST_TOKENS: f64 = (1_u64 << 20) as f64;
/// Multiplications and additions per second that are assumed where the speed of the machine is unknown.
const ASSUMED_SPEED: f64 = 2e10;

/// The evaluations of a training that come by themselves, unless they would cost too much.
pub const fn automatic(budget: Budget) -> u64 {
    match budget {
        Budget::Minutes(minutes) if minutes < 1.0 => HURRIED_EVALUATIONS,
        _ => AUTOMATIC_EVALUATIONS,
    }
}

/// The cost of a token in an evaluation as a multiple of a third of its cost in training, which is what it usually is: training
/// costs less where it leaves out the encoder or multiplies in bf16.
pub fn relative_cost(config: &TrainConfig) -> f64 {
    let in_bf16 = config.precision == Precision::Bf16;
    let of_precision = if in_bf16 { OF_BF16 } else { 1.0 };
    let alone = config.word_vae().filter(|own| own.latent > 0);
    let alone = alone.map_or(0.0, |own| own.pretrain_decoder);
    of_precision * WITH_Z / (alone + (1.0 - alone) * WITH_Z)
}

/// The value of `eval-size` that suits a corpus, if none is given: how many held-out characters or words an
/// evaluation reads while the model trains, 0 for all. `expected` is the tokens that a time budget is expected
/// to train on, if that is known.
pub fn evaluation_size(config: &TrainConfig, corpus: &CorpusData, expected: Option<f64>) -> usize {
    let vocabulary = corpus.vocabulary();
    let network = config.network(
        vocabulary.len(),
        vocabulary.outputs(),
        vocabulary.document_end(),
    );
    let (epoch, step) = match (corpus, &config.model) {
        (CorpusData::Text(text), ModelConfig::CharRnn(own)) => {
            let step = config.batch * (own.seq + own.seq_min) / 2;
            (text.training_size(config) as f64, step as f64)
        }
        (CorpusData::Words(data), ModelConfig::WordVae(_)) => {
            let epoch = data.tokens(&data.train) as f64;
            let steps = data.train.len().div_ceil(config.batch).max(1);
            (epoch, epoch / steps as f64)
        }
        _ => return 0,
    };
    let apart = if config.eval_every > 0 {
        config.eval_every as f64 * step
    } else {
        let trained = match (config.budget, expected) {
            (Budget::Steps(steps), _) => steps as f64 * step,
            (Budget::Epochs(epochs), _) => epochs * epoch,
            (Budget::Minutes(_), Some(expected)) => expected,
            (Budget::Minutes(minutes), None) => {
                minutes * 60.0 * ASSUMED_SPEED / (6 * work(&network)) as f64
            }
        };
        trained / automatic(config.budget) as f64
    };
    let within = |tokens: f64| match corpus {
        CorpusData::Text(text) => {
            // An error of reading returns when they are trained on.
            let valid = text.split(config).unwrap_or_default().valid;
            text::within(&segments(&valid, config.split()), tokens)
        }
        CorpusData::Words(data) => words::within(data, &data.valid, tokens),
    };
    let tokens = (SHARE * apart / relative_cost(config)).max(LEAST_SAMPLE);
    match (within(tokens.max(2.0 * LEAST_SAMPLE)), within(tokens)) {
        // Most of a part is not worth a sample.
        (Extent::All, _) | (_, Extent::All) => 0,
        (_, Extent::Sample(size)) => size,
    }
}

/// The tokens to train on between two evaluations, so that those cost no more than their share.
pub fn apart(task: &dyn Task, extent: Extent) -> f64 {
    task.tokens_read(Part::Valid, extent) as f64 / SHARE
}

/// How much of a part is read at the end of a training on `trained` tokens: all of it, unless that would take
/// more than its share and some seconds.
pub fn at_the_end(task: &dyn Task, part: Part, trained: u64) -> Extent {
    let seconds = (LAST_WORK / work(task.network()) as f64).min(LAST_TOKENS);
    task.within(part, (SHARE * trained as f64).max(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::TextData;
    use crate::text::Vocabulary;
    use crate::train::tests::{text_config, text_data, with, word_config, word_data};

    fn size(changes: &str, length: usize, expected: Option<f64>) -> usize {
        let data = text_data(1000);
        let text = CorpusData::Text(TextData {
            tokens: vec![0; length].into(),
            vocabulary: Vocabulary::clone(&data.vocabulary),
        });
        evaluation_size(&with(&text_config(), changes), &text, expected)
    }

    #[test]
    fn a_sample_follows_the_tokens_between_two_evaluations() {
        // 2,000 steps of 4 × 16 tokens between two evaluations: 19,200 tokens, of which a fifth warms up.
        let long = "steps=20000 eval-every=0";
        let found = size(long, 1_000_000, None);
        assert!((15_000..15_800).contains(&found), "{found}");
        assert_eq!(size("eval-every=2000", 1_000_000, None), found);
        assert_eq!(
            size("epochs=1.4222222 eval-every=0", 1_000_000, None),
            found
        );
        assert_eq!(
            size("minutes=7 eval-every=0", 1_000_000, Some(1.28e6)),
            found
        );
        // All of a part that is not larger, and no less than means something.
        assert_eq!(size(long, 100_000, None), 0);
        let least = size("eval-every=1", 1_000_000, None);
        assert!((7_900..8_100).contains(&least), "{least}");
        assert_eq!(size("eval-every=1", 60_000, None), 0);
    }

    #[test]
    fn a_sample_of_words_follows_their_tokens() {
        let config = with(&word_config(), "valid=0.5 test=0 eval-every=1");
        let mut data = word_data(&config);
        data.valid = data.valid.iter().copied().cycle().take(100_000).collect();
        let mean = data.tokens(&data.valid) as f64 / 1e5;
        let found = evaluation_size(&config, &CorpusData::Words(data), None);
        assert!((found as f64 * mean / LEAST_SAMPLE - 1.0).abs() < 0.01);
    }
}
