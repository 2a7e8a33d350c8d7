//! Words from a word-vae, or from the original article's network.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use crate::config::{Decoding, OnUnknown, Sampling};
use crate::generate::constraint::Constraint;
use crate::generate::sampling::Sampler;
use crate::generate::{LONGEST_WORD, Numbered, Prior, Word, WordForm, lockstep};
use crate::latent::WordDecoder;
use crate::model::constraint;
use crate::models::article::Article;
use crate::models::word_vae::WordVae;
use crate::run::{ModelFile, ModelHeader};
use crate::text::{SpecialTokens, normalize};
use anyhow::{Context, Result};

use super::{
    GenerateArgs, Length, Sample, decoding, note_seed, refuse, rows, take, threads, weights,
};
use crate::cli::error::CliError;
use crate::cli::output::{note, stdout};
use crate::cli::progress::Progress;
use crate::cli::unknown::Replaced;

/// Words unless told otherwise.
const DEFAULT_WORDS: usize = 20;
/// Words drawn for every word wanted before --length, --unique or --novel give up.
const MOST_TRIES: usize = 200;
/// The same for --length, whose words may be rare: at least so many.
const TRIES_FOR_LENGTH: usize = 100_000;
/// Words drawn at least before --constrain steers letters.
const TRIES_WITHOUT_STEERING: usize = 10_000;

/// What draws words: a word-vae, or the original article's network.
enum Inventor {
    Vae {
        vae: Box<WordVae>,
        bos: u32,
        eos: u32,
    },
    Article(Article),
}

/// What all words share.
struct Job<'a> {
    inventor: Inventor,
    sampling: &'a Sampling,
    decoding: Decoding,
    suppressed: Vec<u32>,
    /// What every word is like.
    form: WordForm<'a>,
    z_temperature: f32,
}

impl Job<'_> {
    fn sampler(&self, index: usize) -> Sampler {
        Sampler::new(self.sampling, &self.suppressed, index as u64)
    }

    /// Draws words `first` to `first + count` on `threads` threads and hands them over in order.
    fn draw(
        &self,
        first: usize,
        count: usize,
        threads: usize,
        mut hand_over: impl FnMut(usize, Word) -> Result<()>,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let (sender, next) = (sender.clone(), &next);
                // Where nobody receives any more, there is no reason to go on.
                let send = move |index, word| sender.send((index, word)).is_ok();
                let index = || Some(first + take(next, count)?);
                scope.spawn(move || self.draw_here(rows(count, threads), index, send));
            }
            drop(sender);
            let mut waiting = BTreeMap::new();
            let mut due = first;
            for (index, word) in receiver {
                waiting.insert(index, word);
                while let Some(word) = waiting.remove(&due) {
                    hand_over(due, word)?;
                    due += 1;
                }
            }
            Ok(())
        })
    }

    /// Draws the words that `next` names, `rows` at a time, until `send` refuses one.
    fn draw_here(
        &self,
        rows: usize,
        mut next: impl FnMut() -> Option<usize>,
        send: impl Fn(usize, Word) -> bool,
    ) {
        let (vae, bos, eos) = match &self.inventor {
            Inventor::Vae { vae, bos, eos } => (vae.as_ref(), *bos, *eos),
            Inventor::Article(article) => {
                while let Some(index) = next() {
                    let letters = article.generate(&mut self.sampler(index));
                    let log_prob = f64::NAN; // its words have none
                    if !send(index, Word { letters, log_prob }) {
                        break;
                    }
                }
                return;
            }
        };
        let prior = Prior {
            vae,
            z_temperature: self.z_temperature,
            bos,
            eos,
        };
        let decoder = WordDecoder {
            vae,
            bos,
            eos,
            suppressed: &self.suppressed,
            form: self.form,
        };
        if let Decoding::Beam(width) = self.decoding {
            while let Some(index) = next() {
                let z = prior.place(&mut self.sampler(index));
                if !send(index, decoder.beam(&z, width)) {
                    break;
                }
            }
            return;
        }
        let open = Cell::new(true);
        let begin = || {
            let index = next().filter(|_| open.get())?;
            let mut sampler = self.sampler(index);
            let z = prior.place(&mut sampler);
            Some(decoder.begin(&z, sampler).numbered(index))
        };
        lockstep(vae, rows, begin, |Numbered { index, writer }| {
            open.set(open.get() && send(index, writer.word));
        });
    }
}

/// Draws words and shows them.
pub fn words(args: &GenerateArgs, file: ModelFile, sampling: &Sampling) -> Result<()> {
    refuse(&args.text.given(), "word-vae", "char-lstm")?;
    let z_temperature = args.words.z_temperature.unwrap_or(1.0);
    if !(z_temperature.is_finite() && z_temperature >= 0.0) {
        let hint = "1 is the prior itself, less stays nearer to typical words";
        return Err(CliError::misuse(
            format!("--z-temperature {z_temperature}: must be a number of at least 0"),
            hint,
        )
        .into());
    }
    if args.words.z_temperature.is_some() && file.header.network.latent() == 0 {
        let message =
            "--z-temperature belongs to a model with a z, and this one has none (latent 0)";
        let hint =
            "leave it out, or choose another model with --run; --temperature is of the letters";
        return Err(CliError::misuse(message, hint).into());
    }
    check_length(args.length)?;
    let header = file.header.clone();
    note_seed(args, sampling); // z is drawn in any case
    let hint = "leave it out; --z-temperature widens or narrows what is drawn";
    let (decoding, sampling) = decoding(args, sampling, Decoding::Sample, hint)?;
    let beginning = beginning(args, &header)?;
    let place = || file.path().display().to_string();
    let weights = weights(&file, args.quantize)?;
    let inventor = if header.network.is_article() {
        let given = [
            ("z-temperature", args.words.z_temperature.is_some()),
            ("starts-with", args.words.starts_with.is_some()),
            ("decode", args.decode.is_some()),
            ("scores", args.words.scores),
            ("constrain", args.constrain.is_some()),
        ];
        refuse(&given, "network of the article", "word-vae")?;
        Inventor::Article(Article::new(&header.network, &weights).with_context(place)?)
    } else {
        let SpecialTokens { bos, eos, .. } = header.vocabulary.special_tokens()?;
        let vae = Box::new(WordVae::new(&header.network, &weights).with_context(place)?);
        Inventor::Vae { vae, bos, eos }
    };
    drop(weights);
    let suppressed = header.vocabulary.suppressed();
    let most = args.length.map_or(LONGEST_WORD, |length| length.most);
    let constraint = match &args.constrain {
        Some(regex) => {
            let never = [&suppressed[..], header.vocabulary.eos().as_slice()].concat();
            Some(constraint(regex, &header, &never, most.min(LONGEST_WORD))?)
        }
        None => None,
    };
    let job = Job {
        inventor,
        sampling: &sampling,
        decoding,
        suppressed,
        form: WordForm {
            beginning: &beginning,
            ..WordForm::default()
        },
        z_temperature,
    };
    let training_words = if args.words.novel || constraint.is_some() {
        file.training_words()?
    } else {
        HashSet::new()
    };
    // A word that is kept from ending before it matches should not go on for ever.
    let usual = training_words.iter().map(|word| word.chars().count()).max();
    let longest_match = |constraint: &Constraint| {
        let longest = if args.length.is_some() { None } else { usual };
        longest
            .unwrap_or(most)
            .clamp(constraint.shortest(), LONGEST_WORD)
    };
    let steered = constraint.as_ref().map(|constraint| WordForm {
        constraint: Some(constraint),
        longest_match: longest_match(constraint),
        ..job.form
    });
    let known = if args.words.novel {
        training_words
    } else {
        HashSet::new()
    };
    drop(file); // what is needed of it has been copied
    Wanted {
        args,
        header: &header,
        known,
        constraint: constraint.as_ref(),
    }
    .show(job, steered)
}

/// Refuses lengths that no word has.
fn check_length(length: Option<Length>) -> Result<()> {
    match length {
        Some(Length { least, most }) if most == 0 || least > LONGEST_WORD => {
            let message = format!("--length: words have 1 to {LONGEST_WORD} letters");
            Err(CliError::misuse(message, "give a number of letters, or two as in 5-7").into())
        }
        _ => Ok(()),
    }
}

/// The letters of --starts-with.
fn beginning(args: &GenerateArgs, header: &ModelHeader) -> Result<Vec<u32>> {
    let Some(text) = &args.words.starts_with else {
        if args.on_unknown.is_some() {
            let message = "--on-unknown says what becomes of --starts-with, which is not given";
            return Err(CliError::misuse(message, "leave it out").into());
        }
        return Ok(Vec::new());
    };
    let on_unknown = args.on_unknown.unwrap_or(OnUnknown::Error);
    let replaced = Replaced::default();
    let letters = replaced
        .encode(
            &header.vocabulary,
            &normalize(text, &header.text),
            on_unknown,
        )
        .context("--starts-with")?;
    replaced.say();
    let (most, of) = match args.length {
        Some(Length { most, .. }) if most < LONGEST_WORD => (most, "--length allows"),
        _ => (LONGEST_WORD - 1, "a word may begin with"),
    };
    if letters.len() > most {
        let message = format!("--starts-with has {} letters; {of} {most}", letters.len());
        return Err(CliError::misuse(message, "give fewer").into());
    }
    Ok(letters)
}

/// What lengths words have, by how many there are of each: the middle nine tenths, and the longest.
fn spread(lengths: &[usize]) -> String {
    let drawn: usize = lengths.iter().sum();
    let reached = |share: f64| {
        let mut sum = 0;
        let reaches = |&count: &usize| {
            sum += count;
            sum as f64 >= share * drawn as f64
        };
        lengths.iter().position(reaches).unwrap_or(0)
    };
    let longest = lengths.iter().rposition(|&count| count > 0).unwrap_or(0);
    format!(
        "nine of ten words that this model writes have {} to {} letters, and the longest drawn has {longest}",
        reached(0.05),
        reached(0.95)
    )
}

/// Which words are shown.
struct Wanted<'a> {
    args: &'a GenerateArgs,
    header: &'a ModelHeader,
    /// The training words, where they are left out.
    known: HashSet<String>,
    /// What the words match.
    constraint: Option<&'a Constraint>,
}

/// How far the words shown have come.
struct Shown {
    out: Box<dyn Write>,
    seen: HashSet<String>,
    written: usize,
    tried: usize,
    /// How many words were drawn of each length.
    lengths: [usize; LONGEST_WORD + 1],
}

impl<'a> Wanted<'a> {
    /// Draws until enough words are as they should be. Where `steered` has a constraint, words are
    /// first drawn without it, and those that match are shown: they are what the model writes of that
    /// kind. Only where it hardly writes any are its letters steered.
    fn show(&self, mut job: Job<'a>, steered: Option<WordForm<'a>>) -> Result<()> {
        let wanted = self.args.count.unwrap_or(DEFAULT_WORDS);
        let mut most = wanted.saturating_mul(MOST_TRIES);
        if self.args.length.is_some() && wanted > 0 {
            most = most.max(TRIES_FOR_LENGTH);
        }
        let mut shown = Shown {
            out: Box::new(stdout()),
            seen: HashSet::new(),
            written: 0,
            tried: 0,
            lengths: [0; LONGEST_WORD + 1],
        };
        if let Some(form) = steered {
            if job.decoding == Decoding::Sample {
                let free = most.clamp(wanted.min(1) * TRIES_WITHOUT_STEERING, TRIES_FOR_LENGTH);
                self.draw(&job, wanted, free, &mut shown)?;
                if shown.written < wanted {
                    note!(
                        "{} of {} words drawn match; from here on letters are held to the expression",
                        shown.written,
                        shown.tried
                    );
                }
                most = shown.tried + most.min(TRIES_FOR_LENGTH);
            }
            job.form = form;
            shown.lengths = [0; LONGEST_WORD + 1];
        }
        self.draw(&job, wanted, most, &mut shown)?;
        shown.out.flush()?;
        if shown.written < wanted {
            let message = format!("only {} such words in {} draws", shown.written, shown.tried);
            return Err(CliError::failed(message, self.advice(wanted, &shown.lengths)).into());
        }
        Ok(())
    }

    /// Draws until `wanted` words are shown or `most` are drawn.
    fn draw(&self, job: &Job, wanted: usize, most: usize, shown: &mut Shown) -> Result<()> {
        let block = wanted.clamp(64, 4096);
        let progress = Progress::of_words(most as u64, "tried");
        while shown.written < wanted && shown.tried < most {
            let threads = threads(self.args.threads).min(block);
            job.draw(shown.tried, block, threads, |index, drawn| {
                shown.lengths[drawn.letters.len().min(LONGEST_WORD)] += 1;
                let word = self.header.vocabulary.decode(&drawn.letters);
                if shown.written == wanted || !self.fits(&word, &drawn, &mut shown.seen) {
                    return Ok(());
                }
                shown.written += 1;
                let seed = job.sampling.seed;
                progress.aside(|| self.write(&mut shown.out, seed, index, &word, &drawn))
            })?;
            shown.tried += block;
            progress.show(shown.tried as u64);
        }
        progress.end();
        Ok(())
    }

    /// What would give more words, by how many were drawn of each length.
    fn advice(&self, wanted: usize, lengths: &[usize]) -> String {
        if let Some(Length { least, most }) = self.args.length {
            let fitting: usize = lengths.iter().take(most + 1).skip(least).sum();
            if fitting < wanted {
                return format!(
                    "{}: ask for such lengths, or for fewer words",
                    spread(lengths)
                );
            }
        }
        let wilder = match (self.args.decode, self.header.network.latent()) {
            (None | Some(Decoding::Sample), 0) => "raise --temperature",
            (None | Some(Decoding::Sample), _) => "raise --temperature or --z-temperature",
            _ => "raise --z-temperature, draw letters with --decode sample",
        };
        if self.constraint.is_some() {
            return format!("widen the expression, {wilder}, or ask for fewer");
        }
        format!("{wilder}, or ask for fewer")
    }

    fn fits(&self, word: &str, drawn: &Word, seen: &mut HashSet<String>) -> bool {
        let flags = &self.args.words;
        let letters = drawn.letters.len();
        let length = |Length { least, most }| (least..=most).contains(&letters);
        let matches = |constraint: &Constraint| constraint.matches(&drawn.letters);
        if word.is_empty()
            || !self.args.length.is_none_or(length)
            || !self.constraint.is_none_or(matches)
        {
            return false;
        }
        if flags.novel && self.known.contains(word) {
            return false;
        }
        !flags.unique || seen.insert(word.to_owned())
    }

    fn write(
        &self,
        out: &mut impl Write,
        seed: u64,
        index: usize,
        word: &str,
        drawn: &Word,
    ) -> Result<()> {
        if self.args.json {
            let sample = Sample {
                index,
                seed: Some(seed),
                prompt: None,
                text: word,
                tokens: drawn.letters.len(),
                log_prob_nats: drawn.log_prob.is_finite().then_some(drawn.log_prob),
                probs: None,
            };
            writeln!(out, "{}", serde_json::to_string(&sample)?)?;
        } else if self.args.words.scores {
            writeln!(out, "{:8.3}  {word}", drawn.log_prob)?;
        } else {
            writeln!(out, "{word}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_nine_tenths_of_lengths_are_said() {
        let mut lengths = [0; LONGEST_WORD + 1];
        (lengths[1], lengths[3], lengths[4], lengths[9]) = (4, 50, 43, 3);
        let said = spread(&lengths);
        assert!(said.contains("have 3 to 4 letters"), "{said}");
        assert!(said.ends_with("has 9"), "{said}");
    }
}
