//! The pipeline against a reference that reads everything at once.

use std::collections::BTreeMap;
use std::io::Write;

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use super::*;
use crate::config::{Newlines, NormalForm};
use crate::text::{Source, rank};

/// A corpus in temporary files, which live as long as it.
fn corpus(texts: &[&[u8]]) -> (Corpus, Vec<tempfile::NamedTempFile>) {
    let files: Vec<_> = texts
        .iter()
        .map(|text| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text).unwrap();
            file
        })
        .collect();
    let sources = files
        .iter()
        .map(|f| Source::File(f.path().into()))
        .collect();
    (Corpus::new("test", sources), files)
}

fn reference_form(text: &str, config: &TextConfig) -> String {
    let form = |text: String| match config.normalize {
        NormalForm::None => text,
        NormalForm::Nfc => text.nfc().collect(),
        NormalForm::Nfkc => text.nfkc().collect(),
        NormalForm::Ascii => text
            .chars()
            .map(|c| match c {
                c if c.is_ascii() => c.to_string(),
                c => deunicode::deunicode_char(c).unwrap_or_default().to_owned(),
            })
            .collect(),
    };
    let text = match config.newlines {
        Newlines::Keep => text.to_owned(),
        Newlines::Unix => text.replace("\r\n", "\n").replace('\r', "\n"),
    };
    let text = form(text);
    if config.lowercase {
        form(text.chars().flat_map(char::to_lowercase).collect())
    } else {
        text
    }
}

fn reference_tokens(text: &str, unit: Unit) -> Vec<Token> {
    match unit {
        Unit::Byte => text.bytes().map(Token::Byte).collect(),
        Unit::Char => text.chars().map(|c| Token::Text(c.into())).collect(),
        Unit::Grapheme => text
            .graphemes(true)
            .map(|g| Token::Text(g.into()))
            .collect(),
    }
}

fn check(texts: &[String], config: &TextConfig, chunk: usize) -> Result<(), TestCaseError> {
    let bytes: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let (corpus, _files) = corpus(&bytes);
    // A mark at the head of a file is no part of the text.
    let bare = texts
        .iter()
        .map(|text| text.strip_prefix('\u{FEFF}').unwrap_or(text));
    let bare: Vec<&str> = bare.collect();
    // The line feed between two files is a token of its own, whatever a normal form deletes before it.
    let parts = |(index, text): (usize, &&str)| {
        let is_last = bare[index + 1..].iter().all(|text| text.is_empty());
        let joint = if is_last || text.is_empty() || text.ends_with(['\n', '\r']) {
            ""
        } else {
            "\n"
        };
        [reference_form(text, config), joint.to_owned()]
    };
    let parts: Vec<[String; 2]> = bare.iter().enumerate().map(parts).collect();
    let forms: Vec<String> = parts.iter().map(|parts| parts.concat()).collect();
    let parts = parts.iter().flatten();
    let tokens: Vec<Token> = parts
        .flat_map(|t| reference_tokens(t, config.unit))
        .collect();
    let mut counts = BTreeMap::<Token, u64>::new();
    for token in &tokens {
        *counts.entry(token.clone()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    rank(&mut counts);
    let survey = match survey_in_chunks(&corpus, config, chunk, |_| {}) {
        Err(TextError::Empty { .. }) => {
            prop_assert!(tokens.is_empty());
            return Ok(());
        }
        other => other.map_err(|e| TestCaseError::fail(e.to_string()))?,
    };
    prop_assert_eq!(&survey.counts, &counts);
    prop_assert_eq!(survey.tokens, tokens.len() as u64);
    prop_assert_eq!(
        survey.bytes,
        texts.iter().map(|t| t.len() as u64).sum::<u64>()
    );
    let sum = |f: &dyn Fn(&String) -> usize| forms.iter().map(f).sum::<usize>() as u64;
    prop_assert_eq!(survey.chars, sum(&|t| t.chars().count()));
    prop_assert_eq!(survey.words, sum(&|t| t.split_whitespace().count()));
    prop_assert_eq!(survey.lines, sum(&|t| t.split_inclusive('\n').count()));
    let vocab = Vocabulary::from_counts(config.unit, &counts, 2, 5);
    let mut ids = Vec::new();
    let take = |mut some: Vec<u32>| -> Result<(), TextError> {
        ids.append(&mut some);
        Ok(())
    };
    let (progress, pack) = (|_| (), <[u32]>::to_vec);
    tokens_in_chunks(&corpus, config, &vocab, chunk, progress, pack, take).unwrap();
    let id = |s: &Token| vocab.tokens().iter().position(|v| v == s).map(|i| i as u32);
    let expected: Vec<u32> = tokens
        .iter()
        .filter_map(|s| id(s).or(vocab.unk()))
        .collect();
    prop_assert_eq!(ids, expected);
    check_words(&corpus, config, chunk, &forms)
}

fn check_words(
    corpus: &Corpus,
    config: &TextConfig,
    chunk: usize,
    forms: &[String],
) -> Result<(), TestCaseError> {
    let mut expected: Vec<&str> = Vec::new();
    for form in forms {
        for word in form.split_whitespace().map(strip_punctuation) {
            if !word.is_empty() && !expected.contains(&word) {
                expected.push(word);
            }
        }
    }
    let list = words_in_chunks(corpus, config, chunk, |_| {})
        .map(|l| l.words)
        .unwrap_or_default();
    prop_assert_eq!(list, expected);
    Ok(())
}

const TEXTS: &str = "([ab \n\r.]|\\PC|[Éé\u{301}\u{323}\u{308}\u{1112}\u{1161}\u{11AB}가\u{FEFF}\u{600}\u{1F1E6}\u{1F468}\u{200D}क\u{94D}北京ﬁ\u{A0}\u{3000}Σ]){0,60}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn chunks_of_any_size_give_what_the_whole_text_gives(
        texts in proptest::collection::vec(TEXTS, 1..3), chunk in 1usize..40, lowercase: bool, unix: bool
    ) {
        for unit in [Unit::Char, Unit::Grapheme, Unit::Byte] {
            for normalize in [NormalForm::None, NormalForm::Nfc, NormalForm::Nfkc, NormalForm::Ascii] {
                let newlines = if unix { Newlines::Unix } else { Newlines::Keep };
                let config = TextConfig { unit, normalize, lowercase, newlines, ..TextConfig::default() };
                check(&texts, &config, chunk)?;
            }
        }
    }
}

#[test]
fn what_a_normal_form_deletes_makes_no_line_end_of_two_files() {
    let config = TextConfig {
        unit: Unit::Grapheme,
        normalize: NormalForm::Ascii,
        ..TextConfig::default()
    };
    check(&["\r\u{113C2}".to_owned(), "a".to_owned()], &config, 1).unwrap();
}

#[test]
fn an_invalid_byte_is_placed_by_file_line_and_offset() {
    let (corpus, files) = corpus(&[b"fine\n", b"\xEF\xBB\xBFone\ntwo\nth\xE9 end\n\xFF"]);
    for chunk in [4, 7, 1000] {
        let error = survey_in_chunks(&corpus, &TextConfig::default(), chunk, |_| {}).unwrap_err();
        let place = format!("{}: line 3, byte offset 13", files[1].path().display());
        assert!(error.to_string().starts_with(&place), "{chunk}: {error}");
    }
}

#[test]
fn a_file_in_utf16_is_recognised() {
    let (corpus, _files) = corpus(&[b"\xFF\xFEa\0"]);
    let error = survey(&corpus, &TextConfig::default(), |_| ()).unwrap_err();
    assert!(matches!(error, TextError::OtherEncoding { .. }), "{error}");
}

#[test]
fn a_corpus_without_text_or_with_one_token_is_an_error() {
    let (empty, _files) = corpus(&[b"\xEF\xBB\xBF"]);
    let error = survey(&empty, &TextConfig::default(), |_| ()).unwrap_err();
    assert!(matches!(error, TextError::Empty { .. }), "{error}");
    let (single, _files) = corpus(&[b"aaaa"]);
    let survey = survey(&single, &TextConfig::default(), |_| ()).unwrap();
    let error = survey.check_trainable("a.txt").unwrap_err();
    assert!(matches!(error, TextError::SingleToken { .. }), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let corpus = Corpus::new("gone", vec![Source::File("no/such/file".into())]);
    let error = survey(&corpus, &TextConfig::default(), |_| ()).unwrap_err();
    assert!(error.to_string().contains("no/such/file"), "{error}");
}

#[test]
fn unknown_tokens_without_unk_are_an_error_with_their_place() {
    let (corpus, _files) = corpus(&[b"abaxb"]);
    let counts = [(Token::Text("a".into()), 2), (Token::Text("b".into()), 1)];
    let vocab = Vocabulary::from_counts(Unit::Char, &counts, 1, 400);
    let (config, take) = (TextConfig::default(), |()| Ok::<_, TextError>(()));
    let error = tokens(&corpus, &config, &vocab, |_| (), |_| (), take).unwrap_err();
    assert!(error.to_string().contains("character 4"), "{error}");
}

#[test]
fn words_are_stripped_and_listed_once() {
    let (corpus, _files) = corpus(&[b"\"The end,\" - the end! The"]);
    let mut config = TextConfig {
        lowercase: true,
        ..TextConfig::default()
    };
    let list = words(&corpus, &config, |_| ()).unwrap();
    assert_eq!(list.words, ["the", "end"]);
    assert_eq!(list.times, [3, 2]);
    assert_eq!((list.duplicates, list.empty), (3, 1));
    assert_eq!(list.counts(Unit::Char)[0], (Token::Text("e".into()), 2));
    config.words = WordSplit::Lines;
    assert_eq!(words(&corpus, &config, |_| ()).unwrap().words.len(), 1);
}

#[test]
fn documents_become_tokens_between_their_ends_in_chunks_of_any_size() {
    let texts = ["\n\nCafe\u{301}.\r\nÀ deux!\n", "\u{301}x\n\n\nend"];
    let bytes: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    let (corpus, _files) = corpus(&bytes);
    for unit in [Unit::Char, Unit::Grapheme, Unit::Byte] {
        let config = TextConfig {
            documents: crate::config::Documents::Line,
            lowercase: true,
            unit,
            ..TextConfig::default()
        };
        for chunk in [1, 2, 3, 7, 1000] {
            let survey = survey_in_chunks(&corpus, &config, chunk, |_| {}).unwrap();
            assert_eq!((survey.documents, survey.words, survey.lines), (4, 5, 4));
            let vocab = Vocabulary::from_counts(unit, &survey.counts, 1, 400);
            let vocab = vocab.for_documents(&config.documents);
            let mut ids = Vec::new();
            let take = |mut some: Vec<u32>| -> Result<(), TextError> {
                ids.append(&mut some);
                Ok(())
            };
            let (progress, pack) = (|_| (), <[u32]>::to_vec);
            tokens_in_chunks(&corpus, &config, &vocab, chunk, progress, pack, take).unwrap();
            assert_eq!(ids.len() as u64, survey.all_tokens());
            let ends = vocab.document_end().unwrap();
            let documents: Vec<String> = ids
                .split(|&id| id == ends)
                .map(|ids| vocab.decode(ids))
                .collect();
            let want = ["", "café.", "à deux!", "\u{301}x", "end", ""];
            assert_eq!(documents, want, "{unit} in chunks of {chunk}");
            let text = whole(&corpus, &config, |_| ()).unwrap();
            assert_eq!(text, want.join("\u{FDD0}"));
        }
    }
    let blank = TextConfig {
        documents: crate::config::Documents::BlankLine,
        ..TextConfig::default()
    };
    let text = whole(&corpus, &blank, |_| ()).unwrap();
    assert_eq!(
        text,
        "\u{FDD0}Café.\r\nÀ deux!\u{FDD0}\u{301}x\u{FDD0}end\u{FDD0}"
    );
}
