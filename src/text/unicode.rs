//! Properties of characters: names, clusters, words, punctuation.

use std::borrow::Cow;

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

/// The code point in the form `U+0041`.
pub fn code_point(c: char) -> String {
    format!("U+{:04X}", c as u32)
}

/// The Unicode name, `line feed` and the like for controls, else the category in angle brackets.
pub fn char_name(c: char) -> String {
    if let Some(name) = unicode_names2::name(c) {
        return name.to_string();
    }
    let control = match c {
        '\0' => "null",
        '\t' => "tabulation",
        '\n' => "line feed",
        '\u{0B}' => "vertical tabulation",
        '\u{0C}' => "form feed",
        '\r' => "carriage return",
        '\u{1B}' => "escape",
        _ => category_name(c),
    };
    format!("<{control}>")
}

/// The general category in words.
pub fn category_name(c: char) -> &'static str {
    match c.general_category() {
        GeneralCategory::Control => "control",
        GeneralCategory::Format => "format",
        GeneralCategory::PrivateUse => "private use",
        GeneralCategory::Unassigned => "unassigned",
        GeneralCategory::Surrogate => "surrogate",
        _ => match c.general_category_group() {
            GeneralCategoryGroup::Letter => "letter",
            GeneralCategoryGroup::Mark => "mark",
            GeneralCategoryGroup::Number => "number",
            GeneralCategoryGroup::Punctuation => "punctuation",
            GeneralCategoryGroup::Symbol => "symbol",
            GeneralCategoryGroup::Separator => "separator",
            GeneralCategoryGroup::Other => "other",
        },
    }
}

/// Text that can be shown inside a line: characters without a glyph are escaped, a lone space is
/// quoted, combining marks are on a dotted circle.
pub fn visible(text: &str) -> String {
    if text == " " {
        return "' '".to_owned();
    }
    let mut shown = String::new();
    for (i, c) in text.chars().enumerate() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            ' ' => shown.push(' '),
            _ => match c.general_category_group() {
                GeneralCategoryGroup::Other | GeneralCategoryGroup::Separator => {
                    shown.push_str(&c.escape_unicode().to_string());
                }
                GeneralCategoryGroup::Mark if i == 0 => {
                    shown.push('\u{25CC}');
                    shown.push(c);
                }
                _ => shown.push(c),
            },
        }
    }
    shown
}

/// Calls `f` with the offset of every non-ASCII character and the character, until it breaks. Eight
/// bytes are tested at once, so that ASCII costs almost nothing.
pub fn for_each_non_ascii(text: &str, from: usize, mut f: impl FnMut(usize, char) -> bool) {
    let mut visit = |at: usize| text[at..].chars().next().is_none_or(|c| f(at, c));
    let (words, rest) = text.as_bytes()[from..].as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The top bits of bytes 11xxxxxx, which start a character of several bytes.
        let mut leads = word & (word << 1) & 0x8080_8080_8080_8080;
        while leads != 0 {
            if !visit(from + i * 8 + leads.trailing_zeros() as usize / 8) {
                return;
            }
            leads &= leads - 1;
        }
    }
    let start = text.len() - rest.len();
    for at in (start..text.len()).filter(|&at| text.as_bytes()[at] >= 0xC0) {
        if !visit(at) {
            return;
        }
    }
}

/// Calls `f` with every extended grapheme cluster in turn. There is always a boundary between two plain
/// characters, so that most text needs no tables.
pub fn for_each_grapheme<'t>(text: &'t str, mut f: impl FnMut(&'t str)) {
    let mut emit = |part: &'t str, single: bool| {
        if single {
            f(part);
        } else {
            part.graphemes(true).for_each(&mut f);
        }
    };
    let (mut start, mut chars, mut after_plain) = (0, 0, false);
    for (at, c) in text.char_indices() {
        let plain = is_plain(c);
        if plain && after_plain {
            emit(&text[start..at], chars == 1);
            (start, chars) = (at, 0);
        }
        chars += 1;
        after_plain = plain;
    }
    if start < text.len() {
        emit(&text[start..], chars == 1);
    }
}

/// Whether there is always a boundary between the character and another such one: ASCII but CR, and
/// Latin, Greek, Cyrillic, kana and Chinese characters except marks, pictographs and controls.
fn is_plain(c: char) -> bool {
    match c as u32 {
        0..=0x7F => c != '\r',
        0xC0..=0x2FF
        | 0x370..=0x482
        | 0x48A..=0x52F
        | 0x3041..=0x3096
        | 0x30A1..=0x30FA
        | 0x4E00..=0x9FFF => true,
        _ => false,
    }
}

/// The number of words that start in the text: runs of anything but white space. `in_word` is whether
/// the previous text ended within a word, and is updated for this text.
pub fn count_words(text: &str, in_word: &mut bool) -> u64 {
    if !has_wide_space(text.as_bytes()) {
        return count_words_at_ascii_space(text.as_bytes(), in_word);
    }
    let mut words = 0;
    for c in text.chars() {
        let now = !c.is_whitespace();
        words += u64::from(now && !*in_word);
        *in_word = now;
    }
    words
}

/// Whether there is white space outside ASCII: U+0085, U+00A0, U+1680, U+2000–200A, U+2028, U+2029,
/// U+202F, U+205F or U+3000. Written without branches, so that the compiler tests many positions at once.
#[allow(clippy::needless_bitwise_bool)]
fn has_wide_space(text: &[u8]) -> bool {
    if text.is_ascii() {
        return false;
    }
    let two = |a: u8, b: u8| (a == 0xC2) & ((b == 0x85) | (b == 0xA0));
    let general = |c: u8| (c <= 0x8A) | (c == 0xA8) | (c == 0xA9) | (c == 0xAF);
    let three = |a: u8, b: u8, c: u8| {
        ((a == 0xE1) & (b == 0x9A) & (c == 0x80))
            | ((a == 0xE2) & (b == 0x80) & general(c))
            | ((a == 0xE2) & (b == 0x81) & (c == 0x9F))
            | ((a == 0xE3) & (b == 0x80) & (c == 0x80))
    };
    let (next, last) = (&text[1..], &text[text.len().min(2)..]);
    let mut found = false;
    for ((&a, &b), &c) in text.iter().zip(next).zip(last) {
        found |= two(a, b) | three(a, b, c);
    }
    match *text {
        [.., a, b] => found | two(a, b),
        _ => found,
    }
}

fn count_words_at_ascii_space(text: &[u8], in_word: &mut bool) -> u64 {
    let is_word = |b: u8| !(b == b' ' || b.wrapping_sub(b'\t') < 5);
    let (Some(&first), Some(&last)) = (text.first(), text.last()) else {
        return 0;
    };
    let mut words = u64::from(is_word(first) && !*in_word);
    // Sums in bytes let the compiler count sixteen positions at once.
    for (before, after) in text.chunks(255).zip(text[1..].chunks(255)) {
        let starts = before.iter().zip(after);
        let sum: u8 = starts
            .map(|(&b, &a)| u8::from(is_word(a)) & u8::from(!is_word(b)))
            .sum();
        words += u64::from(sum);
    }
    *in_word = is_word(last);
    words
}

/// The number of bytes of a kind. Sums in bytes let the compiler count sixteen at once.
pub fn count_bytes(text: &str, is_of: impl Fn(u8) -> bool) -> u64 {
    let blocks = text.as_bytes().chunks(255);
    let sum = |block: &[u8]| block.iter().map(|&b| u8::from(is_of(b))).sum::<u8>();
    blocks.map(|block| u64::from(sum(block))).sum()
}

/// Whether the character controls a terminal: a control character, one that ends a line (U+2028 and U+2029), or one that
/// changes the direction of writing and so the order in which a line appears.
pub fn is_control(c: char) -> bool {
    let is_of_lines = matches!(
        c,
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || is_of_lines
}

/// Text for a terminal: control characters are escaped, except line ends and tabs, so that no text can
/// move the cursor, change colours, ring the bell or turn a line around.
pub fn legible(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| is_control(c) && c != '\n' && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_line_end = c == '\r' && chars.peek() == Some(&'\n');
        if !is_control(c) || matches!(c, '\n' | '\t') || is_line_end {
            shown.push(c);
        } else {
            shown.push_str(&visible(c.encode_utf8(&mut [0; 4])));
        }
    }
    Cow::Owned(shown)
}

/// A word without the punctuation (general categories P*) at its ends.
pub fn strip_punctuation(word: &str) -> &str {
    word.trim_matches(|c: char| {
        if c.is_ascii() {
            // ASCII's `$+<=>^`|~` are symbols, not punctuation.
            c.is_ascii_punctuation() && !"$+<=>^`|~".contains(c)
        } else {
            c.general_category_group() == GeneralCategoryGroup::Punctuation
        }
    })
}

/// The transliteration to ASCII; empty if there is none. The one place that calls the crate, and never inlined:
/// its tables, of 400 kB, are constants, of which each part of the program that uses them would have a copy.
#[inline(never)]
pub fn to_ascii(c: char) -> &'static str {
    deunicode::deunicode_char(c).unwrap_or_default()
}

/// The base letter, without diacritics, if the character has any.
pub fn without_marks(c: char) -> Option<char> {
    use unicode_normalization::UnicodeNormalization;
    let base = c.nfd().next()?;
    (base != c).then_some(base)
}

/// `'ž' (U+017E LATIN SMALL LETTER Z WITH CARON)`; for a cluster, each of its characters.
pub fn describe(text: &str) -> String {
    let name = |c| format!("{} {}", code_point(c), char_name(c));
    let names: Vec<String> = text.chars().map(name).collect();
    format!("{} ({})", in_quotes(visible(text)), names.join(", "))
}

/// A visible text in quotes; a lone space is quoted already.
pub fn in_quotes(shown: String) -> String {
    if shown.starts_with('\'') {
        shown
    } else {
        format!("'{shown}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn punctuation_goes_from_the_ends_of_a_word_only() {
        assert_eq!(strip_punctuation("«“don’t!”»…"), "don’t");
        assert_eq!(strip_punctuation("--"), "");
        assert_eq!(strip_punctuation("(a-b)"), "a-b");
        assert_eq!(strip_punctuation("$5,"), "$5");
    }

    #[test]
    fn no_control_character_reaches_a_terminal() {
        assert_eq!(legible("a\tb\r\nc"), "a\tb\r\nc");
        let shown = legible("\u{1b}[31m\u{7}\u{9b}1m\rx\u{7f}é");
        assert_eq!(shown, "\\u{1b}[31m\\u{7}\\u{9b}1m\\rx\\u{7f}é");
        for c in "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}".chars() {
            let shown = format!("a\\u{{{:x}}}b", c as u32);
            assert_eq!(legible(&format!("a{c}b")), shown);
        }
        assert_eq!(
            legible("שלום, e\u{301}, a\u{200d}b"),
            "שלום, e\u{301}, a\u{200d}b"
        );
    }

    #[test]
    fn what_has_no_glyph_is_escaped() {
        assert_eq!(visible("\n"), "\\n");
        assert_eq!(visible(" "), "' '");
        assert_eq!(visible("\u{301}"), "◌\u{301}");
        assert_eq!(visible("\u{200B}"), "\\u{200b}");
        assert_eq!(
            describe("ž"),
            "'ž' (U+017E LATIN SMALL LETTER Z WITH CARON)"
        );
        assert_eq!(char_name('\n'), "<line feed>");
    }

    #[test]
    fn plain_characters_never_join_one_another() {
        let plain: Vec<char> = ('\0'..='\u{9FFF}').filter(|&c| is_plain(c)).collect();
        for pair in plain.windows(2) {
            let text: String = pair.iter().collect();
            assert_eq!(text.graphemes(true).count(), 2, "{text:?}");
            assert_ne!(category_name(pair[0]), "mark");
        }
    }

    #[test]
    fn white_space_outside_ascii_is_found() {
        for c in '\u{80}'..=char::MAX {
            assert_eq!(
                has_wide_space(format!("é{c}").as_bytes()),
                c.is_whitespace(),
                "{c:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn characters_outside_ascii_are_found(text in "[aé北\u{1F600}]{0,40}") {
            let mut found = Vec::new();
            for_each_non_ascii(&text, 0, |at, c| { found.push((at, c)); true });
            let all: Vec<_> = text.char_indices().filter(|(_, c)| !c.is_ascii()).collect();
            prop_assert_eq!(found, all);
        }

        #[test]
        fn clusters_are_those_of_the_standard(text in "[a\r\nб\u{301}\u{600}\u{1F1E6}\u{1F468}\u{200D}가\u{1161}क\u{94D}]{0,24}") {
            let mut mine = Vec::new();
            for_each_grapheme(&text, |g| mine.push(g));
            prop_assert_eq!(mine, text.graphemes(true).collect::<Vec<_>>());
        }

        #[test]
        fn words_are_counted_as_by_split_whitespace(text in "[a \n\u{A0}é\u{1F}]{0,600}", cut in 0usize..600) {
            let cut = text.char_indices().map(|(i, _)| i).nth(cut).unwrap_or(0);
            let mut in_word = false;
            let parts = [&text[..cut], &text[cut..]].map(|t| count_words(t, &mut in_word));
            prop_assert_eq!(parts[0] + parts[1], text.split_whitespace().count() as u64);
        }

        #[test]
        fn ascii_punctuation_agrees_with_the_categories(c in proptest::char::range('\0', '\u{7F}')) {
            let category = c.general_category_group() == GeneralCategoryGroup::Punctuation;
            prop_assert_eq!(strip_punctuation(&c.to_string()).is_empty(), category);
        }
    }
}
