//! One field of JSON objects, one a line.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use super::{LONGEST, Texts};
use crate::text::{Amend, TextError};

/// One JSON object per line.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    number: u64,
    path: String,
    field: String,
    /// Whether a record before has the field.
    is_found: bool,
}

impl<R: Read> Texts for Lines<R> {
    fn next(&mut self, text: &mut Vec<u8>) -> Result<bool, TextError> {
        loop {
            self.line.clear();
            let mut limited = (&mut self.reader).take(LONGEST as u64 + 1);
            let read = limited.read_until(b'\n', &mut self.line);
            let count = read.map_err(|error| TextError::from_read(&self.path, error))?;
            if count == 0 {
                return Ok(false);
            }
            self.number += 1;
            if count > LONGEST {
                let what = format!("this record is longer than {} MiB", LONGEST >> 20);
                return Err(self.wrong(what, Amend::Line));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let mut json = serde_json::Deserializer::from_slice(self.line.trim_ascii());
        let found = Field(&self.field).deserialize(&mut json);
        let found = found.and_then(|found| json.end().map(|()| found));
        match found {
            Ok(Found::Text(found)) => text.extend_from_slice(found.as_bytes()),
            Ok(Found::Null) => {}
            Ok(Found::Other(kind)) => {
                let what = format!("the field {} is {kind}, not a text", self.field);
                return Err(self.wrong(what, Amend::Field));
            }
            Ok(Found::Missing(_)) if self.is_found => {
                let what = format!("no field {}, which the records before have", self.field);
                return Err(self.wrong(what, Amend::Line));
            }
            Ok(Found::Missing(fields)) => {
                return Err(TextError::NoField {
                    path: self.path.clone(),
                    line: self.number,
                    field: self.field.clone(),
                    fields,
                });
            }
            Err(error) => {
                let (what, amend) = cause(&error);
                return Err(self.wrong(format!("not a JSON object: {what}"), amend));
            }
        }
        self.is_found = true;
        Ok(true)
    }
}

impl<R: Read> Lines<R> {
    /// The field `field` of the objects in a file, whose name in messages is `path`.
    pub fn new(reader: R, path: String, field: String) -> Self {
        Self {
            reader: BufReader::with_capacity(1 << 16, reader),
            line: Vec::new(),
            number: 0,
            path,
            field,
            is_found: false,
        }
    }

    fn wrong(&self, what: String, amend: Amend) -> TextError {
        TextError::Record {
            path: self.path.clone(),
            line: self.number,
            what,
            amend,
        }
    }
}

/// What is wrong with a line that is no JSON object.
fn cause(error: &serde_json::Error) -> (String, Amend) {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    if error.is_eof() {
        let within = if what.ends_with("a string") {
            "a string"
        } else {
            "the object"
        };
        (format!("the line ends within {within}"), Amend::OneLine)
    } else if what.contains("surrogate") || what.contains("end of hex escape") {
        let half = r"an escape such as \uD83D is half a character, and the other half is missing";
        (half.to_owned(), Amend::Line)
    } else {
        (what.to_owned(), Amend::Line)
    }
}

/// The value of one field of an object.
enum Found {
    Text(String),
    Null,
    Other(&'static str),
    /// The fields that there are.
    Missing(Vec<String>),
}

/// Reads one field of an object, and the names of the others.
struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Found;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let (mut found, mut fields) = (None, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                found = Some(map.next_value::<Value>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
                fields.push(key);
            }
        }
        Ok(found.unwrap_or(Found::Missing(fields)))
    }
}

/// A value of which only texts are kept.
struct Value(Found);

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(Found::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Other("true or false"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Found::Other("an object"))
    }
}
