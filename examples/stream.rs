//! Shows a text as it is written: `cargo run --release --example stream -- MODEL_FILE [PROMPT]`.

use std::io::Write as _;

use textgen::{Sampling, TextModel};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give a model file")?;
    let prompt = arguments.next().unwrap_or_default();

    let model = TextModel::open(path)?;
    let mut out = std::io::stdout();
    write!(out, "{prompt}")?;
    for piece in model.stream(&*prompt, &Sampling::new(1), 500)? {
        write!(out, "{piece}")?;
        out.flush()?;
    }
    writeln!(out)?;
    Ok(())
}
