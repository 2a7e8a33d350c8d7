//! How a command reads a text that is given beside a model.

use super::error::CliError;
use super::output::say_notes_that;
use crate::config::{Documents, Strip, TextConfig};
use crate::text::{Corpus, Note};
use clap::Args;

/// The flags. What is removed and which field is read defaults to what holds for the training text; the encoding does
/// not, because most encodings read any bytes, and would misread a text in UTF-8 in silence.
#[derive(Args, Clone, Debug)]
pub struct ReadingFlags {
    /// The encoding of the text [default: utf-8, whatever that of the training text was]
    #[arg(long, value_name = "LABEL")]
    pub encoding: Option<String>,
    /// The field that is read of records: .jsonl, .ndjson, .csv, .tsv; none reads them as plain text [default: as in
    /// training]
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,
    /// What a document is, for a model that was trained with documents [default: as in training]
    #[arg(long, value_name = "WHAT", allow_hyphen_values = true, value_parser = Documents::parse)]
    pub documents: Option<Documents>,
    /// What is removed from the text [default: as in training]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub strip: Option<Strip>,
}

impl ReadingFlags {
    /// Prints the notes on a text, but not that a setting which comes from the model has no effect.
    pub fn say_notes(&self, corpus: &Corpus) {
        say_notes_that(corpus, |note| match note {
            Note::NoRecords { .. } => self.field.is_some(),
            Note::Unmarked => self.strip.is_some(),
            // One text given is one document.
            Note::OneDocument { .. } => self.documents.is_some(),
            // The model decides how they are read.
            Note::LineEnds(_) => false,
            _ => true,
        });
    }

    /// The settings of the model's text with these changed.
    pub fn of(&self, text: &TextConfig) -> Result<TextConfig, CliError> {
        let documents = self.documents.as_ref().unwrap_or(&text.documents);
        if text.documents.is_none() && !documents.is_none() {
            let message =
                format!("--documents {documents}: the model was trained without documents");
            return Err(CliError::misuse(
                message,
                "leave it out, or train with --documents",
            ));
        }
        Ok(TextConfig {
            documents: documents.clone(),
            encoding: (self.encoding.clone()).unwrap_or_else(|| TextConfig::default().encoding),
            field: self.field.as_ref().unwrap_or(&text.field).clone(),
            strip: self.strip.unwrap_or(text.strip),
            ..text.clone()
        })
    }
}
