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
    writeln!(out, "textgen    {}", env!("CARGO_PKG_VERSION"))?;
    if let Ok(path) = &found {
        writeln!(out, "trainer    {}", path.display())?;
    }
    match &torch {
        Ok(report) => {
            writeln!(
                out,
                "libtorch   {} in {}",
                text(&report["loaded_version"]),
                text(&report["libtorch"])
            )?;
            match report["cuda_devices"].as_u64() {
                Some(count) if count > 0 => writeln!(out, "CUDA       {count} device(s)")?,
                _ => writeln!(out, "CUDA       none: {}", text(&report["cuda_missing"]))?,
            }
        }
        Err(why) => {
            writeln!(out, "libtorch   not usable: {why}")?;
            writeln!(out, "CUDA       unknown without libtorch")?;
        }
    }
    writeln!(out, "SIMD       {simd}")?;
    writeln!(out, "threads    {threads}")?;
    writeln!(out, "runs       {}", folder.display())?;
    Ok(())
}
