//! textgen for Python: a thin layer on the library. The names and the documentation that users see are in
//! `textgen/__init__.py` and its stubs.

#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "arguments are what Python passes"
)]

mod arrays;
mod errors;
mod interrupts;
mod options;
mod source;
mod text;
mod train;
mod words;

use std::ffi::OsString;
use std::io::Write as _;

use pyo3::prelude::*;
use textgen::cli::memory::OrEnd;

#[global_allocator]
static ALLOCATOR: OrEnd = OrEnd;

/// Runs the program `textgen` with a command line, which begins with the name of the program; returns its exit code.
#[pyfunction]
fn main(py: Python<'_>, line: Vec<OsString>) -> u8 {
    py.detach(|| {
        let code = textgen::cli::run(&line);
        // At the end of a program, the standard library does this.
        let _ = std::io::stdout().flush();
        code
    })
}

/// What `textgen/__init__.py` takes its names from.
#[pymodule]
fn _textgen(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<text::TextModel>()?;
    module.add_class::<text::Stream>()?;
    module.add_class::<words::WordModel>()?;
    module.add_class::<train::Progress>()?;
    module.add_function(wrap_pyfunction!(source::load, module)?)?;
    module.add_function(wrap_pyfunction!(train::train, module)?)?;
    module.add_function(wrap_pyfunction!(main, module)?)
}
