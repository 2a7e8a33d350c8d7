//! Opening models: by a name, by a path, from bytes.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use textgen::cli::error::CliError;
use textgen::config::Quantize;
use textgen::kernels::simd;
use textgen::run::{ModelFile, ModelHeader, Runs};
use textgen::text::Token;
use textgen::{Model, OpenOptions};

use crate::errors::raise;
use crate::options::whole;
use crate::text::TextModel;
use crate::words::WordModel;

/// What a model was opened from.
pub struct Source {
    pub file: ModelFile,
    pub options: OpenOptions,
}

impl Source {
    pub const fn header(&self) -> &ModelHeader {
        &self.file.header
    }

    /// How a model is made again from a pickle, which holds its file.
    pub fn reduce<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let load = py.import("textgen._textgen")?.getattr("load")?;
        let bytes = PyBytes::new(py, self.file.bytes());
        let int8 = self.options.quantize == Quantize::Int8;
        let arguments = (bytes, int8, self.options.threads).into_pyobject(py)?;
        Ok((load, arguments))
    }

    /// The tokens, each under the name that it has in Python.
    pub fn vocabulary(&self) -> Vec<String> {
        let tokens = self.header().vocabulary.tokens();
        tokens.iter().map(token_name).collect()
    }

    /// `lstm 128 × 1, 94 tokens, of fairy-tales`.
    pub fn describe(&self) -> String {
        let header = self.header();
        let network = &header.network;
        format!(
            "{} {} × {}, {} tokens, of {}{}",
            network.cell,
            network.hidden,
            network.layers,
            header.vocabulary.len(),
            header.corpus_name,
            if self.options.quantize == Quantize::Int8 {
                ", in 8 bits"
            } else {
                ""
            }
        )
    }
}

/// A token in Python: its text. Bytes that are no text and special tokens are as the program shows them, `\xc3` and
/// `<eos>`, which are none's text, since those are one character each.
pub fn token_name(token: &Token) -> String {
    match token {
        Token::Text(text) => text.clone(),
        Token::Byte(byte) if byte.is_ascii() => char::from(*byte).to_string(),
        other => other.visible(),
    }
}

/// The folder of the runs: the one given, else that of the environment, else `runs`.
pub fn runs(given: Option<PathBuf>) -> Runs {
    let of_variable = || std::env::var_os(Runs::DIR_VARIABLE).map(PathBuf::from);
    Runs::new(
        given
            .or_else(of_variable)
            .unwrap_or_else(|| Runs::DEFAULT_DIR.into()),
    )
}

/// Opens a model: a run by its name or folder, a model file, "english", the model that comes with textgen, or the bytes of
/// a model file.
///
/// int8: keep the weights in eight bits, which is faster and takes a quarter of the memory.
/// threads: 0 is one per core. The output is the same on any number of them.
/// runs_dir: the folder of the runs; by default $TEXTGEN_RUNS, else runs.
#[pyfunction]
#[pyo3(signature = (model, int8=false, threads=0, *, runs_dir=None))]
pub fn load<'py>(
    py: Python<'py>,
    model: &Bound<'py, PyAny>,
    int8: bool,
    threads: i128,
    runs_dir: Option<PathBuf>,
) -> PyResult<Bound<'py, PyAny>> {
    let quantize = if int8 { Quantize::Int8 } else { Quantize::None };
    let threads = whole("threads", threads)?;
    let options = OpenOptions { quantize, threads };
    let file = if let Ok(bytes) = model.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        py.detach(|| ModelFile::of_bytes("bytes", bytes))
    } else {
        let named = named(model)?;
        py.detach(|| Ok(runs(runs_dir).resolve(&named)?.open()?.0))
    };
    opened(py, file.map_err(raise)?, options)
}

/// What `os.fspath` makes of a name or a path. A bytes path is no name.
pub fn named(given: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(name) = given.cast::<PyString>() {
        return name.extract();
    }
    given
        .py()
        .import("os")?
        .call_method1("fspath", (given,))?
        .extract()
}

/// The object of the model in a file.
pub fn opened(py: Python<'_>, file: ModelFile, options: OpenOptions) -> PyResult<Bound<'_, PyAny>> {
    let model = py.detach(|| {
        simd::check().map_err(|error| {
            let hint = "unset TEXTGEN_SIMD to let textgen choose";
            CliError::misuse(error.to_string(), hint)
        })?;
        anyhow::Ok(Model::from_file(file.clone(), options)?)
    });
    let source = Source { file, options };
    Ok(match model.map_err(raise)? {
        Model::Text(model) => Bound::new(py, TextModel { model, source })?.into_any(),
        Model::Words(model) => Bound::new(py, WordModel { model, source })?.into_any(),
    })
}
