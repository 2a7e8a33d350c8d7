//! What a text looks like that is read as it is.

use super::{DEFAULT_FIELD, Records, unquoted};

/// What a text looks like that is read as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A JSON object in each line.
    JsonLines,
    /// A list or an object of JSON over several lines.
    Json,
    /// A table.
    Table,
}

impl Shape {
    /// The shape of a text with this start, if it is one of these.
    pub fn of(head: &[u8]) -> Option<Self> {
        if Records::of_head(head, DEFAULT_FIELD) == Some(Records::Json) {
            return Some(Self::JsonLines);
        }
        let mut bytes = head.iter().filter(|byte| !byte.is_ascii_whitespace());
        match (bytes.next(), bytes.next(), bytes.next()) {
            (Some(b'['), Some(b'{'), Some(b'"')) | (Some(b'{'), Some(b'"'), _) => Some(Self::Json),
            _ => [b'\t', b',', b';']
                .into_iter()
                .any(|delimiter| is_table(head, delimiter))
                .then_some(Self::Table),
        }
    }
}

/// Whether the first lines could be those of a table: names without spaces, and rows with as many fields.
fn is_table(head: &[u8], delimiter: u8) -> bool {
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let fields = |line: &[u8]| memchr::memchr_iter(delimiter, line).count();
    let names = lines.next().unwrap_or_default();
    let is_name = |name: &[u8]| {
        let name = unquoted(name);
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        !name.is_empty() && name.iter().all(is_of_name)
    };
    let rows: Vec<&[u8]> = lines.take(2).filter(|row| !row.is_empty()).collect();
    fields(names) > 0
        && names.split(|&byte| byte == delimiter).all(is_name)
        && !rows.is_empty()
        && rows.iter().all(|row| fields(row) >= fields(names))
}
