use std::collections::HashSet;

use proptest::prelude::*;
use regex_automata::nfa::thompson::pikevm::PikeVM;

use super::*;
use crate::config::Sampling;
use crate::generate::sampling::Sampler;
use crate::testing::Numbers;

/// What a network could write: letters of one to three bytes, a line end, and a cluster.
const TOKENS: [&str; 9] = ["a", "b", "c", "é", "€", " ", "\n", "1", "ab"];

fn bytes() -> Vec<Vec<u8>> {
    TOKENS
        .iter()
        .map(|token| token.as_bytes().to_vec())
        .collect()
}

fn constraint(regex: &str) -> Constraint {
    Constraint::new(regex, &bytes()).expect(regex)
}

/// Whether whole texts match, by another engine.
fn matcher(regex: &str) -> impl FnMut(&str) -> bool {
    let whole = PikeVM::new(&format!(r"\A(?:{regex})\z")).expect(regex);
    let mut cache = whole.create_cache();
    move |text| whole.is_match(&mut cache, text)
}

fn matches(regex: &str, text: &str) -> bool {
    matcher(regex)(text)
}

/// Every text of up to `longest` tokens.
fn texts(longest: usize) -> Vec<Vec<u32>> {
    let mut all = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..longest {
        let till = all.len();
        for index in from..till {
            for token in 0..TOKENS.len() as u32 {
                let mut text = all[index].clone();
                text.push(token);
                all.push(text);
            }
        }
        from = till;
    }
    all
}

fn decoded(text: &[u32]) -> String {
    text.iter().map(|&token| TOKENS[token as usize]).collect()
}

/// A text of at most `length` tokens, sampled from logits that are independent of the expression.
fn sampled(constraint: &Constraint, length: usize, temperature: f32, seed: u64) -> Vec<u32> {
    let config = Sampling {
        temperature,
        ..Sampling::new(seed)
    };
    let mut sampler = Sampler::new(&config, &[], 0);
    let mut numbers = Numbers::new(seed as u32);
    let (mut place, mut text) = (Place::default(), Vec::new());
    let mut bias = [0.0; TOKENS.len()];
    while !constraint.is_over(place, length - text.len()) {
        constraint.bias(place, length - text.len(), &mut bias);
        let logits = numbers.vector(TOKENS.len(), 6.0);
        let token = sampler.sample_biased(&logits, &bias).token;
        assert!(constraint.allows(place, token, length - text.len()));
        place = constraint.after(place, token);
        text.push(token);
    }
    text
}

#[test]
fn exactly_the_beginnings_of_matches_are_allowed() {
    let length = 4;
    let texts = texts(length);
    for regex in [
        "a|ab",
        "(ab)*",
        "a{2,3}b?",
        ".*",
        "[^a]+",
        "é|€b",
        r"\w\s\d",
        r"(?s:.)a",
        "^a$",
        "",
        r"(?:a|b)*?c",
        "(?i)AB+",
        "a.{0,2}1",
        r"\p{Ll}{2}",
        r"(?x) a b  # letters",
    ] {
        let constraint = constraint(regex);
        // Its comment would swallow what the other engine's expression has behind it.
        let commented = regex.starts_with("(?x)");
        let mut matches = matcher(if commented { "ab" } else { regex });
        let whole: Vec<&Vec<u32>> = texts
            .iter()
            .filter(|text| matches(&decoded(text)))
            .collect();
        let prefixes: HashSet<&[u32]> = whole
            .iter()
            .flat_map(|text| (0..=text.len()).map(|end| &text[..end]))
            .collect();
        let shortest = whole.iter().map(|text| text.len()).min();
        assert_eq!(shortest, Some(constraint.shortest()), "{regex}");
        for text in texts.iter().filter(|text| text.len() < length) {
            // Followed as far as it is allowed.
            let mut place = Some(Place::default());
            for (at, &token) in text.iter().enumerate() {
                let allowed = |place: &Place| constraint.allows(*place, token, length - at);
                place = place
                    .filter(allowed)
                    .map(|place| constraint.after(place, token));
            }
            let prefix = prefixes.contains(&text[..]);
            assert_eq!(place.is_some(), prefix, "{regex}: {text:?}");
            let Some(place) = place else { continue };
            for token in 0..TOKENS.len() as u32 {
                let longer = [&text[..], &[token]].concat();
                let want = prefixes.contains(&longer[..]);
                let allowed = constraint.allows(place, token, length - text.len());
                assert_eq!(allowed, want, "{regex}: {longer:?}");
            }
        }
    }
}

#[test]
fn a_text_is_long_where_it_may_go_on_and_ends_where_it_may_not() {
    for (regex, length, want) in [
        ("(ab){2,}c", 9, 9),
        ("a{3}", 50, 3),
        ("(1b)*", 7, 6),
        ("", 5, 0),
    ] {
        // The cluster `ab` is one token of two letters.
        let text = sampled(&constraint(regex), length, 1.0, 1);
        assert!(matches(regex, &decoded(&text)), "{regex}: {text:?}");
        if !regex.contains("ab") {
            assert_eq!(text.len(), want, "{regex}");
        }
    }
}

#[test]
fn bytes_make_whole_characters() {
    let bytes: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let constraint = Constraint::new(".{3}", &bytes).expect("a constraint");
    assert_eq!(constraint.shortest(), 3);
    let mut numbers = Numbers::new(5);
    for _ in 0..200 {
        let (mut place, mut text) = (Place::default(), Vec::new());
        while !constraint.is_over(place, 12 - text.len()) {
            let scores = numbers.vector(256, 1.0);
            let allowed = |&byte: &u32| constraint.allows(place, byte, 12 - text.len());
            let score = |byte: &u32| scores[*byte as usize];
            let byte = (0..256)
                .filter(allowed)
                .max_by(|a, b| score(a).total_cmp(&score(b)))
                .expect("one is allowed");
            place = constraint.after(place, byte);
            text.push(byte as u8);
        }
        let text = String::from_utf8(text).expect("UTF-8");
        assert_eq!(text.chars().count(), 3, "{text:?}");
    }
}

#[test]
fn what_is_no_constraint_is_refused() {
    let refused = |regex: &str| {
        Constraint::new(regex, &bytes())
            .expect_err(regex)
            .to_string()
    };
    assert_eq!(refused("(a"), "unclosed group");
    assert!(
        refused(r"\bab").contains("word boundar"),
        "{}",
        refused(r"\bab")
    );
    assert!(refused("d+").contains("no text of characters"));
    assert!(refused("a^b").contains("no text of characters"));
    assert!(refused("(a|b)*a(a|b){30}").contains("too large"));
    assert!(refused("(((a{99}){99}){99}){99}").contains("too large"));
    // A token without bytes is never written.
    let without = [b"a".to_vec(), Vec::new()];
    let constraint = Constraint::new("a+", &without).expect("a constraint");
    assert!(!constraint.allows(Place::default(), 1, 9));
}

/// Expressions of some depth.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("é".to_owned()),
        Just("€".to_owned()),
        Just(".".to_owned()),
        Just(r"\s".to_owned()),
        Just(r"\w".to_owned()),
        Just("[^a]".to_owned()),
        Just("[a-c1]".to_owned()),
        Just(String::new()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let counts = prop_oneof![
            Just("*"),
            Just("+"),
            Just("?"),
            Just("*?"),
            Just("{2}"),
            Just("{0,3}"),
            Just("{3,}")
        ];
        prop_oneof![
            (inner.clone(), counts).prop_map(|(one, count)| format!("(?:{one}){count}")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| one + &other),
            (inner.clone(), inner).prop_map(|(one, other)| format!("(?:{one}|{other})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn a_constraint_is_never_violated(
        regex in expressions(),
        more in 0..20_usize,
        temperature in prop_oneof![Just(0.0_f32), 0.01_f32..5.0],
        seed in any::<u64>(),
    ) {
        match Constraint::new(&regex, &bytes()) {
            Ok(constraint) => {
                let length = constraint.shortest() + more;
                let text = sampled(&constraint, length, temperature, seed);
                prop_assert!(text.len() <= length);
                prop_assert!(matches(&regex, &decoded(&text)), "{regex}: {:?}", decoded(&text));
            }
            Err(error) => prop_assert!(matches!(error, ConstraintError::TooLarge), "{error}"),
        }
    }
}
