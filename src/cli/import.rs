//! `textgen import`: a model that another program trained.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use indicatif::{DecimalBytes, HumanCount};

use super::error::CliError;
use super::output::note;
use super::target::{Force, Format, check_output};
use crate::exchange::import::{GivenVocabulary, Imported, import};
use crate::run::{ModelFile, Runs};
use crate::train::memory;

#[derive(Args)]
#[command(after_help = "\
FILE is what torch.save wrote (.pt, .pth; a state_dict, a dictionary with one in it, or a whole
module, of any version of PyTorch, from a CPU or a GPU) or a .safetensors file. It is read as data:
nothing in it is run, and a file that asks for that is rejected.

In it there must be one nn.LSTM, nn.GRU or nn.RNN that reads forwards, an embedding or one-hot
input, and one linear layer. They are recognised by PyTorch's names for the recurrent layers and by
the shapes of the rest; a tensor that has no place in such a network is an error that names it. What
forward() did besides is in no file: activations or norms in between would be missing here.

The vocabulary is taken from the file (tokens, chars, stoi, itos …), or from --vocab: a file with the
characters in the order of their ids, or with JSON ([\"a\", \"b\"], {\"a\": 0, \"b\": 1} or
{\"0\": \"a\", \"1\": \"b\"}); `printable`, Python's string.printable, as spro/char-rnn.pytorch uses; or
`bytes`, the 256 bytes.

Afterwards it is a model like any other: generate, score, eval, export, and train --from.

Examples:
  textgen import char-rnn.pth --output tales.safetensors
  textgen import tales.pt --vocab printable --output tales.safetensors
  textgen generate --run tales.safetensors --prompt 'Once upon'
  textgen train --from tales.safetensors my.txt")]
pub struct ImportArgs {
    /// A PyTorch checkpoint or a .safetensors file
    file: PathBuf,
    /// The model file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The vocabulary, if the file has none: a FILE, `printable` or `bytes`
    #[arg(long, value_name = "FILE|NAME")]
    vocab: Option<String>,
    #[command(flatten)]
    force: Force,
}

impl ImportArgs {
    fn vocabulary(&self) -> Result<Option<GivenVocabulary>> {
        Ok(Some(match self.vocab.as_deref() {
            None => return Ok(None),
            Some("printable") => GivenVocabulary::Printable,
            Some("bytes") => GivenVocabulary::Bytes,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let wanted = "a text file, `printable` or `bytes`";
                    CliError::unreadable("--vocab", Path::new(path), &error, wanted)
                })?;
                GivenVocabulary::File(text, path.to_owned())
            }
        }))
    }
}

pub fn run(args: &ImportArgs, runs: &Runs) -> Result<()> {
    let sources = [(&*args.file, "is the file that is imported")];
    check_output(&args.output, Format::Model, args.force, &sources)?;
    let vocabulary = args.vocabulary()?;
    let name = args.file.display().to_string();
    let bytes = std::fs::read(&args.file).with_context(|| name.clone())?;
    if ModelFile::open(&args.file).is_ok() {
        let message = format!("{name} is a model of textgen already");
        return Err(CliError::failed(message, runs.command(&["generate", "--run", &name])).into());
    }
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy();
    let imported = import(&bytes, &stem, vocabulary.as_ref());
    let imported = imported.map_err(|error| {
        let hint = error.hint.clone();
        CliError::failed(format!("{name}: {error}"), hint)
    })?;
    ModelFile::write(&args.output, &imported.header, &imported.weights, None)?;
    told(&imported);
    let output = args.output.display().to_string();
    let written = std::fs::metadata(&args.output).map_or(0, |data| data.len());
    note!("{output}: {}", DecimalBytes(written));
    note!(
        "generate: {}",
        runs.command(&["generate", "--run", &output])
    );
    Ok(())
}

/// What was found, and what was assumed.
fn told(imported: &Imported) {
    let network = &imported.header.network;
    let reads = match network.embedding {
        0 => format!("one-hot of {}", network.inputs),
        size => format!("embedding {} × {size}", network.inputs),
    };
    note!(
        "{} {} × {} · {reads} · {} parameters",
        network.cell,
        network.hidden,
        network.layers,
        HumanCount(memory::parameters(network))
    );
    let vocabulary = &imported.header.vocabulary;
    note!(
        "vocabulary: {} {}s, from {}",
        vocabulary.len(),
        vocabulary.unit(),
        imported.vocabulary_from
    );
    for sentence in &imported.notes {
        note!("note: {sentence}");
    }
    if !imported.unused.is_empty() {
        note!("not used: {}", imported.unused.join(", "));
    }
}
