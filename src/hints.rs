//! Hints for errors of the library: the flag that helps. `textgen` and `textgen-torch` print them below
//! the error.

use std::io;
use std::path::Path;

use crate::generate::constraint::ConstraintError;
use crate::model::ModelError;
use crate::run::{Bundled, RunDir, RunError, Runs, quoted};
use crate::text::{Amend, Findings, Looks, Note, Remedy, Shape, TextError};
use crate::train::{EngineError, GroupError, TrainError};

/// Names under which records have their text, besides `text`.
const LIKELY_FIELDS: [&str; 9] = [
    "body", "content", "contents", "sentence", "message", "document", "article", "story", "lyrics",
];

/// Whether the command line is wrong, and the hint.
pub fn of_model(error: &ModelError) -> (bool, Option<String>) {
    let hint = match error {
        ModelError::File(error) => return (false, of_run(error)),
        ModelError::Text(error) => {
            return (matches!(error, TextError::Escape { .. }), of_text(error));
        }
        ModelError::ImpossibleStop { unknown } => {
            let nearest = match unknown {
                TextError::UnknownToken { nearest, .. } => nearest.as_ref(),
                _ => None,
            };
            let hint = "textgen vocab lists a corpus's characters; case counts".to_owned();
            return (
                true,
                Some(nearest.map_or(hint, |near| format!("{near} can be written"))),
            );
        }
        ModelError::EmptyStop => "leave it out, or name a text: \\n is the end of a line",
        ModelError::Config(_) => return (true, None),
        ModelError::Constraint { source, .. } => match source {
            ConstraintError::Syntax(_) => "--constrain takes the syntax of https://docs.rs/regex",
            ConstraintError::WordBoundary => r"use ASCII's instead: (?-u:\b)",
            ConstraintError::TooLarge => {
                "make the counts of --constrain smaller, or use * and + instead"
            }
            ConstraintError::Impossible => {
                "textgen vocab lists a corpus's characters; case counts, unless it begins with (?i)"
            }
        },
        ModelError::ConstraintLength { shortest, .. } => {
            return (true, Some(format!("give --length {shortest} or more")));
        }
        ModelError::Kind { wanted, .. } => {
            return (
                true,
                Some(format!(
                    "choose a {wanted} with --run; textgen runs lists the runs"
                )),
            );
        }
        ModelError::NotApplicable {
            option: "z-temperature",
            ..
        } => "leave it out, or choose another model with --run; --temperature is for letters",
        ModelError::NotApplicable { .. } => "leave it out, or choose another model with --run",
        ModelError::LongPrefix { .. } => "give fewer letters to --starts-with, or more to --length",
        ModelError::NoLatentSpace { .. } | ModelError::NoProbability => {
            "choose a word-vae with --run; textgen runs lists the runs"
        }
        ModelError::BeamWidth { count, .. } => {
            let hint = format!("widen it: --decode beam:{count}; or sample: --decode sample");
            return (true, Some(hint));
        }
        ModelError::NoBlank { .. } => "write _ for each character to fill in",
        ModelError::NothingSampled => "for the best filling: --decode beam:16",
        ModelError::OtherPromptState { .. } => {
            let hint = "choose the model it was saved with, or save it again with --save-state";
            return (false, Some(hint.to_owned()));
        }
        ModelError::NotANumber { .. } => {
            return (false, Some("train again, with a lower --lr".to_owned()));
        }
        _ => return (false, None),
    };
    (true, Some(hint.to_owned()))
}

/// The hint for an error of a run or a model file.
pub fn of_run(error: &RunError) -> Option<String> {
    Some(match error {
        RunError::NoRuns { dir } => {
            let train = Runs::new(dir).command(&["train", "--model", "char-lstm"]);
            format!("name the model that comes with textgen, --run english, or train one: {train}")
        }
        RunError::NoUnfinished { dir } => {
            let runs = Runs::new(dir).command(&["runs"]);
            format!("name a finished one and give it a larger budget; {runs} lists all")
        }
        RunError::NoSuchRun { name, dir } => {
            let runs = Runs::new(dir);
            match nearest(name, &runs) {
                Some(run) => format!("did you mean {run}?"),
                None => format!("list the runs: {}", runs.command(&["runs"])),
            }
        }
        RunError::Exists { name, dir } => {
            let resume = Runs::new(dir).command(&["train", "--resume", name]);
            format!("give another --name, or resume it: {resume}")
        }
        RunError::Locked { .. } => "wait for it, or stop that process".to_owned(),
        RunError::Moved { .. } => {
            "nothing was written anywhere else; where it is now, textgen train --resume FOLDER goes on from its last save"
                .to_owned()
        }
        RunError::Incomplete { missing, name, dir } if *missing == "model.safetensors" => {
            let resume = Runs::new(dir).command(&["train", "--resume", name]);
            match lower_lr(&dir.join(name)) {
                Some(lr) => format!("go on with a lower learning rate: {resume} --lr {lr}"),
                None => format!("let it train up to its first evaluation: {resume}"),
            }
        }
        RunError::Incomplete { .. } => "`textgen runs` lists the runs; train a new one under another --name".to_owned(),
        RunError::NotARun { .. } => {
            "give a run's name or folder: textgen runs lists the runs; to start a new run with a model file, textgen train --from FILE".to_owned()
        }
        RunError::NotAModel { .. } => "give a model.safetensors that textgen wrote; textgen import makes one of a PyTorch checkpoint or of other safetensors".to_owned(),
        RunError::Spoilt { .. } | RunError::Damaged { .. } => {
            "copy the file again, or train again; nothing else was touched".to_owned()
        }
        RunError::Format { found, newest, .. } if found > newest => {
            "use the textgen that wrote it, or a newer one".to_owned()
        }
        RunError::Format { path, what, .. } if *what == "state" => {
            let run = path.parent().and_then(|folder| RunDir::open(folder).ok());
            let from = run.map(|run| run.command(&["train", "--from"]));
            let from = from.unwrap_or_else(|| "textgen train --from RUN".to_owned());
            format!("a new run can start from its model: {from}")
        }
        RunError::Write { source, .. } if is_full(source) => {
            "free some space; what was saved before is whole".to_owned()
        }
        RunError::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
            "move it, or name another folder; that of the runs is --runs-dir".to_owned()
        }
        RunError::Write { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "make its folder first, or give another path".to_owned()
        }
        RunError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "give a run's name or folder, or a file that exists; textgen runs lists the runs"
                .to_owned()
        }
        _ => return None,
    })
}

/// The hint for a training that cannot go on.
pub fn of_train(error: &TrainError) -> Option<String> {
    Some(match error {
        TrainError::Run(error) => return of_run(error),
        TrainError::Text(error) => return of_text(error),
        TrainError::Diverged { lr, resume, .. } => {
            let lr = lower(*lr);
            format!("go on with a lower learning rate: {resume} --lr {lr}")
        }
        TrainError::Group(GroupError::Differ { .. }) => {
            "copy the run's folder from the host of rank 0".to_owned()
        }
        TrainError::Apart { resume, .. } => {
            format!("everything saved before is intact: {resume}")
        }
        TrainError::NoState { .. } => {
            "train a new run; this one's model can still generate".to_owned()
        }
        TrainError::Engine(EngineError::Memory(_)) => {
            "a smaller --hidden, --layers, --batch or --seq needs less".to_owned()
        }
        TrainError::Engine(EngineError::Device(_)) => {
            "--device cpu trains on the CPU; textgen doctor says what was found".to_owned()
        }
        _ => return None,
    })
}

/// A learning rate that is worth a try after a loss that was not finite.
fn lower(lr: f64) -> f32 {
    (lr / 10.0) as f32
}

/// The same for a run that failed with such a loss.
fn lower_lr(run: &Path) -> Option<f32> {
    let run = RunDir::open(run).ok()?;
    run.failure()?;
    let progress = run.state().ok()??.progress;
    (progress.rollbacks > 0).then_some(lower(run.config().ok()?.lr))
}

/// The run whose name is most similar to `name`, if any is similar enough.
fn nearest(name: &str, runs: &Runs) -> Option<String> {
    let likeness = |known: &String| strsim::jaro(&name.to_lowercase(), &known.to_lowercase());
    let runs = runs.list().unwrap_or_default();
    let bundled = Bundled::ALL.iter().map(|model| model.name.to_owned());
    let known = runs.iter().map(|run| run.name().to_owned()).chain(bundled);
    known
        .filter(|known| likeness(known) > 0.7)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// Whether a write failed for lack of space: on the disk, in a quota, under a limit.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The hint for a note on a corpus.
pub fn of_note(note: &Note) -> Option<&'static str> {
    match note {
        Note::Marked { .. } => Some("--strip gutenberg removes it, and the licence"),
        Note::Found { .. } => Some("--field none reads all of it as plain text"),
        Note::Looks { shape, .. } => Some(match shape {
            Shape::JsonLines => {
                "give it a name in .jsonl to read one field, or --field none if it is meant so"
            }
            Shape::Json => {
                "jq -c '.[]' makes .jsonl of a list, of which one field is read; --field none if it is meant so"
            }
            Shape::Table => {
                "give it a name in .csv or .tsv to read one field, or --field none if it is meant so"
            }
        }),
        Note::LineEnds(_) => Some("--newlines unix makes LF of all"),
        Note::RemovedMuch { .. } => Some("compare with --strip none"),
        _ => None,
    }
}

/// The hint for a byte that is not UTF-8, by what the bytes look like.
fn of_invalid(found: Option<&Findings>) -> String {
    match found.map(Findings::looks) {
        Some(Looks::Binary) => {
            "these bytes look like no text; convert the file to plain text first".to_owned()
        }
        Some(Looks::Damaged) => {
            "nearly all of it is UTF-8: --encoding lossy replaces every invalid byte by U+FFFD"
                .to_owned()
        }
        Some(Looks::Encoded(label)) => format!(
            "the bytes look like {label}: --encoding {label}; --encoding lossy replaces every invalid byte by U+FFFD"
        ),
        None => "name the encoding, as in --encoding windows-1252".to_owned(),
    }
}

/// The hint for an error of a container, or of a format that is not read.
fn of_container(error: &TextError) -> Option<&'static str> {
    Some(match error {
        TextError::Foreign { foreign, .. } => match foreign.remedy {
            Remedy::Unpack => "unpack it, and give the folder or the files in it",
            Remedy::Convert => {
                "convert it to plain text first, for example with pdftotext or pandoc"
            }
            Remedy::Export => "export the text as .txt, .csv or .jsonl",
            Remedy::Decompress => "textgen decompress restores the text",
            Remedy::None => "give a text: .txt, .md, .jsonl, .csv, …, or one of these compressed",
        },
        TextError::Unsupported { .. } | TextError::Nested { .. } => {
            "unpack it, and give the folder or the files in it"
        }
        TextError::Damaged { .. } => "copy it again from its source",
        TextError::Escapes { .. } => {
            "do not trust this archive; if you know it, unpack it yourself and give the files in it"
        }
        TextError::Bomb { .. } => "if it is right, unpack it yourself and give the file",
        _ => return None,
    })
}

/// The hint for an error of records.
fn of_records(error: &TextError) -> Option<String> {
    let hint = match error {
        TextError::NoField { fields, .. } => {
            let likely = |field: &&String| LIKELY_FIELDS.contains(&field.to_lowercase().as_str());
            let likely = fields.iter().find(likely);
            return Some(match (likely, &fields[..]) {
                (Some(field), _) | (None, [field]) => format!(
                    "name the one that has the text, as in --field {}",
                    quoted(field)
                ),
                _ => "name the one that has the text with --field".to_owned(),
            });
        }
        TextError::UnnamedField => {
            "name one, as in --field text; --field none reads records as plain text"
        }
        TextError::Record { amend, .. } => match amend {
            Amend::Line => "correct that line",
            Amend::Quote => {
                "correct that line: a quote in a quoted field is doubled, and a separator or the end of the \
                 line follows the last one"
            }
            Amend::OneLine => {
                r"bring each record on one line, and write the line ends of its text as \n"
            }
            Amend::Field => "correct that line, or name another --field",
        },
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The hint for an error of a corpus, a vocabulary or a prompt.
pub fn of_text(error: &TextError) -> Option<String> {
    let special = of_container(error).map(str::to_owned);
    if let Some(hint) = special.or_else(|| of_records(error)) {
        return Some(hint);
    }
    let hint = match error {
        TextError::Missing { bundled, .. } => {
            return Some(format!(
                "give a path, a file under corpora/, `-` for standard input, or a bundled corpus: {}",
                bundled.join(", ")
            ));
        }
        TextError::UnknownToken {
            nearest: Some(near),
            ..
        } => {
            return Some(format!(
                "--on-unknown nearest replaces it by {near}, --on-unknown skip leaves it out"
            ));
        }
        TextError::ShorterThanBatch {
            have, batch, seq, ..
        } => {
            let usable = have.saturating_sub(1);
            return Some(match (usable / batch.max(&1), usable / seq.max(&1)) {
                (0, 0) if usable == 0 => "use a longer text".to_owned(),
                (0, 0) => format!("--batch 1 --seq {usable} would fit"),
                (0, batch) => format!("--batch {batch} would fit"),
                (seq, 0) => format!("--seq {seq} would fit"),
                (seq, batch) => format!("--batch {batch} or --seq {seq} would fit"),
            });
        }
        TextError::TooShort { usable: 0, .. } => "use a longer text",
        TextError::TooShort { usable, .. } => {
            let seq = usable.min(&16);
            return Some(format!(
                "use a longer text, or set the sizes yourself, as in --batch 1 --seq {seq}"
            ));
        }
        TextError::NothingLeft { kept, second, .. } => {
            return Some(format!(
                "--min-freq {second} --max-vocab 2 would keep two tokens; leave both out to keep all"
            ))
            .filter(|_| *kept < 2 && *second > 0);
        }
        TextError::Escape { .. } => {
            r"\n is the end of a line, \t a tab, \\ a backslash, \u{e9} the character U+00E9"
        }
        TextError::Separator { error, .. } => return of_text(error),
        TextError::HasBoundary { .. } => {
            "remove that character, which is no letter, or leave out --documents"
        }
        TextError::NoDocuments { .. } => "leave out --documents, or give a text",
        TextError::Changed { .. } => "leave the text as it is until the training has begun",
        TextError::NoText { .. } => {
            "texts end in .txt, .text, .md, .jsonl, .ndjson, .csv or .tsv, perhaps compressed; name the \
             files themselves if they end in something else"
        }
        TextError::Stdin => "give `-` once",
        TextError::ReadTwice { .. } => "save the text to a file first, and name that file",
        TextError::PipeGone { .. } => {
            "give the text again, with the same flags: the name of a file, or `-` and the text on standard input"
        }
        TextError::Spool { .. } => {
            "set TMPDIR to a folder with more space, or save the text to a file and name that"
        }
        TextError::OtherEncoding { found, .. } => {
            return Some(match found.label() {
                Some(label) => format!("read it with --encoding {label}"),
                None => "convert it: iconv -f UTF-32 -t UTF-8".to_owned(),
            });
        }
        TextError::InvalidUtf8 { found, .. } => return Some(of_invalid(found.as_ref())),
        TextError::Malformed { .. } => {
            "the text may be in another encoding; --encoding lossy reads it as UTF-8 and replaces \
             every invalid byte by U+FFFD"
        }
        TextError::UnknownEncoding { .. } => {
            "--encoding takes utf-8, lossy, latin-1, latin-2, iso-8859-15, windows-1250, windows-1251, \
             windows-1252, koi8-r, macintosh, utf-16, shift_jis, euc-jp, gb18030, big5, euc-kr, …"
        }
        TextError::UnknownToken { .. } => "--on-unknown skip leaves it out",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::stream_length;

    #[test]
    fn a_field_is_suggested_only_if_it_is_likely() {
        let hint = |fields: &[&str]| {
            of_text(&TextError::NoField {
                path: "x.csv".to_owned(),
                line: 1,
                field: "text".to_owned(),
                fields: fields.iter().map(|&field| field.to_owned()).collect(),
            })
        };
        let open = "name the one that has the text with --field";
        assert_eq!(hint(&["name", "year"]).as_deref(), Some(open));
        let likely = |field| {
            Some(format!(
                "name the one that has the text, as in --field {field}"
            ))
        };
        assert_eq!(hint(&["id", "Body", "year"]), likely("Body"));
        assert_eq!(hint(&["the text; all"]), likely("'the text; all'"));
    }

    #[test]
    fn a_text_shorter_than_a_batch_says_what_would_fit() {
        let error = stream_length(1000, 32, 128).expect_err("too short");
        assert_eq!(
            of_text(&error).as_deref(),
            Some("--batch 7 or --seq 31 would fit")
        );
        let error = stream_length(12, 32, 128).expect_err("too short");
        assert_eq!(
            of_text(&error).as_deref(),
            Some("--batch 1 --seq 11 would fit")
        );
        assert!(stream_length(12, 1, 11).is_ok());
        assert!(stream_length(7 * 128 + 1, 7, 128).is_ok());
        assert!(stream_length(32 * 31 + 1, 32, 31).is_ok());
    }
}
