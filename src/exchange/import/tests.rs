//! Checkpoints that PyTorch wrote (`tests/checkpoints/make.py`), and pickles that no checkpoint is.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::*;
use crate::config::Cell;
use crate::models::Network as _;
use crate::models::char_rnn::CharRnn;
use crate::text::Token;

/// PyTorch sums in another order.
const CLOSE: f32 = 1e-5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("a checkpoint")
}

fn texts(imported: &Imported) -> Vec<String> {
    let tokens = imported.header.vocabulary.tokens().iter();
    let text = |token: &Token| match token {
        Token::Text(text) => text.clone(),
        other => other.visible(),
    };
    tokens.map(text).collect()
}

#[track_caller]
fn refused(bytes: &[u8]) -> ImportError {
    import(bytes, "", None).expect_err("no model")
}

/// A state dict in the layout of zip, of this pickle.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    let mut zip = zip::ZipWriter::new(&mut file);
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("archive/data.pkl", stored)
        .expect("a member");
    std::io::Write::write_all(&mut zip, pickle).expect("written");
    zip.finish().expect("an archive");
    file.into_inner()
}

#[test]
fn a_checkpoint_of_pytorch_gives_its_logits() {
    let expected = std::fs::read_to_string(folder().join("expected.json")).expect("a file");
    let expected: Json = serde_json::from_str(&expected).expect("JSON");
    let cases = expected.as_object().expect("cases");
    assert_eq!(cases.len(), 13);
    for (name, case) in cases {
        // spro's model has no vocabulary in its file.
        let given = name
            .starts_with("module")
            .then_some(GivenVocabulary::Printable);
        let imported = import(&bytes(name), "tales", given.as_ref());
        let imported = imported.unwrap_or_else(|error| panic!("{name}: {error}"));
        let strings = |json: &Json| -> Vec<String> {
            let items = json.as_array().expect("a list").iter();
            items
                .map(|item| item.as_str().expect("a text").to_owned())
                .collect()
        };
        assert_eq!(texts(&imported), strings(&case["tokens"]), "{name}");
        let network = CharRnn::new(&imported.header.network, &imported.weights).expect("a network");
        let mut state = network.state(1);
        let ids = case["ids"].as_array().expect("ids").iter();
        let logits = case["logits"].as_array().expect("logits").iter();
        for (id, wanted) in ids.zip(logits) {
            network.step(&mut state, &[id.as_u64().expect("an id") as u32]);
            let wanted = wanted.as_array().expect("a row");
            assert_eq!(state.logits(0).len(), wanted.len());
            for (found, wanted) in state.logits(0).iter().zip(wanted) {
                let wanted = wanted.as_f64().expect("a number") as f32;
                assert!((found - wanted).abs() <= CLOSE, "{name}: {found} {wanted}");
            }
        }
    }
}

#[test]
fn what_was_found_and_what_was_assumed_is_said() {
    let of = |name: &str| import(&bytes(name), "tales", None).expect("a model");
    let tokens = of("tokens-rnn.pt");
    assert_eq!(tokens.header.network.cell, Cell::Rnn);
    assert_eq!(tokens.vocabulary_from, "tokens");
    assert_eq!(tokens.unused, ["n_hidden", "n_layers"]);
    assert!(tokens.notes[0].contains("tanh"), "{:?}", tokens.notes);
    assert!(of("tokens-lstm.pt").notes.is_empty());
    assert!(of("no-bias.pt").notes[0].contains("zeros"));
    assert!(of("double.pt").notes[0].contains("rounded"));
    let training = of("training.pt");
    assert_eq!(training.vocabulary_from, "stoi");
    assert!(training.unused.contains(&"optimizer_state_dict".to_owned()));
    let module = of("legacy-module.pt");
    assert_eq!(
        (&*module.vocabulary_from, module.header.network.embedding),
        ("chars", 4)
    );
}

#[test]
fn a_vocabulary_is_given_in_many_forms_and_must_have_the_size() {
    let plain = "\n !aehlort\u{e9}";
    let wanted: Vec<String> = plain.chars().map(String::from).collect();
    let list = serde_json::to_string(&wanted).expect("JSON");
    let ids = wanted
        .iter()
        .zip(0..)
        .map(|(token, id)| (token.clone(), Json::from(id)));
    let stoi = Json::Object(ids.collect()).to_string();
    let ids = wanted
        .iter()
        .zip(0..)
        .map(|(token, id)| (id.to_string(), Json::from(token.clone())));
    let itos = Json::Object(ids.collect()).to_string();
    let symbols = format!("{{\"vocabulary\":{{\"symbols\":{list}}}}}");
    for text in [plain, &format!("{plain}\n"), &list, &stoi, &itos, &symbols] {
        let given = GivenVocabulary::File(text.to_owned(), "v.txt".to_owned());
        let imported = import(&bytes("tokens-gru.pt"), "", Some(&given)).expect(text);
        assert_eq!(texts(&imported), wanted, "{text}");
    }
    for (given, why) in [
        (
            GivenVocabulary::Printable,
            "string.printable has 100 tokens, but the network reads 11",
        ),
        (GivenVocabulary::Bytes, "256"),
        (
            GivenVocabulary::File("abc".to_owned(), "v.txt".to_owned()),
            "v.txt has 3",
        ),
        (
            GivenVocabulary::File("aabcdefghij".to_owned(), "v.txt".to_owned()),
            "occurs twice",
        ),
        (
            GivenVocabulary::File("{\"a\": 7}".to_owned(), "v.txt".to_owned()),
            "neither a list",
        ),
    ] {
        let error = import(&bytes("tokens-gru.pt"), "", Some(&given)).expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
    }
    let none = refused(&bytes("module-gru.pt"));
    assert!(
        none.to_string().contains("no vocabulary of the 100 tokens"),
        "{none}"
    );
    assert!(none.hint.contains("--vocab printable"));
}

#[test]
fn other_files_are_refused_by_name() {
    let named = |bytes: &[u8], what: &str| {
        let error = refused(bytes);
        assert!(error.to_string().contains(what), "{error}");
        assert!(!error.hint.is_empty());
    };
    named(
        &bytes("transformer.pt"),
        "a transformer of 3 tensors, such as transformer.wte.weight (11×4)",
    );
    named(
        b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1\x13\0\0\0nn.Container",
        "Torch7 file (.t7), as Karpathy's char-rnn",
    );
    named(b"\x89HDF\r\n\x1a\n", "Keras");
    named(b"", "neither a PyTorch checkpoint nor safetensors");
    named(
        b"Once upon a time",
        "neither a PyTorch checkpoint nor safetensors",
    );
    named(
        b"\x80\x04\x95\x02\0\0\0\0\0\0\0K\x01.",
        "not one that torch.save wrote",
    );
    named(&archive(b"\x80\x02}."), "no tensors under names");
}

/// What PyTorch itself would run.
#[test]
fn a_pickle_that_acts_is_refused_and_nothing_runs() {
    let made = std::env::temp_dir().join("textgen-import-ran");
    let command = format!("touch {}", made.display());
    let command = command.as_bytes();
    let argument = [&b"X"[..], &(command.len() as u32).to_le_bytes(), command].concat();
    let calls: [(&[u8], &str); 9] = [
        (b"cos\nsystem\n", "os.system"),
        (b"cposix\nsystem\n", "posix.system"),
        (b"\x8c\x02os\x8c\x06system\x93", "os.system"),
        (b"cbuiltins\neval\n", "builtins.eval"),
        (b"c__builtin__\nexec\n", "builtins.exec"),
        (b"cbuiltins\ngetattr\n", "builtins.getattr"),
        (b"csubprocess\nPopen\n", "subprocess.Popen"),
        (b"ctorch\nload\n", "torch.load"),
        (b"cmodel\nrun\n", "model.run"),
    ];
    for (function, name) in calls {
        let pickle = [b"\x80\x02", function, &argument, b"\x85R."].concat();
        for bytes in [
            archive(&pickle),
            [
                &b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."[..],
                &pickle,
            ]
            .concat(),
        ] {
            let error = refused(&bytes);
            assert!(error.to_string().contains(name), "{error}");
            assert!(
                error.to_string().contains("nothing in it was run"),
                "{error}"
            );
        }
    }
    for how in [
        &b"(S'x'\nios\nsystem\n."[..],
        b"(cos\nsystem\nX\x01\0\0\0ao.",
        b"\x82\x01.",
    ] {
        refused(&archive(&[b"\x80\x02", how].concat()));
    }
    assert!(!made.exists());
}

#[test]
fn depth_size_and_references_of_a_pickle_take_no_more_than_its_bytes() {
    // A list in a list, half a million times; a list that contains itself; one that is looked at in vain.
    let deep = [
        &b"\x80\x02"[..],
        &b"]".repeat(500_000),
        &b"a".repeat(499_999),
        b".",
    ]
    .concat();
    refused(&archive(&deep));
    refused(&archive(b"\x80\x02]q\0h\0a."));
    refused(&archive(b"\x80\x02}q\0(X\x01\0\0\0ah\0X\x01\0\0\0bh\0u."));
    // Lengths that nothing has.
    for pickle in [
        &b"\x80\x02X\xff\xff\xff\xffab."[..],
        b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffab.",
        b"\x80\x02\x8b\xff\xff\xff\xff.",
        b"\x80\x02h\x07.",
        b"\x80\x02.",
        b"\x80\x02t.",
        b"\x80\x02(K\x01u.",
        b"\x80\x09N.",
        b"\x80\x02N",
        b"\x80\x02\xffN.",
    ] {
        let error = refused(&archive(pickle)).to_string();
        assert!(error.contains("damaged at byte"), "{error}");
    }
}

#[test]
fn a_checkpoint_that_is_cut_short_or_changed_is_refused_or_read() {
    for name in ["tokens-lstm.pt", "legacy-tokens.pt", "module-gru.pt"] {
        let whole = bytes(name);
        for end in (0..whole.len()).step_by(13) {
            refused(&whole[..end]);
        }
        for at in (0..whole.len()).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            let _ = import(&changed, "", Some(&GivenVocabulary::Printable));
        }
    }
}

/// Sets of tensors as safetensors, with a vocabulary of `tokens` letters in the metadata.
fn safetensors(shapes: &[(&str, &[usize])], tokens: usize) -> Vec<u8> {
    let data: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(_, shape)| 0.25_f32.to_le_bytes().repeat(shape.iter().product()))
        .collect();
    let views = shapes.iter().zip(&data).map(|(&(name, shape), data)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), data);
        (name, view.expect("a tensor"))
    });
    let letters: String = ('a'..).take(tokens).collect();
    let metadata = std::collections::HashMap::from([("chars".to_owned(), letters)]);
    safetensors::serialize(views, Some(metadata)).expect("safetensors")
}

#[test]
fn what_cannot_be_placed_is_listed() {
    let rnn: [(&str, &[usize]); 4] = [
        ("rnn.weight_ih_l0", &[12, 5]),
        ("rnn.weight_hh_l0", &[12, 3]),
        ("rnn.bias_ih_l0", &[12]),
        ("rnn.bias_hh_l0", &[12]),
    ];
    let with =
        |more: &[(&str, &[usize])]| import(&safetensors(&[&rnn[..], more].concat(), 5), "", None);
    let head: [(&str, &[usize]); 2] = [("fc.weight", &[5, 3]), ("fc.bias", &[5])];
    let plain = with(&head).expect("a network");
    assert_eq!(plain.header.network.cell, Cell::Lstm);
    assert_eq!(plain.header.network.embedding, 0);
    let embedded = with(&[("wte.weight", &[5, 5]), head[0], head[1]]).expect("a network");
    assert_eq!(embedded.header.network.embedding, 5);
    let error = |more: &[(&str, &[usize])]| with(more).expect_err("no network").to_string();
    let two = error(&[
        head[0],
        head[1],
        ("norm.weight", &[3]),
        ("fc2.weight", &[3, 3]),
    ]);
    for part in [
        "cannot place",
        "norm.weight (3)",
        "fc2.weight (3×3)",
        "fc.weight (5×3)",
    ] {
        assert!(two.contains(part), "{two}");
    }
    assert!(error(&[]).contains("no linear layer"));
    let reverse = error(&[head[0], head[1], ("rnn.weight_ih_l0_reverse", &[12, 5])]);
    assert!(
        reverse.contains("both ways (rnn.weight_ih_l0_reverse (12×5))"),
        "{reverse}"
    );
    let second = error(&[head[0], head[1], ("lstm2.weight_ih_l0", &[12, 3])]);
    assert!(
        second.contains("2 recurrent modules: lstm2, rnn"),
        "{second}"
    );
    assert!(error(&[head[0], head[1], ("rnn.weight_hr_l0", &[2, 3])]).contains("proj_size"));
    let far = error(&[
        head[0],
        head[1],
        ("rnn.bias_ih_l18446744073709551615", &[1]),
    ]);
    assert!(
        far.contains("layer 18446744073709551615 of a network of 5"),
        "{far}"
    );
    let half = error(&[head[0], head[1], ("rnn.weight_ih_l1", &[12, 3])]);
    assert!(half.contains("without rnn.weight_hh_l1"), "{half}");
    assert!(error(&[("fc.weight", &[5, 3]), ("fc.bias", &[4])]).contains("fc.bias (4)"));
    let second: [(&str, &[usize]); 2] = [
        ("rnn.weight_ih_l1", &[12, 3]),
        ("rnn.weight_hh_l1", &[12, 3]),
    ];
    let biases = error(&[head[0], head[1], second[0], second[1]]);
    assert!(biases.contains("not rnn.bias_ih_l1"), "{biases}");
    // A square embedding and a square head without a bias, under names that say nothing.
    let square: [(&str, &[usize]); 4] = [
        ("r.weight_ih_l0", &[9, 3]),
        ("r.weight_hh_l0", &[9, 3]),
        ("x.weight", &[5, 3]),
        ("y.weight", &[5, 3]),
    ];
    let error = import(&safetensors(&square, 5), "", None)
        .expect_err("ambiguous")
        .to_string();
    assert!(error.contains("which of these"), "{error}");
    let named = [
        square[0],
        square[1],
        ("emb.weight", square[2].1),
        ("out.weight", square[3].1),
    ];
    assert_eq!(
        import(&safetensors(&named, 5), "", None)
            .expect("named")
            .notes
            .len(),
        1
    );
}
