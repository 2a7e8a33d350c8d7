//! The engine of web pages: textgen's networks, sampling and word decoding behind a plain C interface.
//!
//! A caller writes numbers to the [`input`], calls a function, and reads its results, all f64, from the [`output`]. A
//! function returns how many there are, or −1 if it was asked for what cannot be. One instance has one model.
//! Texts are tokens here; the caller knows the vocabulary.

use std::cell::RefCell;

use textgen::config::{Decoding, Sampling};
use textgen::evaluate::importance::importance;
use textgen::evaluate::{self, LogSoftmax, WordReading};
use textgen::generate::sampling::{Sampler, log_prob};
use textgen::generate::{LONGEST_WORD, Prior, Word, WordForm, lockstep};
use textgen::latent::{Interpolation, Plane, WordDecoder, encode, interpolate};
use textgen::models::char_rnn::CharRnn;
use textgen::models::weights::from_bytes;
use textgen::models::word_vae::WordVae;
use textgen::models::{Network as _, RowState};
use textgen::parallel::Running;

/// What a function returns that was asked for what cannot be.
const IMPOSSIBLE: i32 = -1;
const ALONE: Running = Running {
    threads: 1,
    progress: &|_| (),
};

enum Model {
    Text(CharRnn),
    Words(Box<WordVae>),
}

/// The one model, and what is between it and the caller.
#[derive(Default)]
struct Engine {
    model: Option<Model>,
    /// Tokens that can be read.
    inputs: u32,
    /// The token that ends a word.
    eos: u32,
    /// The token that a decoder reads first.
    bos: u32,
    /// Tokens that are never written.
    suppressed: Vec<u32>,
    /// The token that ends a document.
    document_end: Option<u32>,
    states: Vec<Option<RowState>>,
    sampling: Option<Sampling>,
    sampler: Option<Sampler>,
    /// The latent vectors of the words that the caller has named, and the plane that shows them.
    known: Vec<Vec<f32>>,
    plane: Option<Plane>,
    input: Vec<u32>,
    output: Vec<f64>,
}

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::default();
}

/// Runs `work` with an empty output and returns the length that it leaves.
fn with(work: impl FnOnce(&mut Engine) -> Option<()>) -> i32 {
    ENGINE.with_borrow_mut(|engine| {
        engine.output.clear();
        match work(engine) {
            Some(()) => engine.output.len() as i32,
            None => IMPOSSIBLE,
        }
    })
}

/// A seed, of its lower and upper half.
fn seed(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn valid(temperature: f32) -> Option<f32> {
    Some(temperature).filter(|t| t.is_finite() && *t >= 0.0)
}

impl Engine {
    fn text(&self) -> Option<&CharRnn> {
        match &self.model {
            Some(Model::Text(network)) => Some(network),
            _ => None,
        }
    }

    fn words(&self) -> Option<&WordVae> {
        match &self.model {
            Some(Model::Words(network)) => Some(network),
            _ => None,
        }
    }

    /// The word network, if it has a latent space.
    fn space(&self) -> Option<&WordVae> {
        self.words().filter(|vae| vae.latent() > 0)
    }

    /// The tokens of the input; `None` if one cannot be read.
    fn tokens(&self) -> Option<Vec<u32>> {
        let valid = self.input.iter().all(|&token| token < self.inputs);
        valid.then(|| self.input.clone())
    }

    /// The words of the input, each after its length.
    fn given_words(&self) -> Option<Vec<&[u32]>> {
        let (mut rest, mut words) = (&self.input[..], Vec::new());
        while let Some(&length) = rest.split_off_first() {
            let word = rest.split_off(..length as usize)?;
            let valid = length > 0 && word.iter().all(|&token| token < self.inputs);
            words.push(valid.then_some(word)?);
        }
        Some(words)
    }

    fn vectors(&self) -> Option<Vec<Vec<f32>>> {
        let posteriors = encode(self.space()?, &self.given_words()?, ALONE);
        Some(posteriors.into_iter().map(|word| word.mean).collect())
    }

    fn decoder<'a>(&'a self, prefix: &'a [u32]) -> Option<WordDecoder<'a>> {
        Some(WordDecoder {
            vae: self.words()?,
            bos: self.bos,
            eos: self.eos,
            suppressed: &self.suppressed,
            form: WordForm {
                prefix,
                ..WordForm::default()
            },
        })
    }

    /// The most probable letters of latent vectors.
    fn decoded(&self, vectors: &[Vec<f32>]) -> Option<Vec<Word>> {
        let decoder = self.decoder(&[])?;
        Some(decoder.words(vectors, Decoding::Greedy, &Sampling::new(0), ALONE))
    }

    /// Puts out words, each after its length.
    fn put(&mut self, words: &[Word]) {
        for word in words {
            self.output.push(word.letters.len() as f64);
            let letters = word.letters.iter().map(|&letter| f64::from(letter));
            self.output.extend(letters);
        }
    }
}

/// Makes the input as long as this, and returns its address.
#[unsafe(no_mangle)]
pub extern "C" fn input(length: u32) -> *mut u32 {
    ENGINE.with_borrow_mut(|engine| {
        engine.input.clear();
        engine.input.resize(length as usize, 0);
        engine.input.as_mut_ptr()
    })
}

/// The address of what the last function put out.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const f64 {
    ENGINE.with_borrow(|engine| engine.output.as_ptr())
}

/// Loads the model whose bytes, `length` of them, are in the input. Its vocabulary has `letters` tokens that are not
/// special; `unk` is the one for unknown characters, or −1.
#[unsafe(no_mangle)]
pub extern "C" fn load(length: u32, letters: u32, unk: i32) -> i32 {
    with(|engine| {
        let input = std::mem::take(&mut engine.input);
        let bytes: Vec<u8> = input.iter().flat_map(|four| four.to_le_bytes()).collect();
        let (config, weights) = from_bytes(bytes.get(..length as usize)?)?;
        engine.model = Some(if config.is_words() {
            Model::Words(Box::new(WordVae::new(&config, &weights).ok()?))
        } else {
            Model::Text(CharRnn::new(&config, &weights).ok()?)
        });
        engine.inputs = config.inputs as u32;
        engine.document_end = config.eos;
        // The layout of a word vocabulary.
        (engine.eos, engine.bos) = (letters, letters + 2);
        let unk = u32::try_from(unk).ok();
        let is_predicted = |unk: &u32| (*unk as usize) < config.outputs;
        engine.suppressed = unk.into_iter().filter(is_predicted).collect();
        Some(())
    })
}

/// A state before the first token: puts out its number.
#[unsafe(no_mangle)]
pub extern "C" fn fresh() -> i32 {
    with(|engine| {
        let state = engine.text()?.state(1);
        engine.keep(state);
        Some(())
    })
}

/// A copy of a state: puts out its number.
#[unsafe(no_mangle)]
pub extern "C" fn copy(state: u32) -> i32 {
    with(|engine| {
        let state = engine.states.get(state as usize)?.clone()?;
        engine.keep(state);
        Some(())
    })
}

/// Frees a state, whose number may then be given to another.
#[unsafe(no_mangle)]
pub extern "C" fn free(state: u32) -> i32 {
    with(|engine| {
        *engine.states.get_mut(state as usize)? = None;
        Some(())
    })
}

impl Engine {
    fn keep(&mut self, state: RowState) {
        let empty = self.states.iter().position(Option::is_none);
        let number = empty.unwrap_or(self.states.len());
        if number == self.states.len() {
            self.states.push(None);
        }
        self.states[number] = Some(state);
        self.output.push(number as f64);
    }
}

/// A state reads the tokens of the input.
#[unsafe(no_mangle)]
pub extern "C" fn read(state: u32) -> i32 {
    with(|engine| {
        let tokens = engine.tokens()?;
        let mut read = engine.states.get_mut(state as usize)?.take()?;
        engine.text()?.prefill(&mut read, &tokens);
        engine.states[state as usize] = Some(read);
        Some(())
    })
}

/// ln p of every token that may follow; those that are never written have none.
#[unsafe(no_mangle)]
pub extern "C" fn following(state: u32) -> i32 {
    with(|engine| {
        let state = engine.states.get(state as usize)?.as_ref()?;
        let mut logits = state.logits(0).to_vec();
        for &token in &engine.suppressed {
            logits[token as usize] = f32::NEG_INFINITY;
        }
        let all = 0..logits.len() as u32;
        let probabilities = all.map(|token| log_prob(&logits, token));
        engine.output.extend(probabilities);
        Some(())
    })
}

/// Begins sample 0 of a seed: the tokens that [`write`] then samples are those of the program.
#[unsafe(no_mangle)]
pub extern "C" fn begin(low: u32, high: u32) -> i32 {
    with(|engine| {
        let sampling = Sampling {
            log_prob: false,
            ..Sampling::new(seed(low, high))
        };
        let sampler = Sampler::new(&sampling, &engine.suppressed, 0);
        engine.sampler = Some(sampler.without_log_prob());
        engine.sampling = Some(sampling);
        Some(())
    })
}

/// The limits of the tokens from here on; a top-p of 1 is none.
#[unsafe(no_mangle)]
pub extern "C" fn limit(temperature: f32, top_p: f32) -> i32 {
    with(|engine| {
        let sampling = engine.sampling.as_mut()?;
        sampling.temperature = valid(temperature)?;
        sampling.top_p = Some(top_p).filter(|&p| p > 0.0 && p <= 1.0);
        engine.sampler.as_mut()?.set_limits(sampling);
        Some(())
    })
}

/// Writes up to `count` tokens, or to the end of the document; no document is empty, so it does not end at once if it
/// `begins`.
#[unsafe(no_mangle)]
pub extern "C" fn write(state: u32, count: u32, begins: u32) -> i32 {
    with(|engine| {
        let mut sampler = engine.sampler.take()?;
        let mut text = engine.states.get_mut(state as usize)?.take()?;
        let network = engine.text()?;
        let (mut tokens, end) = (Vec::new(), engine.document_end);
        for index in 0..count {
            let logits = text.logits(0);
            let sampled = match end {
                Some(end) if begins > 0 && index == 0 => {
                    let mut bias = vec![0.0; logits.len()];
                    bias[end as usize] = f32::NEG_INFINITY;
                    sampler.sample_biased(logits, &bias)
                }
                _ => sampler.sample(logits),
            };
            network.step(&mut text, &[sampled.token]);
            tokens.push(f64::from(sampled.token));
            if Some(sampled.token) == end {
                break;
            }
        }
        engine.sampler = Some(sampler);
        engine.states[state as usize] = Some(text);
        engine.output = tokens;
        Some(())
    })
}

/// The text of a state goes on with the input, all but the last token of it. Puts out, of every token but the first: −ln p in
/// nats, and the `most` tokens that were most probable in its place with their probabilities.
#[unsafe(no_mangle)]
pub extern "C" fn surprisals(state: u32, most: u32) -> i32 {
    with(|engine| {
        let tokens = engine.tokens()?;
        let (_, read) = tokens.split_last()?;
        let mut text = engine.states.get_mut(state as usize)?.take()?;
        let (network, most) = (engine.text()?, most as usize);
        let (mut softmax, mut order, mut output) = (LogSoftmax::default(), Vec::new(), Vec::new());
        network.read(&mut text, read, |index, logits| {
            let next = tokens[index + 1];
            let mut nats = |token: u32| -softmax.log_prob(logits, token);
            output.push(if (next as usize) < logits.len() {
                nats(next)
            } else {
                f64::INFINITY
            });
            order.clear();
            for token in 0..logits.len() as u32 {
                let logit = |token: u32| logits[token as usize];
                let below = |&other: &u32| logit(other) < logit(token);
                let place = order.iter().position(below).unwrap_or(order.len());
                if place < most {
                    order.truncate(most - 1);
                    order.insert(place, token);
                }
            }
            for &token in &order {
                output.extend([f64::from(token), (-nats(token)).exp()]);
            }
        });
        engine.output = output;
        engine.states[state as usize] = Some(text);
        Some(())
    })
}

/// Words from the prior that start with the letters of the input: samples `first`, … of a seed, as the program has them.
#[unsafe(no_mangle)]
pub extern "C" fn invent(low: u32, high: u32, first: u32, count: u32, temperature: f32) -> i32 {
    with(|engine| {
        let prefix = engine.tokens()?;
        let vae = engine.words()?;
        let sampling = Sampling {
            temperature: valid(temperature)?,
            ..Sampling::new(seed(low, high))
        };
        if prefix.len() >= LONGEST_WORD {
            return None;
        }
        let prior = Prior {
            vae,
            z_temperature: 1.0,
            bos: engine.bos,
            eos: engine.eos,
        };
        let decoder = engine.decoder(&prefix)?;
        let mut words = vec![Word::default(); count as usize];
        let mut indices = 0..count;
        let next = || {
            let index = indices.next()?;
            let number = u64::from(first) + u64::from(index);
            let mut sampler = Sampler::new(&sampling, &engine.suppressed, number);
            let z = prior.place(&mut sampler);
            Some(decoder.begin(&z, sampler).numbered(index as usize))
        };
        lockstep(vae, count.min(48) as usize, next, |numbered| {
            words[numbered.index] = numbered.writer.word;
        });
        engine.put(&words);
        Some(())
    })
}

/// Remembers where the words of the input are in the latent space: puts out how many are known.
#[unsafe(no_mangle)]
pub extern "C" fn learn() -> i32 {
    with(|engine| {
        let vectors = engine.vectors()?;
        engine.known.extend(vectors);
        engine.output.push(engine.known.len() as f64);
        Some(())
    })
}

/// The map of the known words: puts out the coordinates of each.
#[unsafe(no_mangle)]
pub extern "C" fn map() -> i32 {
    with(|engine| {
        let latent = engine.space()?.latent();
        let vectors: Vec<&[f32]> = engine.known.iter().map(Vec::as_slice).collect();
        if vectors.is_empty() {
            return None;
        }
        if latent == 2 {
            let all = vectors.iter().flat_map(|z| [z[0], z[1]]);
            engine.output.extend(all.map(f64::from));
            return Some(());
        }
        let plane = Plane::of(&vectors);
        let all = vectors.iter().flat_map(|z| plane.project(z));
        engine.output.extend(all);
        engine.plane = Some(plane);
        Some(())
    })
}

/// The word at a position of the map. Beside the plane it is where the known words around are, so that it is near to these,
/// and at the position of one of them, that one.
#[unsafe(no_mangle)]
pub extern "C" fn at(x: f64, y: f64) -> i32 {
    with(|engine| {
        let z = match &engine.plane {
            None => vec![x as f32, y as f32],
            Some(plane) => {
                // Shepard's weights 1/d² of what the words around have beside the plane.
                let mut z = plane.point([x, y]);
                let mut sums = vec![0.0; z.len()];
                let mut total = 0.0;
                for word in &engine.known {
                    let [a, b] = plane.project(word);
                    let distance = (a - x).powi(2) + (b - y).powi(2);
                    let weight = 1.0 / (distance + 1e-9).powi(2);
                    total += weight;
                    let beside = word.iter().zip(plane.point([a, b]));
                    for (sum, (word, flat)) in sums.iter_mut().zip(beside) {
                        *sum += weight * f64::from(word - flat);
                    }
                }
                for (z, sum) in z.iter_mut().zip(sums) {
                    *z += (sum / total) as f32;
                }
                z
            }
        };
        let words = engine.decoded(&[z])?;
        engine.put(&words);
        Some(())
    })
}

/// The known words nearest to the first word of the input: puts out the number and the distance of each.
#[unsafe(no_mangle)]
pub extern "C" fn neighbours(count: u32) -> i32 {
    with(|engine| {
        let from = engine.vectors()?.into_iter().next()?;
        let distance = |z: &Vec<f32>| {
            let pairs = from.iter().zip(z);
            let squares = pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
            squares.sum::<f64>().sqrt()
        };
        // Few are wanted: no sorting, which would be a twentieth of the module.
        let (count, mut found) = (count as usize, Vec::<[f64; 2]>::new());
        for (index, z) in engine.known.iter().enumerate() {
            let distance = distance(z);
            let farther = |other: &[f64; 2]| other[1] > distance;
            let place = found.iter().position(farther).unwrap_or(found.len());
            if place < count {
                found.truncate(count - 1);
                found.insert(place, [index as f64, distance]);
            }
        }
        engine.output.extend(found.into_iter().flatten());
        Some(())
    })
}

/// The words on the way between the two words of the input, both ends included.
#[unsafe(no_mangle)]
pub extern "C" fn between(steps: u32) -> i32 {
    with(|engine| {
        let ends = engine.vectors()?;
        let [a, b] = &ends[..] else {
            return None;
        };
        let way = interpolate(a, b, steps as usize, Interpolation::default());
        let vectors: Vec<Vec<f32>> = way.into_iter().map(|(_, z)| z).collect();
        let words = engine.decoded(&vectors)?;
        engine.put(&words);
        Some(())
    })
}

/// −ln p of each word of the input, in nats with its end, from `samples` samples of z.
#[unsafe(no_mangle)]
pub extern "C" fn score(samples: u32) -> i32 {
    with(|engine| {
        let words = engine.given_words()?;
        let words: Vec<evaluate::Word> = words.into_iter().map(evaluate::Word::of).collect();
        let reading = WordReading {
            bos: engine.bos,
            eos: engine.eos,
            seed: 0,
        };
        let samples = [(samples as usize).max(1)];
        let costs = importance(engine.words()?, &words, &samples, reading, ALONE).ok()?;
        engine.output.extend(costs.into_iter().flatten());
        Some(())
    })
}
