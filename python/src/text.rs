//! `TextModel` and `Stream`.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use textgen::model::Snapshot;
use textgen::{OnUnknown, Sampling};

use crate::arrays::vector;
use crate::errors::raise;
use crate::interrupts::Watch;
use crate::options::{Chosen, warn, whole};
use crate::source::{Source, token_name};

/// A character language model, as `load` opens it and `train` makes it. It may be used by several threads at once, which
/// run side by side, and it can be pickled.
#[pyclass(frozen, module = "textgen")]
pub struct TextModel {
    pub model: textgen::TextModel,
    pub source: Source,
}

impl TextModel {
    /// The state after a prompt; warns of what was replaced in it.
    fn start(&self, py: Python<'_>, prompt: &str, on_unknown: OnUnknown) -> PyResult<Snapshot> {
        let start = py.detach(|| self.model.snapshot(prompt, on_unknown));
        let start = start.map_err(raise)?;
        warn(py, start.replaced())?;
        Ok(start)
    }

    fn length(&self, given: Option<i128>) -> PyResult<usize> {
        given.map_or_else(
            || Ok(self.model.usual_length()),
            |length| whole("length", length),
        )
    }

    /// One text; Ctrl-C ends it.
    fn one(&self, start: &Snapshot, sampling: &Sampling, length: usize) -> anyhow::Result<String> {
        let (mut text, mut watch) = (String::new(), Watch::new());
        for piece in self.model.stream(start, sampling, length)? {
            text.push_str(&piece);
            watch.look()?;
        }
        Ok(text)
    }

    /// Several texts; Ctrl-C ends them.
    fn many(
        &self,
        start: &Snapshot,
        sampling: &Sampling,
        length: usize,
        count: usize,
    ) -> anyhow::Result<Vec<String>> {
        let (mut texts, mut watch) = (Vec::new(), Watch::new());
        self.model
            .generate_each(start, sampling, length, count, |sample| {
                texts.extend(sample.map(|sample| sample.text));
                anyhow::Ok(watch.look()?)
            })?;
        Ok(texts)
    }
}

#[pymethods]
impl TextModel {
    /// Writes a text that continues `prompt`, and returns it without the prompt; with `count`, a list of so many.
    ///
    /// length: the most tokens (characters, unless the model's unit is another); by default 500, or 10000 of a model that
    ///     learnt documents, which end by themselves.
    /// temperature: divides the logits; 0 always takes the most probable token.
    /// seed: the same one gives the same text, and that of the program; by default a new one.
    /// stop: the text ends before this one.
    /// constrain: a regular expression that the whole text matches.
    /// top_k, top_p, min_p: limits on the tokens that are sampled from.
    /// repetition_penalty: divides the odds of a token for each token beyond 8 of a repeat among the last
    ///     `repetition_window` tokens; 1 is no penalty.
    /// on_unknown: what to do with characters of the prompt that the model does not know: "error", "skip" or "nearest".
    #[pyo3(signature = (
        prompt="", *, length=None, temperature=1.0, seed=None, stop=None, constrain=None, top_k=None, top_p=None,
        min_p=None, repetition_penalty=1.0, repetition_window=256, on_unknown="error", count=None
    ))]
    fn generate<'py>(
        &self,
        py: Python<'py>,
        prompt: &str,
        length: Option<i128>,
        temperature: f32,
        seed: Option<i128>,
        stop: Option<String>,
        constrain: Option<String>,
        top_k: Option<i128>,
        top_p: Option<f32>,
        min_p: Option<f32>,
        repetition_penalty: f32,
        repetition_window: i128,
        on_unknown: &str,
        count: Option<i128>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let chosen = Chosen {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            repetition_window,
            seed,
            stop,
            constrain,
            on_unknown,
        };
        let (sampling, length) = (chosen.sampling()?, self.length(length)?);
        let count = count.map(|count| whole("count", count)).transpose()?;
        let start = self.start(py, prompt, sampling.on_unknown)?;
        Ok(match count {
            None => {
                let text = py.detach(|| self.one(&start, &sampling, length));
                text.map_err(raise)?.into_pyobject(py)?.into_any()
            }
            Some(count) => {
                let texts = py.detach(|| self.many(&start, &sampling, length, count));
                texts.map_err(raise)?.into_pyobject(py)?
            }
        })
    }

    /// An iterator over the text of `generate`, in pieces of whole characters, while other threads write it.
    #[pyo3(signature = (
        prompt="", *, length=None, temperature=1.0, seed=None, stop=None, constrain=None, top_k=None, top_p=None,
        min_p=None, repetition_penalty=1.0, repetition_window=256, on_unknown="error"
    ))]
    fn stream(
        &self,
        py: Python<'_>,
        prompt: &str,
        length: Option<i128>,
        temperature: f32,
        seed: Option<i128>,
        stop: Option<String>,
        constrain: Option<String>,
        top_k: Option<i128>,
        top_p: Option<f32>,
        min_p: Option<f32>,
        repetition_penalty: f32,
        repetition_window: i128,
        on_unknown: &str,
    ) -> PyResult<Stream> {
        let chosen = Chosen {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            repetition_window,
            seed,
            stop,
            constrain,
            on_unknown,
        };
        let (sampling, length) = (chosen.sampling()?, self.length(length)?);
        let start = self.start(py, prompt, sampling.on_unknown)?;
        let stream = py.detach(|| self.model.stream(&start, &sampling, length));
        Ok(Stream(Mutex::new(stream.map_err(raise)?)))
    }

    /// ln p of each token given all before it, in nats: a float64 array (n - 1,) for a text of n tokens, since the first
    /// is given; (n,) if the model learnt documents, which have a beginning.
    fn log_probs<'py>(&self, py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
        let nats = py.detach(|| self.model.log_probs(text));
        vector(py, &nats.map_err(raise)?)
    }

    /// Every token that may follow `prefix`, with its probability, the most probable first. `<eos>` is the end of a
    /// document, and a byte that is no character is written as `\xc3`.
    #[pyo3(signature = (prefix=""))]
    fn next<'py>(&self, py: Python<'py>, prefix: &str) -> PyResult<Bound<'py, PyDict>> {
        let found = py.detach(|| self.model.next(prefix)).map_err(raise)?;
        let vocabulary = &self.source.header().vocabulary;
        let next = PyDict::new(py);
        for token in found {
            let name = vocabulary.token(token.id).map(token_name);
            next.set_item(name.unwrap_or(token.text), token.p)?;
        }
        Ok(next)
    }

    /// The tokens that the model knows, the most frequent first, as `next` writes them.
    #[getter]
    fn vocabulary(&self) -> Vec<String> {
        self.source.vocabulary()
    }

    fn __repr__(&self) -> String {
        format!("<textgen.TextModel: {}>", self.source.describe())
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        self.source.reduce(py)
    }
}

/// A text while it is written, in pieces.
#[pyclass(frozen, module = "textgen")]
pub struct Stream(Mutex<textgen::model::Stream>);

#[pymethods]
impl Stream {
    const fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        // `list(stream)` and `"".join(stream)` leave it to their iterators.
        py.check_signals()?;
        Ok(py.detach(|| {
            let mut stream = self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            stream.next()
        }))
    }
}
