//! Beam search for the most probable word of a latent vector.

use super::WordDecoder;
use crate::generate::beam::{Beam, Goal};
use crate::generate::constraint::Place;
use crate::generate::{LONGEST_WORD, Word, WordForm};
use crate::models::Network;

/// Words of one form, ranked by log p(word | z) including their end, without a correction for length.
struct WordGoal<'a> {
    eos: u32,
    form: WordForm<'a>,
}

impl Goal for WordGoal<'_> {
    type Trail = Place;

    fn longest(&self) -> usize {
        LONGEST_WORD
    }

    fn allows(&self, tokens: &[u32], &place: &Place, token: u32) -> bool {
        self.form.allows(tokens.len(), place, token, self.eos)
    }

    fn follow(&self, tokens: &[u32], &place: &Place) -> Option<Place> {
        let goes_on = |&&last: &&u32| last != self.eos && tokens.len() < LONGEST_WORD;
        let last = tokens.last().filter(goes_on)?;
        Some(self.form.after(place, *last))
    }

    fn by_mean(&self) -> bool {
        false
    }
}

impl WordDecoder<'_> {
    /// The most probable word of z (Z) found by extending the `width` most probable prefixes at
    /// each step. Width 1 decodes greedily; a width that drops no prefix finds the most probable
    /// word of all.
    ///
    /// # Panics
    /// If z is not of length Z.
    pub fn beam(&self, z: &[f32], width: usize) -> Word {
        let mut state = self.vae.decoder(1, z);
        self.vae.step(&mut state, &[self.bos]);
        let goal = WordGoal {
            eos: self.eos,
            form: self.form,
        };
        let beam = Beam {
            width,
            wanted: 1,
            suppressed: self.suppressed,
        };
        let found = beam.search(self.vae, state, &goal, Place::default(), |_| ());
        let Some(mut found) = found.into_iter().next() else {
            return Word::default(); // no probability is a number
        };
        found.tokens.pop_if(|&mut last| last == self.eos);
        Word {
            letters: found.tokens,
            log_prob: found.log_prob,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Cell, Decoding, NetworkConfig, Sampling};
    use crate::generate::constraint::Constraint;
    use crate::generate::sampling::log_prob;
    use crate::generate::{Word, WordForm};
    use crate::latent::WordDecoder;
    use crate::models::Network;
    use crate::models::weights::Array;
    use crate::models::word_vae::WordVae;
    use crate::parallel::Running;
    use crate::testing::{self, Numbers};

    const SAMPLING: Sampling = Sampling::new(5);
    /// The tokens are letters 0 and 1, `<eos>`, `<unk>` and `<bos>`.
    const EOS: u32 = 2;
    const UNK: u32 = 3;
    const BOS: u32 = 4;
    /// Words of up to this many letters are enumerated.
    const LONGEST: usize = 9;

    fn running(threads: usize) -> Running<'static> {
        Running {
            threads,
            progress: &|_| (),
        }
    }

    /// With weights so large that the letters' probabilities differ.
    fn vae() -> WordVae {
        let config = NetworkConfig {
            inputs: 5,
            outputs: 4,
            ..testing::word_vae(Cell::Gru, 9, 1)
        };
        let weights = testing::weights(&config);
        let larger = weights.iter().map(|(name, array)| {
            let values: Vec<f32> = array.data().iter().map(|x| 2.5 * x).collect();
            (name.clone(), Array::f32(array.shape.clone(), values))
        });
        WordVae::new(&config, &larger.collect()).expect("a network")
    }

    fn decoder<'a>(vae: &'a WordVae, prefix: &'a [u32]) -> WordDecoder<'a> {
        WordDecoder {
            vae,
            bos: BOS,
            eos: EOS,
            suppressed: &[UNK],
            form: WordForm {
                prefix,
                ..WordForm::default()
            },
        }
    }

    fn vectors(count: usize) -> Vec<Vec<f32>> {
        let mut numbers = Numbers::new(11);
        (0..count).map(|_| numbers.vector(3, 2.0)).collect()
    }

    /// The most probable word that starts with `prefix`, by trying all of up to LONGEST letters,
    /// and the probability of the likeliest prefix of that length, an upper bound for longer words.
    fn enumerate(vae: &WordVae, z: &[f32], prefix: &[u32]) -> (Word, f64) {
        let mut best = Word {
            letters: Vec::new(),
            log_prob: f64::NEG_INFINITY,
        };
        let mut longer = f64::NEG_INFINITY;
        let mut open = vec![(vae.decoder(1, z), BOS, Word::default())];
        while let Some((mut state, token, word)) = open.pop() {
            if word.letters.len() == LONGEST {
                longer = longer.max(word.log_prob);
                continue;
            }
            vae.step(&mut state, &[token]);
            let mut logits = state.logits(0).to_vec();
            logits[UNK as usize] = f32::NEG_INFINITY;
            for next in [0, 1, EOS] {
                let given = prefix.get(word.letters.len());
                if given.is_some_and(|&given| given != next) {
                    continue;
                }
                let mut word = word.clone();
                word.log_prob += log_prob(&logits, next);
                if next != EOS {
                    word.letters.push(next);
                    open.push((state.clone(), next, word));
                } else if word.log_prob > best.log_prob {
                    best = word;
                }
            }
        }
        (best, longer)
    }

    #[test]
    fn a_beam_that_leaves_nothing_out_finds_the_most_probable_word() {
        let vae = vae();
        let (mut compared, mut missed) = (0, 0);
        for z in vectors(40) {
            for prefix in [&[][..], &[1, 0]] {
                let decoder = decoder(&vae, prefix);
                let (want, longer) = enumerate(&vae, &z, prefix);
                if longer >= want.log_prob {
                    continue; // a word that was not tried may be the most probable
                }
                let found = decoder.beam(&z, 1 << LONGEST);
                assert_eq!(found.letters, want.letters);
                assert!((found.log_prob - want.log_prob).abs() < 1e-9);
                assert!(found.letters.starts_with(prefix));
                compared += 1;
                missed += usize::from(decoder.beam(&z, 1).letters != want.letters);
            }
        }
        assert!(compared >= 20, "{compared}");
        assert!(missed > 0, "greedy finds them all: this proves nothing");
    }

    #[test]
    fn words_under_a_constraint_match_and_a_beam_finds_the_most_probable_of_them() {
        let vae = vae();
        let bytes = [b"a".to_vec(), b"b".to_vec(), Vec::new(), Vec::new()];
        let constraint = Constraint::new("[ab]b{1,2}a?", &bytes).expect("a constraint");
        let matching: [&[u32]; 8] = [
            &[0, 1],
            &[1, 1],
            &[0, 1, 0],
            &[1, 1, 0],
            &[0, 1, 1],
            &[1, 1, 1],
            &[0, 1, 1, 0],
            &[1, 1, 1, 0],
        ];
        let log_prob = |z: &[f32], word: &[u32]| {
            let (mut state, mut sum) = (vae.decoder(1, z), 0.0);
            for (read, next) in [&[BOS], word]
                .concat()
                .into_iter()
                .zip([word, &[EOS]].concat())
            {
                vae.step(&mut state, &[read]);
                let mut logits = state.logits(0).to_vec();
                logits[UNK as usize] = f32::NEG_INFINITY;
                sum += log_prob(&logits, next);
            }
            sum
        };
        let decoder = WordDecoder {
            form: WordForm {
                constraint: Some(&constraint),
                ..WordForm::default()
            },
            ..decoder(&vae, &[])
        };
        let vectors = vectors(60);
        for decoding in [Decoding::Sample, Decoding::Greedy, Decoding::Beam(64)] {
            let words = decoder.words(&vectors, decoding, &SAMPLING, running(1));
            let mut found = std::collections::BTreeSet::new();
            for (word, z) in words.iter().zip(&vectors) {
                assert!(matching.contains(&&word.letters[..]), "{word:?}");
                assert!((word.log_prob - log_prob(z, &word.letters)).abs() < 1e-4);
                if decoding == Decoding::Beam(64) {
                    let best = matching.map(|word| log_prob(z, word));
                    let best = best.into_iter().fold(f64::NEG_INFINITY, f64::max);
                    assert!((word.log_prob - best).abs() < 1e-9, "{word:?}");
                }
                found.insert(&word.letters);
            }
            assert!(found.len() > 2, "{decoding}: {found:?}");
        }
    }

    #[test]
    fn a_beam_of_one_is_the_greedy_word() {
        let vae = vae();
        let vectors = vectors(60);
        for prefix in [&[][..], &[0, 0, 1]] {
            let words =
                |decoding| decoder(&vae, prefix).words(&vectors, decoding, &SAMPLING, running(1));
            let (greedy, beam) = (words(Decoding::Greedy), words(Decoding::Beam(1)));
            for (greedy, beam) in greedy.iter().zip(&beam) {
                assert_eq!(greedy.letters, beam.letters);
                assert!((greedy.log_prob - beam.log_prob).abs() < 1e-4);
            }
            assert!(greedy.iter().any(|word| word.letters != greedy[0].letters));
        }
    }

    #[test]
    fn a_wider_beam_finds_nothing_worse_here_and_threads_change_nothing() {
        let vae = vae();
        let vectors = vectors(100);
        let words = |decoding, threads| {
            decoder(&vae, &[]).words(&vectors, decoding, &SAMPLING, running(threads))
        };
        let sum = |words: &[Word]| words.iter().map(|word| word.log_prob).sum::<f64>();
        let sums: Vec<f64> = [1, 2, 8, 64]
            .map(|width| sum(&words(Decoding::Beam(width), 2)))
            .to_vec();
        assert!(sums.is_sorted(), "{sums:?}");
        for decoding in [Decoding::Greedy, Decoding::Sample, Decoding::Beam(3)] {
            assert_eq!(words(decoding, 1), words(decoding, 3));
        }
        assert_ne!(words(Decoding::Greedy, 1), words(Decoding::Sample, 1));
    }
}
