//! `textgen doctor`: describes the installation and the machine.

use std::io::Write;

use crate::kernels::simd;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::output::stdout;
use super::trainer;

#[derive(Args)]
pub struct DoctorArgs {
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &DoctorArgs, runs: &Runs) -> Result<()> {
    let found = trainer::find();
    let torch = match &found {
        Ok(path) => trainer::doctor(path),
        Err(error) => Err(error.to_string()),
    };
    let folder = std::path::absolute(runs.dir()).unwrap_or_else(|_| runs.dir().to_owned());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let simd = match simd::check() {
        Ok(level) => level.to_string(),
        Err(error) => error.to_string(),
    };
    let mut out = stdout();
    if args.json {
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "trainer": found.as_ref().ok().map(|path| path.display().to_string()),
            "libtorch": torch.as_ref().ok(),
            "libtorch_missing": torch.as_ref().err(),
            "simd": simd,
            "threads": threads,
            "runs": folder.display().to_string(),
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let (libtorch, cuda) = match &torch {
        Ok(report) => {
            let (version, place) = (text(&report["loaded_version"]), text(&report["libtorch"]));
            let cuda = match report["cuda_devices"].as_u64() {
                Some(count) if count > 0 => format!("{count} device(s)"),
                _ => format!("none: {}", text(&report["cuda_missing"])),
            };
            (format!("{version} in {place}"), cuda)
        }
        Err(why) => (
            format!("not usable: {why}"),
            "unknown without libtorch".to_owned(),
        ),
    };
    let trainer = found.ok().map(|path| path.display().to_string());
    for (name, what) in [
        ("textgen", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("trainer", trainer),
        ("libtorch", Some(libtorch)),
        ("CUDA", Some(cuda)),
        ("SIMD", Some(simd)),
        ("threads", Some(threads.to_string())),
        ("runs", Some(folder.display().to_string())),
    ] {
        if let Some(what) = what {
            writeln!(out, "{name:<10} {what}")?;
        }
    }
    Ok(())
}
