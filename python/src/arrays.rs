//! NumPy's arrays, by way of NumPy itself: the stable interface of Python 3.10 has no buffers.

use bytemuck::NoUninit;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict};

use crate::options::wrong;

/// A new array with this shape.
fn array<'py, T: NoUninit>(
    py: Python<'py>,
    dtype: &str,
    shape: impl IntoPyObject<'py>,
    values: &[T],
) -> PyResult<Bound<'py, PyAny>> {
    let given = PyDict::new(py);
    given.set_item("shape", shape)?;
    given.set_item("dtype", dtype)?;
    given.set_item("buffer", PyByteArray::new(py, bytemuck::cast_slice(values)))?;
    py.import("numpy")?.call_method("ndarray", (), Some(&given))
}

/// An array of f64 (n).
pub fn vector<'py>(py: Python<'py>, values: &[f64]) -> PyResult<Bound<'py, PyAny>> {
    array(py, "f8", (values.len(),), values)
}

/// An array of f32 (n, `columns`).
pub fn matrix<'py>(
    py: Python<'py>,
    rows: &[Vec<f32>],
    columns: usize,
) -> PyResult<Bound<'py, PyAny>> {
    array(py, "f4", (rows.len(), columns), &rows.concat())
}

/// The rows of what NumPy can make an array of f32 (n, `columns`) or (`columns`) of.
pub fn rows(given: &Bound<'_, PyAny>, columns: usize) -> PyResult<Vec<Vec<f32>>> {
    let dtype = PyDict::new(given.py());
    dtype.set_item("dtype", "f4")?;
    let numpy = given.py().import("numpy")?;
    let array = numpy.call_method("ascontiguousarray", (given,), Some(&dtype))?;
    let shape: Vec<usize> = array.getattr("shape")?.extract()?;
    if shape.len() > 2 || shape.last() != Some(&columns) {
        let must = format!("must be of shape (n, {columns}) or ({columns},)");
        return Err(wrong("z", format!("of shape {shape:?}"), must));
    }
    let values: Vec<f32> = array
        .call_method0("ravel")?
        .call_method0("tolist")?
        .extract()?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(wrong("z", "", "must have finite numbers"));
    }
    Ok(values.chunks(columns.max(1)).map(<[f32]>::to_vec).collect())
}
