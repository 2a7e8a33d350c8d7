//! The report of `textgen vocab`, as text and as data.

use std::fmt::Write as _;

use crate::cli::output::{counted, padded};
use crate::config::{Newlines, NormalForm, TextConfig};
use crate::text::{
    Corpus, Survey, Token, Vocabulary, category_name, char_name, code_point, visible,
};
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::words::Words;

/// The number of smaller vocabularies whose loss is shown.
const WHAT_IF_MIN_FREQ: [u64; 2] = [2, 10];
const WHAT_IF_MAX_VOCAB: [usize; 2] = [64, 128];
/// The number of examples of normalised characters and of tokens that a limit cuts.
const EXAMPLES: usize = 6;
const CUT_SHOWN: usize = 12;

/// The tokens that a limit on the vocabulary cuts.
struct Cut {
    tokens: usize,
    count: u64,
    frequency: f64,
    examples: Vec<String>,
}

/// The report on a survey and the vocabulary chosen, and on the words if they were counted.
pub struct Report<'a> {
    pub survey: &'a Survey,
    pub vocabulary: &'a Vocabulary,
    pub config: &'a TextConfig,
    pub corpus: &'a Corpus,
    pub words: Option<&'a Words>,
    /// The default limit on the vocabulary's size, which a text that would lose too much exceeds.
    pub usual: usize,
}

impl Report<'_> {
    fn frequency(&self, count: u64) -> f64 {
        count as f64 / self.survey.tokens.max(1) as f64
    }

    /// The tokens that these limits would cut.
    fn cut(&self, min_freq: u64, max_vocab: usize) -> Cut {
        let counts = &self.survey.counts;
        let frequent = counts.partition_point(|&(_, n)| n >= min_freq);
        let lost = &counts[frequent.min(max_vocab)..];
        let count = lost.iter().map(|&(_, n)| n).sum();
        Cut {
            tokens: lost.len(),
            count,
            frequency: self.frequency(count),
            examples: visibles(&lost[..lost.len().min(CUT_SHOWN)]),
        }
    }

    /// Tighter limits that would cut more than the chosen ones.
    fn what_ifs(&self) -> Vec<(String, Cut)> {
        let chosen = self.cut(self.config.min_freq, self.config.max_vocab).tokens;
        let (min_freq, max_vocab) = (self.config.min_freq, self.config.max_vocab);
        let by_freq = WHAT_IF_MIN_FREQ.into_iter().filter(|&n| n > min_freq);
        let by_freq = by_freq.map(|n| (format!("--min-freq {n}"), self.cut(n, max_vocab)));
        let by_size = WHAT_IF_MAX_VOCAB.into_iter().filter(|&n| n < max_vocab);
        let by_size = by_size.map(|n| (format!("--max-vocab {n}"), self.cut(min_freq, n)));
        let limits = by_freq.chain(by_size);
        limits.filter(|(_, cut)| cut.tokens > chosen).collect()
    }

    /// The report for people; its table has `top` rows.
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
        writeln!(
            out,
            "corpus      {} ({})",
            s.name,
            counted(sources, "source")
        )?;
        let documents = (s.documents > 0).then_some(("documents", s.documents));
        for (name, number) in [
            ("bytes", s.bytes),
            ("characters", s.chars),
            ("lines", s.lines),
            ("words", s.words),
        ]
        .into_iter()
        .chain(documents)
        {
            writeln!(out, "{name:<11} {}", HumanCount(number))?;
        }
        writeln!(
            out,
            "tokens      {} of {} distinct (unit {})",
            HumanCount(s.tokens),
            HumanCount(s.counts.len() as u64),
            self.config.unit
        )?;
        writeln!(
            out,
            "entropy     {:.3} bits per character, by frequency alone (order 0)",
            s.entropy_bits_per_char()
        )?;
        writeln!(
            out,
            "vocabulary  {}{}\n",
            counted(self.vocabulary.len(), "token"),
            if self.vocabulary.cut() > 0 {
                format!(", <unk> among them for the {} cut", self.vocabulary.cut())
            } else {
                ", nothing cut".to_owned()
            }
        )
    }

    fn write_table(&self, out: &mut String, top: usize) -> std::fmt::Result {
        let counts = &self.survey.counts;
        // Terminals disagree on the width of some glyphs, so they come after all numbers.
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
                HumanCount(*count).to_string(),
                100.0 * self.frequency(*count),
                100.0 * self.frequency(sum),
                padded(&token.visible(), 4)
            )?;
        }
        if counts.len() > top {
            let rest = &counts[top..];
            let total: u64 = rest.iter().map(|&(_, n)| n).sum();
            let once = rest.iter().filter(|&&(_, n)| n == 1).count();
            writeln!(
                out,
                "   …  {:>13}  {:>7.3}%  {:>9.3}%  {}, {once} of them seen once (--top N shows more):",
                HumanCount(total).to_string(),
                100.0 * self.frequency(total),
                100.0,
                counted(rest.len(), "rarer token")
            )?;
            let shown = visibles(&rest[..rest.len().min(100)]);
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
            writeln!(
                out,
                "normal form {form} changed {}",
                counted(n, "character")
            )?;
        }
        for change in changes.examples.iter().take(EXAMPLES) {
            let to = if change.to.is_empty() {
                "nothing".to_owned()
            } else {
                format!("{} ({})", visible(&change.to), code_points(&change.to))
            };
            let from = format!("{} ({})", visible(&change.from), code_points(&change.from));
            writeln!(
                out,
                "  {:>11} × {from} → {to}",
                HumanCount(change.count).to_string()
            )?;
        }
        if changes.examples.len() > EXAMPLES {
            writeln!(
                out,
                "  and {}",
                counted(changes.examples.len() - EXAMPLES, "other kind")
            )?;
        }
        if self.config.lowercase {
            writeln!(out, "{} lowered", counted(changes.lowered, "letter"))?;
        }
        if self.config.newlines == Newlines::Unix {
            let n = counted(changes.newlines, "carriage return");
            writeln!(out, "{n} dropped or made line feeds")?;
        }
        writeln!(out)
    }

    fn write_cuts(&self, out: &mut String) -> std::fmt::Result {
        let (min_freq, max_vocab) = (self.config.min_freq, self.config.max_vocab);
        let chosen = format!("--min-freq {min_freq} --max-vocab {max_vocab}");
        let cut = self.cut(min_freq, max_vocab);
        writeln!(out, "{chosen} (chosen) cuts {}", describe_cut(&cut))?;
        if max_vocab > self.usual {
            let usual = self.cut(min_freq, self.usual);
            let (limit, cut) = (self.usual, describe_cut(&usual));
            writeln!(out, "--max-vocab {limit}, the usual limit, would cut {cut}")?;
        }
        for (limit, cut) in self.what_ifs() {
            writeln!(out, "{limit} would cut {}", describe_cut(&cut))?;
        }
        Ok(())
    }

    pub fn to_json(&self) -> Value {
        let s = self.survey;
        let cut =
            |cut: &Cut| json!({"tokens": cut.tokens, "count": cut.count, "share": cut.frequency});
        let what_if: serde_json::Map<String, Value> = self
            .what_ifs()
            .iter()
            .map(|(limit, c)| (limit.trim_start_matches("--").replace(' ', "="), cut(c)))
            .collect();
        let examples = s.changes.examples.iter().take(100);
        let examples = examples.map(|c| json!({"from": c.from, "to": c.to, "count": c.count}));
        let examples: Vec<Value> = examples.collect();
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
                "share": self.frequency(*count), "cumulative": self.frequency(sum)})
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
            "documents": s.documents,
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

fn visibles(counts: &[(Token, u64)]) -> Vec<String> {
    counts.iter().map(|(token, _)| token.visible()).collect()
}

fn describe_cut(cut: &Cut) -> String {
    if cut.tokens == 0 {
        return "nothing".to_owned();
    }
    let all = cut.tokens == cut.examples.len();
    let more = if all { "" } else { " …" };
    format!(
        "{}, {:.4}% of the text: {}{more}",
        counted(cut.tokens, "token"),
        100.0 * cut.frequency,
        cut.examples.join(" ")
    )
}

fn code_and_name(token: &Token) -> (String, String) {
    match token {
        Token::Byte(b) => {
            let name = match b {
                0x00..=0x7F => char_name(char::from(*b)),
                0x80..=0xBF => "<continues a character>".to_owned(),
                0xC0.. => "<begins a character>".to_owned(),
            };
            (format!("0x{b:02X}"), name)
        }
        Token::Text(text) => match text.chars().next() {
            Some(c) if text.len() == c.len_utf8() => (code_point(c), char_name(c)),
            Some(c) => {
                let name = format!("{} ({})", code_points(text), category_name(c));
                ("cluster".to_owned(), name)
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
