//! Other compressors on the same bytes, for comparison.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use serde::Serialize;

use crate::cli::output::{Table, note};

/// The programs that write to standard output, with the flag of their highest usual level.
const PROGRAMS: [(&str, &str); 3] = [("gzip", "-9"), ("xz", "-9"), ("zstd", "-19")];
/// PPMd (Shkarin 2002), which predicts each byte from the bytes before it as a model does.
const PPMD: &str = "7z -m0=PPMd";
/// The names that 7z is installed under.
const SEVEN_ZIP: [&str; 3] = ["7z", "7zz", "7za"];

/// The result of one program.
#[derive(Serialize)]
pub struct Peer {
    program: String,
    /// `None` if the program is missing or fails.
    bytes: Option<u64>,
}

/// Compresses the bytes with each program.
pub fn sizes(original: &[u8]) -> Vec<Peer> {
    let peer = |&(program, level): &(&str, &str)| Peer {
        program: format!("{program} {level}"),
        bytes: size(Command::new(program).args([level, "-c"]), original),
    };
    let ppmd = Peer {
        program: PPMD.to_owned(),
        bytes: ppmd(original),
    };
    PROGRAMS.iter().map(peer).chain([ppmd]).collect()
}

/// The number of bytes that a program prints.
fn size(command: &mut Command, original: &[u8]) -> Option<u64> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let (mut input, mut output) = (child.stdin.take()?, child.stdout.take()?);
    let mut bytes = Vec::new();
    let read = std::thread::scope(|scope| {
        // Write and read at once, since the program may write before it has read everything. A
        // program that stops reading fails too.
        std::thread::Builder::new().spawn_scoped(scope, move || input.write_all(original))?;
        output.read_to_end(&mut bytes)
    });
    let done = child.wait().ok()?.success() && read.is_ok();
    done.then_some(bytes.len() as u64)
}

/// The size of 7z's archive, which it writes to a file only.
fn ppmd(original: &[u8]) -> Option<u64> {
    let folder = std::env::temp_dir().join(format!("textgen-compare-{}", std::process::id()));
    std::fs::create_dir(&folder).ok()?;
    let archive = folder.join("archive.7z");
    let size = SEVEN_ZIP
        .iter()
        .find_map(|program| archived(program, &archive, original));
    // What is left behind is in the folder for temporary files.
    let _ = std::fs::remove_dir_all(folder);
    size
}

fn archived(program: &str, archive: &Path, original: &[u8]) -> Option<u64> {
    let mut command = Command::new(program);
    command.args(["a", "-m0=PPMd", "-bd", "-si"]).arg(archive);
    size(&mut command, original)?;
    Some(std::fs::metadata(archive).ok()?.len())
}

/// Prints a table of all programs, textgen first.
pub fn print(original: u64, ours: u64, peers: &[Peer]) -> Result<()> {
    let mut table = Table::new(&["PROGRAM", "BYTES", "RATIO", "BITS/BYTE"]);
    let mut row = |program: &str, bytes: Option<u64>| {
        let cell = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let ratio = |bytes: u64| format!("{:.3}", original as f64 / bytes as f64);
        let bits = |bytes: u64| format!("{:.4}", 8.0 * bytes as f64 / original as f64);
        let any = bytes.filter(|_| original > 0);
        table.row(vec![
            program.to_owned(),
            cell(bytes.map(|bytes| bytes.to_string())),
            cell(any.map(ratio)),
            cell(any.map(bits)),
        ]);
    };
    row("textgen", Some(ours));
    for Peer { program, bytes } in peers {
        row(program, *bytes);
    }
    std::io::stdout()
        .lock()
        .write_all(table.text().as_bytes())?;
    let missing = peers.iter().filter(|peer| peer.bytes.is_none());
    let missing: Vec<&str> = missing.map(|peer| &peer.program[..]).collect();
    if !missing.is_empty() {
        note!("not compared, as not installed: {}", missing.join(", "));
    }
    Ok(())
}
