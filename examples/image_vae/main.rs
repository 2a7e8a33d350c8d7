//! A variational autoencoder of images, from the same parts as the word-vae: `cargo run --release --example image_vae`.
//!
//! It reads MNIST or Fashion-MNIST, trains on the CPU, and writes pictures, measurements and the model to `runs/NAME`.
//! See docs/image-vae.md.

mod data;
mod failure;
mod flags;
mod folder;
mod loss;
mod network;
mod pictures;
#[cfg(test)]
mod tests;
mod training;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use failure::Failure;
use flags::Flags;
use folder::Folder;
use training::{Measured, Training};

fn main() -> ExitCode {
    match run(&Flags::parse(), Path::new("runs")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Trains as `flags` say, and writes to a new folder in `runs`.
fn run(flags: &Flags, runs: &Path) -> Result<(), Failure> {
    let data = data::read(&flags.data)?;
    let folder = Folder::new(runs, flags)?;
    let mut training = Training::new(flags, data.train.len());
    eprintln!(
        "{}: {} weights, {} training and {} test images",
        folder.path().display(),
        training.network.values.len(),
        data.train.len(),
        data.test.len()
    );
    let mut last = None;
    for tenth in 1..=10 {
        let Some(trained) = training.until(tenth, &data.train)? else {
            continue;
        };
        let test = training.measure(&data.test);
        eprintln!("test: {test}");
        folder.log(&training.line(&trained, &test))?;
        folder.pictures(&training, &data.test, tenth)?;
        last = Some(test);
    }
    folder.model(&training, flags)?;
    folder.plane(&training, &data.test)?;
    if let Some(test) = last {
        report(&training, flags, &test, &data, folder.path());
    }
    Ok(())
}

/// Prints what the test images cost, the only thing on stdout.
fn report(training: &Training, flags: &Flags, test: &Measured, data: &data::Data, path: &Path) {
    println!("test: {test}");
    if flags.iw > 0 {
        let bound = training.importance(&data.test, flags.iw as usize);
        println!("IW-{}: {bound:.2} nats", flags.iw);
    }
    println!(
        "{:.1} s of training; see {}",
        training.seconds(),
        path.display()
    );
}
