//! `textgen map`: the latent space in two dimensions, as a picture and as numbers.

mod groups;
mod room;
mod svg;

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::config::Sampling;
use crate::generate::sampling::Sampler;
use crate::latent::Plane;
use crate::run::{CorpusData, Runs, atomic};
use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::groups::Groups;
use self::svg::{Kind, Mark, Picture};
use super::given::lines;
use super::{Given, WalkFlags, WordModel};
use crate::cli::error::CliError;
use crate::cli::output::{note, stdout};

/// Words at the most: more would be a file that no viewer opens.
const MOST_WORDS: usize = 100_000;
/// The picture's name unless told otherwise.
const PICTURE: &str = "map.svg";
/// Words across and down that are spelt over a plane.
const GRID: [usize; 2] = [11, 23];
/// Places drawn from the prior on a plane.
const PRIOR_SAMPLES: usize = 60;
/// The prior's deviations that a plane shows at least and at most.
const PLANE: [f64; 2] = [2.0, 4.0];

/// Flags of `map`.
#[derive(Args)]
#[command(after_help = "\
Words stand at the means of their posteriors, seen along the two directions in which they vary
most (principal components); the picture says how much of the whole these hold. Every word is a
dot, and its letters stand beside it where there is room. Colours go by the number of letters, by
the first letter, or by what a file says of the words.

Of a model trained with --latent 2 the plane itself is shown: the words' places in colour, in
grey the words that the model spells over a grid, and crosses where the prior was drawn from.

Examples:
  textgen map
  textgen map --color first --count 1000 --out names.svg
  textgen map --tsv >names.tsv
  textgen map --labels origins.tsv --out - | gzip >origins.svgz")]
pub struct MapArgs {
    /// A file with one word a line; `-` reads standard input [default: held-out words of the run,
    /// or of a model file the words that it was trained on]
    #[arg(long, value_name = "FILE", conflicts_with = "labels")]
    file: Option<PathBuf>,
    /// A file with a word, a tab and a label a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// What colours say [default: label with --labels, else length]
    #[arg(long, value_enum)]
    color: Option<Color>,
    /// Words at the most, taken evenly from all
    #[arg(long, value_name = "N", default_value_t = 400)]
    count: usize,
    /// The picture to write; `-` is standard output [default: map.svg, or none with --tsv or --json,
    /// which print what it shows]
    #[arg(long, short, value_name = "FILE.svg")]
    out: Option<PathBuf>,
    #[command(flatten)]
    walk: WalkFlags,
}

/// What colours say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    /// The number of letters.
    Length,
    /// The first letter.
    First,
    /// The label.
    Label,
}

/// A word to be shown.
struct Entry {
    word: Given,
    label: String,
}

/// Draws the map.
pub fn run(args: &MapArgs, runs: &Runs) -> Result<()> {
    let color = color(args)?;
    if !(1..=MOST_WORDS).contains(&args.count) {
        let message = format!("--count {}: must be 1 to {MOST_WORDS}", args.count);
        return Err(CliError::misuse(message, "leave it out to see 400").into());
    }
    if args.out.as_deref() == Some(Path::new("-")) && !args.walk.format.is_table() {
        let message = "--out - and --tsv or --json would both write to standard output";
        return Err(CliError::misuse(message, "give the picture a file: --out map.svg").into());
    }
    let model = WordModel::open(&args.walk.model, runs)?;
    let sampling = args.walk.decode.sampling(model.latent() == 2)?;
    let (entries, source) = entries(args, &model)?;
    let entries = evenly(entries, args.count);
    let groups = groups(&entries, color);
    let words: Vec<Given> = entries.iter().map(|entry| entry.word.clone()).collect();
    let places = model.places(&words)?;
    let (points, mut axes, share) = flatten(&places);
    let mut marks: Vec<Mark> = entries
        .into_iter()
        .zip(points)
        .zip(&groups.of)
        .map(|((entry, at), &group)| Mark {
            kind: Kind::Word(group),
            word: entry.word.text,
            label: entry.label,
            at,
        })
        .collect();
    let count = marks.len();
    let mut limit = None;
    if model.latent() == 2 {
        let farthest = marks.iter().flat_map(|mark| mark.at).map(f64::abs);
        let reach = farthest.fold(0.0, f64::max).clamp(PLANE[0], PLANE[1]) * 1.05;
        limit = Some(reach);
        for axis in &mut axes {
            *axis = format!("{axis}, from -{reach:.1} to {reach:.1}");
        }
        marks.extend(over_the_plane(&model, args, &sampling, reach));
    }
    let picture = Picture {
        title: format!("{count} {source} of {}", model.header.corpus_name),
        axes,
        marks: &marks,
        groups: &groups.all,
        limit,
    };
    write(args, &picture)?;
    note!("{count} {source}; {share}");
    Ok(())
}

fn color(args: &MapArgs) -> Result<Color> {
    match (args.color, &args.labels) {
        (Some(Color::Label), None) => Err(CliError::misuse(
            "--color label: there are no labels",
            "--labels FILE gives them: a word, a tab and a label a line",
        )
        .into()),
        (Some(color), _) => Ok(color),
        (None, Some(_)) => Ok(Color::Label),
        (None, None) => Ok(Color::Length),
    }
}

/// The words that may be shown, and what they are.
fn entries(args: &MapArgs, model: &WordModel) -> Result<(Vec<Entry>, &'static str)> {
    if let Some(path) = &args.labels {
        return Ok((labelled(path, model)?, "labelled words"));
    }
    let (words, what) = if let Some(path) = &args.file {
        (model.words_in("--file", path)?, "words")
    } else {
        match held_out(model)? {
            words if words.is_empty() => (model.training_words()?, "training words"),
            words => (words, "held-out words"),
        }
    };
    if words.is_empty() {
        let message = "the model file carries no words";
        return Err(CliError::failed(message, "--file FILE gives words to show").into());
    }
    let label = String::new();
    let entry = |word| Entry {
        word,
        label: label.clone(),
    };
    Ok((words.into_iter().map(entry).collect(), what))
}

fn labelled(path: &Path, model: &WordModel) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let wanted = "a file with a word, a tab and a label a line";
    for (number, line) in lines("--labels", path, wanted)? {
        let place = format!("{}: line {number}", path.display());
        let Some((word, label)) = line.split_once('\t') else {
            let message = format!("{place}: no tab between word and label");
            return Err(CliError::failed(message, "write a word, a tab and a label a line").into());
        };
        let word = model.given_at(&place, word)?;
        let label = label.trim().to_owned();
        entries.push(Entry { word, label });
    }
    if entries.is_empty() {
        let message = format!("{}: holds no word", path.display());
        let hint = "write a word, a tab and a label a line";
        return Err(CliError::failed(message, hint).into());
    }
    Ok(entries)
}

/// The held-out words of the model's run; none where the run is not known or holds nothing out.
fn held_out(model: &WordModel) -> Result<Vec<Given>> {
    let Some(run) = &model.run else {
        return Ok(Vec::new());
    };
    let CorpusData::Words(data) = run.corpus()? else {
        return Ok(Vec::new());
    };
    let indices = data.valid.iter().chain(&data.test);
    let texts: Vec<String> = indices.map(|&index| data.words[index].clone()).collect();
    let letters = model.header.vocabulary.encode_words(&texts);
    let words = texts.into_iter().zip(letters);
    Ok(words
        .map(|(text, letters)| Given { text, letters })
        .collect())
}

/// At most `count` of them, evenly spaced.
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
    match color {
        Color::Length => {
            let lengths: Vec<usize> = entries.iter().map(|e| e.word.letters.len()).collect();
            Groups::of_lengths(&lengths)
        }
        Color::First => {
            let first = |e: &Entry| e.word.text.chars().take(1).collect::<String>();
            let names: Vec<String> = entries.iter().map(first).collect();
            Groups::of_names(&names)
        }
        Color::Label => {
            let names: Vec<String> = entries.iter().map(|e| e.label.clone()).collect();
            Groups::of_names(&names)
        }
    }
}

/// Places in two dimensions, the names of these, and a line about them.
fn flatten(places: &[Vec<f32>]) -> (Vec<[f64; 2]>, [String; 2], String) {
    let slices: Vec<&[f32]> = places.iter().map(Vec::as_slice).collect();
    if slices[0].len() == 2 {
        let points = slices.iter().map(|z| [f64::from(z[0]), f64::from(z[1])]);
        let axes = ["z 1".to_owned(), "z 2".to_owned()];
        return (points.collect(), axes, "the plane itself".to_owned());
    }
    let plane = Plane::of(&slices);
    let percent = plane.shares.map(|share| 100.0 * share);
    let name = |axis: usize| format!("component {}: {:.1} %", axis + 1, percent[axis]);
    let held = format!(
        "two components hold {:.1} % of the variance of their places",
        percent[0] + percent[1]
    );
    let points = slices.iter().map(|place| plane.project(place)).collect();
    (points, [name(0), name(1)], held)
}

/// What a plane shows beside the words given: words over a grid, and samples from the prior.
fn over_the_plane(model: &WordModel, args: &MapArgs, sampling: &Sampling, reach: f64) -> Vec<Mark> {
    let along = |index: usize, of: usize| reach * (2.0 * (index as f64 + 0.5) / of as f64 - 1.0);
    let [columns, rows] = GRID;
    let grid = (0..rows).flat_map(|row| {
        (0..columns).map(move |column| (Kind::Grid, [along(column, columns), along(row, rows)]))
    });
    // Letters are drawn from the streams 0, 1, …: places from those at the other end.
    let samples = (0..PRIOR_SAMPLES).map(|index| {
        let mut sampler = Sampler::new(sampling, &[], u64::MAX - index as u64);
        let at = [sampler.normal(), sampler.normal()].map(f64::from);
        (Kind::Sample, at)
    });
    let marks: Vec<(Kind, [f64; 2])> = grid.chain(samples).collect();
    let places: Vec<Vec<f32>> = marks
        .iter()
        .map(|(_, at)| at.iter().map(|&x| x as f32).collect())
        .collect();
    let spelt = model.spell(&places, args.walk.decode.decode, sampling);
    let marked = marks.into_iter().zip(spelt);
    marked
        .map(|((kind, at), spelt)| Mark {
            kind,
            word: spelt.text,
            label: String::new(),
            at,
        })
        .collect()
}

/// A line of the table.
#[derive(Serialize)]
struct Row<'a> {
    kind: &'static str,
    word: &'a str,
    x: f64,
    y: f64,
    label: &'a str,
    color: &'a str,
}

/// Writes the picture and the table that were asked for.
fn write(args: &MapArgs, picture: &Picture) -> Result<()> {
    let format = &args.walk.format;
    let default = (args.out.is_none() && format.is_table()).then(|| PathBuf::from(PICTURE));
    match args.out.as_ref().or(default.as_ref()) {
        Some(path) if path == Path::new("-") => {
            let mut out = stdout();
            out.write_all(picture.svg().as_bytes())?;
            out.flush()?;
        }
        Some(path) => {
            atomic::write(path, &[picture.svg().as_bytes()])?;
            note!("{}: written", path.display());
        }
        None => {}
    }
    if format.is_table() {
        return Ok(());
    }
    let rows: Vec<Row> = picture
        .marks
        .iter()
        .map(|mark| row(mark, picture))
        .collect();
    let header = ["kind", "word", "x", "y", "label", "color"];
    format.print(&header, &rows, |row| {
        let [x, y] = [row.x, row.y].map(|x| format!("{x:.5}"));
        vec![
            row.kind.to_owned(),
            row.word.to_owned(),
            x,
            y,
            row.label.to_owned(),
            row.color.to_owned(),
        ]
    })
}

fn row<'a>(mark: &'a Mark, picture: &'a Picture) -> Row<'a> {
    let (kind, color) = match mark.kind {
        Kind::Word(group) => ("word", picture.groups[group].name.as_str()),
        Kind::Grid => ("grid", ""),
        Kind::Sample => ("sample", ""),
    };
    let [x, y] = mark.at;
    Row {
        kind,
        word: &mark.word,
        x,
        y,
        label: &mark.label,
        color,
    }
}
