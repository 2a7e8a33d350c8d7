//! Continues a prompt: `cargo run --release --example generate -- MODEL_FILE [PROMPT]`.
//!
//! A model file is the `model.safetensors` of a run, or what `textgen export` wrote.

use textgen::{Sampling, TextModel};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give a model file")?;
    let prompt = arguments.next().unwrap_or_default();

    let model = TextModel::open(path)?;
    let sampling = Sampling {
        temperature: 0.7,
        min_p: Some(0.02),
        ..Sampling::new(1)
    };
    for sample in model.generate_many(&*prompt, &sampling, 200, 3)? {
        println!("{prompt}{}\n", sample.text);
    }
    Ok(())
}
