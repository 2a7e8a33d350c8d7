//! The model that comes with textgen.

use super::common::{Home, golden_model, repository};
use super::safetensors_file::Parts;
use std::fs;

const LINE: &str =
    "“Once upon a time – it’s said … —” ‘Søren’ wrote naïve café Ångström, São Paulo.";

#[test]
fn it_writes_right_after_installation() {
    let home = Home::new();
    let ran = home
        .textgen_with(["generate", "--run", "english", "--prompt", LINE])
        .succeeded();
    assert!(ran.stdout.starts_with(LINE), "{}", ran.stdout);
    assert!(home.files().is_empty(), "nothing is written");
    home.textgen("generate")
        .refused(1)
        .names(&["no runs yet"])
        .advises("--run english");
}

#[test]
fn training_begins_with_it() {
    let home = Home::new();
    home.write("my.txt", format!("{LINE} ж\n").repeat(20));
    let ran = home.train("--from english my.txt --name on --steps 2 --threads 1");
    assert!(ran.stderr.contains("1 new: ж"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    home.write("russian.txt", "Мой дядя самых честных правил ".repeat(20));
    let ran = home.train("--from english russian.txt --name russian --steps 2 --threads 1");
    let warning = "warning: 83 % of the text are tokens that the model does not know";
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
    let model = home.path("runs/on/model.safetensors");
    let ran = home
        .textgen_with([
            "generate", "--run", "on", "--prompt", "жжж", "--length", "9",
        ])
        .succeeded();
    assert!(ran.stdout.starts_with("жжж"), "{}", ran.stdout);
    assert!(model.exists());
    home.textgen("train --resume english")
        .refused(1)
        .names(&["english is not a run"]);
}

#[test]
fn commands_take_it_where_a_model_file_would_do() {
    let home = Home::new();
    let text = home.write("my.txt", format!("{LINE}\n").repeat(9));
    let text = text.to_str().expect("a path of Unicode");
    for command in [
        "eval --run english TEXT",
        "eval english TEXT --exact",
        "score --run english TEXT",
        "compress TEXT -m english -o packed",
        "export english --quantize int8 --output own.safetensors",
    ] {
        home.textgen(&command.replace("TEXT", text)).succeeded();
    }
    // The bundled file is older than checksums.
    let own = Parts::read(&home.path("own.safetensors"));
    let bundled = Parts::read(&repository("models/english.safetensors"));
    assert!(own.header == bundled.header && own.data == bundled.data);
    home.textgen("generate --run englsh")
        .refused(1)
        .advises("did you mean english?");
    home.textgen("sweep from --model char-lstm --values english --steps 2")
        .refused(2)
        .names(&["--from"]);
}

#[test]
fn a_run_of_that_name_comes_first() {
    let home = Home::new();
    home.train("fairy-tales.txt --model char-lstm --name english --hidden 8 --steps 2 --threads 1");
    // Its own vocabulary has no letter that is not in the tales.
    home.textgen("generate --run english --length 1 --prompt Å")
        .refused(1);
    fs::remove_dir_all(home.path("runs/english")).expect("removed");
    fs::copy(golden_model(), home.path("english")).expect("copied");
    home.textgen("generate --run english --length 1 --prompt Å")
        .refused(1);
}

#[test]
fn training_mentions_it_where_it_knows_the_language() {
    let home = Home::new();
    let flags = "--model char-lstm --steps 2 --threads 1";
    let ran = home.train(&format!("fairy-tales.txt {flags}"));
    assert!(ran.stderr.contains("--from english"), "{}", ran.stderr);
    let latin =
        "Gallia est omnis divisa in partes tres, quarum unam incolunt Belgae, aliam Aquitani. ";
    home.write("latin.txt", latin.repeat(20));
    let ran = home.train(&format!("latin.txt {flags}"));
    assert!(!ran.stderr.contains("--from english"), "{}", ran.stderr);
}
