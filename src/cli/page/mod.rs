//! A model as a web page or as a module for other pages: the engine in WebAssembly, the model, and what shows them.
//!
//! Everything of the model is zlib data in base64, so that no name and no word of it can be taken for markup; a script
//! puts it into the page as text. The policy of the page allows no request at all.

use std::io::Write as _;

use anyhow::Result;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::cli::error::CliError;
use crate::config::{NetworkKind, Newlines, NormalForm, Quantize};
use crate::model::{OpenOptions, ScoreOptions, WordModel};
use crate::models::weights::{check, quantize, to_bytes};
use crate::run::{ModelFile, RunError};
use crate::text::Token;

/// Built by wasm/build; a test builds it again and compares.
const ENGINE: &[u8] = include_bytes!("engine.wasm");
const ENGINE_JS: &str = include_str!("engine.js");
const MODULE_JS: &str = include_str!("module.js");
/// The types of a module.
pub const MODULE_TYPES: &str = include_str!("module.d.ts");
/// How a module and its types begin.
const MODULE_HEAD: &str = "// textgen: ";
/// What a page has near its start.
const PAGE_MARK: &[u8] = br#"<meta name="generator" content="textgen">"#;

/// Words whose costs the page compares others with.
const COMPARED: usize = 300;

/// What a page or a module is made of.
pub struct Show<'a> {
    pub file: &'a ModelFile,
    pub title: &'a str,
    pub int8: bool,
    /// Whether the words that a word-vae learnt from come along.
    pub words: bool,
}

impl Show<'_> {
    /// The page.
    pub fn html(&self) -> Result<String> {
        let [engine, about, weights] = self.parts()?;
        let (script, style) = (include_str!("page.js"), include_str!("page.css"));
        let worker = [ENGINE_JS, include_str!("worker.js")].concat();
        let policy = format!(
            "default-src 'none'; script-src '{}' 'wasm-unsafe-eval'; style-src '{}'; worker-src blob:; \
             img-src data:; base-uri 'none'; form-action 'none'",
            hash(script),
            hash(style)
        );
        let parts = [
            ("policy", &*policy),
            ("style", style),
            ("engine", &engine),
            ("about", &about),
            ("weights", &weights),
            ("worker", &worker),
            ("script", script),
        ];
        Ok(fill(include_str!("page.html"), &parts))
    }

    /// The module.
    pub fn module(&self) -> Result<String> {
        let parts = self
            .parts()?
            .map(|part| format!("  \"{part}\",\n"))
            .concat();
        Ok([
            MODULE_HEAD,
            "a model as a module.\nconst PARTS = [\n",
            &parts,
            "];\n\n",
            ENGINE_JS,
            "\n",
            MODULE_JS,
        ]
        .concat())
    }

    /// Engine, description and weights.
    fn parts(&self) -> Result<[String; 3]> {
        let (file, network) = (self.file, &self.file.header.network);
        if let NetworkKind::Article { .. } = network.kind {
            let message = format!(
                "{} is the article's network, which the engine of web pages does not compute",
                file.path().display()
            );
            let hint = "train a word-vae without --article, or export it without --format";
            return Err(CliError::failed(message, hint).into());
        }
        let mut weights = file.weights()?;
        check(network, &weights).map_err(|source| RunError::Weights {
            path: file.path().to_owned(),
            source,
        })?;
        if self.int8 {
            weights = quantize(&weights);
        }
        let bytes = to_bytes(network, &weights).map_err(|source| RunError::Weights {
            path: file.path().to_owned(),
            source,
        })?;
        let about = serde_json::to_vec(&self.about()?)?;
        let [engine, about, weights] = [ENGINE, &about, &bytes].map(packed);
        Ok([engine?, about?, weights?])
    }

    /// What the page says of the model, and how text becomes tokens.
    fn about(&self) -> Result<serde_json::Value> {
        let header = &self.file.header;
        let (network, vocabulary) = (&header.network, &header.vocabulary);
        let letters = vocabulary.tokens()[..vocabulary.letters()].iter();
        let tokens = letters.map(|token| match token {
            Token::Byte(byte) => json!(byte),
            Token::Text(text) => json!(text),
            Token::Unk | Token::Bos | Token::Eos => json!(null),
        });
        let tokens: Vec<_> = tokens.collect();
        let learnt = self.file.training_text()?.unwrap_or_default();
        let words: Vec<&str> = if self.words {
            learnt.lines().collect()
        } else {
            Vec::new()
        };
        let what = if network.is_words() {
            "learnt the words of"
        } else {
            "read"
        };
        let aim = if network.is_words() {
            "It invents words like them."
        } else {
            "What it writes looks like that, but means nothing."
        };
        let subtitle = format!(
            "A small neural network ({} of {} units) that {what} {}, letter by letter. {aim}",
            network.model(),
            network.hidden * network.layers,
            header.corpus_name
        );
        let form = match header.text.normalize {
            NormalForm::None => "none",
            NormalForm::Nfc => "nfc",
            NormalForm::Nfkc => "nfkc",
            NormalForm::Ascii => "ascii",
        };
        Ok(json!({
            "kind": if network.is_words() { "words" } else { "text" },
            "title": self.title,
            "subtitle": subtitle,
            "unit": vocabulary.unit().to_string(),
            "tokens": tokens,
            "unk": vocabulary.unk(),
            "documentEnd": network.eos,
            "beginning": vocabulary.beginning(),
            "text": {
                "normalize": form,
                "lowercase": header.text.lowercase,
                "newlines": if header.text.newlines == Newlines::Unix { "unix" } else { "keep" },
            },
            "prompt": "",
            "latent": network.latent(),
            "words": words,
            "costs": self.costs(learnt)?,
        }))
    }

    /// What words that the model learnt from cost, in bits per letter with the end of the word, ascending.
    fn costs(&self, learnt: &str) -> Result<Vec<f64>> {
        if learnt.is_empty() {
            return Ok(Vec::new());
        }
        let options = OpenOptions {
            quantize: if self.int8 {
                Quantize::Int8
            } else {
                Quantize::None
            },
            ..OpenOptions::default()
        };
        let model = WordModel::new(self.file, options)?;
        let all = model.training_words();
        let every = all.len().div_ceil(COMPARED).max(1);
        let some: Vec<_> = all.iter().step_by(every).collect();
        let nats = model.score(some.iter().copied(), ScoreOptions::default())?;
        let costs = some.iter().zip(nats).filter(|(_, nats)| nats.is_finite());
        let costs = costs.map(|(word, nats)| {
            let tokens = word.tokens.len() as f64 + 1.0;
            (1000.0 * nats / std::f64::consts::LN_2 / tokens).round() / 1000.0
        });
        let mut costs: Vec<f64> = costs.collect();
        costs.sort_by(f64::total_cmp);
        Ok(costs)
    }
}

/// Whether a file that begins like this is a page.
pub fn is_page(head: &[u8]) -> bool {
    head.windows(PAGE_MARK.len()).any(|part| part == PAGE_MARK)
}

/// Whether a file that begins like this is a module, or has the types of one.
pub fn is_module(head: &[u8]) -> bool {
    head.starts_with(MODULE_HEAD.as_bytes())
}

/// Puts each part in place of its name in double braces; what is put in is not looked at again.
fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        let part = parts.iter().find(|(of, _)| *of == name);
        filled.push_str(part.map_or("", |(_, part)| part));
        rest = after;
    }
    filled + rest
}

/// The source of a policy that allows this script or style.
fn hash(text: &str) -> String {
    format!("sha256-{}", base64(&Sha256::digest(text.as_bytes())))
}

/// zlib data in base64.
fn packed(bytes: &[u8]) -> Result<String> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(base64(&encoder.finish()?))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |k: usize| u32::from(three.get(k).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for k in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * k)) as usize & 63];
            text.push(if k <= three.len() { digit as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn what_is_put_into_a_page_is_not_looked_at_again() {
        let parts = [("a", "{{b}}"), ("b", "no")];
        assert_eq!(fill("<{{a}}>{{c}}", &parts), "<{{b}}>");
    }

    /// A script would end there, and the page with it.
    #[test]
    fn no_script_of_the_page_ends_itself() {
        for code in [
            ENGINE_JS,
            MODULE_JS,
            include_str!("worker.js"),
            include_str!("page.js"),
        ] {
            assert!(!code.contains("</") && !code.contains("<!--"));
        }
        assert!(!include_str!("page.css").contains("</"));
    }
}
