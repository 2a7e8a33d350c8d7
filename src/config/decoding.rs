//! How a word is spelt.

use std::fmt;
use std::str::FromStr;

use super::ConfigError;

/// The widest beam: more gains nothing, and every hypothesis has its place in memory.
const WIDEST_BEAM: usize = 4096;

/// How letters are chosen by their probabilities: `greedy`, `sample` or `beam:K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// The most probable letter each time.
    Greedy,
    /// Drawn.
    Sample,
    /// The most probable word of those that K beginnings at a time lead to.
    Beam(usize),
}

impl fmt::Display for Decoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Greedy => f.write_str("greedy"),
            Self::Sample => f.write_str("sample"),
            Self::Beam(width) => write!(f, "beam:{width}"),
        }
    }
}

impl FromStr for Decoding {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let beam = |text: &str| text.strip_prefix("beam:")?.parse().ok();
        match text {
            "greedy" => Ok(Self::Greedy),
            "sample" => Ok(Self::Sample),
            _ => match beam(text) {
                Some(width) if (1..=WIDEST_BEAM).contains(&width) => Ok(Self::Beam(width)),
                _ => Err(ConfigError::Choice {
                    flag: "decode",
                    value: text.to_owned(),
                    valid: format!("greedy, sample, beam:K (K 1 to {WIDEST_BEAM})"),
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoding_is_read_as_it_is_written() {
        for decoding in [Decoding::Greedy, Decoding::Sample, Decoding::Beam(7)] {
            assert_eq!(
                decoding.to_string().parse::<Decoding>().expect("read"),
                decoding
            );
        }
        for wrong in [
            "",
            "beam",
            "beam:",
            "beam:0",
            "beam:-1",
            "beam:9999",
            "Greedy",
        ] {
            let error = wrong.parse::<Decoding>().expect_err(wrong).to_string();
            assert!(error.contains("greedy, sample, beam:K"), "{error}");
        }
    }
}
