//! `textgen export --format html` and `--format js`: what is in them, and what they compute, in node and in browsers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use textgen::config::{Cell, LatentConfig, NetworkConfig, NetworkKind, Unit, ZPlacement};
use textgen::model::{DecodeOptions, WordOptions};
use textgen::models::weights::{Array, expected_shapes};
use textgen::run::{ModelFile, ModelHeader};
use textgen::text::{Token, Vocabulary};
use textgen::{OnUnknown, OpenOptions, Quantize, Sampling, TextModel, WordModel};

use super::common::{Home, golden_model, repository};
use super::made_runs::{golden_run, model_header, word_run};

/// Runs a program; `None` if there is none of this name, so that a test can say that it was skipped.
pub fn run_if_there(program: &str, arguments: &[&OsStr]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{program}");
            None
        }
    }
}

pub fn skipped(test: &str, lacks: &str) {
    println!("SKIPPED {test}: {lacks}");
}

/// Tokens of one character each, one of them of two bytes.
pub fn letters() -> Vec<Token> {
    let letters = "abcdefghij \né".chars();
    letters.map(|c| Token::Text(c.into())).collect()
}

/// Writes a model with weights between −0.8 and 0.8.
pub fn write_model(path: &Path, header: &ModelHeader, words: Option<&str>) {
    let mut seed = 7_u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((seed >> 8) as f32 / 16_777_216.0 - 0.5) * 1.6
    };
    let arrays = expected_shapes(&header.network).into_iter();
    let arrays = arrays.map(|(name, shape)| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
        (name, Array::f32(shape, values))
    });
    let weights: BTreeMap<_, _> = arrays.collect();
    ModelFile::write(path, header, &weights, words).expect("written");
}

/// The options of a model in the precision of a page.
fn precision(bits: &str) -> OpenOptions {
    let quantize = match bits {
        "int8" => Quantize::Int8,
        _ => Quantize::None,
    };
    OpenOptions {
        quantize,
        threads: 1,
    }
}

/// What a model of texts computes, for tests/page/module.mjs.
fn text_case(home: &Home, model: &str, bits: &str, text: &str) -> Value {
    let module = format!("{model}-{bits}.mjs");
    home.textgen(&format!(
        "export {model}.safetensors --format js --quantize {bits} --output {module}"
    ))
    .succeeded();
    let path = home.path(&format!("{model}.safetensors"));
    let model = TextModel::open_with(path, precision(bits)).expect("a model");
    let sampling = Sampling {
        temperature: 0.9,
        top_p: Some(0.95),
        ..Sampling::new(11)
    };
    let generate = |sampling: &Sampling| model.generate(text, sampling, 1000).expect("a text").text;
    json!({
        "module": module,
        "text": text,
        "length": 1000,
        "seed": 11,
        "logProbs": model.log_probs(text).expect("its costs"),
        "greedy": generate(&sampling.greedy()),
        "sampled": generate(&sampling),
    })
}

#[test]
fn modules_compute_in_node_what_the_program_computes() {
    let test = "modules_compute_in_node_what_the_program_computes";
    if run_if_there("node", &["--version".as_ref()]).is_none() {
        return skipped(test, "there is no node");
    }
    let home = Home::new();
    let mut cases = Vec::new();
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for layers in 1..=3 {
            for embedding in [0, 5] {
                let vocabulary = Vocabulary::new(Unit::Char, letters(), 0, false).expect("valid");
                let network = NetworkConfig {
                    embedding,
                    ..NetworkConfig::char_rnn(cell, 37, layers, vocabulary.len())
                };
                let name = format!("{cell}-{layers}-{embedding}");
                let path = home.path(&format!("{name}.safetensors"));
                write_model(&path, &model_header(network, vocabulary), None);
                for bits in ["int8", "none"] {
                    cases.push(text_case(&home, &name, bits, "a bad egg\nabcdé jig"));
                }
            }
        }
    }
    fs::copy(golden_model(), home.path("golden.safetensors")).expect("copied");
    let golden = "A hen who lived beside the sea";
    cases.push(text_case(&home, "golden", "int8", golden));
    cases.push(text_case(&home, "golden", "none", golden));
    for (cell, z, bidirectional, latent) in [
        (Cell::Gru, ZPlacement::Both, true, 4),
        (Cell::Lstm, ZPlacement::Start, false, 2),
        (Cell::Rnn, ZPlacement::Steps, true, 3),
        (Cell::Lstm, ZPlacement::Both, false, 0),
    ] {
        let vocabulary = Vocabulary::new(Unit::Char, letters(), 0, true).expect("valid");
        let latent = LatentConfig {
            latent,
            z,
            bidirectional,
        };
        let network = NetworkConfig {
            kind: NetworkKind::WordVae(latent),
            embedding: 6,
            inputs: vocabulary.len(),
            outputs: vocabulary.outputs(),
            ..NetworkConfig::char_rnn(cell, 19, 1, 1)
        };
        let name = format!("words-{cell}-{z}");
        let path = home.path(&format!("{name}.safetensors"));
        write_model(
            &path,
            &model_header(network, vocabulary),
            Some("abba\ncede"),
        );
        for bits in ["int8", "none"] {
            let module = format!("{name}-{bits}.mjs");
            home.textgen(&format!(
                "export {name}.safetensors --format js --quantize {bits} --output {module}"
            ))
            .succeeded();
            let model = WordModel::open_with(&path, precision(bits)).expect("a model");
            let words = model.generate(&WordOptions::new(5), 60).expect("words");
            let words: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
            cases.push(json!({ "module": module, "seed": 5, "temperature": 1, "words": words }));
        }
    }
    let cases_file = home.write("cases.json", Value::from(cases).to_string());
    let script = repository("tests/page/module.mjs");
    let ran = run_if_there("node", &[script.as_os_str(), cases_file.as_os_str()]).expect("node");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        ran.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert_eq!(said, "46 modules agree\n");
}

#[test]
fn the_example_of_the_documentation_runs_in_node() {
    let test = "the_example_of_the_documentation_runs_in_node";
    let home = Home::new();
    golden_run(&home, "");
    home.textgen("export golden --format js --output tales.mjs")
        .succeeded();
    assert!(home.path("tales.d.mts").is_file());
    let page = fs::read_to_string(repository("docs/web-page.md")).expect("the page");
    let example = page
        .split("```js\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let example = home.write("example.mjs", example.expect("an example"));
    let Some(ran) = run_if_there("node", &[example.as_os_str()]) else {
        return skipped(test, "there is no node");
    };
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.starts_with(" who lived"), "{said}");
    assert!(said.contains("\" \" 0.99"), "{said}");
}

/// A page with the three parts that are its model's left out.
fn without_model(page: &str) -> (String, [String; 2]) {
    let (mut rest, mut shell, mut parts) = (page, String::new(), Vec::new());
    while let Some((before, after)) = rest.split_once("id=\"part-") {
        let (head, after) = after.split_once('>').expect("a part");
        let (data, after) = after.split_once('<').expect("its end");
        shell.push_str(before);
        shell.push_str(head);
        let is_data = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        assert!(data.chars().all(is_data), "{head}");
        parts.push(data.to_owned());
        rest = after;
    }
    let [_, about, weights] = parts.try_into().expect("three parts");
    (shell + rest, [about, weights])
}

/// What markup, a terminal and a script would act on.
const HOSTILE: [&str; 6] = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\u{202E}reversed",
    "a\0b",
    "\"'`${x}",
    "{{weights}}",
];

fn hostile_words(path: &Path) {
    let mut tokens: Vec<char> = HOSTILE.concat().chars().collect();
    tokens.sort_unstable();
    tokens.dedup();
    let tokens = tokens.into_iter().map(|c| Token::Text(c.into())).collect();
    let vocabulary = Vocabulary::new(Unit::Char, tokens, 0, true).expect("valid");
    let latent = LatentConfig {
        latent: 3,
        z: ZPlacement::Both,
        bidirectional: true,
    };
    let network = NetworkConfig {
        kind: NetworkKind::WordVae(latent),
        embedding: 6,
        inputs: vocabulary.len(),
        outputs: vocabulary.outputs(),
        ..NetworkConfig::char_rnn(Cell::Gru, 19, 1, 1)
    };
    let header = ModelHeader {
        corpus_name: HOSTILE[1].to_owned(),
        ..model_header(network, vocabulary)
    };
    write_model(path, &header, Some(&HOSTILE.join("\n")));
}

#[test]
fn nothing_of_a_model_is_markup_in_its_page() {
    let home = Home::new();
    golden_run(&home, "");
    word_run(&home, "");
    let name = "<img src=x onerror=alert(1)>.safetensors";
    hostile_words(&home.path(name));
    let mut shells = Vec::new();
    for model in ["golden", "words", name] {
        let arguments = ["export", model, "--format", "html", "--output", "page.html"];
        home.textgen_with(arguments).succeeded();
        let page = fs::read_to_string(home.path("page.html")).expect("a page");
        let (shell, [about, _]) = without_model(&page);
        assert!(about.len() > 100);
        shells.push(shell);
    }
    assert!(shells[0] == shells[1] && shells[1] == shells[2]);
    let shell = &shells[0];
    assert!(shell.contains("default-src 'none';") && !shell.contains("unsafe-inline"));
    for what in [
        "http://",
        "https://",
        "innerHTML",
        "document.write",
        "fetch(",
    ] {
        let found = shell.matches(what).count();
        let allowed = usize::from(what == "http://"); // the name of SVG's elements
        assert_eq!(found, allowed, "{what}");
    }
}

#[test]
fn a_page_replaces_a_page_and_nothing_else() {
    let home = Home::new();
    golden_run(&home, "");
    let export = "export golden --format html --output page.html";
    home.textgen(export).succeeded();
    home.textgen(export).succeeded();
    home.write("page.html", "<!doctype html><p>my own");
    home.textgen(export)
        .refused(1)
        .names(&["page.html: exists already and is not a page that textgen wrote"])
        .advises("--force");
    let module = "export golden --format js --output tales.js";
    home.textgen(module).succeeded();
    home.textgen(module).succeeded();
    let types = fs::read_to_string(home.path("tales.d.ts")).expect("types");
    for name in ["load", "state", "next", "step", "generate"] {
        assert!(
            types.contains(&format!("export function {name}(")),
            "{name}"
        );
    }
    home.write("tales.d.ts", "mine");
    home.textgen(module)
        .refused(1)
        .names(&["tales.d.ts: exists already and is not a module that textgen wrote"])
        .advises("--force");
}

#[test]
fn what_was_rounded_is_not_called_full_precision() {
    let home = Home::new();
    golden_run(&home, "");
    super::made_runs::exported(&home, "golden");
    home.textgen("export small.safetensors --format html --output small.html")
        .succeeded();
    home.textgen("export small.safetensors --format html --quantize none --output small.html")
        .refused(1)
        .names(&["small.safetensors is in eight bits"])
        .advises("--quantize int8");
}

#[test]
fn training_words_can_be_left_out() {
    let home = Home::new();
    word_run(&home, "");
    for (more, count) in [("", 40), (" --no-training-words", 0)] {
        home.textgen(&format!("export words --output w.safetensors{more}"))
            .succeeded();
        let file = ModelFile::open(&home.path("w.safetensors")).expect("a model");
        assert_eq!(file.training_words().expect("words").len(), count);
    }
    let size = |more: &str| {
        home.textgen(&format!("export words --format html --output w.html{more}"))
            .succeeded();
        let page = fs::read_to_string(home.path("w.html")).expect("a page");
        without_model(&page).1[0].len()
    };
    assert!(size(" --no-training-words") < size(""));
}

#[test]
fn the_engine_fits_its_limit() {
    let engine = fs::read(repository("src/cli/page/engine.wasm")).expect("the engine");
    assert!(engine.len() <= 200_000, "{} bytes", engine.len());
    // Neither a folder of the machine that built it nor what it would have to import.
    let text = String::from_utf8_lossy(&engine);
    for path in [
        Some(env!("CARGO_MANIFEST_DIR")),
        option_env!("CARGO_HOME"),
        option_env!("HOME"),
    ]
    .into_iter()
    .flatten()
    {
        assert!(!text.contains(&format!("{path}/")), "{path}");
    }
}

/// Takes minutes, so `make test-engine` asks for it.
#[test]
fn the_engine_is_what_its_sources_give() {
    let test = "the_engine_is_what_its_sources_give";
    if std::env::var_os("TEXTGEN_TEST_ENGINE").is_none() {
        return skipped(test, "`make test-engine` runs it");
    }
    let said = |arguments: &[&OsStr]| {
        let output = run_if_there("rustc", arguments)?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let wanted = fs::read_to_string(repository("wasm/rustc-version")).expect("a version");
    let version = said(&["--version".as_ref()]).unwrap_or_default();
    if version.split(' ').nth(1) != Some(wanted.trim()) {
        return skipped(test, &format!("it was built by rustc {}", wanted.trim()));
    }
    let target = [
        "--print",
        "target-libdir",
        "--target",
        "wasm32-unknown-unknown",
    ];
    let library = said(&target.map(OsStr::new)).unwrap_or_default();
    if !Path::new(&library).is_dir() {
        return skipped(test, "rustup target add wasm32-unknown-unknown");
    }
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine.wasm");
    let status = Command::new(repository("wasm/build")).arg(&built).status();
    assert!(status.expect("a shell").success());
    let [built, committed] = [built, repository("src/cli/page/engine.wasm")].map(fs::read);
    assert!(
        built.expect("built") == committed.expect("committed"),
        "the sources of the engine have changed: run wasm/build"
    );
}

/// Where node finds puppeteer-core; `None` if it does not.
fn puppeteer() -> Option<()> {
    let script = "require.resolve('puppeteer-core')";
    let ran = run_if_there("node", &["-e".as_ref(), script.as_ref()])?;
    ran.status.success().then_some(())
}

/// A browser among these names.
fn browser(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = |name: &&str| {
        folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|p| p.is_file())
    };
    names.iter().find_map(found)
}

/// Uses every control of the pages of a text model and of two word models.
fn use_pages(test: &str, kind: &str, names: &[&str]) {
    let Some(browser) = browser(names) else {
        return skipped(test, &format!("there is no {}", names[0]));
    };
    if puppeteer().is_none() {
        return skipped(test, "node does not find puppeteer-core (NODE_PATH)");
    }
    let home = Home::new();
    golden_run(&home, "");
    hostile_words(&home.path("hostile.safetensors"));
    let words = repository("tests/golden-words/model.safetensors");
    let pages = [
        (Path::new("golden"), "text.html"),
        (&words, "words.html"),
        (Path::new("hostile.safetensors"), "hostile.html"),
    ];
    for (model, page) in pages {
        let arguments = ["export", "--format", "html", "--output", page, "--run"];
        let arguments = arguments.map(OsStr::new).into_iter();
        home.textgen_with(arguments.chain([model.as_os_str()]))
            .succeeded();
    }
    let sampling = Sampling {
        temperature: 0.7,
        ..Sampling::new(5)
    };
    let model = TextModel::open_with(golden_model(), precision("int8")).expect("a model");
    let text = model
        .generate("A hen", &sampling, 300)
        .expect("a text")
        .text;
    let model = WordModel::open_with(&words, precision("int8")).expect("a model");
    let invented = model.generate(&WordOptions::new(5), 24).expect("words");
    let invented: Vec<String> = invented.iter().map(ToString::to_string).collect();
    let ends = ["anna", "stella"].map(|word| model.word(word, OnUnknown::Error));
    let [anna, stella] = ends.map(|word| word.expect("a word"));
    let decode = DecodeOptions::default();
    let way = model.interpolate(
        [&anna, &stella],
        25,
        textgen::model::Interpolation::default(),
        &decode,
    );
    let way: Vec<String> = way
        .expect("a way")
        .into_iter()
        .map(|(_, word)| word.text)
        .collect();
    let want = json!({ "text": format!("A hen{text}"), "invented": invented, "way": way });
    let want = home.write("want.json", want.to_string());
    let script = repository("tests/page/browser.cjs");
    let arguments = [
        script.as_os_str(),
        kind.as_ref(),
        browser.as_os_str(),
        want.as_os_str(),
    ];
    let ran = run_if_there("node", &arguments).expect("node");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    print!("{said}");
    assert!(
        ran.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn every_control_works_in_chromium() {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    use_pages("every_control_works_in_chromium", "chrome", &names);
}

#[test]
fn every_control_works_in_firefox() {
    use_pages(
        "every_control_works_in_firefox",
        "firefox",
        &["firefox-esr", "firefox"],
    );
}
