//! `textgen doctor`: describes the installation and the machine.

use std::io::Write;

use crate::config::Precision;
use crate::kernels::simd;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::output::{counted, json_lines, stdout};
use super::trainer;
use crate::train::{NativeEngine, memory};

#[derive(Args)]
#[command(after_help = "\
Examples:
  textgen doctor
  textgen doctor --json")]
pub struct DoctorArgs {
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &DoctorArgs, runs: &Runs) -> Result<()> {
    let found = trainer::find();
    let torch = match &found {
        Some(path) => trainer::doctor(path),
        None => Err(
            "textgen-torch, which trains on CUDA, is neither beside textgen nor on PATH".to_owned(),
        ),
    };
    let folder = std::path::absolute(runs.dir()).unwrap_or_else(|_| runs.dir().to_owned());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let simd = match simd::check() {
        Ok(level) => level.to_string(),
        Err(error) => error.to_string(),
    };
    let no_bf16 = NativeEngine::lacks(Precision::Bf16, simd::level());
    let mut out = stdout();
    if args.json {
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "trains_on_cpu": true,
            "trainer": found.as_ref().map(|path| path.display().to_string()),
            "libtorch": torch.as_ref().ok(),
            "libtorch_missing": torch.as_ref().err(),
            "simd": simd,
            "bf16": no_bf16.is_none(),
            "bf16_missing": no_bf16,
            "threads": threads,
            "memory_bytes": memory::available(),
            "runs": folder.display().to_string(),
        });
        writeln!(out, "{}", json_lines(&report)?)?;
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
            format!("not used: {why}"),
            "not used: it needs textgen-torch".to_owned(),
        ),
    };
    let torch_path = found.map(|path| path.display().to_string());
    let free = memory::available().map_or_else(|| "unknown memory".to_owned(), memory::shown);
    for (name, what) in [
        ("textgen", Some(env!("CARGO_PKG_VERSION").to_owned())),
        (
            "CPU",
            Some(format!(
                "trains in {}; {}, SIMD {simd}, {free} free",
                match no_bf16 {
                    None => "f32 or bf16".to_owned(),
                    Some(why) => format!("f32 (bf16 {why})"),
                },
                counted(threads, "thread")
            )),
        ),
        ("trainer", torch_path),
        ("libtorch", Some(libtorch)),
        ("CUDA", Some(cuda)),
        ("runs", Some(folder.display().to_string())),
    ] {
        if let Some(what) = what {
            writeln!(out, "{name:<10} {what}")?;
        }
    }
    Ok(())
}
