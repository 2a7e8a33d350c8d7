//! A committed word-vae must load and give the same words and scores in every version.
//! `tests/golden-words/README.md` has the commands that made the model and what is expected of it.

use serde_json::Value;

use super::common::{Home, Ran, json, repository, textgen};

/// Whether two JSON values are the same, numbers to nine digits: the last ones are the C library's.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let [a, b] = [a, b].map(|x| x.as_f64().expect("a number"));
            (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) || (a as f32 - b as f32).abs() < 1e-6
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[test]
fn the_golden_words_are_what_they_were() {
    let home = Home::new();
    let folder = repository("tests/golden-words");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a golden file");
    let expected = read("expected.txt");
    let mut expected = expected.split("$ ").skip(1);
    for line in read("commands.txt").lines() {
        let (command, want) = expected
            .next()
            .and_then(|part| part.split_once('\n'))
            .expect(line);
        assert_eq!(command, line);
        let mut run = home.command(textgen());
        run.current_dir(&folder).args(line.split(' '));
        let said = Ran::of(run.args(["--model-file", "model.safetensors"]))
            .succeeded()
            .stdout;
        let [found, want] = [&said, want].map(|text| text.lines().map(json).collect::<Vec<_>>());
        let alike = found.len() == want.len() && found.iter().zip(&want).all(|(a, b)| same(a, b));
        assert!(alike, "{line}\n{said}");
    }
    assert!(expected.next().is_none());
}
