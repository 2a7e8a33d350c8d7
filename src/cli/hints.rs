//! What a user can do about an error of the library: the flag that helps.

use crate::generate::constraint::ConstraintError;
use crate::model::ModelError;

/// Whether the command line is wrong, and the hint.
pub fn of_model(error: &ModelError) -> (bool, Option<String>) {
    let hint = match error {
        ModelError::File(error) => return (false, error.hint()),
        ModelError::Text(error) => return (false, error.hint()),
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
        ModelError::NotANumber { .. } => {
            return (false, Some("train again, with a lower --lr".to_owned()));
        }
        _ => return (false, None),
    };
    (true, Some(hint.to_owned()))
}
