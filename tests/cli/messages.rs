//! Whatever a command is given: what it says is short, and has no control characters.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::common::{Home, golden_model, texts};

/// Commands in which `@` is a string by chance, and `%` the name of a file that is called so.
const COMMANDS: [&str; 16] = [
    "generate --run texts --length 4 --prompt @",
    "generate --run texts --length 4 --stop @",
    "generate --run texts --length 4 --constrain @",
    "generate --run @",
    "generate --run texts --length @",
    "generate --run texts --starts-with @",
    "generate --model-file %",
    "generate --run texts --load-state %",
    "eval texts %",
    "vocab %",
    "vocab % --documents @",
    "train % --model char-lstm --steps 1 --hidden 4 --name @",
    "train % --model @",
    "train --config %",
    "decompress % --run texts --output out",
    "@ %",
];

/// What ends lines, moves the cursor, or has a meaning in TOML, JSON, expressions or escapes.
pub fn odd_text() -> impl Strategy<Value = String> {
    let odd = "\n\r\t\0\u{b}\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{2028}\u{202e}\u{2066}\u{fdd0}\u{feff}\u{10ffff}\"'\\#=[]{}%@-.: /~";
    let odd: Vec<char> = odd.chars().collect();
    let one = prop_oneof![
        proptest::sample::select(odd),
        any::<char>(),
        prop::char::range('a', 'f')
    ];
    prop::collection::vec(one, 0..40).prop_map(|all| all.into_iter().collect())
}

#[test]
fn a_message_is_a_few_lines_without_control_characters() {
    let home = Home::with_run(texts());
    let model = std::fs::read(golden_model()).expect("a model");
    let cases = Config {
        cases: 96,
        failure_persistence: None,
        ..Config::default()
    };
    let strategy = (
        0..COMMANDS.len(),
        odd_text(),
        odd_text(),
        0..3,
        0..1000_usize,
    );
    let run = |(command, text, name, content, cut): (usize, String, String, i32, usize)| {
        // Neither an argument nor a name can have these.
        let (text, name) = (text.replace('\0', "0"), name.replace(['\0', '/'], "0"));
        let named = name.trim_matches('.').to_owned() + "x";
        let content = match content {
            0 => text.clone().into_bytes(),
            1 => model[..cut].to_vec(),
            _ => [&model[..cut], text.as_bytes(), &model[cut..]].concat(),
        };
        let path = home.write(&format!("files/{named}"), content);
        let arguments = COMMANDS[command].split(' ').map(|word| match word {
            "@" => text.clone(),
            "%" => path.display().to_string(),
            word => word.to_owned(),
        });
        let ran = home.textgen_with(arguments);
        std::fs::remove_file(&path).expect("removed");
        let is_control = |c: char| {
            (c.is_control() && !"\n\t".contains(c))
                || ('\u{2028}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
        };
        prop_assert!(!ran.stderr.contains(is_control), "{ran:?}");
        prop_assert!(matches!(ran.code, Some(0..=2)), "{ran:?}");
        prop_assert!(!ran.stderr.contains("panicked"), "{ran:?}");
        if ran.code != Some(0) {
            let error = ran.stderr.find("error: ");
            prop_assert!(error.is_some(), "{ran:?}");
            let message = &ran.stderr[error.unwrap_or(0)..];
            let lines = message.lines().filter(|line| !line.is_empty());
            prop_assert!(lines.count() <= 5, "{message}");
            prop_assert!(message.chars().count() < 5000, "{message}");
        }
        Ok(())
    };
    // Clap leaves some control characters out where it quotes.
    let lost = "\n\n\n\n\n\u{1}".to_owned();
    run((4, lost, String::new(), 0, 0)).expect("one line");
    TestRunner::new(cases)
        .run(&strategy, run)
        .expect("every message is short and plain");
}
