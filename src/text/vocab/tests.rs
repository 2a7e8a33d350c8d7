use super::*;
use crate::config::{Documents, NormalForm, OnUnknown, TextConfig};
use crate::text::{Utf8Stream, normalize};
use proptest::prelude::*;

fn counts_of(text: &str, unit: Unit) -> Vec<(Token, u64)> {
    let mut counter = super::super::counts::Counter::new(unit);
    counter.count(text);
    super::super::counts::Counter::sum([counter])
}

fn of(text: &str, unit: Unit) -> Vocabulary {
    Vocabulary::from_counts(unit, &counts_of(text, unit), 1, usize::MAX)
}

#[test]
fn tokens_are_ranked_by_frequency_then_code_point() {
    let vocab = of("ébbaacé", Unit::Char);
    let order: String = vocab.tokens().iter().map(Token::visible).collect();
    assert_eq!(order, "abéc");
    assert_eq!((vocab.unk(), vocab.outputs()), (None, 4));
}

#[test]
fn unk_is_there_only_where_something_was_cut() {
    let vocab = Vocabulary::from_counts(Unit::Char, &counts_of("aaabbc", Unit::Char), 2, 400);
    assert_eq!((vocab.len(), vocab.unk(), vocab.cut()), (3, Some(2), 1));
    assert_eq!(vocab.suppressed(), [2]);
    let vocab = Vocabulary::from_counts(Unit::Char, &counts_of("aaabbc", Unit::Char), 1, 1);
    assert_eq!((vocab.len(), vocab.cut()), (2, 2));
}

#[test]
fn words_have_three_special_tokens_of_which_bos_is_never_predicted() {
    let counts = counts_of("aaabbc", Unit::Char);
    let whole = Vocabulary::for_words(Unit::Char, &counts, 1, 400);
    assert_eq!((whole.len(), whole.outputs()), (6, 4));
    assert_eq!(
        (whole.eos(), whole.unk(), whole.bos()),
        (Some(3), Some(4), Some(5))
    );
    assert!(whole.suppressed().is_empty());
    let cut = Vocabulary::for_words(Unit::Char, &counts, 2, 400);
    assert_eq!(
        (cut.len(), cut.outputs(), cut.suppressed()),
        (5, 4, vec![3])
    );
}

#[test]
fn a_default_limit_makes_room_for_a_text_that_it_would_ruin() {
    let counts: Vec<(Token, u64)> = (0..600)
        .filter_map(|i| char::from_u32(0x4E00 + i))
        .map(|c| (Token::Text(c.to_string()), 5))
        .collect();
    let of = |most| Vocabulary::from_counts(Unit::Char, &counts, 1, most);
    let roomy = Vocabulary::with_default_limit(400, &counts, of);
    assert_eq!((roomy.letters(), roomy.cut()), (600, 0));
    let cut = of(400).cut_from(&counts);
    assert_eq!((cut.tokens, cut.share), (200, 1.0 / 3.0));
    // What 400 tokens hardly lack stays cut.
    let mut skewed = counts.clone();
    skewed[0].1 = 1_000_000;
    let of = |most| Vocabulary::from_counts(Unit::Char, &skewed, 1, most);
    let usual = Vocabulary::with_default_limit(400, &skewed, of);
    assert_eq!((usual.letters(), usual.most_cut().len()), (400, 12));
    for (min_freq, most) in [(2_000_000, 400), (1, 1)] {
        let none = Vocabulary::from_counts(Unit::Char, &skewed, min_freq, most);
        assert!(none.check_learnable("text", &skewed).is_err());
    }
    assert!(usual.check_learnable("text", &skewed).is_ok());
}

#[test]
fn json_is_as_documented() {
    let vocab = Vocabulary::from_counts(Unit::Char, &counts_of("aa\nb", Unit::Char), 1, 2);
    let json = serde_json::to_string(&vocab).unwrap();
    assert_eq!(
        json,
        r#"{"format":1,"unit":"char","symbols":["a","\n"],"unk":2,"bos":null,"eos":null,"cut":1,"most_cut":["b"]}"#
    );
    assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), vocab);
    let bytes = serde_json::to_string(&of("é", Unit::Byte)).unwrap();
    assert!(bytes.contains("[169,195]"), "{bytes}");
}

#[test]
fn vocabularies_that_cannot_be_right_are_refused() {
    for (bad, why) in [
        (
            r#"{"format":1,"unit":"char","symbols":["a","a"],"unk":null,"bos":null,"eos":null,"cut":0}"#,
            "twice",
        ),
        (
            r#"{"format":1,"unit":"char","symbols":["ab"],"unk":null,"bos":null,"eos":null,"cut":0}"#,
            "not one char",
        ),
        (
            r#"{"format":1,"unit":"grapheme","symbols":[""],"unk":null,"bos":null,"eos":null,"cut":0}"#,
            "not one grapheme",
        ),
        (
            r#"{"format":1,"unit":"byte","symbols":["a"],"unk":null,"bos":null,"eos":null,"cut":0}"#,
            "not one byte",
        ),
        (
            r#"{"format":1,"unit":"char","symbols":["a"],"unk":9,"bos":null,"eos":null,"cut":1}"#,
            "unk",
        ),
        (
            r#"{"format":1,"unit":"char","symbols":["a"],"unk":null,"bos":1,"eos":null,"cut":0}"#,
            "unk",
        ),
        (
            r#"{"format":9,"unit":"char","symbols":["a"],"unk":null,"bos":null,"eos":null,"cut":0}"#,
            "format 9",
        ),
        (
            r#"{"format":1,"unit":"byte","symbols":[256],"unk":null,"bos":null,"eos":null,"cut":0}"#,
            "",
        ),
    ] {
        let error = serde_json::from_str::<Vocabulary>(bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
}

#[test]
fn a_vocabulary_of_documents_has_eos_after_its_letters() {
    let counts = counts_of("aaabbc", Unit::Char);
    let line = Documents::Line;
    let whole = Vocabulary::from_counts(Unit::Char, &counts, 1, 400).for_documents(&line);
    assert_eq!((whole.eos(), whole.document_end()), (Some(3), Some(3)));
    assert_eq!(
        (whole.unk(), whole.bos(), whole.beginning()),
        (None, None, 3)
    );
    assert_eq!((whole.len(), whole.outputs()), (4, 4));
    assert!(whole.special_tokens().is_err());
    let cut = Vocabulary::from_counts(Unit::Char, &counts, 2, 400).for_documents(&line);
    assert_eq!((cut.eos(), cut.unk(), cut.outputs()), (Some(2), Some(3), 4));
    assert_eq!((cut.suppressed(), cut.most_cut().len()), (vec![3], 1));
    for vocabulary in [&whole, &cut] {
        let json = serde_json::to_string(vocabulary).expect("json");
        assert!(json.starts_with("{\"format\":2"), "{json}");
        assert_eq!(
            serde_json::from_str::<Vocabulary>(&json).expect("valid"),
            *vocabulary
        );
    }
    let text = "\u{FDD0}ab\u{FDD0}c\u{FDD0}";
    let tokens = whole.encode(text, OnUnknown::Error).expect("known");
    assert_eq!(tokens, [3, 0, 1, 3, 2, 3]);
    assert_eq!(whole.decode(&tokens), "abc");
    // A model that had none gets the token, and one that has it keeps it.
    let plain = Vocabulary::from_counts(Unit::Char, &counts, 1, 400);
    assert_eq!(plain.places_in(&plain), [Some(0), Some(1), Some(2)]);
    let grown = plain.extended(&counts, 1, 400).for_documents(&line);
    assert_eq!(grown.places_in(&plain), [Some(0), Some(1), Some(2), None]);
    assert_eq!(
        whole
            .extended(&counts, 1, 400)
            .for_documents(&Documents::None),
        whole
    );
    assert_eq!(
        Vocabulary::for_words(Unit::Char, &counts, 1, 9).document_end(),
        None
    );
}

#[test]
fn an_unknown_character_is_named_with_the_nearest_known_one() {
    let error = of("sz a", Unit::Char)
        .encode("az ž", OnUnknown::Error)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("'ž' (U+017E LATIN SMALL LETTER Z WITH CARON)"),
        "{text}"
    );
    assert!(text.contains("character 4"), "{text}");
    assert!(text.ends_with("'z'"), "{text}");
}

#[test]
fn the_nearest_token_is_the_same_letter_where_there_is_one() {
    let vocab = of("abz 1.", Unit::Char);
    let nearest = |text: &str| vocab.decode(&vocab.encode(text, OnUnknown::Nearest).unwrap());
    assert_eq!(nearest("AÁẑŽ"), "aazz");
    assert_eq!(nearest("7!\u{A0}"), "1. ");
    assert_eq!(nearest("б"), "b");
    let skip = vocab.encode("aXb", OnUnknown::Skip).unwrap();
    assert_eq!(vocab.decode(&skip), "ab");
}

#[test]
fn halves_of_characters_wait_for_the_rest() {
    let mut stream = Utf8Stream::default();
    let bytes = "é\u{1F600}x".as_bytes();
    let parts: Vec<String> = bytes.iter().map(|b| stream.push(&[*b])).collect();
    assert_eq!(parts, ["", "é", "", "", "", "\u{1F600}", "x"]);
    assert_eq!(stream.push(b"\xC3a"), "\u{FFFD}a");
    assert_eq!(stream.push(b"\xC3"), "");
    assert_eq!(stream.finish(), "\u{FFFD}");
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded(text in "(\\PC|[a\r\né\u{301}\u{1F468}\u{200D}]){0,40}", lowercase: bool) {
        for unit in [Unit::Char, Unit::Grapheme, Unit::Byte] {
            for form in [NormalForm::None, NormalForm::Nfc, NormalForm::Nfkc, NormalForm::Ascii] {
                let config = TextConfig { unit, normalize: form, lowercase, ..TextConfig::default() };
                let text = normalize(&text, &config);
                let vocab = of(&text, unit);
                let ids = vocab.encode(&text, OnUnknown::Error).unwrap();
                prop_assert_eq!(&vocab.decode(&ids), &text);
                let json = serde_json::to_string(&vocab).unwrap();
                prop_assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), vocab);
            }
        }
    }

    #[test]
    fn no_json_makes_a_vocabulary_panic(json in "[{}\\[\\]\",:a-z0-9]{0,40}") {
        let _ = serde_json::from_str::<Vocabulary>(&json);
    }

    #[test]
    fn a_stream_of_bytes_reads_like_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..40), cut in 0usize..40) {
        let mut stream = Utf8Stream::default();
        let (a, b) = bytes.split_at(cut.min(bytes.len()));
        let text = stream.push(a) + &stream.push(b) + &stream.finish();
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }
}
