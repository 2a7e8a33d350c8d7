//! `textgen eval`: the cost of a text or of held-out words under a model, and the role of its z.

mod baselines;
mod costs;
mod dynamic;
mod flags;
mod job;
mod parts;
mod text;
mod words;

use crate::run::{CorpusData, RunDir, Runs};
use anyhow::Result;

pub use self::flags::EvalArgs;
use self::flags::Part;
use self::job::Job;
pub use self::words::NGramCosts;
use super::error::CliError;
use super::given::Given;
use super::machine::check_simd;

/// Evaluates the model chosen.
pub fn run(args: &EvalArgs, runs: &Runs, given: &Given) -> Result<()> {
    check_simd()?;
    let ((file, run), corpus) = args.model.open_for(runs, given.kind())?;
    let job = Job {
        args,
        file: &file,
        run: run.as_ref(),
    };
    let network = &file.header.network;
    if network.is_article() {
        let message = format!(
            "{} has the article's network, whose words have no probability that could be measured",
            job.name()
        );
        let hint = "train --model word-vae without --recipe article; textgen generate shows what this one writes";
        return Err(CliError::misuse(message, hint).into());
    }
    given.check_kind(network.model())?;
    if network.is_words() && (corpus.is_some() || args.part == Some(Part::All)) {
        let message = "a word-vae is evaluated on the held-out words of its run only";
        let hint = "textgen score measures the cost of other words";
        return Err(CliError::misuse(message, hint).into());
    }
    args.words.sampling().sampling.validate()?;
    let own = run.as_ref().map(RunDir::corpus).transpose()?;
    let own_vocabulary = own.as_ref().map(CorpusData::vocabulary);
    if own_vocabulary.is_some_and(|vocabulary| *vocabulary != file.header.vocabulary) {
        return Err(job.not_its_corpus("its tokens are others"));
    }
    match (network.is_words(), run.as_ref().zip(own.as_ref())) {
        (true, Some((run, CorpusData::Words(words)))) => words::evaluate(&job, run, words),
        (true, None) => {
            let name = job.name();
            let message = format!("{name}: a word-vae is evaluated on the words of its run");
            Err(CliError::failed(message, "name a run: textgen eval RUN").into())
        }
        (true, _) | (_, Some((_, CorpusData::Words(_)))) => {
            Err(job.not_its_corpus("one has text, the other words"))
        }
        (false, None) => text::evaluate(&job, corpus, None),
        (false, Some((run, CorpusData::Text(text)))) => {
            text::evaluate(&job, corpus, Some((&run.config()?, text)))
        }
    }
}
