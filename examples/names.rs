//! Invents words that begin as you say: `cargo run --release --example names -- MODEL_FILE [LETTERS]`.
//!
//! The model file is a word-vae's.

use textgen::WordModel;
use textgen::model::WordOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give a model file")?;
    let options = WordOptions {
        starts_with: arguments.next().unwrap_or_default(),
        unique: true,
        novel: true,
        ..WordOptions::new(1)
    };

    let model = WordModel::open(path)?;
    for word in model.generate(&options, 10)? {
        println!("{:8.3}  {}", word.log_prob, word.text);
    }
    Ok(())
}
