//! `generate --requests`: lines of JSON in and out.

use serde_json::Value;

use super::common::{Home, Ran, generate, golden_model, json, textgen};

#[test]
fn requests_are_answered_line_by_line_as_single_calls_are() {
    let home = Home::new();
    let prompts = ["A hen", "The ", "\n"];
    let mut asked: Vec<String> = (0..12)
        .map(|i| {
            let prompt = prompts[i % 3];
            serde_json::json!({"id": i, "prompt": prompt, "seed": i, "length": 30, "stop": "b"})
                .to_string()
        })
        .collect();
    asked.extend(
        [
            r#"{"top_k": 0, "id": 9}"#,
            "[1]",
            r#"{"lenght": 3, "id": 7}"#,
            r#"{"id": "é", "prompt": "é"}"#,
            r#"{"temperature": -1}"#,
            r#"{"stop": ""}"#,
            r#"{"prompt": "Aé", "on_unknown": "skip", "temperature": 0, "length": 2}"#,
            r#"{"constrain": "[a-z]{2}", "seed": 1}"#,
        ]
        .map(str::to_owned),
    );
    let mut command = home.command(textgen());
    command.args(["generate", "--requests", "-", "--model-file"]);
    command
        .arg(golden_model())
        .write_stdin(asked.join("\n\n \r\n"));
    let ran = Ran::of(&mut command).succeeded();
    assert_eq!(ran.stderr, "");
    let answers: Vec<Value> = ran.stdout.lines().map(json).collect();
    assert_eq!(answers.len(), asked.len());
    for (i, answer) in answers[..12].iter().enumerate() {
        let seed = i.to_string();
        let prompt = prompts[i % 3];
        let single = [
            "--prompt", prompt, "--seed", &seed, "--length", "30", "--stop", "b", "--json",
        ];
        let single = json(&generate(&single).stdout);
        for key in ["text", "seed", "tokens", "log_prob_nats"] {
            assert_eq!(answer[key], single[key], "{key} of request {i}");
        }
        assert_eq!(answer["id"], i);
        let full = answer["tokens"] == 30;
        assert!(answer["ended"] == "stop" || full, "{answer}");
    }
    let failed = |index: usize, part: &str| {
        let answer = &answers[index];
        let error = answer["error"].as_str().expect("an error");
        assert!(error.contains(part), "{error}");
        assert_eq!(answer["line"], 3 * index + 1);
        assert!(
            answer["hint"].is_string() || part.contains("must be"),
            "{answer}"
        );
    };
    failed(12, "top_k 0: must be at least 1");
    assert_eq!(answers[12]["id"], 9);
    failed(13, "not a request: an array, expected an object");
    failed(14, "lenght: no such key");
    assert_eq!(answers[14]["id"], 7);
    failed(15, "'é'");
    assert_eq!(answers[15]["id"], "é");
    let hint = answers[15]["hint"].as_str().expect("a hint");
    assert!(hint.starts_with("on_unknown nearest"), "{hint}");
    failed(16, "temperature -1: must be");
    failed(17, "stop text is empty");
    assert_eq!(answers[18]["unknown"], serde_json::json!([["é", null]]));
    assert_eq!(answers[18]["seed"], Value::Null);
    assert_eq!(answers[19]["ended"], "constraint");
    home.textgen("generate --requests none.jsonl --model-file m")
        .refused(1);
    home.textgen("generate --requests - --prompt a").refused(2);
}

#[test]
fn a_wrong_value_is_named_with_its_key_and_what_is_wanted() {
    let cases = [
        (
            r#"{"length": "3"}"#,
            "length: \"3\" is not a whole number from 0 on",
        ),
        (
            r#"{"length": -1}"#,
            "length: -1 is not a whole number from 0 on",
        ),
        (
            r#"{"seed": 1.5}"#,
            "seed: 1.5 is not a whole number from 0 on",
        ),
        (r#"{"prompt": 3}"#, "prompt: 3 is not a string"),
        (r#"{"top_p": true}"#, "top_p: true is not a number"),
        (r#"{"on_unknown": "x"}"#, "on_unknown: \"x\" is not one of"),
        (r#"{"seed": 1, "seed": 2}"#, "seed: given twice"),
        ("3", "not a request"),
        (r#"{"seed""#, "not a request"),
    ];
    let home = Home::new();
    let mut command = home.command(textgen());
    command.args(["generate", "--requests", "-", "--model-file"]);
    let lines: Vec<&str> = cases.iter().map(|(line, _)| *line).collect();
    command.arg(golden_model()).write_stdin(lines.join("\n"));
    let ran = Ran::of(&mut command).succeeded();
    let answers: Vec<Value> = ran.stdout.lines().map(json).collect();
    assert_eq!(answers.len(), cases.len(), "{}", ran.stdout);
    for (answer, (line, error)) in answers.iter().zip(cases) {
        let found = answer["error"].as_str().expect("an error");
        assert!(found.starts_with(error), "{line}: {found}");
        assert!(answer["hint"].is_string(), "{answer}");
    }
}
