//! Normalises text, and counts the changes.
//!
//! Most characters of most texts do not change or interact with their neighbours: they are *inert*.
//! Only the runs around other characters go through Unicode's tables, and runs are cached, so that
//! decomposed text takes little longer.

use std::borrow::Cow;
use std::collections::HashMap;

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfkc_quick};

use super::counts::Tally;
use super::documents::{BOUNDARY, BOUNDARY_TEXT};
use super::unicode::{count_bytes, for_each_non_ascii, to_ascii};
use crate::config::{Newlines, NormalForm, TextConfig};

/// The longest cached run, in bytes, and the most cached runs.
const REMEMBERED_BYTES: usize = 64;
const REMEMBERED_RUNS: usize = 1 << 16;

/// The changes by the normal form, lowering and line ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Carriage returns turned into line feeds or dropped (`--newlines unix`).
    pub newlines: u64,
    /// Characters replaced by the normal form.
    pub normalized: u64,
    /// Letters that became lower case.
    pub lowered: u64,
    /// The replacements by the normal form, most frequent first.
    pub examples: Vec<Change>,
}

/// One replacement by the normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The characters before the change.
    pub from: String,
    /// The characters after; may be empty.
    pub to: String,
    /// The number of occurrences.
    pub count: u64,
}

/// Whether the character is its own normal form and never interacts with the character before it.
pub fn is_inert(c: char, form: NormalForm) -> bool {
    if c.is_ascii() {
        return true;
    }
    let quick = match form {
        NormalForm::None => return true,
        NormalForm::Ascii => return false,
        NormalForm::Nfc => is_nfc_quick(std::iter::once(c)),
        NormalForm::Nfkc => is_nfkc_quick(std::iter::once(c)),
    };
    quick == IsNormalized::Yes && canonical_combining_class(c) == 0
}

/// Normalises text as a [`TextConfig`] asks for, chunk by chunk. Chunks must end at the positions that
/// `chunks` describes.
pub struct Normalizer {
    /// Whether the text has document boundaries, which stay as they are.
    has_boundaries: bool,
    form: NormalForm,
    lowercase: bool,
    newlines: Newlines,
    /// By code point: 0 if not looked up yet, else one of the two below. Untouched pages cost nothing.
    classes: Vec<u8>,
    runs: HashMap<Box<str>, Run>,
    transliterated: Tally,
    changes: Changes,
}

/// A run around characters that are not inert, its normal form, and the number of its occurrences.
struct Run {
    normal: Box<str>,
    changed: u64,
    count: u64,
}

const INERT: u8 = 1;
const ACTIVE: u8 = 2;

impl Normalizer {
    /// Creates a normaliser for texts under `config`.
    pub fn new(config: &TextConfig) -> Self {
        Self {
            has_boundaries: !config.documents.is_none(),
            form: config.normalize,
            lowercase: config.lowercase,
            newlines: config.newlines,
            classes: vec![0; char::MAX as usize + 1],
            runs: HashMap::new(),
            transliterated: Tally::default(),
            changes: Changes::default(),
        }
    }

    /// Normalises text: line ends, normal form, lower case, and the normal form once more, since
    /// lowering can undo it.
    pub fn apply<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        if !self.has_boundaries || !text.contains(BOUNDARY) {
            return self.apply_to_text(text);
        }
        let documents: Vec<_> = text
            .split(BOUNDARY)
            .map(|document| self.apply_to_text(document))
            .collect();
        Cow::Owned(documents.join(BOUNDARY_TEXT))
    }

    fn apply_to_text<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let text = self.unix(text);
        let text = and_then(text, |t| self.in_form(t, true));
        if !self.lowercase {
            return text;
        }
        let text = and_then(text, |t| self.lower(t));
        and_then(text, |t| self.in_form(t, false))
    }

    fn unix<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        if self.newlines == Newlines::Keep || memchr::memchr(b'\r', text.as_bytes()).is_none() {
            return Cow::Borrowed(text);
        }
        self.changes.newlines += memchr::memchr_iter(b'\r', text.as_bytes()).count() as u64;
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    }

    /// Lowers character by character, so without the final sigma of Greek: `Σ` is always `σ`.
    fn lower<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let capitals = count_bytes(text, |b| b.is_ascii_uppercase());
        self.changes.lowered += capitals;
        let text = if capitals == 0 {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(text.to_ascii_lowercase())
        };
        and_then(text, |t| self.lower_beyond_ascii(t))
    }

    fn lower_beyond_ascii<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        let mut lowered = String::new();
        let mut copied = 0;
        for_each_non_ascii(text, 0, |at, c| {
            let lower = c.to_lowercase();
            if !lower.clone().eq([c]) {
                self.changes.lowered += 1;
                lowered.push_str(&text[copied..at]);
                lowered.extend(lower);
                copied = at + c.len_utf8();
            }
            true
        });
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        lowered.push_str(&text[copied..]);
        Cow::Owned(lowered)
    }

    fn in_form<'t>(&mut self, text: &'t str, account: bool) -> Cow<'t, str> {
        match self.form {
            NormalForm::None => Cow::Borrowed(text),
            _ if text.is_ascii() => Cow::Borrowed(text),
            NormalForm::Ascii => Cow::Owned(self.transliterate(text)),
            NormalForm::Nfc | NormalForm::Nfkc => self.compose(text, account),
        }
    }

    /// Transliterates like unidecode: characters without a transliteration are left out.
    fn transliterate(&mut self, text: &str) -> String {
        let mut ascii = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            if c.is_ascii() {
                ascii.push(c);
            } else {
                self.transliterated.add(c, 1);
                ascii.push_str(to_ascii(c));
            }
        }
        ascii
    }

    fn compose<'t>(&mut self, text: &'t str, account: bool) -> Cow<'t, str> {
        let mut normal = String::new();
        let mut copied = 0;
        let mut from = 0;
        while let Some(active) = self.next_active(text, from) {
            // The character before an active one may compose with it.
            let start = text[copied..active]
                .chars()
                .next_back()
                .map_or(active, |before| active - before.len_utf8());
            let end = self.next_inert(text, active);
            normal.push_str(&text[copied..start]);
            self.normalize_run(&text[start..end], &mut normal, account);
            copied = end;
            from = end;
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        normal.push_str(&text[copied..]);
        Cow::Owned(normal)
    }

    fn next_active(&mut self, text: &str, from: usize) -> Option<usize> {
        let mut active = None;
        for_each_non_ascii(text, from, |at, c| {
            let inert = self.is_inert(c);
            if !inert {
                active = Some(at);
            }
            inert
        });
        active
    }

    fn next_inert(&mut self, text: &str, from: usize) -> usize {
        text[from..]
            .char_indices()
            .find(|&(_, c)| self.is_inert(c))
            .map_or(text.len(), |(offset, _)| from + offset)
    }

    fn is_inert(&mut self, c: char) -> bool {
        let class = &mut self.classes[c as usize];
        if *class == 0 {
            *class = if is_inert(c, self.form) {
                INERT
            } else {
                ACTIVE
            };
        }
        *class == INERT
    }

    fn normalize_run(&mut self, run: &str, normal: &mut String, account: bool) {
        if let Some(known) = self.runs.get_mut(run) {
            known.count += u64::from(account);
            normal.push_str(&known.normal);
            return;
        }
        let form: String = if self.form == NormalForm::Nfkc {
            run.nfkc().collect()
        } else {
            run.nfc().collect()
        };
        normal.push_str(&form);
        let changed = changed_part(run, &form).0.chars().count() as u64;
        if run.len() <= REMEMBERED_BYTES && self.runs.len() < REMEMBERED_RUNS {
            let known = Run {
                normal: form.into(),
                changed,
                count: u64::from(account),
            };
            self.runs.insert(run.into(), known);
        } else if account {
            self.changes.normalized += changed;
        }
    }

    /// The changes of all normalizers together.
    pub fn sum_changes(normalizers: impl IntoIterator<Item = Self>) -> Changes {
        let mut sum = Changes::default();
        let mut pairs: HashMap<(String, String), u64> = HashMap::new();
        for normalizer in normalizers {
            sum.newlines += normalizer.changes.newlines;
            sum.normalized += normalizer.changes.normalized;
            sum.lowered += normalizer.changes.lowered;
            for (run, known) in &normalizer.runs {
                let (from, to) = changed_part(run, &known.normal);
                if from != to && known.count > 0 {
                    sum.normalized += known.changed * known.count;
                    *pairs.entry((from.to_owned(), to.to_owned())).or_default() += known.count;
                }
            }
            for (c, count) in normalizer.transliterated.iter() {
                let to = to_ascii(c);
                sum.normalized += count;
                *pairs.entry((c.to_string(), to.to_owned())).or_default() += count;
            }
        }
        sum.examples = pairs
            .into_iter()
            .map(|((from, to), count)| Change { from, to, count })
            .collect();
        sum.examples
            .sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.from.cmp(&b.from)));
        sum
    }
}

/// The two texts without their common prefix and suffix.
fn changed_part<'t>(from: &'t str, to: &'t str) -> (&'t str, &'t str) {
    let alike = |a: (usize, char), b: (usize, char)| a.1 == b.1;
    let head = from
        .char_indices()
        .zip(to.char_indices())
        .find(|&(a, b)| !alike(a, b))
        .map_or(from.len().min(to.len()), |(a, _)| a.0);
    let (from, to) = (&from[head..], &to[head..]);
    let tail: usize = from
        .chars()
        .rev()
        .zip(to.chars().rev())
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a.len_utf8())
        .sum();
    (&from[..from.len() - tail], &to[..to.len() - tail])
}

fn and_then(text: Cow<'_, str>, f: impl FnOnce(&str) -> Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(t) => f(t),
        Cow::Owned(t) => {
            let next = match f(&t) {
                Cow::Borrowed(_) => None,
                Cow::Owned(next) => Some(next),
            };
            Cow::Owned(next.unwrap_or(t))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(form: NormalForm, lowercase: bool) -> TextConfig {
        TextConfig {
            normalize: form,
            lowercase,
            ..TextConfig::default()
        }
    }

    fn apply(text: &str, config: &TextConfig) -> String {
        Normalizer::new(config).apply(text).into_owned()
    }

    #[test]
    fn decomposed_letters_are_composed_and_accounted_for() {
        let mut normalizer = Normalizer::new(&TextConfig::default());
        assert_eq!(
            normalizer.apply("cafe\u{301}, e\u{301}t \u{212B}"),
            "café, ét Å"
        );
        let changes = Normalizer::sum_changes([normalizer]);
        assert_eq!(changes.normalized, 5);
        let first = &changes.examples[0];
        assert_eq!(
            (&*first.from, &*first.to, first.count),
            ("e\u{301}", "é", 2)
        );
    }

    #[test]
    fn ascii_is_a_transliteration() {
        let config = config(NormalForm::Ascii, false);
        assert_eq!(apply("“Ærø” – naïve €", &config), "\"AEro\" - naive EUR");
        assert_eq!(apply("北京", &config), "Bei Jing ");
    }

    #[test]
    fn lowering_keeps_the_normal_form() {
        let config = config(NormalForm::Nfkc, true);
        assert_eq!(apply("ÀΣⅫℌ", &config), "àσxiih");
    }

    #[test]
    fn line_ends_become_those_of_unix_only_when_asked() {
        let mut config = config(NormalForm::Nfc, false);
        assert_eq!(apply("a\r\nb\rc", &config), "a\r\nb\rc");
        config.newlines = Newlines::Unix;
        assert_eq!(apply("a\r\nb\rc", &config), "a\nb\nc");
    }

    proptest! {
        #[test]
        fn runs_give_what_the_whole_text_gives(text in "(\\PC|[aeẹ\u{301}\u{323}\u{308}\u{1112}\u{1161}\u{11AB}\u{AC00}\u{DD9}\u{DCA}\u{DCF}ﬁ\u{A0}]){0,20}") {
            prop_assert_eq!(apply(&text, &config(NormalForm::Nfc, false)), text.nfc().collect::<String>());
            prop_assert_eq!(apply(&text, &config(NormalForm::Nfkc, false)), text.nfkc().collect::<String>());
            prop_assert_eq!(apply(&text, &config(NormalForm::None, false)), text);
        }
    }
}
