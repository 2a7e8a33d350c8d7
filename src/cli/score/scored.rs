//! A text with the cost of every character, and its lines and words.

use std::ops::Range;

use crate::text::{BOUNDARY, OpenText, Vocabulary};
use clap::ValueEnum;

/// The unit of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Per {
    /// The whole text, in one row.
    File,
    /// A line with its line end.
    Line,
    /// A document with its end.
    Document,
    /// A word with the white space after it.
    Word,
    /// A character, or a grapheme cluster with --unit grapheme.
    Char,
}

/// A text as a model's tokens, with the cost of each.
pub struct Reading<'a> {
    pub vocabulary: &'a Vocabulary,
    /// The text, including tokens that are not in the vocabulary.
    pub open: OpenText,
    /// The cost in nats of every token that the model knows but the first.
    pub surprisals: Vec<f64>,
}

/// A text with the costs of its characters under each of M models.
pub struct Scored {
    text: String,
    /// Characters, in order; with --unit grapheme they are clusters.
    glyphs: Vec<Glyph>,
    /// Nats by character and model: (characters, M); zero where a character is not counted.
    nats: Vec<f64>,
    models: usize,
}

struct Glyph {
    /// The byte offset of its end in the text.
    end: usize,
    /// Its tokens that were predicted and count; a byte model may have several.
    tokens: u32,
    /// Whether it is the end of a document.
    ends_document: bool,
}

/// A segment of the text: a row.
pub struct Row<'a> {
    pub line: usize,
    /// Its first character in the line, from 1.
    pub column: usize,
    pub text: &'a str,
    pub tokens: u64,
    /// Its cost under each model, in nats.
    pub nats: Vec<f64>,
}

impl Scored {
    /// Combines the `readings` of one text. A token counts if every model predicted it and, if there
    /// are several models, every one knows it.
    pub fn new(text: String, readings: &[Reading]) -> Self {
        let eos = readings
            .first()
            .and_then(|first| first.vocabulary.document_end());
        let mut scored = Self {
            // The end of a document is shown as a line end.
            text: match (eos, text.strip_prefix(BOUNDARY)) {
                (Some(_), Some(text)) => text.replace(BOUNDARY, "\n"),
                _ => text,
            },
            glyphs: Vec::new(),
            nats: Vec::new(),
            models: readings.len(),
        };
        let Some(first) = readings.first() else {
            return scored;
        };
        let mut costs: Vec<_> = readings.iter().map(Reading::costs).collect();
        let (mut end, mut tokens, mut bytes) = (0, 0, Vec::new());
        let mut sums = vec![0.0; readings.len()];
        for (place, &token) in first.open.tokens.iter().enumerate() {
            let found: Vec<Option<f64>> = costs.iter_mut().map(|c| c.next().flatten()).collect();
            let known = |reading: &Reading| reading.open.is_known(reading.open.tokens[place]);
            let counts = found.iter().all(Option::is_some)
                && (readings.len() == 1 || readings.iter().all(known));
            if counts {
                tokens += 1;
                for (sum, nats) in sums.iter_mut().zip(found.into_iter().flatten()) {
                    *sum += nats;
                }
            }
            bytes.clear();
            if Some(token) == eos {
                if place == 0 {
                    continue;
                }
                bytes.push(b'\n');
            } else {
                first.open.push_bytes(first.vocabulary, token, &mut bytes);
            }
            end += bytes.len();
            if scored.text.is_char_boundary(end) {
                let ends_document = Some(token) == eos;
                scored.glyphs.push(Glyph {
                    end,
                    tokens,
                    ends_document,
                });
                scored.nats.append(&mut sums);
                sums.resize(readings.len(), 0.0);
                tokens = 0;
            }
        }
        scored
    }

    /// Characters with their bits under the first model, in order; `None` for one that does not count.
    pub fn bits(&self) -> impl Iterator<Item = (&str, Option<f64>)> {
        self.glyphs.iter().enumerate().map(|(place, glyph)| {
            let nats = self.nats[place * self.models];
            let bits = (glyph.tokens > 0).then(|| nats / std::f64::consts::LN_2);
            (self.glyph(place), bits)
        })
    }

    /// The rows of the text, one for each of its lines, words or characters.
    pub fn rows(&self, per: Per) -> Vec<Row<'_>> {
        let white = |place: usize| self.glyph(place).chars().all(char::is_whitespace);
        let begins = |place: usize| match per {
            Per::File => false,
            Per::Document => self.glyphs[place - 1].ends_document,
            Per::Line => self.ends_line(place - 1),
            Per::Word => white(place - 1) && !white(place),
            Per::Char => true,
        };
        let mut rows = Vec::new();
        let (mut first, mut line, mut column) = (0, 1, 1);
        for place in 1..=self.glyphs.len() {
            if place < self.glyphs.len() && !begins(place) {
                continue;
            }
            rows.push(self.row(first..place, line, column));
            for place in first..place {
                column += 1;
                if self.ends_line(place) {
                    (line, column) = (line + 1, 1);
                }
            }
            first = place;
        }
        rows
    }

    fn row(&self, places: Range<usize>, line: usize, column: usize) -> Row<'_> {
        let mut nats = vec![0.0; self.models];
        for glyph in self.nats[places.start * self.models..places.end * self.models]
            .chunks_exact(self.models)
        {
            for (sum, nats) in nats.iter_mut().zip(glyph) {
                *sum += nats;
            }
        }
        let glyphs = &self.glyphs[places.clone()];
        Row {
            line,
            column,
            text: &self.text[self.start(places.start)..self.start(places.end)],
            tokens: glyphs.iter().map(|glyph| u64::from(glyph.tokens)).sum(),
            nats,
        }
    }

    fn start(&self, place: usize) -> usize {
        place
            .checked_sub(1)
            .map_or(0, |before| self.glyphs[before].end)
    }

    fn glyph(&self, place: usize) -> &str {
        &self.text[self.start(place)..self.glyphs[place].end]
    }

    fn ends_line(&self, place: usize) -> bool {
        self.glyph(place).ends_with('\n')
    }
}

impl Reading<'_> {
    /// The cost of every token of the text; `None` if it was not predicted.
    fn costs(&self) -> impl Iterator<Item = Option<f64>> {
        let is_read = |&token: &u32| self.open.is_known(token) || self.vocabulary.unk().is_some();
        let mut surprisals = self.surprisals.iter().copied();
        let mut is_first = true;
        self.open.tokens.iter().map(move |token| {
            if !is_read(token) || std::mem::take(&mut is_first) {
                return None;
            }
            surprisals.next()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Unit;
    use crate::text::Token;

    fn vocabulary(letters: &str) -> Vocabulary {
        let letters = letters.chars().map(|c| Token::Text(c.to_string()));
        Vocabulary::new(Unit::Char, letters.collect(), 0, false).expect("valid")
    }

    /// A reading in which the k-th predicted token costs `k · by` nats.
    fn reading<'a>(vocabulary: &'a Vocabulary, text: &str, by: f64) -> Reading<'a> {
        let open = vocabulary.encode_open(text);
        let predicted = open.readable(vocabulary.unk()).len() - 1;
        Reading {
            vocabulary,
            open,
            surprisals: (1..=predicted).map(|k| k as f64 * by).collect(),
        }
    }

    #[test]
    fn rows_of_every_kind_hold_the_whole_text_and_add_up() {
        let text = "  ab  a\n\nb a\tb";
        let all = vocabulary("ab \n\t");
        let scored = Scored::new(text.to_owned(), &[reading(&all, text, 1.0)]);
        let total: f64 = (1..text.len()).map(|k| k as f64).sum();
        for per in [Per::File, Per::Line, Per::Word, Per::Char] {
            let rows = scored.rows(per);
            let texts: Vec<&str> = rows.iter().map(|row| row.text).collect();
            assert_eq!(texts.concat(), text, "{per:?}");
            let nats: f64 = rows.iter().map(|row| row.nats[0]).sum();
            assert_eq!(nats, total, "{per:?}");
            let tokens: u64 = rows.iter().map(|row| row.tokens).sum();
            assert_eq!(tokens as usize, text.len() - 1);
        }
        let lines: Vec<&str> = scored.rows(Per::Line).iter().map(|row| row.text).collect();
        assert_eq!(lines, ["  ab  a\n", "\n", "b a\tb"]);
        let words: Vec<_> = scored
            .rows(Per::Word)
            .iter()
            .map(|row| (row.text, row.line, row.column))
            .collect();
        let want = [
            ("  ", 1, 1),
            ("ab  ", 1, 3),
            ("a\n\n", 1, 7),
            ("b ", 3, 1),
            ("a\t", 3, 3),
            ("b", 3, 5),
        ];
        assert_eq!(words, want);
    }

    #[test]
    fn of_several_models_only_what_all_know_counts() {
        let text = "axbay";
        let (all, some) = (vocabulary("abxy"), vocabulary("ab"));
        let readings = [reading(&all, text, 1.0), reading(&some, text, 10.0)];
        let scored = Scored::new(text.to_owned(), &readings);
        let rows = scored.rows(Per::Char);
        let found: Vec<_> = rows.iter().map(|r| (r.tokens, r.nats.clone())).collect();
        let none = (0, vec![0.0, 0.0]);
        let want = [
            none.clone(),
            none.clone(),
            (1, vec![2.0, 10.0]),
            (1, vec![3.0, 20.0]),
            none,
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn a_character_of_several_bytes_costs_all_of_them() {
        let bytes = "é→a".bytes().map(Token::Byte).collect();
        let vocabulary = Vocabulary::new(Unit::Byte, bytes, 0, false).expect("valid");
        let scored = Scored::new("aé→".to_owned(), &[reading(&vocabulary, "aé→", 1.0)]);
        let rows = scored.rows(Per::Char);
        let found: Vec<_> = rows.iter().map(|r| (r.text, r.tokens, r.nats[0])).collect();
        assert_eq!(found, [("a", 0, 0.0), ("é", 2, 3.0), ("→", 3, 12.0)]);
    }
}
