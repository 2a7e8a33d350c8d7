use super::*;
use crate::evaluate::{Reading, texts};
use crate::models::char_rnn::CharRnn;
use crate::models::golden::Golden;
use crate::parallel::Running;

#[test]
fn segments_cost_what_pytorch_says_while_the_model_learns() {
    let all = Golden::all("dynamic-");
    assert_eq!(all.len(), 4);
    for golden in all {
        let tokens = golden.tokens("tokens");
        let lr = golden.numbers("lr")[0];
        let setting = Dynamic { lr, segment: 20 };
        let mut learner =
            Learner::new(&golden.config, &golden.weights, setting).expect("a network");
        let losses = golden.numbers("losses").to_vec();
        let mut begin = 0;
        for (index, want) in losses.iter().enumerate() {
            let end = tokens.len().min(begin + 21);
            let targets: Vec<i64> = tokens[begin + 1..end].iter().map(|&t| t.into()).collect();
            let inputs: Vec<i64> = tokens[begin..end - 1].iter().map(|&t| t.into()).collect();
            let found = learner.segment(&inputs, &targets) / targets.len() as f64;
            let error = (found - f64::from(*want)).abs();
            assert!(error < 2e-4, "segment {index}: {found} {want}");
            begin = end - 1;
        }
        assert_eq!(begin, tokens.len() - 1);
        // The cost fell, and all of the text is counted.
        let least = losses.iter().copied().fold(f32::INFINITY, f32::min);
        assert!(least < 0.7 * losses[0], "{losses:?}");
        let whole = 0..tokens.len();
        let mut learner =
            Learner::new(&golden.config, &golden.weights, setting).expect("a network");
        let cost = learner.read(&tokens, std::slice::from_ref(&whole), |_| ());
        let cost = cost.expect("a cost");
        assert_eq!(cost.tokens as usize, tokens.len() - 1);
        let per_segment = losses.iter().enumerate().map(|(index, &loss)| {
            let tokens = (tokens.len() - 1 - index * 20).min(20);
            f64::from(loss) * tokens as f64
        });
        let want: f64 = per_segment.sum();
        assert!(
            (cost.nats - want).abs() < 1e-4 * want,
            "{} {want}",
            cost.nats
        );
    }
}

#[test]
fn a_model_that_does_not_learn_costs_what_it_costs() {
    for golden in Golden::all("char-lstm-") {
        let model = CharRnn::new(&golden.config, &golden.weights).expect("a network");
        let tokens: Vec<u32> = (0..150).map(|k| k * k % model.outputs() as u32).collect();
        let segments = [0..60, 60..61, 61..150];
        let running = Running {
            threads: 1,
            progress: &|_| (),
        };
        let want = texts(&[&model], &tokens, &segments, Reading::Exact, running).expect("costs")[0];
        let setting = Dynamic {
            lr: 0.0,
            segment: 7,
        };
        let mut learner =
            Learner::new(&golden.config, &golden.weights, setting).expect("a network");
        let found = learner.read(&tokens, &segments, |_| ()).expect("a cost");
        assert_eq!(found.tokens, want.tokens);
        let error = (found.nats - want.nats).abs();
        assert!(error < 1e-5 * want.nats, "{found:?} {want:?}");
    }
}
