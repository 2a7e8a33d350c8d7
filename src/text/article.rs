//! Words as the original word-VAE article read them (`--recipe article`), including its bug.

use super::{Corpus, TextError, Token, Vocabulary, whole};
use crate::config::{TextConfig, Unit};

/// The words of a corpus: ASCII punctuation deleted, split on white space, with repetitions.
pub fn article_words(corpus: &Corpus, config: &TextConfig) -> Result<Vec<String>, TextError> {
    let text = whole(corpus, config, |_| ())?;
    let text = text.replace(|c: char| c.is_ascii_punctuation(), "");
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// The article's 62 letters, a–z, A–Z, 0–9, and the end of a word. The other special tokens, which
/// come after them, are never used.
pub fn article_vocabulary() -> Result<Vocabulary, TextError> {
    let letters = ('a'..='z').chain('A'..='Z').chain('0'..='9');
    let tokens = letters.map(|letter| Token::Text(letter.into())).collect();
    Vocabulary::new(Unit::Char, tokens, 0, true)
}

/// The letters of a word. Another character was −1 there, which Python reads as the last token:
/// the end of the word.
pub fn article_letters(word: &str) -> Vec<u32> {
    word.chars()
        .map(|c| match c {
            'a'..='z' => c as u32 - 'a' as u32,
            'A'..='Z' => c as u32 - 'A' as u32 + 26,
            '0'..='9' => c as u32 - '0' as u32 + 52,
            _ => 62,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_and_the_letters_agree() {
        let vocabulary = article_vocabulary().expect("valid");
        assert_eq!((vocabulary.outputs(), vocabulary.eos()), (63, Some(62)));
        assert_eq!(article_letters("aZ9"), [0, 51, 61]);
        assert_eq!(article_letters("é"), [62]);
        assert_eq!(vocabulary.decode(&article_letters("Hello42")), "Hello42");
    }
}
