//! The types of settings: parsing, printing and ranges.

use std::ops::{Bound, RangeBounds};

use super::ConfigError;

/// A value of a setting.
#[allow(
    dead_code,
    reason = "files, flags and the reference page each need some of it"
)]
pub(super) trait Value: Clone + Sized {
    /// Every value, if there are only a few names.
    const NAMES: &'static [&'static str] = &[];
    /// Whether the flag alone means `true`.
    const IS_SWITCH: bool = false;
    /// Whether it may start with a hyphen.
    const HAS_HYPHENS: bool = false;
    /// What a text must be, if the parser of the standard library says it badly.
    const MUST: Option<&str> = None;

    /// Parses the value, or returns what is wrong with it.
    fn read(text: &str) -> Result<Self, String>;
    /// Formats the value so that [`Value::parse`] accepts it.
    fn show(&self) -> String;
    /// Whether a settings file can hold it: TOML's whole numbers have 63 bits.
    fn fits_a_file(&self) -> bool {
        true
    }
    /// The number that ranges apply to.
    fn number(&self) -> f64 {
        f64::NAN
    }
}

const TOO_LARGE: &str = "must be below 2^63";
/// What a whole number must be.
const WHOLE: &str = "must be a whole number, and not below 0";

macro_rules! values {
    ($($type:ty $({ $($more:tt)+ })?)+) => {$(
        impl Value for $type {
            fn read(text: &str) -> Result<Self, String> {
                let wrong = |error: <$type as std::str::FromStr>::Err| error.to_string();
                let wrong = |error| Self::MUST.map_or_else(|| wrong(error), str::to_owned);
                let value: Self = text.parse().map_err(wrong)?;
                if value.fits_a_file() {
                    Ok(value)
                } else {
                    Err(TOO_LARGE.to_owned())
                }
            }
            fn show(&self) -> String {
                self.to_string()
            }
            $($($more)+)?
        }
    )+};
}

values! {
    u32 {
        const MUST: Option<&str> = Some(WHOLE);
        fn number(&self) -> f64 { f64::from(*self) }
    }
    u64 {
        const MUST: Option<&str> = Some(WHOLE);
        fn fits_a_file(&self) -> bool {
            i64::try_from(*self).is_ok()
        }
        fn number(&self) -> f64 {
            *self as f64
        }
    }
    usize {
        const MUST: Option<&str> = Some(WHOLE);
        fn fits_a_file(&self) -> bool {
            i64::try_from(*self).is_ok()
        }
        fn number(&self) -> f64 {
            *self as f64
        }
    }
    f64 {
        const MUST: Option<&str> = Some("must be a number");
        fn number(&self) -> f64 { *self }
    }
    bool { const IS_SWITCH: bool = true; }
    String
}

impl Value for Vec<String> {
    fn read(text: &str) -> Result<Self, String> {
        Ok(vec![text.to_owned()])
    }

    fn show(&self) -> String {
        self.join(" ")
    }
}

/// Returns an error unless a settings file can hold `value`.
pub(super) fn check_fits<T: Value>(flag: &'static str, value: &T) -> Result<(), ConfigError> {
    if value.fits_a_file() {
        return Ok(());
    }
    Err(ConfigError::range(flag, value.show(), TOO_LARGE))
}

/// Returns an error unless `value` is finite and in `range`.
pub(super) fn check<T: Value>(
    flag: &'static str,
    value: &T,
    range: impl RangeBounds<f64>,
) -> Result<(), ConfigError> {
    let number = value.number();
    if number.is_finite() && range.contains(&number) {
        return Ok(());
    }
    Err(ConfigError::range(
        flag,
        value.show(),
        format!("must be {}", described(range)),
    ))
}

/// The range in words.
pub(super) fn described(range: impl RangeBounds<f64>) -> String {
    match (range.start_bound(), range.end_bound()) {
        (Bound::Included(least), Bound::Included(most)) => format!("{least} to {most}"),
        (Bound::Included(least), Bound::Excluded(end)) => {
            format!("at least {least} and below {end}")
        }
        (Bound::Excluded(start), Bound::Included(most)) => {
            format!("above {start} and at most {most}")
        }
        (Bound::Excluded(start), _) => format!("above {start}"),
        (Bound::Included(least), Bound::Unbounded) => format!("at least {least}"),
        _ => "a number".to_owned(),
    }
}
