//! `textgen export --format onnx|torch|hub` and `textgen import`: models that come from elsewhere and go there, compared
//! with onnxruntime and PyTorch where python3 (or `TEXTGEN_TEST_PYTHON`) has them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use textgen::config::{Cell, LatentConfig, NetworkConfig, NetworkKind, Unit, ZPlacement};
use textgen::exchange;
use textgen::model::DecodeOptions;
use textgen::models::Network as _;
use textgen::models::char_rnn::CharRnn;
use textgen::models::word_vae::WordVae;
use textgen::run::{ModelFile, ModelHeader};
use textgen::text::{Token, Vocabulary};
use textgen::{Decoding, OnUnknown, OpenOptions, Sampling, TextModel, WordModel};

use super::common::{Home, golden_model, json as parsed, repository};
use super::made_runs::{exported, golden_run, model_header, word_run};
use super::page::{letters, run_if_there, skipped, write_model};
use super::safetensors_file::Parts;

/// The Python with the packages, if it has them.
fn python(packages: &str) -> Option<String> {
    let python = std::env::var("TEXTGEN_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    [python, "python3".to_owned()].into_iter().find(|python| {
        let arguments = ["-c".as_ref(), packages.as_ref()];
        run_if_there(python, &arguments).is_some_and(|ran| ran.status.success())
    })
}

/// Runs a script of tests/exchange in the home's folder on the cases.
#[track_caller]
fn compared(home: &Home, python: &str, script: &str, cases: &[Value], said: &str) {
    let cases = home.write("cases.json", json!(cases).to_string());
    let script = repository(&format!("tests/exchange/{script}"));
    let arguments: [&OsStr; 2] = [script.as_ref(), cases.as_ref()];
    let ran = run_if_there(python, &arguments).expect("python");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{stdout}{stderr}");
    println!("{stdout}{stderr}");
    assert!(stdout.starts_with(said), "{stdout}");
}

fn text_header(cell: Cell, layers: usize, embedding: usize, documents: bool) -> ModelHeader {
    let vocabulary = Vocabulary::new(Unit::Char, letters(), 0, false).expect("valid");
    let documents = if documents {
        textgen::config::Documents::Line
    } else {
        textgen::config::Documents::None
    };
    let vocabulary = vocabulary.for_documents(&documents);
    let network = NetworkConfig {
        embedding,
        eos: vocabulary.document_end(),
        ..NetworkConfig::char_rnn(cell, 21, layers, vocabulary.len())
    };
    ModelHeader {
        text: textgen::config::TextConfig {
            documents,
            ..textgen::config::TextConfig::default()
        },
        ..model_header(network, vocabulary)
    }
}

fn word_header(cell: Cell, layers: usize, latent: LatentConfig) -> ModelHeader {
    let vocabulary = Vocabulary::new(Unit::Char, letters(), 0, true).expect("valid");
    let network = NetworkConfig {
        kind: NetworkKind::WordVae(latent),
        embedding: 6,
        inputs: vocabulary.len(),
        outputs: vocabulary.outputs(),
        ..NetworkConfig::char_rnn(cell, 13, layers, 1)
    };
    model_header(network, vocabulary)
}

fn tokens(header: &ModelHeader) -> Value {
    let tokens = header.vocabulary.tokens().iter();
    let texts = tokens.map(|token| match token {
        Token::Text(text) => text.clone(),
        other => other.visible(),
    });
    json!(texts.collect::<Vec<_>>())
}

/// Ids of two texts (time, batch).
const IDS: [[u32; 2]; 9] = [
    [10, 3],
    [1, 0],
    [5, 11],
    [2, 2],
    [10, 10],
    [7, 8],
    [3, 3],
    [0, 9],
    [6, 4],
];

/// (time, batch, outputs).
type Logits = Vec<Vec<Vec<f32>>>;

/// What the model in a file computes of the ids (time, batch): logits (time, batch, outputs).
fn text_logits(path: &Path, ids: &[[u32; 2]]) -> Logits {
    let file = ModelFile::open(path).expect("a model");
    let weights = exchange::plain(&file).expect("weights");
    let network = CharRnn::new(&file.header.network, &weights).expect("a network");
    let mut state = network.state(2);
    let step = |ids: &[u32; 2]| {
        network.step(&mut state, ids);
        (0..2).map(|row| state.logits(row).to_vec()).collect()
    };
    ids.iter().map(step).collect()
}

#[test]
fn onnxruntime_computes_what_textgen_does() {
    let test = "onnxruntime_computes_what_textgen_does";
    let Some(python) = python("import onnx, onnxruntime") else {
        return skipped(test, "it needs the Python packages onnx and onnxruntime");
    };
    let home = Home::new();
    let mut cases = Vec::new();
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for layers in 1..=3 {
            for (embedding, documents) in [(0, false), (5, layers == 2)] {
                let header = text_header(cell, layers, embedding, documents);
                cases.push(text_case(
                    &home,
                    &header,
                    &format!("{cell}-{layers}-{embedding}"),
                ));
            }
        }
    }
    // From eight bits.
    let name = "lstm-1-0";
    home.textgen(&format!(
        "export {name}.safetensors --quantize int8 --output small.safetensors"
    ))
    .succeeded();
    let ran = home.textgen("export small.safetensors --format onnx --output small.onnx");
    assert!(ran.succeeded().stderr.contains("written as f32"));
    let logits = text_logits(&home.path("small.safetensors"), &IDS);
    cases.push(
        json!({ "file": home.path("small.onnx"), "ids": IDS, "logits": logits, "begins": false,
        "tokens": tokens(&text_header(Cell::Lstm, 1, 0, false)) }),
    );
    for (cell, layers, z, bidirectional, latent) in [
        (Cell::Gru, 1, ZPlacement::Both, true, 4),
        (Cell::Gru, 3, ZPlacement::Both, false, 4),
        (Cell::Lstm, 2, ZPlacement::Start, true, 2),
        (Cell::Lstm, 1, ZPlacement::Steps, false, 3),
        (Cell::Rnn, 2, ZPlacement::Both, true, 3),
        (Cell::Rnn, 3, ZPlacement::Steps, true, 3),
        (Cell::Lstm, 1, ZPlacement::Both, false, 0),
    ] {
        let latent = LatentConfig {
            latent,
            z,
            bidirectional,
        };
        let header = word_header(cell, layers, latent);
        cases.extend(word_cases(
            &home,
            &header,
            &format!("words-{cell}-{layers}-{z}"),
        ));
    }
    compared(
        &home,
        &python,
        "onnx_graphs.py",
        &cases,
        &format!("{} graphs agree", cases.len()),
    );
}

#[test]
fn the_example_of_the_documentation_writes_a_text() {
    let test = "the_example_of_the_documentation_writes_a_text";
    let Some(python) = python("import onnxruntime, numpy") else {
        return skipped(test, "it needs the Python package onnxruntime");
    };
    let home = Home::new();
    golden_run(&home, "");
    home.textgen("export golden --format onnx --output my.onnx")
        .succeeded();
    let page = fs::read_to_string(repository("docs/ecosystem.md")).expect("the page");
    let example = page.split("```python\n").nth(1);
    let example = example.and_then(|rest| rest.split("```").next());
    let here = "import os; os.chdir(os.path.dirname(os.path.abspath(__file__)))\n";
    let example = home.write("example.py", [here, example.expect("an example")].concat());
    let ran = run_if_there(&python, &[example.as_os_str()]).expect("python");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&ran.stdout).chars().count(), 300);
}

fn text_case(home: &Home, header: &ModelHeader, name: &str) -> Value {
    let path = home.path(&format!("{name}.safetensors"));
    write_model(&path, header, None);
    home.textgen(&format!(
        "export {name}.safetensors --format onnx --output {name}.onnx"
    ))
    .succeeded();
    let mut ids = IDS;
    if let Some(eos) = header.network.eos {
        ids[0] = [eos; 2];
    }
    json!({
        "file": home.path(&format!("{name}.onnx")),
        "ids": ids,
        "logits": text_logits(&path, &ids),
        // Whatever is handed over as a state is forgotten.
        "begins": header.network.eos.is_some(),
        "tokens": tokens(header),
    })
}

/// Encoder, if there is one, and decoder.
fn word_cases(home: &Home, header: &ModelHeader, name: &str) -> Vec<Value> {
    let path = home.path(&format!("{name}.safetensors"));
    write_model(&path, header, Some("abba\ncede"));
    home.textgen(&format!(
        "export {name}.safetensors --format onnx --output {name}.onnx"
    ))
    .succeeded();
    let (network, logits, z) = word_logits(&path);
    let mut cases = Vec::new();
    let mut decoder = json!({
        "file": home.path(&format!("{name}.decoder.onnx")),
        "ids": word_ids(header),
        "logits": logits,
        "begins": true,
        "tokens": tokens(header),
    });
    let encoder = home.path(&format!("{name}.encoder.onnx"));
    assert_eq!(encoder.exists(), network.latent() > 0);
    if network.latent() > 0 {
        decoder["z"] = json!(z);
        let words: [&[u32]; 3] = [&[3, 1, 4, 1, 5], &[9], &[2, 6, 5]];
        let posteriors = network.encode_all(&words);
        let letter = |step: usize| words.map(|word| word.get(step).copied().unwrap_or(7));
        cases.push(json!({
            "file": encoder,
            "ids": (0..5).map(letter).collect::<Vec<_>>(),
            "lengths": words.map(<[u32]>::len),
            "mu": posteriors.iter().map(|one| one.mean.clone()).collect::<Vec<_>>(),
            "log_var": posteriors.iter().map(|one| one.log_var.clone()).collect::<Vec<_>>(),
        }));
    }
    cases.push(decoder);
    cases
}

/// Two words after `<bos>` (time, batch).
fn word_ids(header: &ModelHeader) -> Vec<[u32; 2]> {
    let bos = header.vocabulary.bos().expect("words");
    vec![[bos; 2], [3, 9], [1, 0], [4, 8], [1, 2]]
}

/// The network, its logits of [`word_ids`] from two z, and these.
fn word_logits(path: &Path) -> (WordVae, Logits, Vec<Vec<f32>>) {
    let file = ModelFile::open(path).expect("a model");
    let weights = exchange::plain(&file).expect("weights");
    let network = WordVae::new(&file.header.network, &weights).expect("a network");
    let latent = network.latent();
    let z: Vec<Vec<f32>> = [0.3, -1.2]
        .map(|first| (0..latent).map(|at| first + 0.4 * at as f32).collect())
        .to_vec();
    let mut state = network.decoder(2, &z.concat());
    let logits = word_ids(&file.header).into_iter().map(|ids| {
        network.step(&mut state, &ids);
        (0..2).map(|row| state.logits(row).to_vec()).collect()
    });
    let logits = logits.collect();
    (network, logits, z)
}

#[test]
fn a_program_in_pytorch_computes_and_writes_what_textgen_does() {
    let test = "a_program_in_pytorch_computes_and_writes_what_textgen_does";
    let Some(python) = python("from torch import nn") else {
        return skipped(test, "it needs the Python package torch");
    };
    let home = Home::new();
    let mut cases = Vec::new();
    for (cell, layers, embedding, documents) in [
        (Cell::Lstm, 2, 0, false),
        (Cell::Gru, 1, 5, true),
        (Cell::Rnn, 3, 5, false),
    ] {
        let header = text_header(cell, layers, embedding, documents);
        let name = format!("t-{cell}");
        write_model(&home.path(&format!("{name}.safetensors")), &header, None);
        cases.push(program_case(&home, &name, "a bad egg"));
    }
    fs::copy(golden_model(), home.path("golden.safetensors")).expect("copied");
    cases.push(program_case(&home, "golden", "A hen who lived"));
    for (cell, layers, z, bidirectional, latent) in [
        (Cell::Gru, 1, ZPlacement::Both, true, 4),
        (Cell::Lstm, 2, ZPlacement::Start, false, 2),
        (Cell::Rnn, 2, ZPlacement::Steps, true, 3),
        (Cell::Lstm, 1, ZPlacement::Both, false, 0),
    ] {
        let latent = LatentConfig {
            latent,
            z,
            bidirectional,
        };
        let header = word_header(cell, layers, latent);
        let name = format!("w-{cell}-{z}");
        let path = home.path(&format!("{name}.safetensors"));
        write_model(&path, &header, Some("abba\ncede"));
        home.textgen(&format!(
            "export {name}.safetensors --format torch --output p-{name}.py"
        ))
        .succeeded();
        let (network, logits, z) = word_logits(&path);
        let model = WordModel::open_with(&path, OpenOptions::on_threads(1)).expect("a model");
        let greedy = DecodeOptions {
            decoding: Decoding::Greedy,
            sampling: Sampling::new(1),
        };
        let words = model.decode(&z, &greedy).unwrap_or_default();
        cases.push(json!({
            "file": home.path(&format!("p-{name}.py")),
            "ids": word_ids(&header),
            "logits": logits,
            "z": z,
            "words": words.into_iter().map(|word| word.text).collect::<Vec<_>>(),
            "word": "bad",
            "mu": network.encode(&[1, 0, 3]).mean,
        }));
    }
    compared(
        &home,
        &python,
        "torch_program.py",
        &cases,
        &format!("{} programs agree", cases.len()),
    );
}

fn program_case(home: &Home, name: &str, prompt: &str) -> Value {
    home.textgen(&format!(
        "export {name}.safetensors --format torch --output p-{name}.py"
    ))
    .succeeded();
    let path = home.path(&format!("{name}.safetensors"));
    let model = TextModel::open_with(&path, OpenOptions::on_threads(1)).expect("a model");
    let sampling = Sampling {
        on_unknown: OnUnknown::Error,
        ..Sampling::new(1)
    };
    let length = 200;
    let greedy = model
        .generate(prompt, &sampling.greedy(), length)
        .expect("a text")
        .text;
    let mut ids = IDS;
    if let Some(eos) = ModelFile::open(&path).expect("a model").header.network.eos {
        ids[0] = [eos; 2];
    }
    json!({
        "file": home.path(&format!("p-{name}.py")),
        "ids": ids,
        "logits": text_logits(&path, &ids),
        "prompt": prompt,
        "length": length,
        "greedy": greedy,
    })
}

#[test]
fn a_folder_for_the_hub_has_all_it_needs_and_replaces_nothing_unasked() {
    let home = Home::new();
    golden_run(&home, "");
    word_run(&home, "");
    for (run, part) in [("golden", "char-rnn"), ("words", "vae")] {
        let command = format!("export {run} --format hub --output hub/{run}");
        home.textgen(&command).succeeded();
        let read =
            |name: &str| fs::read_to_string(home.path(&format!("hub/{run}/{name}"))).expect(name);
        let card = read("README.md");
        let front: Vec<&str> = card
            .lines()
            .skip(1)
            .take_while(|line| *line != "---")
            .collect();
        for line in [
            "library_name: textgen",
            "pipeline_tag: text-generation",
            "- textgen",
            &format!("- {part}"),
        ] {
            assert!(front.contains(&line), "{card}");
        }
        // A licence is the owner's to choose, and no language is guessed.
        assert!(
            front.iter().any(|line| line.starts_with("# license: ")),
            "{card}"
        );
        assert!(
            !front
                .iter()
                .any(|line| line.starts_with("license:") || line.starts_with("language:"))
        );
        for part in [
            "## Samples",
            "validation",
            "n-gram",
            "textgen generate --run model.safetensors",
        ] {
            assert!(card.contains(part), "{card}");
        }
        let config = parsed(&read("config.json"));
        assert_eq!(config["model_type"], "textgen");
        assert!(config["network"]["hidden"].is_u64() && config["vocabulary"].is_object());
        assert!(read("model.py").contains("nn.LSTM"));
        // The samples are those of the command in the card.
        let flags = card
            .lines()
            .find_map(|line| line.strip_prefix("textgen generate "));
        let generate = format!("generate {}", flags.expect("a command"));
        let generate =
            generate.replace("model.safetensors", &format!("hub/{run}/model.safetensors"));
        let written = home.textgen(&generate).succeeded().stdout;
        for line in written.lines().filter(|line| !line.starts_with("--- ")) {
            assert!(card.contains(line), "{written}\n{card}");
        }

        home.write(&format!("hub/{run}/README.md"), "license: mine");
        home.textgen(&command)
            .refused(1)
            .names(&["README.md", "exists already"])
            .advises("--force");
        assert_eq!(read("README.md"), "license: mine");
        home.textgen(&format!("{command} --force")).succeeded();
        assert!(read("README.md").contains("## Samples"));
    }
    // Its text comes with textgen, so its language is known.
    home.textgen("export english --format hub --output hub/english")
        .succeeded();
    let card = fs::read_to_string(home.path("hub/english/README.md")).expect("a card");
    assert!(card.contains("\nlanguage:\n- en\n"), "{card}");
    home.write("file", "mine");
    home.textgen("export golden --format hub --output file")
        .refused(1)
        .names(&["file: is no folder"]);
}

#[test]
fn what_other_programs_read_is_in_f32_and_replaces_only_its_kind() {
    let home = Home::new();
    golden_run(&home, "");
    for (format, file) in [("onnx", "a.onnx"), ("torch", "a.py"), ("hub", "a")] {
        home.textgen(&format!(
            "export golden --format {format} --quantize int8 --output {file}"
        ))
        .refused(2)
        .names(&["--quantize int8"])
        .advises("safetensors");
        assert!(!home.path(file).exists());
    }
    for (format, file) in [("onnx", "a.onnx"), ("torch", "a.py")] {
        let export = format!("export golden --format {format} --output {file}");
        home.textgen(&export).succeeded();
        home.textgen(&export).succeeded();
        home.write(file, "mine");
        home.textgen(&export)
            .refused(1)
            .names(&[file, "exists already and is not"])
            .advises("--force");
    }
    home.textgen("export golden --output -")
        .refused(2)
        .names(&["--output -: this needs the name of a file"])
        .advises("/dev/stdout");
    assert!(!home.path("-").exists());
    home.textgen("export golden --format torch --output a.safetensors")
        .refused(2)
        .names(&["a program is a .py file"]);
    let article = repository("fuzz/seeds/model/article.safetensors");
    fs::copy(article, home.path("article.safetensors")).expect("copied");
    for (format, file) in [("onnx", "b.onnx"), ("torch", "b.py"), ("hub", "b")] {
        home.textgen(&format!(
            "export article.safetensors --format {format} --output {file}"
        ))
        .refused(1)
        .names(&["article.safetensors is the article's network"]);
        assert!(!home.path(file).exists());
    }
    // From eight bits, in f32.
    exported(&home, "golden");
    let ran = home.textgen("export small.safetensors --format torch --output b.py");
    assert!(ran.succeeded().stderr.contains("written as f32"));
    let parts = Parts::read(&home.path("b.safetensors"));
    assert_eq!(parts.header["head.weight"]["dtype"], "F32");
}

fn checkpoint(name: &str) -> PathBuf {
    repository("tests/checkpoints").join(name)
}

#[test]
fn an_imported_model_is_one_like_any_other() {
    let home = Home::new();
    let file = checkpoint("tokens-lstm.pt");
    let import = [
        "import".as_ref(),
        file.as_os_str(),
        "--output".as_ref(),
        "m.safetensors".as_ref(),
    ];
    let ran = home.textgen_with(import).succeeded();
    for part in [
        "lstm 6 × 2 · one-hot of 11 · ",
        "vocabulary: 11 chars, from tokens",
        "not used: n_hidden, n_layers",
        "generate: textgen generate --run m.safetensors",
    ] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    let text = home
        .textgen("generate --run m.safetensors --seed 1 --length 50")
        .succeeded();
    assert_eq!(
        text.stdout.trim_end_matches('\n').chars().count().min(40),
        40,
        "{text:?}"
    );
    home.write("text.txt", "hello tar\n hat!\n".repeat(40));
    home.textgen("score --run m.safetensors text.txt")
        .succeeded();
    home.textgen("eval m.safetensors text.txt").succeeded();
    home.train(
        "--from m.safetensors text.txt --steps 3 --device cpu --threads 1 --seed 1 --name tuned",
    );
    for (format, output) in [
        ("onnx", "t.onnx"),
        ("hub", "hub"),
        ("torch", "t.py"),
        ("html", "t.html"),
        ("js", "t.js"),
    ] {
        home.textgen(&format!("export tuned --format {format} --output {output}"))
            .succeeded();
    }
    // The file itself, and anything that is no model, are safe.
    home.write("precious", "mine");
    let output = |output: &'static str| {
        home.textgen_with([
            "import".as_ref(),
            file.as_os_str(),
            "--output".as_ref(),
            OsStr::new(output),
        ])
    };
    output("precious")
        .refused(1)
        .names(&["precious", "exists"])
        .advises("--force");
    output("m.safetensors").succeeded();
    home.textgen("import m.safetensors --output n.safetensors")
        .refused(1)
        .names(&["m.safetensors is a model of textgen already"])
        .advises("generate");
}

#[test]
fn a_model_that_lost_its_header_comes_back_with_its_vocabulary() {
    let home = Home::new();
    let mut parts = Parts::read(&golden_model());
    let symbols = parts.textgen()["vocabulary"]["symbols"].clone();
    let characters: String = symbols
        .as_array()
        .expect("symbols")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    parts
        .header
        .as_object_mut()
        .expect("a header")
        .remove("__metadata__");
    home.write("bare.safetensors", parts.to_bytes());
    home.write("v.txt", &characters);
    home.write("v.json", symbols.to_string());
    home.textgen("import bare.safetensors --output m.safetensors")
        .refused(1)
        .names(&["bare.safetensors: it has no vocabulary of the"])
        .advises("--vocab FILE");
    for vocabulary in ["v.txt", "v.json"] {
        home.textgen(&format!(
            "import bare.safetensors --vocab {vocabulary} --output m.safetensors"
        ))
        .succeeded();
        let back = Parts::read(&home.path("m.safetensors"));
        assert_eq!(
            back.tensor("head.weight"),
            Parts::read(&golden_model()).tensor("head.weight")
        );
        let [here, there] = ["m.safetensors".into(), golden_model()].map(|path: PathBuf| {
            let run = [
                "generate".as_ref(),
                "--run".as_ref(),
                path.as_os_str(),
                "--seed".as_ref(),
                "3".as_ref(),
                "--prompt".as_ref(),
                "A hen".as_ref(),
            ];
            home.textgen_with(run).succeeded().stdout
        });
        assert_eq!(here, there);
    }
}

#[test]
fn what_is_no_model_of_characters_is_refused_in_one_line() {
    let home = Home::new();
    home.write(
        "hostile.pt",
        b"\x80\x02cposix\nsystem\nX\x0a\0\0\0touch made\x85R.",
    );
    home.write("karpathy.t7", b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1");
    let refused = |file: &OsStr| {
        home.textgen_with([
            "import".as_ref(),
            file,
            "--output".as_ref(),
            OsStr::new("m"),
        ])
        .refused(1)
    };
    refused("hostile.pt".as_ref())
        .names(&[
            "hostile.pt: its pickle would use posix.system",
            "nothing in it was run",
        ])
        .advises("do not load it in Python");
    refused("karpathy.t7".as_ref()).names(&["karpathy.t7: it is a Torch7 file"]);
    refused(checkpoint("transformer.pt").as_ref())
        .names(&["it holds a transformer of 3 tensors, such as transformer.wte.weight (11×4)"]);
    refused(checkpoint("module-gru.pt").as_ref()).advises("--vocab printable");
    refused("nothing.pt".as_ref()).names(&["nothing.pt"]);
    home.textgen("import hostile.pt --vocab nothing --output m")
        .refused(1)
        .names(&["--vocab nothing"]);
    assert!(!home.path("made").exists() && !home.path("m").exists());
}
