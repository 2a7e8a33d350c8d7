//! The report of `textgen vocab`, as text and as data.

use std::fmt::Write as _;

use crate::config::{Newlines, NormalForm, TextConfig};
use crate::text::{
    Corpus, Survey, Token, Vocabulary, category_name, char_name, code_point, visible,
};
use serde_json::{Value, json};

use super::words::Words;

/// Smaller vocabularies whose loss is shown.
const WHAT_IF_MIN_FREQ: [u64; 2] = [2, 10];
const WHAT_IF_MAX_VOCAB: [usize; 2] = [64, 128];
/// Examples shown of what normalisation changed, and of what a limit cuts.
const EXAMPLES: usize = 6;
const CUT_SHOWN: usize = 12;

/// What a limit on the vocabulary cuts.
struct Cut {
    tokens: usize,
    count: u64,
    share: f64,
    examples: Vec<String>,
}

/// The report, as text or as data.
pub struct Report<'a> {
    survey: &'a Survey,
    vocabulary: &'a Vocabulary,
    config: &'a TextConfig,
    corpus: &'a Corpus,
    words: Option<&'a Words>,
}

impl<'a> Report<'a> {
    /// A report on a survey and the vocabulary chosen, and on the words where they were counted.
    pub fn new(
        survey: &'a Survey,
        vocabulary: &'a Vocabulary,
        config: &'a TextConfig,
        corpus: &'a Corpus,
        words: Option<&'a Words>,
    ) -> Self {
        Self {
            survey,
            vocabulary,
            config,
            corpus,
            words,
        }
    }

    fn share(&self, count: u64) -> f64 {
        count as f64 / self.survey.tokens.max(1) as f64
    }

    /// What a vocabulary within these limits would lose.
    fn cut(&self, min_freq: u64, max_vocab: usize) -> Cut {
        let counts = &self.survey.counts;
        let frequent = counts.partition_point(|&(_, n)| n >= min_freq);
        let lost = &counts[frequent.min(max_vocab)..];
        let count = lost.iter().map(|&(_, n)| n).sum();
        Cut {
            tokens: lost.len(),
            count,
            share: self.share(count),
            examples: lost
                .iter()
                .take(CUT_SHOWN)
                .map(|(s, _)| s.visible())
                .collect(),
        }
    }

    /// Tighter limits that would cut more than the chosen ones.
    fn what_ifs(&self) -> Vec<(String, Cut)> {
        let chosen = self.cut(self.config.min_freq, self.config.max_vocab).tokens;
        let by_freq = WHAT_IF_MIN_FREQ
            .iter()
            .filter(|&&n| n > self.config.min_freq);
        let by_size = WHAT_IF_MAX_VOCAB
            .iter()
            .filter(|&&n| n < self.config.max_vocab);
        by_freq
            .map(|&n| {
                (
                    format!("--min-freq {n}"),
                    self.cut(n, self.config.max_vocab),
                )
            })
            .chain(by_size.map(|&n| {
                let cut = self.cut(self.config.min_freq, n);
                (format!("--max-vocab {n}"), cut)
            }))
            .filter(|(_, cut)| cut.tokens > chosen)
            .collect()
    }

    /// For people; the table has `top` rows.
    pub fn to_text(&self, top: usize) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        self.write_head(&mut out)?;
        self.write_table(&mut out, top)?;
        self.write_changes(&mut out)?;
        self.write_cuts(&mut out)?;
        if let Some(words) = self.words {
            out.push_str(&words.to_text());
        }
        Ok(out)
    }

    fn write_head(&self, out: &mut String) -> std::fmt::Result {
        let s = self.survey;
        let sources = self.corpus.sources.len();
        let plural = if sources == 1 { "" } else { "s" };
        writeln!(out, "corpus      {} ({sources} source{plural})", s.name)?;
        for (name, number) in [
            ("bytes", s.bytes),
            ("characters", s.chars),
            ("lines", s.lines),
            ("words", s.words),
        ] {
            writeln!(out, "{name:<11} {}", grouped(number))?;
        }
        writeln!(
            out,
            "tokens     {} of {} distinct (unit {})",
            grouped(s.tokens),
            grouped(s.counts.len() as u64),
            self.config.unit
        )?;
        writeln!(
            out,
            "entropy     {:.3} bits per character, by frequency alone (order 0)",
            s.entropy_bits_per_char()
        )?;
        writeln!(
            out,
            "vocabulary  {} tokens{}\n",
            self.vocabulary.len(),
            if self.vocabulary.cut() > 0 {
                format!(", <unk> among them for the {} cut", self.vocabulary.cut())
            } else {
                ", nothing cut".to_owned()
            }
        )
    }

    fn write_table(&self, out: &mut String, top: usize) -> std::fmt::Result {
        let counts = &self.survey.counts;
        // Glyphs may be wide or of no width at all, and terminals differ: they stand after all numbers.
        writeln!(
            out,
            "{:>4}  {:>13}  {:>8}  {:>10}  {:<8}  token and name",
            "id", "count", "share", "cumulative", "code"
        )?;
        let mut sum = 0;
        for (id, (token, count)) in counts.iter().enumerate().take(top) {
            sum += count;
            let (code, name) = code_and_name(token);
            writeln!(
                out,
                "{id:>4}  {:>13}  {:>7.3}%  {:>9.3}%  {code:<8}  {}  {name}",
                grouped(*count),
                100.0 * self.share(*count),
                100.0 * self.share(sum),
                padded(&token.visible(), 4)
            )?;
        }
        if counts.len() > top {
            let rest = &counts[top..];
            let total: u64 = rest.iter().map(|&(_, n)| n).sum();
            let once = rest.iter().filter(|&&(_, n)| n == 1).count();
            writeln!(
                out,
                "   …  {:>13}  {:>7.3}%  {:>9.3}%  {} rarer tokens, {once} of them seen once (--top N shows more):",
                grouped(total),
                100.0 * self.share(total),
                100.0,
                rest.len()
            )?;
            let shown: Vec<String> = rest.iter().take(100).map(|(s, _)| s.visible()).collect();
            for line in shown.chunks(25) {
                writeln!(out, "      {}", line.join(" "))?;
            }
            if rest.len() > shown.len() {
                writeln!(out, "      and {} more", rest.len() - shown.len())?;
            }
        }
        writeln!(out)
    }

    fn write_changes(&self, out: &mut String) -> std::fmt::Result {
        let changes = &self.survey.changes;
        let form = self.config.normalize;
        if form != NormalForm::None {
            let n = changes.normalized;
            writeln!(out, "normal form {form} changed {} characters", grouped(n))?;
        }
        for change in changes.examples.iter().take(EXAMPLES) {
            let to = if change.to.is_empty() {
                "nothing".to_owned()
            } else {
                format!("{} ({})", visible(&change.to), code_points(&change.to))
            };
            let from = format!("{} ({})", visible(&change.from), code_points(&change.from));
            writeln!(out, "  {:>11} × {from} → {to}", grouped(change.count))?;
        }
        if changes.examples.len() > EXAMPLES {
            writeln!(
                out,
                "  and {} other kinds",
                changes.examples.len() - EXAMPLES
            )?;
        }
        if self.config.lowercase {
            writeln!(out, "{} letters lowered", grouped(changes.lowered))?;
        }
        if self.config.newlines == Newlines::Unix {
            let n = grouped(changes.newlines);
            writeln!(out, "{n} carriage returns dropped or made line feeds")?;
        }
        writeln!(out)
    }

    fn write_cuts(&self, out: &mut String) -> std::fmt::Result {
        let (min_freq, max_vocab) = (self.config.min_freq, self.config.max_vocab);
        let chosen = format!("--min-freq {min_freq} --max-vocab {max_vocab}");
        let cut = self.cut(min_freq, max_vocab);
        writeln!(out, "{chosen} (chosen) cuts {}", describe_cut(&cut))?;
        for (limit, cut) in self.what_ifs() {
            writeln!(out, "{limit} would cut {}", describe_cut(&cut))?;
        }
        Ok(())
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let s = self.survey;
        let cut = |cut: &Cut| json!({"tokens": cut.tokens, "count": cut.count, "share": cut.share});
        let what_if: serde_json::Map<String, Value> = self
            .what_ifs()
            .iter()
            .map(|(limit, c)| (limit.trim_start_matches("--").replace(' ', "="), cut(c)))
            .collect();
        let examples: Vec<Value> = s
            .changes
            .examples
            .iter()
            .take(100)
            .map(|c| json!({"from": c.from, "to": c.to, "count": c.count}))
            .collect();
        let mut sum = 0;
        let table: Vec<Value> = s
            .counts
            .iter()
            .map(|(token, count)| {
                sum += count;
                let (code, name) = code_and_name(token);
                let text = match token {
                    Token::Text(text) => json!(text),
                    Token::Byte(byte) => json!(byte),
                    special => json!(special.visible()),
                };
                json!({"token": text, "code": code, "name": name, "count": count,
                "share": self.share(*count), "cumulative": self.share(sum)})
            })
            .collect();
        json!({
            "format": 1,
            "corpus": self.corpus.paths(),
            "name": s.name,
            "text": self.config,
            "bytes": s.bytes,
            "chars": s.chars,
            "lines": s.lines,
            "words": s.words,
            "tokens": s.tokens,
            "distinct": s.counts.len(),
            "entropy_bits_per_char": s.entropy_bits_per_char(),
            "vocabulary_size": self.vocabulary.len(),
            "cut": cut(&self.cut(self.config.min_freq, self.config.max_vocab)),
            "what_if": what_if,
            "changes": {"normalized": s.changes.normalized, "lowered": s.changes.lowered,
                "newlines": s.changes.newlines, "examples": examples},
            "table": table,
            "word_list": self.words.map(Words::to_json),
        })
    }
}

fn describe_cut(cut: &Cut) -> String {
    if cut.tokens == 0 {
        return "nothing".to_owned();
    }
    let more = if cut.tokens > cut.examples.len() {
        " …"
    } else {
        ""
    };
    format!(
        "{} tokens, {:.4}% of the text: {}{more}",
        cut.tokens,
        100.0 * cut.share,
        cut.examples.join(" ")
    )
}

fn code_and_name(token: &Token) -> (String, String) {
    match token {
        Token::Byte(b) if b.is_ascii() => (format!("0x{b:02X}"), char_name(char::from(*b))),
        Token::Byte(b) if b & 0xC0 == 0x80 => {
            (format!("0x{b:02X}"), "<continues a character>".to_owned())
        }
        Token::Byte(b) => (format!("0x{b:02X}"), "<begins a character>".to_owned()),
        Token::Text(text) => match text.chars().next() {
            Some(c) if text.len() == c.len_utf8() => (code_point(c), char_name(c)),
            Some(c) => {
                let kind = category_name(c);
                (
                    "cluster".to_owned(),
                    format!("{} ({kind})", code_points(text)),
                )
            }
            None => (String::new(), String::new()),
        },
        special => (String::new(), special.visible()),
    }
}

fn code_points(text: &str) -> String {
    let points: Vec<String> = text.chars().map(code_point).collect();
    points.join(" ")
}

/// The text followed by spaces up to `width` columns, as far as that can be told.
fn padded(text: &str, width: usize) -> String {
    let columns = console_width(text);
    format!("{text}{}", " ".repeat(width.saturating_sub(columns)))
}

/// Columns of a glyph: combining marks take none, East Asian ones two.
fn console_width(text: &str) -> usize {
    text.chars()
        .map(|c| match (category_name(c), c as u32) {
            ("mark" | "format", _) => 0,
            (
                _,
                0x1100..=0x115F
                | 0x2E80..=0xA4CF
                | 0xAC00..=0xD7A3
                | 0xF900..=0xFAFF
                | 0xFE30..=0xFE6F
                | 0xFF00..=0xFF60
                | 0x1F300..=0x1FAFF
                | 0x20000..=0x3FFFD,
            ) => 2,
            _ => 1,
        })
        .sum()
}

/// `1,996,068`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_996_068), "1,996,068");
    }

    #[test]
    fn wide_glyphs_and_marks_keep_the_columns() {
        assert_eq!(padded("a", 4), "a   ");
        assert_eq!(padded("北", 4), "北  ");
        assert_eq!(padded("◌\u{301}", 4), "◌\u{301}   ");
    }
}
