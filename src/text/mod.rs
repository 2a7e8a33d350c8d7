//! Corpus → normal form → vocabulary → tokens → batches: plain integers, no tensors, no terminal.
//!
//! A [`Corpus`] names its sources. Every pass over it is one pipeline: `reading` unpacks, decodes and
//! rejects what is not text, and cuts it where neither a character, a cluster nor a
//! normalisation can span the cut, and `pipeline` normalises and works on the chunks in parallel,
//! in constant memory. [`survey`] counts, [`tokens`] turns text into ids, [`words`] lists words.

mod article;
mod batches;
mod corpus;
mod counts;
mod documents;
mod encode;
mod error;
mod escapes;
mod folder;
mod nearest;
mod normal;
mod pipeline;
mod reading;
mod sections;
mod tokens;
mod unicode;
mod vocab;

pub use article::{article_letters, article_vocabulary, article_words};
pub use batches::{Split, segments, split_text, split_words, stream_length};
pub use corpus::{BUNDLED_NAME, CORPORA, Corpus, Source};
pub use documents::BOUNDARY;
pub(crate) use encode::{Encoded, Piece, TokenEncoder};
pub use encode::{OpenText, Utf8Stream};
pub use error::{Amend, TextError};
pub(crate) use escapes::typed_chars;
pub use escapes::{Typed, as_typed};
pub use folder::Skip;
pub use normal::{Change, Changes};
pub use reading::{Findings, Foreign, Looks, Note, Notes, Remedy, Shape, Wide};
pub use sections::{Section, WARM_UP, counted, predicted};
pub use tokens::{Survey, WordList, normalize, pieces, survey, tokens, whole, words};
pub use unicode::{category_name, char_name, code_point, is_control, legible, visible};
pub use vocab::{Cut, SpecialTokens, Token, Vocabulary, rank};
