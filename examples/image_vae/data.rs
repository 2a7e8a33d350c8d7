//! MNIST and Fashion-MNIST: files in the idx format (LeCun, Cortes & Burges 1998), which may be compressed by gzip.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::failure::Failure;

/// Pixels in a row, and rows of an image.
pub const SIDE: usize = 28;
/// Pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;
/// Digits, or kinds of clothing.
pub const CLASSES: u8 = 10;

/// The largest file that is read, after decompression: 1 GiB.
const MOST_BYTES: usize = 1 << 30;
/// The type of unsigned bytes in the third byte of a file.
const UNSIGNED_BYTES: u8 = 8;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Images with their classes.
#[derive(Debug)]
pub struct Images {
    /// (N, PIXELS), 0 is black.
    pub pixels: Vec<u8>,
    /// (N), below [`CLASSES`].
    pub labels: Vec<u8>,
}

/// A data set.
#[derive(Debug)]
pub struct Data {
    pub train: Images,
    pub test: Images,
}

impl Images {
    pub const fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * PIXELS..][..PIXELS]
    }
}

/// The data set in a folder.
pub fn read(folder: &Path) -> Result<Data, Failure> {
    Ok(Data {
        train: images(folder, "train")?,
        test: images(folder, "t10k")?,
    })
}

/// One part of a data set.
fn images(folder: &Path, part: &str) -> Result<Images, Failure> {
    let path = find(folder, &format!("{part}-images-idx3-ubyte"))?;
    let ([count, rows, columns], pixels) = idx(&path)?;
    if [rows, columns] != [SIDE; 2] {
        let what =
            format!("images of {rows} × {columns} pixels, but the networks read {SIDE} × {SIDE}");
        return Err(damaged(&path, &what));
    }
    if count == 0 {
        return Err(damaged(&path, "no image"));
    }
    let path = find(folder, &format!("{part}-labels-idx1-ubyte"))?;
    let ([labelled], labels) = idx(&path)?;
    if labelled != count {
        return Err(damaged(
            &path,
            &format!("{labelled} labels for {count} images"),
        ));
    }
    if let Some(at) = labels.iter().position(|&label| label >= CLASSES) {
        let what = format!(
            "label {} of image {at}, but labels go from 0 to 9",
            labels[at]
        );
        return Err(damaged(&path, &what));
    }
    Ok(Images { pixels, labels })
}

/// The file with this name, or with .gz after it.
fn find(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let paths = [folder.join(name), folder.join(format!("{name}.gz"))];
    let found = paths.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| {
        Failure::new(
            format!("{}: no {name}, nor {name}.gz", folder.display()),
            "install Debian's package dataset-fashion-mnist, or name a folder with the four files of MNIST or \
             Fashion-MNIST by --data DIR",
        )
    })
}

fn damaged(path: &Path, what: &str) -> Failure {
    Failure::new(
        format!("{}: {what}", path.display()),
        "get the file again, or name another folder by --data DIR",
    )
}

/// The size of each of `N` dimensions, and as many bytes as they say.
fn idx<const N: usize>(path: &Path) -> Result<([usize; N], Vec<u8>), Failure> {
    let failed = |error: std::io::Error| damaged(path, &error.to_string());
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let is_gzip = file.fill_buf().map_err(failed)?.starts_with(&GZIP);
    let mut file: Box<dyn Read> = if is_gzip {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut number = || {
        let mut bytes = [0; 4];
        let read = file.read_exact(&mut bytes);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged(path, "it ends within its header"),
            _ => failed(error),
        })?;
        Ok::<_, Failure>(bytes)
    };
    match number()? {
        [0, 0, UNSIGNED_BYTES, dimensions] if usize::from(dimensions) == N => {}
        [0, 0, UNSIGNED_BYTES, dimensions] => {
            let what = format!("an idx file of {dimensions} dimensions, not {N}");
            return Err(damaged(path, &what));
        }
        magic => {
            let what =
                format!("it begins with {magic:02x?}, so it is no idx file of unsigned bytes");
            return Err(damaged(path, &what));
        }
    }
    let mut sizes = [0; N];
    for size in &mut sizes {
        *size = u32::from_be_bytes(number()?) as usize;
    }
    let wanted = sizes
        .iter()
        .try_fold(1_usize, |all, &size| all.checked_mul(size));
    let Some(wanted) = wanted.filter(|&wanted| wanted <= MOST_BYTES) else {
        let what = format!("it claims {sizes:?} bytes, more than the 1 GiB that is read");
        return Err(damaged(path, &what));
    };
    let mut bytes = Vec::new();
    // One more shows that the file goes on.
    let found = file
        .take(wanted as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match found.cmp(&wanted) {
        std::cmp::Ordering::Equal => Ok((sizes, bytes)),
        std::cmp::Ordering::Less => {
            let what =
                format!("it ends after {found} of the {wanted} bytes that its header claims");
            Err(damaged(path, &what))
        }
        std::cmp::Ordering::Greater => {
            let what = format!("it goes on after the {wanted} bytes that its header claims");
            Err(damaged(path, &what))
        }
    }
}
