//! Escapes in what a person types: `\n`, `\t`, `\\` and `\u{…}` (a code point), and, in a pattern with blanks, `\_`.

use super::TextError;
use super::unicode::is_control;

/// A character that was typed, plainly or as an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypedChar {
    pub c: char,
    pub is_escaped: bool,
    /// The character of the typed text, counted from 1, at which it begins.
    pub place: u64,
}

/// A text that was typed, with its escapes interpreted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// What it means.
    pub text: String,
    /// Where each of its characters was typed, counted from 1; empty for a text without escapes.
    places: Vec<u64>,
}

impl From<TypedChar> for Typed {
    fn from(typed: TypedChar) -> Self {
        let mut text = Self::default();
        text.push(typed);
        text
    }
}

impl Typed {
    /// Interprets the escapes of what was typed.
    pub fn new(typed: &str) -> Result<Self, TextError> {
        let mut text = Self::default();
        typed_chars(typed, None)?
            .into_iter()
            .for_each(|typed| text.push(typed));
        Ok(text)
    }

    pub(crate) fn push(&mut self, typed: TypedChar) {
        self.text.push(typed.c);
        self.places.push(typed.place);
    }

    /// A text without escapes, such as one from a file.
    pub fn raw(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            places: Vec::new(),
        }
    }

    /// The text without its first character.
    #[must_use]
    pub fn without_first(mut self) -> Self {
        let first = self.text.chars().next().map_or(0, char::len_utf8);
        self.text.drain(..first);
        self.places.drain(..self.places.len().min(1));
        self
    }

    /// An error of the text, with its position counted in what was typed.
    #[must_use]
    pub fn locate(&self, mut error: TextError) -> TextError {
        if let TextError::UnknownToken { position, .. } = &mut error {
            let index = usize::try_from(position.saturating_sub(1)).unwrap_or(usize::MAX);
            *position = self.places.get(index).copied().unwrap_or(*position);
        }
        error
    }
}

/// A text as it is typed: [`Typed::new`] turns it back.
pub fn as_typed(text: &str) -> String {
    let mut typed = String::new();
    for c in text.chars() {
        match c {
            '\\' => typed.push_str(r"\\"),
            '\n' => typed.push_str(r"\n"),
            '\t' => typed.push_str(r"\t"),
            c if is_control(c) => typed.extend(c.escape_unicode()),
            c => typed.push(c),
        }
    }
    typed
}

/// The characters that a typed text means; `also` may be escaped, too, and means itself.
pub(crate) fn typed_chars(typed: &str, also: Option<char>) -> Result<Vec<TypedChar>, TextError> {
    let mut chars = Vec::with_capacity(typed.len());
    let (mut rest, mut place) = (typed, 1);
    while let Some(first) = rest.chars().next() {
        let (c, length) = match first {
            '\\' => escaped(rest, also).map_err(|(length, fault)| TextError::Escape {
                escape: rest.chars().take(length).collect(),
                position: place,
                fault,
            })?,
            c => (c, c.len_utf8()),
        };
        chars.push(TypedChar {
            c,
            is_escaped: first == '\\',
            place,
        });
        let (taken, left) = rest.split_at(length);
        place += taken.chars().count() as u64;
        rest = left;
    }
    Ok(chars)
}

/// What the escape at the start of `text` means, and its length in bytes; or its length in characters, and what is wrong
/// with it.
fn escaped(text: &str, also: Option<char>) -> Result<(char, usize), (usize, &'static str)> {
    let kind = text.chars().nth(1);
    let c = match kind {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('\\') => '\\',
        Some('u') => return code(text),
        Some(kind) if also == Some(kind) => kind,
        None => return Err((1, "is no escape: nothing follows it")),
        Some(_) => return Err((2, "is no escape")),
    };
    Ok((c, 1 + kind.map_or(0, char::len_utf8)))
}

/// The character of the escape `\u{…}` at the start of `text`, as [`escaped`] returns it.
fn code(text: &str) -> Result<(char, usize), (usize, &'static str)> {
    let Some(inner) = text.strip_prefix(r"\u{") else {
        return Err((2, "lacks its code in braces"));
    };
    // Longer ones are shortened in a message.
    let digits = inner
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .count();
    let opened = r"\u{".len();
    if !inner[digits..].starts_with('}') {
        let is_closed = inner.contains('}') && digits == 0;
        let (length, fault) = if is_closed {
            (opened, "is followed by no hexadecimal digits")
        } else {
            (opened + digits.min(8), "lacks its closing brace")
        };
        return Err((length, fault));
    }
    let length = opened + digits + 1;
    let of = |fault| (length.min(16), fault);
    if digits == 0 {
        return Err(of("has no code"));
    }
    if !inner.as_bytes()[..digits].iter().all(u8::is_ascii_hexdigit) {
        return Err(of("has a code that is no hexadecimal number"));
    }
    let code = u32::from_str_radix(&inner[..digits], 16)
        .ok()
        .filter(|_| digits <= 6);
    let c = code.and_then(char::from_u32);
    c.map(|c| (c, length))
        .ok_or(of("is the code of no character"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_mean_what_cannot_be_typed() {
        let text = |typed| Typed::new(typed).expect("valid").text;
        assert_eq!(text(r"a\nb\tc\\n\u{e9}\u{1F600}"), "a\nb\tc\\né😀");
        assert_eq!(text("plain"), "plain");
        let strange = "a\n\t\\\u{1b}é";
        assert_eq!(text(&as_typed(strange)), strange);
        let none = "is the code of no character";
        for (typed, escape, at, why) in [
            (r"é\d", r"\d", 2, "is no escape"),
            (r"\n\", r"\", 3, "is no escape: nothing follows it"),
            (r"\u{d800}", r"\u{d800}", 1, none),
            (r"\u{110000}", r"\u{110000}", 1, none),
            (r"\u{0000041}", r"\u{0000041}", 1, none),
            (r"\u{}", r"\u{}", 1, "has no code"),
            (
                r"\u{zz}",
                r"\u{zz}",
                1,
                "has a code that is no hexadecimal number",
            ),
            (
                r"\u{+e9}",
                r"\u{",
                1,
                "is followed by no hexadecimal digits",
            ),
            (r"\u{41", r"\u{41", 1, "lacks its closing brace"),
            (r"\u{41 and }", r"\u{41", 1, "lacks its closing brace"),
            (r"\u{", r"\u{", 1, "lacks its closing brace"),
            (r"\u41", r"\u", 1, "lacks its code in braces"),
            (r"\_", r"\_", 1, "is no escape"),
        ] {
            match Typed::new(typed) {
                Err(TextError::Escape {
                    escape: found,
                    position,
                    fault,
                }) => {
                    assert_eq!((&*found, position, fault), (escape, at, why), "{typed}");
                }
                other => panic!("{typed}: {other:?}"),
            }
        }
        let also = typed_chars(r"_\_", Some('_')).expect("valid");
        let found: Vec<_> = also.iter().map(|t| (t.c, t.is_escaped, t.place)).collect();
        assert_eq!(found, [('_', false, 1), ('_', true, 2)]);
    }

    #[test]
    fn an_error_is_located_in_what_was_typed() {
        let at = |typed: &str, position| {
            let error = TextError::UnknownToken {
                token: "x".into(),
                position,
                nearest: None,
            };
            match Typed::new(typed).expect("valid").locate(error) {
                TextError::UnknownToken { position, .. } => position,
                other => panic!("{other}"),
            }
        };
        assert_eq!(at(r"a\u{e9}b", 2), 2);
        assert_eq!(at(r"a\u{e9}b", 3), 8);
        assert_eq!(at("abc", 3), 3);
        let rest = Typed::new("/ab").expect("valid").without_first();
        assert_eq!((&*rest.text, &rest.places[..]), ("ab", &[2, 3][..]));
    }
}
