//! Finds the known token that replaces an unknown one.

use unicode_properties::UnicodeGeneralCategory;

use super::unicode::{to_ascii, without_marks};
use super::vocab::{Token, Vocabulary};

/// The id of the known token nearest to an unknown one, by the first of these that gives one:
///
/// 1. the same letter in the other case;
/// 2. its base letter, without diacritics, in either case;
/// 3. the first character of its transliteration to ASCII, in either case;
/// 4. the token of the same general category group (letter, number, mark, punctuation, …) whose
///    code point is nearest, the lower of two equally near ones;
/// 5. the token whose code point is nearest.
///
/// A cluster counts as its first character; so do the clusters of the vocabulary from the fourth rule
/// on. Bytes go by the fifth rule, letters by the first.
pub fn nearest(vocab: &Vocabulary, unknown: &Token) -> Option<u32> {
    let c = first_char(unknown)?;
    let letters = &vocab.tokens()[..vocab.letters()];
    let mut candidates = either_case(c);
    candidates.extend(without_marks(c).into_iter().flat_map(either_case));
    let ascii = to_ascii(c).chars().next();
    if !matches!(unknown, Token::Byte(_)) {
        candidates.extend(ascii.into_iter().flat_map(either_case));
    }
    let same = |wanted: char| letters.iter().position(|s| is_char(s, wanted));
    if let Some(id) = candidates.into_iter().find_map(same) {
        return Some(id as u32);
    }
    let by_distance = letters.iter().enumerate().filter_map(|(id, token)| {
        let other = first_char(token)?;
        let group = other.general_category_group() != c.general_category_group();
        let distance = (other as u32).abs_diff(c as u32);
        Some((group, distance, other, id as u32))
    });
    by_distance.min().map(|(.., id)| id)
}

fn either_case(c: char) -> Vec<char> {
    let mut cases = vec![c];
    cases.extend(
        Some(c.to_lowercase())
            .filter(|lower| lower.len() == 1)
            .into_iter()
            .flatten(),
    );
    cases.extend(
        Some(c.to_uppercase())
            .filter(|upper| upper.len() == 1)
            .into_iter()
            .flatten(),
    );
    cases
}

fn is_char(token: &Token, c: char) -> bool {
    match token {
        Token::Text(text) => text.chars().eq([c]),
        Token::Byte(byte) => c.is_ascii() && char::from(*byte) == c,
        _ => false,
    }
}

fn first_char(token: &Token) -> Option<char> {
    match token {
        Token::Text(text) => text.chars().next(),
        Token::Byte(byte) => Some(char::from(*byte)),
        _ => None,
    }
}
