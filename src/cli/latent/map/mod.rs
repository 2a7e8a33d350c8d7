//! `textgen map`: the latent space in two dimensions, as a picture and as numbers.

mod groups;
mod occupied;
mod svg;

use std::path::{Path, PathBuf};

use crate::model::{DecodeOptions, GeneratedWord, Word, WordModel};
use crate::run::{CorpusData, RunDir, Runs};
use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::groups::Groups;
use self::svg::{Kind, Mark, Picture};
use super::given::lines;
use super::{AnswerFlags, Space};
use crate::cli::error::CliError;
use crate::cli::output::note;
use crate::cli::target::{self, Force, Target};

/// The most words in a picture: viewers do not open larger files.
const MOST_WORDS: usize = 100_000;
/// The default name of the picture.
const PICTURE: &str = "map.svg";
/// The number of words decoded over a plane, across and down.
const GRID: [usize; 2] = [11, 23];
/// The number of latent vectors sampled from the prior on a plane.
const PRIOR_SAMPLES: usize = 60;
/// The least and greatest extent of a plane, in deviations of the prior.
const PLANE: [f64; 2] = [2.0, 4.0];

#[derive(Args)]
#[command(after_help = "\
Words are at the means of their posteriors, seen along the two directions in which these vary
most (principal components); the picture says how much of the variance these explain. Every word is
a dot, with its letters beside it if there is space for them. Colours show the number of letters,
the first letter, or the labels in a file.

For a model trained with --latent 2 the plane itself is shown: the given words in colour, the words
that the model decodes over a grid in grey, and samples from the prior as crosses.

Examples:
  textgen map
  textgen map --color first --count 1000 --output names.svg
  textgen map --tsv >names.tsv
  textgen map --labels origins.tsv --output - | gzip >origins.svgz")]
pub struct MapArgs {
    /// A file with one word per line; `-` reads standard input [default: held-out words of the run,
    /// or of a model file the words that it was trained on]
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    file: Option<PathBuf>,
    /// A file with a word, a tab and a label per line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The meaning of the colours [default: label with --labels, else length]
    #[arg(long, value_enum)]
    color: Option<Color>,
    /// The most words, taken evenly from all
    #[arg(long, value_name = "N", default_value_t = 400)]
    count: usize,
    /// The picture to write; `-` is standard output [default: map.svg, or none with --tsv or --json,
    /// which print what it shows]
    #[arg(long, short, alias = "out", value_name = "FILE.svg")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    answer: AnswerFlags,
}

/// The property of a word that its colour shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    /// The number of letters.
    Length,
    /// The first letter.
    First,
    /// The label that --labels gives.
    Label,
}

/// A word to be shown.
struct Entry {
    word: Word,
    label: String,
}

pub fn run(args: &MapArgs, runs: &Runs) -> Result<()> {
    let color = color(args)?;
    if !(1..=MOST_WORDS).contains(&args.count) {
        let message = format!("--count {}: must be 1 to {MOST_WORDS}", args.count);
        return Err(CliError::misuse(message, "leave it out to see 400").into());
    }
    let target = target(args)?;
    let is_plane = |model: &WordModel| model.latent_size() == 2;
    let (space, options) = args.answer.open(runs, is_plane)?;
    let (entries, source) = entries(args, &space)?;
    let entries = evenly(entries, args.count);
    let groups = groups(&entries, color);
    let model = space.model();
    let view = View::new(model, entries, &groups, &options)?;
    let count = groups.of.len();
    let picture = Picture {
        title: format!("{count} {source} of {}", model.header().corpus_name),
        axes: view.axes,
        marks: &view.marks,
        groups: &groups.all,
        limit: view.limit,
    };
    write(args, target, &picture)?;
    note!("{count} {source}; {}", view.explained);
    Ok(())
}

/// The map of held-out words as SVG, at most `count`, coloured by length.
pub fn of_held_out(
    model: &WordModel,
    words: Vec<Word>,
    count: usize,
    options: &DecodeOptions,
) -> Result<String> {
    let entry = |word| Entry {
        word,
        label: String::new(),
    };
    let entries = evenly(words.into_iter().map(entry).collect(), count);
    let groups = groups(&entries, Color::Length);
    let view = View::new(model, entries, &groups, options)?;
    let picture = Picture {
        title: format!("{} held-out words; {}", groups.of.len(), view.explained),
        axes: view.axes,
        marks: &view.marks,
        groups: &groups.all,
        limit: view.limit,
    };
    Ok(picture.svg())
}

/// Words in two dimensions, and what these are.
struct View {
    marks: Vec<Mark>,
    /// The names of the axes: across, then up.
    axes: [String; 2],
    /// Of a plane: both axes run from −limit to limit.
    limit: Option<f64>,
    /// What the axes explain.
    explained: String,
}

impl View {
    fn new(
        model: &WordModel,
        entries: Vec<Entry>,
        groups: &Groups,
        options: &DecodeOptions,
    ) -> Result<Self> {
        let map = model.map(entries.iter().map(|entry| &entry.word))?;
        let marks = entries.into_iter().zip(map.points).zip(&groups.of);
        let mut marks: Vec<Mark> = marks
            .map(|((entry, at), &group)| Mark {
                kind: Kind::Word(group),
                word: entry.word.text,
                label: entry.label,
                at,
            })
            .collect();
        if let Some(parts) = map.explained {
            let percent = parts.map(|part| 100.0 * part);
            return Ok(Self {
                marks,
                axes: [0, 1].map(|axis| format!("component {}: {:.1} %", axis + 1, percent[axis])),
                limit: None,
                explained: format!(
                    "two components explain {:.1} % of the variance of their latent vectors",
                    percent[0] + percent[1]
                ),
            });
        }
        let farthest = marks.iter().flat_map(|mark| mark.at).map(f64::abs);
        let reach = farthest.fold(0.0, f64::max).clamp(PLANE[0], PLANE[1]) * 1.05;
        marks.extend(over_the_plane(model, options, reach)?);
        Ok(Self {
            marks,
            axes: [1, 2].map(|axis| format!("z {axis}, from -{reach:.1} to {reach:.1}")),
            limit: Some(reach),
            explained: "the plane itself".to_owned(),
        })
    }
}

fn color(args: &MapArgs) -> Result<Color> {
    match (args.color, &args.labels) {
        (Some(Color::Label), None) => Err(CliError::misuse(
            "--color label: there are no labels",
            "--labels FILE gives them: a word, a tab and a label per line",
        )
        .into()),
        (Some(color), _) => Ok(color),
        (None, Some(_)) => Ok(Color::Label),
        (None, None) => Ok(Color::Length),
    }
}

/// The words that may be shown, and what to call them.
fn entries(args: &MapArgs, space: &Space) -> Result<(Vec<Entry>, &'static str)> {
    if let Some(path) = &args.labels {
        return Ok((labelled(path, space)?, "labelled words"));
    }
    let (words, what) = if let Some(path) = &args.file {
        (space.words_in("--file", path)?, "words")
    } else {
        match held_out(space)? {
            words if words.is_empty() => (space.model.training_words(), "training words"),
            words => (words, "held-out words"),
        }
    };
    if words.is_empty() {
        let message = "the model file contains no words";
        return Err(CliError::failed(message, "--file FILE gives words to show").into());
    }
    let entry = |word| Entry {
        word,
        label: String::new(),
    };
    Ok((words.into_iter().map(entry).collect(), what))
}

fn labelled(path: &Path, space: &Space) -> Result<Vec<Entry>> {
    let hint = "write a word, a tab and a label per line";
    let wanted = "a file with a word, a tab and a label per line";
    let entry = |(place, line): (String, String)| -> Result<Entry> {
        let Some((word, label)) = line.split_once('\t') else {
            let message = format!("{place}: no tab between word and label");
            return Err(CliError::failed(message, hint).into());
        };
        Ok(Entry {
            word: space.word_at(&place, word)?,
            label: label.trim().to_owned(),
        })
    };
    let lines = lines("--labels", path, wanted)?;
    let entries = lines.into_iter().map(entry).collect::<Result<Vec<_>>>()?;
    if entries.is_empty() {
        let message = format!("{}: it contains no words", path.display());
        return Err(CliError::failed(message, hint).into());
    }
    Ok(entries)
}

/// The held-out words of the model's run; empty if the run is unknown or holds nothing out.
fn held_out(space: &Space) -> Result<Vec<Word>> {
    let corpus = space.run.as_ref().map(RunDir::corpus).transpose()?;
    let Some(CorpusData::Words(data)) = corpus else {
        return Ok(Vec::new());
    };
    let indices = data.valid.iter().chain(&data.test);
    let words = indices.map(|&index| data.words[index].as_str());
    Ok(space.model.known_words(words))
}

/// At most `count` of the words, evenly spaced.
fn evenly(entries: Vec<Entry>, count: usize) -> Vec<Entry> {
    let all = entries.len();
    let count = count.min(all);
    let taken = |index: usize| (index + 1) * count / all > index * count / all;
    let numbered = entries.into_iter().enumerate();
    numbered
        .filter(|&(index, _)| taken(index))
        .map(|(_, entry)| entry)
        .collect()
}

fn groups(entries: &[Entry], color: Color) -> Groups {
    let names = |name: fn(&Entry) -> String| -> Vec<String> { entries.iter().map(name).collect() };
    match color {
        Color::Length => {
            let lengths: Vec<usize> = entries.iter().map(|e| e.word.tokens.len()).collect();
            Groups::of_lengths(&lengths)
        }
        Color::First => Groups::of_names(&names(|e| e.word.text.chars().take(1).collect())),
        Color::Label => Groups::of_names(&names(|e| e.label.clone())),
    }
}

/// What a plane shows besides the words given: words over a grid, and samples from the prior.
fn over_the_plane(model: &WordModel, options: &DecodeOptions, reach: f64) -> Result<Vec<Mark>> {
    let along =
        |index: usize, of: usize| (reach * (2.0 * (index as f64 + 0.5) / of as f64 - 1.0)) as f32;
    let [columns, rows] = GRID;
    let grid = (0..columns * rows)
        .map(|cell| vec![along(cell % columns, columns), along(cell / columns, rows)]);
    let vectors: Vec<Vec<f32>> = grid
        .chain(model.sample_prior(PRIOR_SAMPLES, options))
        .collect();
    let mark = |(index, (z, word)): (usize, (&Vec<f32>, GeneratedWord))| Mark {
        kind: if index < columns * rows {
            Kind::Grid
        } else {
            Kind::Sample
        },
        word: word.text,
        label: String::new(),
        at: [0, 1].map(|axis| f64::from(z[axis])),
    };
    let marks = vectors.iter().zip(model.decode(&vectors, options)?);
    Ok(marks.enumerate().map(mark).collect())
}

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    word: String,
    x: f64,
    y: f64,
    label: String,
    color: String,
}

/// The destination of the picture; `None` if only its numbers are wanted.
fn target(args: &MapArgs) -> Result<Option<Target>> {
    let is_table = args.answer.format.is_table();
    let default = is_table.then(|| PathBuf::from(PICTURE));
    let Some(path) = args.output.clone().or(default) else {
        return Ok(None);
    };
    let given = args.file.iter().chain(&args.labels);
    let sources: Vec<_> = given
        .map(|path| (path.as_path(), "has the words to show"))
        .collect();
    let target = Target::new(&path, target::Format::Svg, args.force, &sources)?;
    if target == Target::Stdout && !is_table {
        let message = "--output - and --tsv or --json would both write to standard output";
        return Err(CliError::misuse(message, "give the picture a file: --output map.svg").into());
    }
    Ok(Some(target))
}

/// Writes the picture and the table that were asked for.
fn write(args: &MapArgs, target: Option<Target>, picture: &Picture) -> Result<()> {
    if let Some(target) = target {
        target.write(picture.svg().as_bytes())?;
        if target != Target::Stdout {
            note!("{}: written", target.name());
        }
    }
    let format = &args.answer.format;
    if format.is_table() {
        return Ok(());
    }
    let row = |mark: &'_ Mark| {
        let (kind, color) = match mark.kind {
            Kind::Word(group) => ("word", picture.groups[group].name.clone()),
            Kind::Grid => ("grid", String::new()),
            Kind::Sample => ("sample", String::new()),
        };
        let [x, y] = mark.at;
        Row {
            kind,
            word: mark.word.clone(),
            x,
            y,
            label: mark.label.clone(),
            color,
        }
    };
    let rows: Vec<Row> = picture.marks.iter().map(row).collect();
    let header = ["kind", "word", "x", "y", "label", "color"];
    format.print(&header, &rows, |row| {
        let [x, y] = [row.x, row.y].map(|x| format!("{x:.5}"));
        let [kind, word] = [row.kind, &row.word].map(str::to_owned);
        vec![kind, word, x, y, row.label.clone(), row.color.clone()]
    })
}
