//! `WordModel`.

use std::ops::RangeInclusive;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use textgen::OnUnknown;
use textgen::model::{DecodeOptions, Interpolation, ScoreOptions, Word, WordEvent, WordOptions};

use crate::arrays::{matrix, rows, vector};
use crate::errors::raise;
use crate::interrupts::Watch;
use crate::options::{self, Chosen, warn, whole, wrong};
use crate::source::Source;

/// The most samples of z for a word: each takes memory.
const MOST_SAMPLES: i128 = 1_000_000;

/// A model of words, as `load` opens it and `train` makes it. It may be used by several threads at once, which run side by
/// side, and it can be pickled. Z is the size of its latent space.
#[pyclass(frozen, module = "textgen")]
pub struct WordModel {
    pub model: Box<textgen::WordModel>,
    pub source: Source,
}

/// The lengths of words that are asked for: one, or the shortest and the longest.
#[derive(FromPyObject)]
enum Length {
    One(i128),
    Range(i128, i128),
}

impl Length {
    fn range(self) -> PyResult<RangeInclusive<usize>> {
        let (least, most) = match self {
            Self::One(length) => (length, length),
            Self::Range(least, most) => (least, most),
        };
        Ok(whole("length", least)?..=whole("length", most)?)
    }
}

impl WordModel {
    /// Words in the model's form; warns of what was replaced in them.
    fn words(&self, py: Python<'_>, texts: &[String], unknown: OnUnknown) -> PyResult<Vec<Word>> {
        let words = py.detach(|| {
            let words = texts.iter().map(|text| self.model.word(text, unknown));
            words.collect::<Result<Vec<Word>, _>>()
        });
        let words = words.map_err(raise)?;
        let replaced = words.iter().flat_map(|word| word.replaced.clone());
        warn(py, &replaced.collect::<Vec<_>>())?;
        Ok(words)
    }
}

#[pymethods]
impl WordModel {
    /// Invents `count` words, always the same for one seed.
    ///
    /// temperature: divides the logits of letters; 0 always takes the most probable one.
    /// starts_with: letters that every word begins with.
    /// length: the number of letters, or the least and the most as a tuple.
    /// constrain: a regular expression that each word matches.
    /// unique, novel: leave out words that come twice, or that are training words.
    /// z_temperature: widens (above 1) or narrows the prior of latent vectors.
    /// top_k, top_p, min_p: limits on the letters that are sampled from.
    /// on_unknown: what to do with letters of `starts_with` that the model does not know: "error", "skip" or "nearest".
    #[pyo3(signature = (
        count=20, *, temperature=1.0, seed=None, starts_with=String::new(), length=None, constrain=None, unique=false,
        novel=false, z_temperature=None, top_k=None, top_p=None, min_p=None, on_unknown="error"
    ))]
    fn generate(
        &self,
        py: Python<'_>,
        count: i128,
        temperature: f32,
        seed: Option<i128>,
        starts_with: String,
        length: Option<Length>,
        constrain: Option<String>,
        unique: bool,
        novel: bool,
        z_temperature: Option<f32>,
        top_k: Option<i128>,
        top_p: Option<f32>,
        min_p: Option<f32>,
        on_unknown: &str,
    ) -> PyResult<Vec<String>> {
        let chosen = Chosen {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty: 1.0,
            repetition_window: 1,
            seed,
            stop: None,
            constrain,
            on_unknown,
        };
        let usual = WordOptions::new(0);
        let how = WordOptions {
            sampling: chosen.sampling()?,
            z_temperature,
            starts_with,
            length: length.map_or(Ok(usual.length.clone()), Length::range)?,
            unique,
            novel,
            ..usual
        };
        let count = whole("count", count)?;
        let words = py.detach(|| {
            let (mut words, mut watch) = (Vec::new(), Watch::new());
            self.model.generate_each(&how, count, |event| {
                if let WordEvent::Word(_, word) = event {
                    words.push(word.text);
                }
                anyhow::Ok(watch.look()?)
            })?;
            anyhow::Ok(words)
        });
        words.map_err(raise)
    }

    /// The latent vectors of words, the means of their posteriors: a float32 array (n, Z).
    #[pyo3(signature = (words, *, on_unknown="error"))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        words: Vec<String>,
        on_unknown: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let words = self.words(py, &words, options::on_unknown(on_unknown)?)?;
        let z = py.detach(|| self.model.latent_vectors(&words));
        matrix(py, &z.map_err(raise)?, self.model.latent_size())
    }

    /// The most probable words of latent vectors, which are an array (n, Z), or (Z,) for one.
    fn decode(&self, py: Python<'_>, z: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
        let z = rows(z, self.model.latent_size())?;
        let words = py.detach(|| self.model.decode(&z, &DecodeOptions::default()));
        let words = words.map_err(raise)?;
        Ok(words.into_iter().map(|word| word.text).collect())
    }

    /// The words of `steps` latent vectors between those of `a` and `b`, both included, along an arc, or along a straight
    /// line if `linear`.
    #[pyo3(signature = (a, b, steps=8, *, linear=false, on_unknown="error"))]
    fn interpolate(
        &self,
        py: Python<'_>,
        a: String,
        b: String,
        steps: i128,
        linear: bool,
        on_unknown: &str,
    ) -> PyResult<Vec<String>> {
        let steps = whole("steps", steps)?;
        let ends = self.words(py, &[a, b], options::on_unknown(on_unknown)?)?;
        let how = if linear {
            Interpolation::Linear
        } else {
            Interpolation::Spherical
        };
        let path = py.detach(|| {
            let ends = [&ends[0], &ends[1]];
            self.model
                .interpolate(ends, steps, how, &DecodeOptions::default())
        });
        let path = path.map_err(raise)?;
        Ok(path.into_iter().map(|(_, word)| word.text).collect())
    }

    /// The `count` words nearest to `word`, each with the Euclidean distance of their latent vectors, the nearest first.
    /// They are chosen from the training words, or from `among`.
    #[pyo3(signature = (word, count=10, *, among=None, on_unknown="error"))]
    fn neighbours(
        &self,
        py: Python<'_>,
        word: String,
        count: i128,
        among: Option<Vec<String>>,
        on_unknown: &str,
    ) -> PyResult<Vec<(String, f64)>> {
        let (count, unknown) = (whole("count", count)?, options::on_unknown(on_unknown)?);
        let word = self.words(py, &[word], unknown)?;
        let among = among
            .map(|among| self.words(py, &among, unknown))
            .transpose()?;
        let found = py.detach(|| {
            let among = among.unwrap_or_else(|| self.model.training_words());
            let found = self.model.neighbours(&word[0], &among, count)?;
            let named = found
                .into_iter()
                .map(|(distance, word)| (word.text.clone(), distance));
            anyhow::Ok(named.collect())
        });
        found.map_err(raise)
    }

    /// -ln p of each word, in nats, with its end: a float64 array (n,). It is an upper bound by importance sampling, the
    /// closer the more `samples`.
    #[pyo3(signature = (words, *, samples=100, seed=0, on_unknown="error"))]
    fn score<'py>(
        &self,
        py: Python<'py>,
        words: Vec<String>,
        samples: i128,
        seed: i128,
        on_unknown: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let must = format!("must be 1 to {MOST_SAMPLES}");
        if !(1..=MOST_SAMPLES).contains(&samples) {
            return Err(wrong("samples", samples, must));
        }
        let how = ScoreOptions {
            samples: whole("samples", samples)?,
            seed: options::seed(Some(seed))?,
        };
        let words = self.words(py, &words, options::on_unknown(on_unknown)?)?;
        let nats = py.detach(|| self.model.score(&words, how));
        vector(py, &nats.map_err(raise)?)
    }

    /// Z; 0 if the model has no latent space.
    #[getter]
    fn latent_size(&self) -> usize {
        self.model.latent_size()
    }

    /// The words that it was trained on.
    #[getter]
    fn training_words(&self) -> Vec<String> {
        let words = self.model.training_words();
        words.into_iter().map(|word| word.text).collect()
    }

    /// The letters that the model knows, the most frequent first, and its special tokens.
    #[getter]
    fn vocabulary(&self) -> Vec<String> {
        self.source.vocabulary()
    }

    fn __repr__(&self) -> String {
        let latent = self.latent_size();
        format!(
            "<textgen.WordModel: {}, z of {latent}>",
            self.source.describe()
        )
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        self.source.reduce(py)
    }
}
