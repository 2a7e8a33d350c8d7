//! Scores the lines of standard input, in bits per character, the most surprising ones first:
//! `cargo run --release --example score -- MODEL_FILE < TEXT`.

use textgen::TextModel;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give a model file")?;
    let model = TextModel::open(path)?;
    let mut lines = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line?;
        let log_probs = model.log_probs(&line)?;
        let nats = -log_probs.iter().sum::<f64>();
        let bits = nats / std::f64::consts::LN_2 / log_probs.len().max(1) as f64;
        lines.push((bits, line));
    }
    lines.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    for (bits, line) in lines {
        println!("{bits:6.3}  {line}");
    }
    Ok(())
}
