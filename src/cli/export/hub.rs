//! A folder for the Hugging Face Hub: the model, its configuration, a program that runs it in PyTorch, and a model card.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use indicatif::HumanCount;

use super::{exchange, is_written, torch, written};
use crate::cli::chosen::text_model;
use crate::cli::error::CliError;
use crate::cli::machine::threads;
use crate::cli::output::{note, one_line};
use crate::cli::report::measured::{self, NGramLevels};
use crate::cli::target::Format;
use crate::config::{Cell, NetworkConfig, OnUnknown, Sampling, TrainConfig};
use crate::evaluate::Word;
use crate::model::{OpenOptions, WordModel, WordOptions};
use crate::parallel::Running;
use crate::run::{CorpusData, ENGLISH, Log, Metrics, ModelFile, ModelHeader, RunDir, RunError};
use crate::text::Corpus;
use crate::train::memory;

const MODEL: &str = "model.safetensors";
const PROGRAM: &str = "model.py";
const CONFIG: &str = "config.json";
const CARD: &str = "README.md";
/// How a configuration of ours begins.
const CONFIG_MARK: &str = "{\n  \"model_type\": \"textgen\",\n";

/// What a card shows: texts of so many characters at this temperature, or so many words.
const TEXTS: usize = 3;
const LENGTH: usize = 300;
const TEMPERATURE: f32 = 0.7;
const WORDS: usize = 24;
const SEED: u64 = 1;
/// Longer texts are not counted for n-gram models, which would take minutes.
const MOST_COUNTED: usize = 10_000_000;

/// Whether a file that begins like this is a configuration of ours.
pub fn is_config(head: &[u8]) -> bool {
    head.starts_with(CONFIG_MARK.as_bytes())
}

/// The files of the folder. A card may have been written on by its owner, so none is replaced unasked.
pub fn files(folder: &Path) -> Result<[(PathBuf, Format); 4]> {
    if folder.exists() && !folder.is_dir() {
        let message = format!("{}: is no folder", folder.display());
        return Err(CliError::failed(message, "--format hub takes a folder as --output").into());
    }
    Ok([
        (folder.join(MODEL), Format::Model),
        (folder.join(PROGRAM), Format::Script),
        (folder.join(CONFIG), Format::HubConfig),
        (folder.join(CARD), Format::Unknown),
    ])
}

/// Writes the folder.
pub fn write(folder: &Path, file: &ModelFile, run: Option<&RunDir>, words: bool) -> Result<()> {
    let header = &file.header;
    let card = Card::new(folder, file, run)?.text();
    std::fs::create_dir_all(folder).map_err(|source| RunError::Write {
        path: folder.to_owned(),
        source,
    })?;
    let model = folder.join(MODEL);
    exchange::write_plain(file, &model, words)?;
    is_written(&model);
    let script = torch::script(header.network.is_words());
    written(&folder.join(PROGRAM), script.as_bytes())?;
    written(&folder.join(CONFIG), config(header)?.as_bytes())?;
    written(&folder.join(CARD), card.as_bytes())?;
    note!(
        "next: choose a licence in {}, then upload the folder as you like",
        folder.join(CARD).display()
    );
    Ok(())
}

/// The configuration: the header of the model file under Hugging Face's key for the kind of model.
fn config(header: &ModelHeader) -> Result<String> {
    let json = serde_json::to_string_pretty(header)?;
    let fields = json.strip_prefix("{\n").unwrap_or(&json);
    Ok(format!("{CONFIG_MARK}{fields}\n"))
}

/// The language, if the text is one that comes with textgen.
fn language(header: &ModelHeader) -> Option<&'static str> {
    let english = ENGLISH.open().ok()?.header.corpus_digest;
    let tales = Corpus::bundled().digest(&header.text).ok()?;
    [english, tales]
        .contains(&header.corpus_digest)
        .then_some("en")
}

/// What a model card says.
struct Card<'a> {
    title: String,
    header: &'a ModelHeader,
    samples: Vec<String>,
    /// Names and values.
    figures: Vec<(String, String)>,
}

impl<'a> Card<'a> {
    fn new(folder: &Path, file: &'a ModelFile, run: Option<&RunDir>) -> Result<Self> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| PathBuf::from(folder));
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            title: name.into_owned(),
            header: &file.header,
            samples: samples(file)?,
            figures: figures(&file.header, run)?,
        })
    }

    fn text(&self) -> String {
        let Self {
            title,
            header,
            samples,
            figures,
        } = self;
        let network = &header.network;
        let words = network.is_words();
        let mut card = String::from(
            "---\nlibrary_name: textgen\npipeline_tag: text-generation\ntags:\n- textgen\n",
        );
        for tag in tags(network) {
            let _ = writeln!(card, "- {tag}");
        }
        match language(header) {
            Some(language) => {
                let _ = writeln!(card, "language:\n- {language}");
            }
            None => card.push_str("# language: say which, as a code such as en\n"),
        }
        card.push_str("# license: choose one before you publish this; what you may choose depends on the texts that it learnt from\n---\n\n");
        let what = if words {
            "invents words, letter by letter"
        } else {
            "writes text, character by character"
        };
        let _ = writeln!(
            card,
            "# {}\n\nA {} that {what}: {} of {}, {} tokens, {} parameters. It learnt from {}.\n",
            escaped(title),
            network.model(),
            network.cell.to_string().to_uppercase(),
            layers(network),
            network.inputs,
            HumanCount(memory::parameters(network)),
            escaped(&header.corpus_name)
        );
        card.push_str("## Use\n\nWith the program `textgen`:\n\n```\n");
        let more = if words {
            format!("--count {WORDS} --seed {SEED}")
        } else {
            format!("--temperature {TEMPERATURE} --length {LENGTH} --count {TEXTS} --seed {SEED}")
        };
        let _ = writeln!(card, "textgen generate --run {MODEL} {more}\n```\n");
        let more = if words {
            "--count 20"
        } else {
            "--temperature 0.7 --length 300"
        };
        let _ = writeln!(
            card,
            "In plain PyTorch, which `{PROGRAM}` alone needs:\n\n```\npython {PROGRAM} {more}\n```\n"
        );
        let _ = writeln!(
            card,
            "## Samples\n\nThe first that the command above writes, unchosen.\n"
        );
        let all = if words {
            vec![samples.join("\n")]
        } else {
            samples.clone()
        };
        for sample in &all {
            card.push_str(&fenced(sample));
        }
        card.push_str("## Figures\n\n| | |\n|---|---|\n");
        for (name, value) in figures {
            let _ = writeln!(card, "| {} | {} |", escaped(name), escaped(value));
        }
        card.push_str("\n## Limits\n\nIt imitates the manner of its text and knows nothing of facts. It may repeat parts of that text.\n");
        card
    }
}

fn layers(network: &NetworkConfig) -> String {
    match network.layers {
        1 => format!("{} units", network.hidden),
        layers => format!("{} units, {layers} layers", network.hidden),
    }
}

fn tags(network: &NetworkConfig) -> Vec<&'static str> {
    let cell = match network.cell {
        Cell::Lstm => "lstm",
        Cell::Gru => "gru",
        Cell::Rnn => "rnn",
    };
    let kind = if network.is_words() {
        ["vae", "word-generation"]
    } else {
        ["char-rnn", "character-level"]
    };
    [&kind[..], &[cell]].concat()
}

/// What the commands of the card write.
fn samples(file: &ModelFile) -> Result<Vec<String>> {
    if file.header.network.is_words() {
        let model = WordModel::new(file, OpenOptions::default())?;
        let words = model.generate(&WordOptions::new(SEED), WORDS)?;
        return Ok(words.into_iter().map(|word| word.text).collect());
    }
    let model = text_model(file.clone(), OpenOptions::default())?;
    let sampling = Sampling {
        temperature: TEMPERATURE,
        on_unknown: OnUnknown::Skip,
        ..Sampling::new(SEED)
    };
    let texts = model.generate_many("", &sampling, LENGTH, TEXTS)?;
    Ok(texts.into_iter().map(|sample| sample.text).collect())
}

/// What the run measured, and what n-gram models say of the same held-out part.
fn figures(header: &ModelHeader, run: Option<&RunDir>) -> Result<Vec<(String, String)>> {
    let mut figures = Vec::new();
    let mut add = |name: &str, value: String| figures.push((name.to_owned(), value));
    let of_run = run.map(|run| {
        Ok::<_, anyhow::Error>((run, run.config()?, Log::read(&run.metrics_path())?.lines))
    });
    let of_run = of_run.transpose()?;
    let kept = of_run
        .as_ref()
        .and_then(|(_, config, lines)| Metrics::kept(lines, config));
    let valid = kept.or(header.valid).map(|valid| valid.describe());
    add(
        &format!("validation ({})", header.split),
        valid.unwrap_or_else(|| "not measured".to_owned()),
    );
    if let Some((run, config, lines)) = &of_run {
        match ngrams(run, config) {
            Ok(Some(value)) => add("the best n-gram model, on the same validation", value),
            Ok(None) => {}
            // A model is no worse for a corpus that is gone.
            Err(error) => note!("note: without n-gram models: {error:#}"),
        }
        if let Some(line) = lines.last() {
            if let Some(test) = line.test {
                add("test", test.describe());
            }
            let (steps, passes, minutes) = (HumanCount(line.step), line.epoch, line.seconds / 60.0);
            let training = format!("{steps} steps, {passes:.1} passes, {minutes:.1} minutes");
            add("training", training);
        }
    }
    add("corpus", header.corpus_name.clone());
    if !header.corpus_digest.is_empty() {
        add("digest of the corpus", header.corpus_digest.clone());
    }
    if header.step > 0 {
        add("seed of the training", header.seed.to_string());
    }
    add("textgen", header.textgen.clone());
    Ok(figures)
}

/// The cost of the validation part under the best n-gram model of the training part.
fn ngrams(run: &RunDir, config: &TrainConfig) -> Result<Option<String>> {
    let running = Running {
        threads: threads(0),
        progress: &|_| (),
    };
    let (levels, unit) = match run.corpus()? {
        CorpusData::Text(data) if data.tokens.len() > MOST_COUNTED => {
            note!(
                "note: no n-gram models of a text of {} characters; textgen report measures them",
                HumanCount(data.tokens.len() as u64)
            );
            return Ok(None);
        }
        CorpusData::Text(data) => (measured::ngrams(config, &data, running)?, "char"),
        CorpusData::Words(data) => {
            let eos = data.vocabulary.special_tokens()?.eos;
            let word = |&index: &usize| Word {
                index: index as u64,
                letters: &data.letters[index],
            };
            let valid: Vec<Word> = data.valid.iter().map(word).collect();
            (measured::word_ngrams(&data, &valid, eos), "word")
        }
    };
    let text =
        |levels: NGramLevels| format!("{:.4} nats/{unit} at order {}", levels.best, levels.order);
    Ok(levels.map(text))
}

/// A text that is text in Markdown, whatever is in it.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in one_line(text).chars() {
        if "\\`*_{}[]<>#|!&~$^".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A block of code, whose fence is longer than any in the text.
fn fenced(text: &str) -> String {
    let mut longest = 2;
    for run in text.split(|c| c != '`') {
        longest = longest.max(run.len());
    }
    let lines: Vec<_> = text.lines().map(one_line).collect();
    let fence = "`".repeat(longest + 1);
    format!("{fence}text\n{}\n{fence}\n\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markdown() {
        assert_eq!(escaped("a_b|<c>\n"), "a\\_b\\|\\<c\\>\\\\n");
        let text = "one\n````\n<script>\n";
        assert_eq!(fenced(text), "`````text\none\n````\n<script>\n`````\n\n");
    }
}
