//! A model as a program in plain PyTorch: the same for all models of a kind, since it reads the model file beside it.

const CHAR_RNN: &str = include_str!("char_rnn.py");
const WORD_VAE: &str = include_str!("word_vae.py");
/// How they begin.
const MARK: &[u8] = b"\"\"\"A model of textgen in plain PyTorch: ";

/// The program for models of texts, or of words.
pub const fn script(words: bool) -> &'static str {
    if words { WORD_VAE } else { CHAR_RNN }
}

/// Whether a file that begins like this is such a program.
pub fn is_ours(head: &[u8]) -> bool {
    head.starts_with(MARK)
}
