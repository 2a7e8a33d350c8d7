use super::*;
use crate::config::Cell;
use crate::generate::sampling::{argmax, log_prob};
use crate::models::char_rnn::CharRnn;
use crate::models::weights::Array;
use crate::models::{Network, RowState};
use crate::testing;

/// The last of the 4 tokens is suppressed.
const FORBIDDEN: [u32; 1] = [3];
const LENGTH: usize = 6;

fn bytes() -> Vec<Vec<u8>> {
    ["a", "b", "c", "?"]
        .map(|token| token.as_bytes().to_vec())
        .to_vec()
}

/// With weights large enough for opinions.
pub fn network(seed: usize) -> CharRnn {
    let config = testing::char_lstm(Cell::Lstm, 9 + seed, 1, 4);
    let weights = testing::weights(&config);
    let larger = weights.iter().map(|(name, array)| {
        let values: Vec<f32> = array.data().iter().map(|x| 4.0 * x).collect();
        (name.clone(), Array::f32(array.shape.clone(), values))
    });
    CharRnn::new(&config, &larger.collect()).expect("a network")
}

pub fn start(model: &CharRnn) -> RowState {
    let mut state = model.state(1);
    model.prefill(&mut state, &[1, 0]);
    state
}

/// Every text that a goal allows, with its log_prob.
fn enumerate(model: &CharRnn, goal: &TextGoal) -> Vec<Found> {
    let mut all = Vec::new();
    let mut open = vec![(start(model), Found::default(), TextTrail::default())];
    while let Some((state, text, trail)) = open.pop() {
        let mut logits = state.logits(0).to_vec();
        logits[3] = f32::NEG_INFINITY;
        for token in 0..3 {
            if !goal.allows(&text.tokens, &trail, token) {
                continue;
            }
            let mut text = text.clone();
            text.tokens.push(token);
            text.log_prob += log_prob(&logits, token);
            match goal.follow(&text.tokens, &trail) {
                None => all.push(text),
                Some(trail) => {
                    let mut state = state.clone();
                    model.step(&mut state, &[token]);
                    open.push((state, text, trail));
                }
            }
        }
    }
    let mean = |text: &Found| text.log_prob / text.tokens.len() as f64;
    all.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    all
}

#[test]
fn a_beam_that_leaves_nothing_out_finds_the_best_texts_in_order() {
    let bytes = bytes();
    let constraint = Constraint::new("[ab]*(ca?)+", &bytes).expect("a constraint");
    let mut missed = 0;
    for seed in 0..6 {
        let model = network(seed);
        for (stop, constraint) in [(None, None), (Some("cb"), None), (None, Some(&constraint))] {
            let goal = TextGoal {
                eos: None,
                begins: false,
                length: LENGTH,
                bytes: &bytes,
                stop: stop.map(str::as_bytes),
                constraint,
            };
            let want = enumerate(&model, &goal);
            assert!(want.len() > 50);
            let search = |width, wanted| {
                let beam = Beam {
                    width,
                    wanted,
                    suppressed: &FORBIDDEN,
                };
                beam.search(&model, start(&model), &goal, TextTrail::default(), |_| ())
            };
            let found = search(3_usize.pow(LENGTH as u32), 5);
            assert_eq!(found.len(), 5);
            for (found, want) in found.iter().zip(&want) {
                assert_eq!(found.tokens, want.tokens, "{seed}, {stop:?}");
                assert!((found.log_prob - want.log_prob).abs() < 1e-9);
            }
            missed += usize::from(search(1, 1)[0].tokens != want[0].tokens);
        }
    }
    assert!(missed > 0, "greedy finds them all: this proves nothing");
}

#[test]
fn a_beam_of_one_takes_the_most_probable_token_each_time() {
    let model = network(0);
    let goal = TextGoal {
        eos: None,
        begins: false,
        length: 40,
        bytes: &bytes(),
        stop: None,
        constraint: None,
    };
    let beam = Beam {
        width: 1,
        wanted: 1,
        suppressed: &FORBIDDEN,
    };
    let mut lengths = Vec::new();
    let found = beam.search(
        &model,
        start(&model),
        &goal,
        TextTrail::default(),
        |length| {
            lengths.push(length);
        },
    );
    assert_eq!(lengths, (1..40).collect::<Vec<_>>());
    let mut state = start(&model);
    let greedy: Vec<u32> = (0..40)
        .map(|_| {
            let token = argmax(&state.logits(0)[..3]);
            model.step(&mut state, &[token]);
            token
        })
        .collect();
    assert_eq!(found[0].tokens, greedy);
}

#[test]
fn a_stop_text_ends_a_text_wherever_its_tokens_are_cut() {
    let bytes = ["x", "yz", "z", "?"].map(|token| token.as_bytes().to_vec());
    let goal = TextGoal {
        eos: None,
        begins: false,
        length: 9,
        bytes: &bytes,
        stop: Some(b"zxy"),
        constraint: None,
    };
    let mut trail = TextTrail::default();
    let mut text = Vec::new();
    for token in [2, 0, 0, 1, 0] {
        text.push(token);
        trail = goal.follow(&text, &trail).expect("it goes on");
    }
    text.push(1); // xyzx|yz
    assert!(goal.follow(&text, &trail).is_none());
}
