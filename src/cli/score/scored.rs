//! A text with the cost of every character, and its lines and words. A long one comes in windows.

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
    /// Whether the model read a token before this window, so that the first it knows here is predicted, too.
    pub goes_on: bool,
    /// The cost in nats of every token that was predicted.
    pub surprisals: Vec<f64>,
}

/// A window of a text with the costs of its characters under each of M models.
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
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub line: usize,
    /// Its first character in the line, from 1.
    pub column: usize,
    /// Its text; empty if that is the whole file's.
    pub text: String,
    pub tokens: u64,
    /// Its cost under each model, in nats.
    pub nats: Vec<f64>,
}

/// Cuts a text into rows of a kind as its windows come.
pub struct Rows {
    per: Per,
    /// The row that grows; without text if it has not begun.
    row: Row,
    has_begun: bool,
    /// Where the next character is.
    line: usize,
    column: usize,
    last: Last,
}

/// What the last character of a row says about whether another begins.
#[derive(Default)]
struct Last {
    white: bool,
    ends_line: bool,
    ends_document: bool,
}

impl Scored {
    /// Combines the `readings` of one window, which may be the first of the text. A token counts if every model
    /// predicted it and, if there are several models, every one knows it.
    pub fn new(text: String, readings: &[Reading], is_first: bool) -> Self {
        let eos = readings
            .first()
            .and_then(|first| first.vocabulary.document_end());
        let begins = is_first && eos.is_some();
        let text = match text.strip_prefix(BOUNDARY).filter(|_| begins) {
            Some(after) => after.to_owned(),
            None => text,
        };
        let mut scored = Self {
            // The end of a document is shown as a line end.
            text: if eos.is_some() {
                text.replace(BOUNDARY, "\n")
            } else {
                text
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
                if place == 0 && is_first {
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

    fn start(&self, place: usize) -> usize {
        place
            .checked_sub(1)
            .map_or(0, |before| self.glyphs[before].end)
    }

    fn glyph(&self, place: usize) -> &str {
        &self.text[self.start(place)..self.glyphs[place].end]
    }
}

impl Rows {
    /// Rows of this kind, from the beginning of a text.
    pub fn new(per: Per) -> Self {
        Self {
            per,
            row: Row::default(),
            has_begun: false,
            line: 1,
            column: 1,
            last: Last::default(),
        }
    }

    /// Reads the next window; `each` gets every row that it ends.
    pub fn read<E>(
        &mut self,
        window: &Scored,
        mut each: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        for (place, glyph) in window.glyphs.iter().enumerate() {
            let text = window.glyph(place);
            let white = text.chars().all(char::is_whitespace);
            let begins = match self.per {
                Per::File => false,
                Per::Document => self.last.ends_document,
                Per::Line => self.last.ends_line,
                Per::Word => self.last.white && !white,
                Per::Char => true,
            };
            if begins && self.has_begun {
                each(self.end())?;
            }
            if !self.has_begun {
                self.has_begun = true;
                self.row = Row {
                    line: self.line,
                    column: self.column,
                    nats: vec![0.0; window.models],
                    ..Row::default()
                };
            }
            let costs = &window.nats[place * window.models..][..window.models];
            for (sum, nats) in self.row.nats.iter_mut().zip(costs) {
                *sum += nats;
            }
            self.row.tokens += u64::from(glyph.tokens);
            if self.per != Per::File {
                self.row.text.push_str(text);
            }
            self.last = Last {
                white,
                ends_line: text.ends_with('\n'),
                ends_document: glyph.ends_document,
            };
            self.column += 1;
            if self.last.ends_line {
                (self.line, self.column) = (self.line + 1, 1);
            }
        }
        Ok(())
    }

    /// The last row, if the text has one.
    pub fn finish(mut self) -> Option<Row> {
        self.has_begun.then(|| self.end())
    }

    fn end(&mut self) -> Row {
        self.has_begun = false;
        std::mem::take(&mut self.row)
    }
}

impl Reading<'_> {
    /// The cost of every token of the text; `None` if it was not predicted.
    fn costs(&self) -> impl Iterator<Item = Option<f64>> {
        let is_read = |&token: &u32| self.open.is_known(token) || self.vocabulary.unk().is_some();
        let mut surprisals = self.surprisals.iter().copied();
        let mut is_first = !self.goes_on;
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
            goes_on: false,
            surprisals: (1..=predicted).map(|k| k as f64 * by).collect(),
        }
    }

    fn rows(per: Per, windows: &[Scored]) -> Vec<Row> {
        let (mut rows, mut found) = (Rows::new(per), Vec::new());
        for window in windows {
            let each = |row| {
                found.push(row);
                Ok::<_, ()>(())
            };
            rows.read(window, each).expect("rows");
        }
        found.extend(rows.finish());
        found
    }

    #[test]
    fn rows_of_every_kind_hold_the_whole_text_and_add_up() {
        let text = "  ab  a\n\nb a\tb";
        let all = vocabulary("ab \n\t");
        let scored = [Scored::new(
            text.to_owned(),
            &[reading(&all, text, 1.0)],
            true,
        )];
        let total: f64 = (1..text.len()).map(|k| k as f64).sum();
        for per in [Per::File, Per::Line, Per::Word, Per::Char] {
            let rows = rows(per, &scored);
            let texts: Vec<&str> = rows.iter().map(|row| &row.text[..]).collect();
            let want = if per == Per::File { "" } else { text };
            assert_eq!(texts.concat(), want, "{per:?}");
            let nats: f64 = rows.iter().map(|row| row.nats[0]).sum();
            assert_eq!(nats, total, "{per:?}");
            let tokens: u64 = rows.iter().map(|row| row.tokens).sum();
            assert_eq!(tokens as usize, text.len() - 1);
        }
        let lines: Vec<String> = rows(Per::Line, &scored)
            .into_iter()
            .map(|row| row.text)
            .collect();
        assert_eq!(lines, ["  ab  a\n", "\n", "b a\tb"]);
        let words = rows(Per::Word, &scored);
        let words: Vec<_> = words
            .iter()
            .map(|row| (&row.text[..], row.line, row.column))
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
    fn windows_of_any_length_give_the_rows_of_the_whole_text() {
        let text = "  ab  a\n\nb a\tb";
        let all = vocabulary("ab \n\t");
        let whole = [Scored::new(
            text.to_owned(),
            &[reading(&all, text, 1.0)],
            true,
        )];
        for length in 1..text.len() {
            let windows = (0..text.len()).step_by(length).map(|at| {
                let part = &text[at..text.len().min(at + length)];
                let read = Reading {
                    goes_on: at > 0,
                    surprisals: (at.max(1)..at + part.len()).map(|k| k as f64).collect(),
                    ..reading(&all, part, 1.0)
                };
                Scored::new(part.to_owned(), &[read], at == 0)
            });
            let windows: Vec<Scored> = windows.collect();
            for per in [Per::File, Per::Line, Per::Word, Per::Char] {
                let (found, want) = (rows(per, &windows), rows(per, &whole));
                assert_eq!(format!("{found:?}"), format!("{want:?}"), "{length}");
            }
        }
    }

    #[test]
    fn of_several_models_only_what_all_know_counts() {
        let text = "axbay";
        let (all, some) = (vocabulary("abxy"), vocabulary("ab"));
        let readings = [reading(&all, text, 1.0), reading(&some, text, 10.0)];
        let rows = rows(Per::Char, &[Scored::new(text.to_owned(), &readings, true)]);
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
        let scored = Scored::new("aé→".to_owned(), &[reading(&vocabulary, "aé→", 1.0)], true);
        let rows = rows(Per::Char, &[scored]);
        let found: Vec<_> = rows
            .iter()
            .map(|r| (&r.text[..], r.tokens, r.nats[0]))
            .collect();
        assert_eq!(found, [("a", 0, 0.0), ("é", 2, 3.0), ("→", 3, 12.0)]);
    }
}
