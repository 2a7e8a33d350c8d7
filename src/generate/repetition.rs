//! A penalty on repeated sequences, against loops.
//!
//! The repetition penalty of Keskar et al. 2019 (CTRL) makes every token that has been seen less
//! probable. That works for words but not for characters, since almost every character has just been
//! seen. What repeats among characters is a sequence. So a token is penalised for the repeat that it would
//! prolong, as in the DRY sampler ("Don't Repeat Yourself", text-generation-webui 2024), which
//! softens the ban on repeated n-grams of Paulus et al. 2018: if the last n tokens occurred before and
//! c followed them, c prolongs a repeat of n tokens, and its logit is lowered by
//!
//! `ln(penalty) · max(0, n − FREE)`,
//!
//! where n is the largest such number for c within the window. Every token beyond [`FREE`] divides c's
//! odds by the penalty once more, whereas DRY multiplies the number to subtract.

use crate::kernels::scalar;

/// The longest repeat, in tokens, without a penalty: words repeat in any text.
pub const FREE: usize = 8;

/// The repeats in one text.
#[derive(Clone, Debug)]
pub struct Repetition {
    log_penalty: f32,
    window: usize,
    /// The last tokens, at most `window`, the newest last.
    recent: Vec<u32>,
    /// For each of them, the number of tokens up to it that match the end of the text.
    matching: Vec<usize>,
}

impl Repetition {
    /// Creates the state of an empty text.
    pub fn new(penalty: f32, window: usize) -> Self {
        Self {
            log_penalty: scalar::ln(f64::from(penalty)) as f32,
            window,
            recent: Vec::new(),
            matching: Vec::new(),
        }
    }

    /// Appends `token` to the text.
    pub fn read(&mut self, token: u32) {
        // A match up to a position extends to the next one, if that has the same token.
        for at in (0..self.recent.len()).rev() {
            let before = at.checked_sub(1).map_or(0, |before| self.matching[before]);
            self.matching[at] = if self.recent[at] == token {
                before + 1
            } else {
                0
            };
        }
        self.recent.push(token);
        self.matching.push(0); // it is the end itself, and no repeat of it
        if self.recent.len() > self.window {
            self.recent.remove(0);
            self.matching.remove(0);
        }
    }

    /// Lowers the bias (tokens) of those that would prolong a repeat.
    pub fn lower(&self, bias: &mut [f32]) {
        let mut longest: Vec<(u32, usize)> = Vec::new();
        let followers = self.recent.iter().skip(1);
        for (at, (&matching, &token)) in self.matching.iter().zip(followers).enumerate() {
            let matching = matching.min(at + 1); // of what the window still holds
            if matching <= FREE {
                continue;
            }
            match longest.iter_mut().find(|(other, _)| *other == token) {
                Some((_, longest)) => *longest = matching.max(*longest),
                None => longest.push((token, matching)),
            }
        }
        for (token, matching) in longest {
            if let Some(bias) = bias.get_mut(token as usize) {
                *bias -= self.log_penalty * (matching - FREE) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;

    fn repetition(penalty: f32, window: usize, text: &[u32]) -> Repetition {
        let mut repetition = Repetition::new(penalty, window);
        for &token in text {
            repetition.read(token);
        }
        repetition
    }

    /// By the definition: the longest end of the window that occurred in it before, followed by
    /// `token`.
    fn longest(window: &[u32], token: u32) -> usize {
        let ends = (1..window.len()).filter(|&at| window[at] == token);
        let common = |at: usize| {
            let back = window[..at].iter().rev().zip(window.iter().rev());
            back.take_while(|(a, b)| a == b).count()
        };
        ends.map(common).max().unwrap_or(0)
    }

    #[test]
    fn the_penalty_is_that_of_the_definition() {
        let mut penalised = 0;
        for seed in 0..40 {
            // Mostly a loop, with slips.
            let slips = Numbers::new(seed).vector(150, 1.0);
            let period = 5 + seed as usize % 9;
            let text: Vec<u32> = slips
                .iter()
                .enumerate()
                .map(|(at, &x)| if x > 0.9 { 2 } else { (at % period % 4) as u32 })
                .collect();
            for window in [3, 20, 64, 500] {
                let mut bias = [0.0; 4];
                repetition(1.5, window, &text).lower(&mut bias);
                let window = &text[text.len().saturating_sub(window)..];
                for (token, bias) in bias.into_iter().enumerate() {
                    let n = longest(window, token as u32).saturating_sub(FREE);
                    let want = -(1.5_f32.ln()) * n as f32;
                    assert!((bias - want).abs() < 1e-4, "{bias}, {want}");
                    penalised += usize::from(n > 0);
                }
            }
        }
        assert!(penalised > 20, "{penalised}");
    }

    #[test]
    fn words_repeat_for_nothing_and_loops_pay_more_and_more() {
        let text: Vec<u32> = (0..10).cycle().take(100).collect();
        let bias = |text: &[u32], penalty| {
            let mut bias = [0.0; 10];
            repetition(penalty, 64, text).lower(&mut bias);
            bias
        };
        // The second round has come to its ninth token: one more than is free.
        assert_eq!(bias(&text[..18], 2.0), [0.0; 10]);
        let second = bias(&text[..19], 2.0);
        assert!((second[9] + 2.0_f32.ln()).abs() < 1e-6, "{second:?}");
        assert!(second[..9].iter().all(|&bias| bias == 0.0), "{second:?}");
        assert!(bias(&text[..25], 2.0)[5] < 5.0 * second[9]);
        // Penalty 1 is none.
        assert_eq!(bias(&text, 1.0).map(f32::abs), [0.0; 10]);
    }
}
