//! Texts with blanks.

use super::{ModelError, Prompt, Sample, Snapshot, TextModel};
use crate::config::{Decoding, Sampling};
use crate::generate::beam::Found;
use crate::generate::fill::{Blanks, PARTICLES};
use crate::generate::sampling::Sampler;
use crate::parallel::ordered;
use crate::text::{TextError, Typed, typed_chars};

/// The character of a pattern that marks a blank.
const BLANK: char = '_';

/// The tokens of a text with blanks; `None` is a blank.
pub(crate) struct Pattern {
    tokens: Vec<Option<u32>>,
    /// Unknown characters of the pattern, as in [`Snapshot::replaced`].
    pub replaced: Vec<(String, String)>,
}

impl TextModel {
    /// Fills the blanks of `pattern` in `count` ways: one character for each `_`. `\_` is an underscore, and `\n`, `\t`,
    /// `\\` and `\u{…}` are a line end, a tab, a backslash and any character. Beam search finds the most probable fillings, the best first; otherwise fillings are sampled.
    pub fn fill<'p>(
        &self,
        prompt: impl Into<Prompt<'p>>,
        pattern: &str,
        decoding: Decoding,
        sampling: &Sampling,
        count: usize,
    ) -> Result<Vec<Sample>, ModelError> {
        let start = self.start(prompt.into(), sampling.on_unknown)?;
        let pattern = self.pattern(pattern, sampling)?;
        let mut samples = Vec::new();
        start.fill(&pattern, decoding, sampling, count, |sample| {
            samples.push(sample);
            Ok::<(), ModelError>(())
        })?;
        Ok(samples)
    }

    pub(crate) fn pattern(&self, text: &str, sampling: &Sampling) -> Result<Pattern, ModelError> {
        let (mut tokens, mut replaced) = (Vec::new(), Vec::new());
        for piece in pieces(text)? {
            match piece {
                None => tokens.push(None),
                Some(typed) => {
                    let known = self.tokenize(&typed.text, sampling.on_unknown);
                    let known = known.map_err(|error| error.located(&typed))?;
                    tokens.extend(known.tokens.into_iter().map(Some));
                    replaced.extend(known.replaced);
                }
            }
        }
        if !tokens.contains(&None) {
            let text = text.to_owned();
            return Err(ModelError::NoBlank { text });
        }
        Ok(Pattern { tokens, replaced })
    }
}

impl Snapshot {
    /// Fills blanks, and passes on each text as soon as it and those before it are complete.
    pub(crate) fn fill<E: From<ModelError>>(
        &self,
        pattern: &Pattern,
        decoding: Decoding,
        sampling: &Sampling,
        count: usize,
        mut each: impl FnMut(Sample) -> Result<(), E>,
    ) -> Result<(), E> {
        sampling.validate().map_err(ModelError::from)?;
        let model = &self.model;
        let eos = model.header().vocabulary.document_end();
        // A blank is a character.
        let suppressed: Vec<u32> = eos
            .into_iter()
            .chain(model.0.suppressed.iter().copied())
            .collect();
        let blanks = Blanks {
            model: &model.0.network,
            start: &self.state,
            tokens: &pattern.tokens,
            suppressed: &suppressed,
        };
        let sample =
            |found: Found| Sample::new(model.header().vocabulary.decode(&found.tokens), found);
        let width = match decoding {
            Decoding::Greedy => 1,
            Decoding::Beam(width) => width,
            Decoding::Sample if sampling.temperature == 0.0 => {
                return Err(ModelError::NothingSampled.into());
            }
            Decoding::Sample => {
                let fill = |index: usize| {
                    let sampler = Sampler::new(sampling, blanks.suppressed, index as u64);
                    sample(blanks.sample(PARTICLES, sampler))
                };
                let threads = model.threads().min(count);
                return ordered(
                    0..count,
                    threads,
                    |queue| queue.work(fill),
                    |samples| samples.try_for_each(|(_, sample)| each(sample)),
                );
            }
        };
        ModelError::check_beam(width, count)?;
        if count == 0 {
            return Ok(());
        }
        blanks
            .best(width, count)
            .into_iter()
            .map(sample)
            .try_for_each(each)
    }
}

/// Splits a pattern into the text between blanks, and blanks.
fn pieces(pattern: &str) -> Result<Vec<Option<Typed>>, TextError> {
    let mut pieces: Vec<Option<Typed>> = Vec::new();
    for typed in typed_chars(pattern, Some(BLANK))? {
        if typed.c == BLANK && !typed.is_escaped {
            pieces.push(None);
        } else if let Some(Some(text)) = pieces.last_mut() {
            text.push(typed);
        } else {
            pieces.push(Some(Typed::from(typed)));
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_cut_at_its_blanks_and_not_at_escaped_ones() {
        let shown = |pattern| {
            let show = |piece: Option<Typed>| piece.map_or("BLANK".to_owned(), |typed| typed.text);
            let pieces = pieces(pattern).expect("valid").into_iter();
            pieces.map(show).collect::<Vec<_>>()
        };
        assert_eq!(shown("q__k b"), ["q", "BLANK", "BLANK", "k b"]);
        assert_eq!(shown(r"_a\_b\\_\n"), ["BLANK", r"a_b\", "BLANK", "\n"]);
        assert!(shown("").is_empty());
        assert!(pieces(r"a\").is_err());
    }
}
