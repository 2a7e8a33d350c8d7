//! The folder of a run.
//!
//! ```text
//! runs/NAME/reconstructions.png   test images in pairs of rows, the originals above; the newest
//! runs/NAME/samples.png           images from the prior, of the same z each time; the newest
//! runs/NAME/*-1.png … *-9.png     both after each tenth of the training
//! runs/NAME/codes.svg             plane2: μ of the test images, coloured by class
//! runs/NAME/manifold.png          plane2: images of 20 × 20 quantiles of the prior
//! runs/NAME/metrics.jsonl         one line per tenth, in nats per image
//! runs/NAME/model.safetensors     the weights under PyTorch's names
//! ```

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use textgen::parts::write_file;

use crate::data::{Images, PIXELS};
use crate::failure::Failure;
use crate::flags::Flags;
use crate::pictures::{codes, grid, sheet};
use crate::training::{Line, Training};

/// Images in a row of a picture, and its rows.
const COLUMNS: usize = 16;
const ROWS: usize = 4;
/// Images in a row and in a column of manifold.png.
const SIDE: usize = 20;

/// The folder of a run.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes a new folder in `runs`.
    pub fn new(runs: &Path, flags: &Flags) -> Result<Self, Failure> {
        fs::create_dir_all(runs).map_err(|error| unwritten(runs, &error))?;
        let model = flags.model.name();
        let names: Box<dyn Iterator<Item = String>> = if let Some(name) = &flags.name {
            Box::new(std::iter::once(checked(name)?.to_owned()))
        } else {
            let others = (2..).map(|number: u64| format!("{model}-{number}"));
            Box::new(std::iter::once(model.to_owned()).chain(others))
        };
        for name in names {
            let path = runs.join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unwritten(&path, &error)),
            }
        }
        let name = flags.name.as_deref().unwrap_or(model);
        Err(Failure::new(
            format!("{} exists", runs.join(name).display()),
            "give another --name, or leave it out",
        ))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Appends a line to metrics.jsonl.
    pub fn log(&self, line: &Line) -> Result<(), Failure> {
        let path = self.0.join("metrics.jsonl");
        let append = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{}\n", serde_json::to_string(line)?).as_bytes())
        };
        append().map_err(|error| unwritten(&path, &error))
    }

    /// Writes reconstructions and samples after a tenth.
    pub fn pictures(&self, training: &Training, test: &Images, tenth: u64) -> Result<(), Failure> {
        let count = test.len().min(ROWS * COLUMNS);
        let reconstructed = training.reconstructed(test, count);
        let line = COLUMNS * PIXELS;
        let mut pairs = Vec::new();
        let originals = test.pixels[..count * PIXELS].chunks(line);
        for (above, below) in originals.zip(reconstructed.chunks(line)) {
            for row in [above, below] {
                pairs.extend_from_slice(row);
                pairs.resize(pairs.len().next_multiple_of(line), 0);
            }
        }
        let samples = training.decoded(&training.prior(2 * ROWS * COLUMNS));
        for (name, images) in [("reconstructions", pairs), ("samples", samples)] {
            if tenth < 10 {
                self.picture(&format!("{name}-{tenth}.png"), &images, COLUMNS)?;
            }
            self.picture(&format!("{name}.png"), &images, COLUMNS)?;
        }
        Ok(())
    }

    /// Writes the codes of the test images and the images of the plane, if z has two dimensions.
    pub fn plane(&self, training: &Training, test: &Images) -> Result<(), Failure> {
        if training.network.latent != 2 {
            return Ok(());
        }
        let svg = codes(&training.codes(test), &test.labels);
        self.write("codes.svg", svg.as_bytes())?;
        self.picture("manifold.png", &training.decoded(&grid(SIDE)), SIDE)
    }

    /// Writes the weights.
    pub fn model(&self, training: &Training, flags: &Flags) -> Result<(), Failure> {
        let network = &training.network;
        let layers = network.layers().flat_map(|layer| {
            let weight = (layer.weight.clone(), vec![layer.outputs, layer.inputs]);
            let bias = (layer.bias.clone(), vec![layer.outputs]);
            [("weight", weight), ("bias", bias)]
                .map(|(part, (range, shape))| (format!("{}.{part}", layer.name), range, shape))
        });
        let arrays: Vec<(String, Vec<u8>, Vec<usize>)> = layers
            .map(|(name, range, shape)| {
                let values = network.values[range].iter();
                (name, values.flat_map(|x| x.to_le_bytes()).collect(), shape)
            })
            .collect();
        let tensors = arrays.iter().map(|(name, bytes, shape)| {
            let tensor = TensorView::new(Dtype::F32, shape.clone(), bytes);
            tensor.map(|tensor| (name, tensor))
        });
        let header = json!({"format": 1, "settings": flags}).to_string();
        let metadata = HashMap::from([("image_vae".to_owned(), header)]);
        let bytes = tensors
            .collect::<Result<Vec<_>, _>>()
            .and_then(|tensors| safetensors::serialize(tensors, Some(metadata)));
        let bytes = bytes.map_err(|error| unwritten(&self.0.join("model.safetensors"), &error))?;
        self.write("model.safetensors", &bytes)
    }

    fn picture(&self, name: &str, images: &[u8], columns: usize) -> Result<(), Failure> {
        let bytes =
            sheet(images, columns).map_err(|error| unwritten(&self.0.join(name), &error))?;
        self.write(name, &bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.0.join(name);
        write_file(&path, &[bytes]).map_err(|error| {
            let cause = std::error::Error::source(&error);
            unwritten(
                &path,
                &cause.map_or_else(|| error.to_string(), ToString::to_string),
            )
        })
    }
}

/// A name that is that of a folder in `runs`, and of no other.
fn checked(name: &str) -> Result<&str, Failure> {
    let fits = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let is_name = name.chars().all(fits) && !name.starts_with('.') && !name.is_empty();
    is_name.then_some(name).ok_or_else(|| {
        Failure::new(
            format!("--name {name:?} is no name for a run"),
            "use letters, digits, dots, dashes and underscores",
        )
    })
}

fn unwritten(path: &Path, error: &impl ToString) -> Failure {
    Failure::new(
        format!("{}: cannot write: {}", path.display(), error.to_string()),
        "runs are written to the folder runs of the current directory",
    )
}
