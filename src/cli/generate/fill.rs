//! `textgen generate --fill`: texts with holes.

use std::io::Write;

use crate::config::{Decoding, OnUnknown, Sampling};
use crate::generate::beam::Found;
use crate::generate::fill::{Holes, PARTICLES};
use crate::generate::sampling::Sampler;
use anyhow::Result;

use super::reading::{Read, TextModel};
use super::{GenerateArgs, Sample, check_beam, note_seed, threads};
use crate::cli::error::CliError;
use crate::cli::progress::Progress;

/// How holes are filled unless told otherwise.
pub const USUAL: Decoding = Decoding::Beam(16);
/// Stands for one character.
const HOLE: char = '_';

/// Fills `pattern` after `start` and shows the fillings.
pub fn fill(
    args: &GenerateArgs,
    pattern: &str,
    model: &TextModel,
    start: &Read,
    decoding: Decoding,
    sampling: &Sampling,
) -> Result<()> {
    let places = places(args, pattern, model)?;
    let holes = Holes {
        model: &model.network,
        start: &start.state,
        places: &places,
        suppressed: &model.suppressed,
    };
    let count = args.count.unwrap_or(1);
    let seed = (decoding == Decoding::Sample).then_some(sampling.seed);
    let mut out = crate::cli::output::stdout();
    let mut show = |index: usize, found: &Found| -> Result<()> {
        let text = model.header.vocabulary.decode(&found.tokens);
        if args.json {
            let sample = Sample {
                index,
                seed,
                prompt: args.text.prompt.as_deref(),
                text: &text,
                tokens: found.tokens.len(),
                log_prob_nats: found.log_prob.is_finite().then_some(found.log_prob),
                probs: None,
            };
            writeln!(out, "{}", serde_json::to_string(&sample)?)?;
        } else {
            writeln!(out, "{text}")?;
        }
        Ok(out.flush()?)
    };
    let width = match decoding {
        Decoding::Greedy => 1,
        Decoding::Beam(width) => width,
        Decoding::Sample => {
            note_seed(args, sampling);
            return draw(&holes, sampling, count, threads(args.threads), show);
        }
    };
    check_beam(width, count)?;
    if count > 0 {
        for (index, found) in holes.best(width, count).iter().enumerate() {
            show(index, found)?;
        }
    }
    Ok(())
}

/// Draws fillings on several threads and shows them in order.
fn draw(
    holes: &Holes,
    sampling: &Sampling,
    count: usize,
    threads: usize,
    mut show: impl FnMut(usize, &Found) -> Result<()>,
) -> Result<()> {
    if sampling.temperature == 0.0 {
        let message = "--temperature 0 draws nothing";
        return Err(CliError::misuse(message, "for the best filling: --decode beam:16").into());
    }
    let progress = Progress::of(count as u64, "drawn", "fillings");
    for first in (0..count).step_by(threads) {
        let indices = first..count.min(first + threads);
        let found: Vec<(usize, Option<Found>)> = std::thread::scope(|scope| {
            let begin = |index| {
                let sampler = Sampler::new(sampling, holes.suppressed, index as u64);
                (index, scope.spawn(move || holes.sample(PARTICLES, sampler)))
            };
            let begun: Vec<_> = indices.map(begin).collect();
            let end = |(index, thread): (usize, std::thread::ScopedJoinHandle<Found>)| {
                (index, thread.join().ok())
            };
            begun.into_iter().map(end).collect()
        });
        for (index, found) in found {
            let found = found.ok_or_else(|| anyhow::anyhow!("a thread has failed"))?;
            progress.aside(|| show(index, &found))?;
            progress.show(index as u64 + 1);
        }
    }
    progress.end();
    Ok(())
}

/// The tokens of a pattern; none is a hole.
fn places(args: &GenerateArgs, pattern: &str, model: &TextModel) -> Result<Vec<Option<u32>>> {
    let on_unknown = args.on_unknown.unwrap_or(OnUnknown::Error);
    let mut places = Vec::new();
    for piece in pieces(pattern) {
        match piece {
            None => places.push(None),
            Some(text) => {
                let tokens = model.encode(&model.normal(&text), on_unknown)?;
                places.extend(tokens.into_iter().map(Some));
            }
        }
    }
    if !places.contains(&None) {
        let message = format!("--fill {pattern}: it has no hole");
        return Err(CliError::misuse(message, "write _ for each character to fill in").into());
    }
    Ok(places)
}

/// The text between the holes, and the holes.
fn pieces(pattern: &str) -> Vec<Option<String>> {
    let mut pieces: Vec<Option<String>> = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(mut c) = chars.next() {
        if c == HOLE {
            pieces.push(None);
            continue;
        }
        if c == '\\' {
            c = chars
                .next_if(|&next| next == HOLE || next == '\\')
                .unwrap_or(c);
        }
        match pieces.last_mut() {
            Some(Some(text)) => text.push(c),
            _ => pieces.push(Some(c.to_string())),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_cut_at_its_holes_and_not_at_escaped_ones() {
        let shown = |pattern| {
            let show = |piece: Option<String>| piece.unwrap_or_else(|| "HOLE".to_owned());
            pieces(pattern).into_iter().map(show).collect::<Vec<_>>()
        };
        assert_eq!(shown("q__k b"), ["q", "HOLE", "HOLE", "k b"]);
        assert_eq!(shown(r"_a\_b\\_\n"), ["HOLE", r"a_b\", "HOLE", r"\n"]);
        assert_eq!(shown(r"a\"), [r"a\"]);
        assert!(shown("").is_empty());
    }
}
