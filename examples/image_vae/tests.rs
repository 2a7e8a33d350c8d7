//! Whole trainings of a few seconds, gradients, and files that are not what they should be.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use clap::Parser as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use textgen::parts::variational::Objective;
use textgen::parts::{Alone, Buffers, Kernels, Noise, Use, Workers};

use crate::data::{self, Data, Images, PIXELS, SIDE};
use crate::flags::{DATA, Flags, Loss};
use crate::folder::Folder;
use crate::network::{Network, Pass};
use crate::training::Training;

fn flags(arguments: &str) -> Flags {
    let arguments = format!("image_vae {arguments}");
    Flags::try_parse_from(arguments.split_whitespace()).expect("valid flags")
}

/// Disks and bars of random place, size and shade: two classes that look different.
fn synthetic(count: usize, seed: u64) -> Images {
    let noise = Noise::new(seed, Use::Order, 0);
    let mut pixels = Vec::with_capacity(count * PIXELS);
    let labels: Vec<u8> = (0..count).map(|image| (image % 2) as u8).collect();
    for image in 0..count {
        let number = |k: u64, n: u64| noise.below(image as u64 * 4 + k, n) as f32;
        let (x0, y0, size) = (9.0 + number(0, 10), 9.0 + number(1, 10), 3.0 + number(2, 4));
        let shade = 120.0 + number(3, 136);
        for at in 0..PIXELS {
            let (x, y) = ((at % SIDE) as f32 - x0, (at / SIDE) as f32 - y0);
            let inside = if image % 2 == 0 {
                x * x + y * y < size * size
            } else {
                x.abs() < 2.0 && y.abs() < 1.5 * size
            };
            pixels.push(if inside { shade as u8 } else { 0 });
        }
    }
    Images { pixels, labels }
}

fn first(images: &Images, count: usize) -> Images {
    Images {
        pixels: images.pixels[..count * PIXELS].to_vec(),
        labels: images.labels[..count].to_vec(),
    }
}

/// An idx file of bytes.
fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    file.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    file.extend_from_slice(bytes);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";

/// Writes a data set, the test part compressed.
fn write(folder: &Path, train: &Images, test: &Images) {
    let files = |images: &Images| {
        let (count, side) = (images.len() as u32, SIDE as u32);
        [
            idx(&[count, side, side], &images.pixels),
            idx(&[count], &images.labels),
        ]
    };
    let [images, labels] = files(train);
    fs::write(folder.join(IMAGES), images).expect("a file");
    fs::write(folder.join(LABELS), labels).expect("a file");
    let [images, labels] = files(test);
    fs::write(folder.join("t10k-images-idx3-ubyte.gz"), gzip(&images)).expect("a file");
    fs::write(folder.join("t10k-labels-idx1-ubyte.gz"), gzip(&labels)).expect("a file");
}

/// Its size and pixels.
fn picture(path: &Path) -> ([u32; 2], Vec<u8>) {
    let file = std::io::BufReader::new(fs::File::open(path).expect("a picture"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG file");
    let mut pixels = vec![0; reader.output_buffer_size().expect("its size")];
    let info = reader.next_frame(&mut pixels).expect("an image");
    assert_eq!(info.color_type, png::ColorType::Grayscale);
    ([info.width, info.height], pixels)
}

fn lines(folder: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).expect("metrics");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The losses fall, and what was asked for is in them.
fn check_metrics(folder: &Path, name: &str, settings: &str) {
    let lines = lines(folder);
    assert_eq!(lines.len(), 10, "{settings}");
    for (part, field) in [
        ("train", "loss"),
        ("test", "loss"),
        ("test", "reconstruction"),
    ] {
        let of = |line: &serde_json::Value| line[part][field].as_f64().expect("a number");
        assert!(
            of(&lines[9]) < 0.95 * of(&lines[0]),
            "{settings}: {part} {field}"
        );
        assert!(of(&lines[9]) > 0.0);
    }
    let of = |field: &str| lines[9]["train"][field].as_f64().expect("a number");
    let (objective, beta) = (of("loss") - of("reconstruction"), lines[9]["beta"].as_f64());
    match name {
        "c" => assert!(objective >= 2.0 * 0.4 - 1e-6, "free bits: {objective}"),
        // After the first few steps the rate is above the target, and each of 32 steps adds at most 0.01 to ln β.
        "d" => assert!(
            (1.2..0.3201_f64.exp()).contains(&beta.expect("β")),
            "{beta:?}"
        ),
        _ => assert!(
            (objective - beta.expect("β") * of("kl")).abs() < 1e-3,
            "{objective}"
        ),
    }
}

/// The pictures have the right sizes and are not constant, the model has its weights, and there is no other file.
fn check_files(folder: &Path, test: &Images, settings: &str, weights: usize) {
    let mut pictures = vec![
        ("reconstructions.png".to_owned(), [448, 224]),
        ("samples.png".to_owned(), [448, 224]),
    ];
    pictures.extend((1..10).map(|tenth| (format!("samples-{tenth}.png"), [448, 224])));
    pictures.extend((1..10).map(|tenth| (format!("reconstructions-{tenth}.png"), [448, 224])));
    let is_plane = settings.contains("plane2");
    if is_plane {
        pictures.push(("manifold.png".to_owned(), [560, 560]));
    }
    for (file, size) in &pictures {
        let (found, pixels) = picture(&folder.join(file));
        assert_eq!(found, *size, "{file}");
        // Of pairs of rows, the lower one is the network's.
        let first = if file.starts_with("reconstructions") {
            448 * SIDE
        } else {
            0
        };
        let made = &pixels[first..][..448 * SIDE];
        let (low, high) = (made.iter().min(), made.iter().max());
        assert!(low < high, "{settings}: {file} is constant");
    }
    let (_, pixels) = picture(&folder.join("reconstructions.png"));
    assert_eq!(
        pixels[..SIDE],
        test.pixels[..SIDE],
        "the originals are above"
    );
    assert_eq!(
        pixels[448 * SIDE * 2..][..SIDE],
        test.pixels[16 * PIXELS..][..SIDE]
    );
    let svg = fs::read_to_string(folder.join("codes.svg"));
    assert_eq!(svg.is_ok(), is_plane);
    if let Ok(svg) = svg {
        let svg = roxmltree::Document::parse(&svg).expect("XML");
        let paths = svg.descendants().filter(|node| node.has_tag_name("path"));
        let points: usize = paths
            .filter_map(|path| path.attribute("d"))
            .map(|d| d.matches("h0").count())
            .sum();
        assert_eq!(points, test.len());
    }
    let bytes = fs::read(folder.join("model.safetensors")).expect("a model");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let count: usize = tensors
        .iter()
        .map(|(_, tensor)| tensor.data().len() / 4)
        .sum();
    assert_eq!(count, weights, "{settings}");
    let head = tensors.tensor("encoder.mean.weight").expect("a tensor");
    assert_eq!(head.shape(), if is_plane { [2, 200] } else { [20, 400] });
    let files = fs::read_dir(folder).expect("a folder").count();
    assert_eq!(
        files,
        pictures.len() + 2 + usize::from(is_plane),
        "and no other file"
    );
}

/// 2,000 images, two epochs, of every model and loss.
fn check_trainings(train: &Images, test: &Images) {
    let temporary = tempfile::tempdir().expect("a folder");
    let (data, runs) = (temporary.path().join("data"), temporary.path().join("runs"));
    fs::create_dir(&data).expect("a folder");
    write(&data, train, test);
    for (name, settings, weights) in [
        ("a", "--model dense20 --loss bce --iw 3", 652_824),
        (
            "b",
            "--model dense20 --loss mse --samples 2 --beta 0.5",
            652_824,
        ),
        ("c", "--model plane2 --loss bce --free-bits 0.4", 396_388),
        ("d", "--model plane2 --loss mse01 --rate 0.01", 396_388),
    ] {
        let flags = Flags {
            data: data.clone(),
            name: Some(name.to_owned()),
            ..flags(&format!("{settings} --epochs 2"))
        };
        crate::run(&flags, &runs).expect("a run");
        let folder = runs.join(name);
        check_metrics(&folder, name, settings);
        check_files(&folder, test, settings, weights);
    }
    let error = crate::run(
        &Flags {
            data,
            ..flags("--name a")
        },
        &runs,
    )
    .expect_err("it exists");
    assert!(
        error
            .to_string()
            .contains("a exists\nhint: give another --name"),
        "{error}"
    );
}

#[test]
fn a_training_on_synthetic_images_learns_and_writes_its_files() {
    check_trainings(&synthetic(2000, 1), &synthetic(300, 2));
}

#[test]
fn a_training_on_fashion_mnist_learns_and_writes_its_files() {
    if !Path::new(DATA).exists() {
        eprintln!("left out: {DATA} is missing");
        return;
    }
    let data = data::read(Path::new(DATA)).expect("the package's files");
    assert_eq!([data.train.len(), data.test.len()], [60_000, 10_000]);
    check_trainings(&first(&data.train, 2000), &first(&data.test, 300));
}

#[test]
fn a_training_is_a_function_of_its_flags() {
    let images = synthetic(300, 1);
    let weights = |arguments: &str| {
        let flags = flags(arguments);
        let mut training = Training::new(&flags, images.len());
        for tenth in 1..=10 {
            training.until(tenth, &images).expect("a training");
        }
        training.network.values.clone()
    };
    let plain = weights("--model plane2 --epochs 1");
    assert_eq!(plain, weights("--model plane2 --epochs 1"));
    for other in [
        "--seed 2",
        "--samples 2",
        "--beta 2",
        "--loss mse",
        "--rate 5",
        "--free-bits 9",
    ] {
        assert_ne!(
            plain,
            weights(&format!("--model plane2 --epochs 1 {other}")),
            "{other}"
        );
    }
}

#[test]
fn fewer_steps_than_tenths_are_measured_once_each() {
    let images = synthetic(200, 1);
    let flags = flags("--model plane2 --epochs 1");
    let mut training = Training::new(&flags, images.len());
    let tenths = (1..=10).map(|tenth| training.until(tenth, &images).expect("a training"));
    assert_eq!(tenths.flatten().count(), 2);
}

#[test]
fn more_samples_of_the_importance_weighted_bound_cost_less() {
    let (images, test) = (synthetic(1500, 1), synthetic(300, 2));
    let flags = flags("--model dense20 --epochs 4");
    let mut training = Training::new(&flags, images.len());
    for tenth in 1..=10 {
        training.until(tenth, &images).expect("a training");
    }
    let measured = training.measure(&test);
    assert!((measured.loss - measured.reconstruction - measured.kl).abs() < 1e-9);
    let bounds = [1, 5, 25].map(|samples| training.importance(&test, samples));
    // One sample is estimator A, whose mean is that of B.
    assert!(
        (bounds[0] - measured.loss).abs() < 0.02 * measured.loss,
        "{bounds:?} {measured}"
    );
    assert!(bounds[0] > bounds[1] && bounds[1] > bounds[2], "{bounds:?}");
    assert!(bounds[1] < measured.loss, "{bounds:?} {measured}");
}

/// The objective in f64, by the plain formulas.
fn objective(
    network: &Network,
    values: &[f64],
    loss: Loss,
    (x, noise): (&[f32], &[f32]),
    (beta, free_bits): (f64, f64),
) -> f64 {
    let layers: Vec<_> = network.layers().cloned().collect();
    let dense = |name: &str, x: &[f64]| -> Vec<f64> {
        let layer = layers
            .iter()
            .find(|layer| layer.name == name)
            .expect("a layer");
        let (weight, bias) = (&values[layer.weight.clone()], &values[layer.bias.clone()]);
        let rows = weight.chunks_exact(layer.inputs).zip(bias);
        rows.map(|(row, bias)| bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>())
            .collect()
    };
    let chain = |part: &str, x: &[f64], all: bool| -> Vec<f64> {
        let count = layers
            .iter()
            .filter(|l| {
                l.name.starts_with(part) && l.name != "encoder.mean" && l.name != "encoder.log_var"
            })
            .count();
        let mut x = x.to_vec();
        for k in 0..count {
            x = dense(&format!("{part}.{k}"), &x);
            if all || k + 1 < count {
                for h in &mut x {
                    *h = h.max(0.0);
                }
            }
        }
        x
    };
    let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
    let (images, latent) = (x.len() / network.pixels, network.latent);
    let samples = noise.len() / (images * latent);
    let mut rates = vec![0.0; latent];
    let mut distortion = 0.0;
    for image in 0..images {
        let x = wide(&x[image * network.pixels..][..network.pixels]);
        let top = chain("encoder", &x, true);
        let (mean, log_var) = (dense("encoder.mean", &top), dense("encoder.log_var", &top));
        for j in 0..latent {
            rates[j] +=
                0.5 * (mean[j].powi(2) + log_var[j].exp() - log_var[j] - 1.0) / images as f64;
        }
        for sample in 0..samples {
            let noise = wide(&noise[(sample * images + image) * latent..][..latent]);
            let z: Vec<f64> = (0..latent)
                .map(|j| mean[j] + (0.5 * log_var[j]).exp() * noise[j])
                .collect();
            let outputs = chain("decoder", &z, false);
            let cost = x.iter().zip(outputs).map(|(x, y)| match loss {
                Loss::Bce => {
                    let p = 1.0 / (1.0 + (-y).exp());
                    -(x * p.ln() + (1.0 - x) * (1.0 - p).ln())
                }
                Loss::Mse => (x - y.tanh()).powi(2),
                Loss::Mse01 => (x - y.tanh()).powi(2) / 4.0,
            });
            distortion += cost.sum::<f64>() / samples as f64;
        }
    }
    let rate: f64 = rates.iter().map(|rate: &f64| rate.max(free_bits)).sum();
    distortion / images as f64 + beta * rate
}

#[test]
fn every_gradient_is_that_of_finite_differences() {
    let buffers = Buffers::new();
    let workers = Workers {
        team: &Alone,
        kernels: Kernels::new(),
        buffers: &buffers,
    };
    let numbers = Noise::new(3, Use::Latent, 0);
    for (hidden, latent, loss, samples, beta, free_bits) in [
        (&[5][..], 3, Loss::Bce, 1, 1.0, 0.0),
        (&[5, 4], 2, Loss::Mse, 3, 0.7, 0.0),
        (&[4, 4], 2, Loss::Bce, 2, 2.0, 0.05),
        (&[4], 2, Loss::Mse01, 2, 1.0, 0.0),
    ] {
        let network = Network::new(7, hidden, latent, 4);
        let images = 3;
        let x: Vec<f32> = (0..images * 7)
            .map(|at| numbers.uniform(at as u64))
            .collect();
        let noise: Vec<f32> = (0..samples * images * latent)
            .map(|at| numbers.normal(at as u64))
            .collect();
        let mut shared = Objective::new(latent, free_bits);
        // Whatever is left from a step before is overwritten.
        let mut gradients = vec![7.0; network.values.len()];
        let mut pass = Pass::default();
        let read = (&x[..], &noise[..]);
        for _ in 0..2 {
            let distortion = network.learn(
                workers,
                loss,
                read,
                (beta, &mut shared),
                &mut pass,
                &mut gradients,
            );
            let wide: Vec<f64> = network.values.iter().map(|&x| f64::from(x)).collect();
            let of = |values: &[f64]| {
                objective(
                    &network,
                    values,
                    loss,
                    read,
                    (f64::from(beta), f64::from(free_bits)),
                )
            };
            let (found, want) = (shared.loss(distortion), of(&wide));
            assert!(
                (found / want - 1.0).abs() < 1e-5,
                "{hidden:?} {loss:?}: {found} {want}"
            );
            for (at, &found) in gradients.iter().enumerate() {
                let moved = |by: f64| {
                    let mut values = wide.clone();
                    values[at] += by;
                    of(&values)
                };
                let want = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                let error = (f64::from(found) - want).abs();
                assert!(
                    error < 1e-4 * want.abs().max(0.1),
                    "{hidden:?} {loss:?} {at}: {found} {want}"
                );
            }
        }
    }
}

/// The error for a data set one of whose files is replaced.
fn refused(file: &str, bytes: Option<&[u8]>) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &synthetic(3, 1), &synthetic(2, 2));
    let path = folder.path().join(file);
    match bytes {
        Some(bytes) => fs::write(path, bytes),
        None => fs::remove_file(path),
    }
    .expect("a file");
    let error = data::read(folder.path())
        .expect_err("no data set")
        .to_string();
    assert_eq!(error.lines().count(), 2, "{error}");
    assert!(
        error.starts_with("error: ") && error.contains("\nhint: ") && error.contains("--data"),
        "{error}"
    );
    error
}

#[test]
fn files_that_are_no_data_set_are_errors_that_say_why() {
    let pixels = vec![7; 3 * PIXELS];
    let whole = idx(&[3, 28, 28], &pixels);
    let huge = idx(&[u32::MAX; 3], &[]);
    let bomb = gzip(&vec![0; 50_000_000]);
    let sealed = gzip(&whole);
    let mut spoilt = sealed.clone();
    let middle = spoilt.len() / 2;
    spoilt[middle] ^= 0x55;
    let long = [&whole[..], &[0]].concat();
    for (file, bytes, why) in [
        (
            IMAGES,
            None,
            "no train-images-idx3-ubyte, nor train-images-idx3-ubyte.gz",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            None,
            "no t10k-labels-idx1-ubyte",
        ),
        (IMAGES, Some(&[][..]), "it ends within its header"),
        (IMAGES, Some(&whole[..11]), "it ends within its header"),
        (IMAGES, Some(b"<html>404</html>"), "no idx file"),
        (
            IMAGES,
            Some(&[0, 0, 0x0d, 3, 0, 0, 0, 0]),
            "no idx file of unsigned bytes",
        ),
        (
            IMAGES,
            Some(&idx(&[3], &[0, 1, 2])),
            "an idx file of 1 dimensions, not 3",
        ),
        (LABELS, Some(&whole), "an idx file of 3 dimensions, not 1"),
        (
            IMAGES,
            Some(&whole[..whole.len() - 1]),
            "it ends after 2351 of the 2352 bytes",
        ),
        (IMAGES, Some(&long), "it goes on after the 2352 bytes"),
        (IMAGES, Some(&huge), "more than the 1 GiB that is read"),
        (
            IMAGES,
            Some(&idx(&[1_000_000, 28, 28], &pixels)),
            "it ends after 2352 of the 784000000 bytes",
        ),
        (IMAGES, Some(&idx(&[0, 28, 28], &[])), "no image"),
        (
            IMAGES,
            Some(&idx(&[3, 14, 56], &pixels)),
            "images of 14 × 56 pixels",
        ),
        (
            IMAGES,
            Some(&idx(&[2, 28, 28], &pixels[PIXELS..])),
            "3 labels for 2 images",
        ),
        (LABELS, Some(&idx(&[3], &[1, 10, 2])), "label 10 of image 1"),
        (IMAGES, Some(&sealed[..sealed.len() / 2]), IMAGES),
        (IMAGES, Some(&spoilt), IMAGES),
        (IMAGES, Some(&bomb), "no idx file"),
        (
            IMAGES,
            Some(&gzip(&long)),
            "it goes on after the 2352 bytes",
        ),
    ] {
        let error = refused(file, bytes);
        assert!(error.contains(why), "{why}: {error}");
    }
    let error = data::read(Path::new("nowhere"))
        .expect_err("no folder")
        .to_string();
    assert!(
        error.contains("dataset-fashion-mnist") && error.contains("--data"),
        "{error}"
    );
}

#[test]
fn a_data_set_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (train, test) = (synthetic(5, 1), synthetic(2, 2));
    write(folder.path(), &train, &test);
    let Data {
        train: found,
        test: other,
    } = data::read(folder.path()).expect("a data set");
    assert_eq!((found.pixels, found.labels), (train.pixels, train.labels));
    assert_eq!((other.pixels, other.labels), (test.pixels, test.labels));
}

#[test]
fn flags_and_names_that_make_no_sense_are_rejected() {
    for arguments in [
        "--model dense",
        "--loss l1",
        "--samples 0",
        "--beta -1",
        "--beta nan",
        "--beta inf",
        "--rate 0",
        "--rate 2 --free-bits 1",
        "--epochs 0",
        "--iw -1",
        "--free-bits x",
    ] {
        let arguments: Vec<&str> = std::iter::once("image_vae")
            .chain(arguments.split(' '))
            .collect();
        assert!(Flags::try_parse_from(&arguments).is_err(), "{arguments:?}");
    }
    let runs = tempfile::tempdir().expect("a folder");
    for name in ["", ".", "..", "../x", "a/b", ".hidden", "a\nb"] {
        let flags = Flags {
            name: Some(name.to_owned()),
            ..flags("")
        };
        let error = Folder::new(runs.path(), &flags)
            .expect_err("no name")
            .to_string();
        assert!(
            error.contains("no name for a run") && error.lines().count() == 2,
            "{error}"
        );
    }
    let names = [(); 3].map(|()| {
        let folder = Folder::new(runs.path(), &flags("--model plane2")).expect("a folder");
        folder.path().file_name().expect("a name").to_owned()
    });
    assert_eq!(names, ["plane2", "plane2-2", "plane2-3"]);
}
